"""The doors of accounts, wired as tests want them."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import event, select

from idp import policy
from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.credentials import Credentials, SignedIn
from idp.accounts.devices import Devices
from idp.accounts.directory import Directory
from idp.accounts.errors import CaptchaProblem, CaptchaRefused
from idp.accounts.lifecycle import Lifecycle
from idp.accounts.links import Links
from idp.accounts.lockout import Lockout
from idp.accounts.own_account import OwnAccount
from idp.accounts.passwords import Hasher
from idp.accounts.recovery import Recovery
from idp.accounts.renewal import Renewal
from idp.accounts.sessions import Sessions
from idp.accounts.signin import SignIn
from idp.accounts.throttle import AddressThrottle
from idp.audit import AuditEvent
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.outbox import Message, Outbox, OutboxMessage, Template

LOCKOUT_KEY = b"a key for tests, which locks nobody out"
LINK_KEY = b"a key for tests, which mails no link"
DECOY_KEY = b"a key for tests, which never rotates"
ISSUER = "https://id.example"
PASSWORD = "Nieve.Tibia7"
RIGHT = CaptchaAnswer("handle", "right")


def watch_statements(store: Store) -> list[str]:
    """What SQLite is asked from now on, without the values; whoever clears the list watches anew."""
    seen: list[str] = []

    def note(statement: str) -> None:
        # The driver tells each with its values in it.
        if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            seen.append(re.sub(r"'(?:[^']|'')*'|\bNULL\b|\b\d+\b", "?", statement))

    # SQLAlchemy's own events do not see prepared statements. Connections that are open already are let go.
    event.listen(store.engine, "connect", lambda driver, _: driver.set_trace_callback(note))
    store.engine.dispose()
    return seen


class QuickHasher(Hasher):
    """Compares like the real one, without its cost, and counts what it compared and what it only made wait."""

    def __init__(self) -> None:
        super().__init__(1)
        self.compared = 0
        self.pretended = 0
        self.due: set[str] = set()

    def hash(self, password: str) -> str:
        return "quick$" + hashlib.sha256(password.encode()).hexdigest()

    def verify(self, password: str, hashed: str | None) -> bool:
        self.compared += 1
        return hashed is not None and hashed.removeprefix("old$") == self.hash(password)

    def pretend(self) -> None:
        self.pretended += 1

    def needs_rehash(self, hashed: str) -> bool:
        return hashed.startswith("old$")


class Gate:
    """A CAPTCHA whose right answer is known, and that tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[CaptchaAnswer | None] = []

    def take(self, browser: str | None, answer: CaptchaAnswer | None, now: datetime) -> None:
        self.asked.append(answer)
        if answer is None:
            raise CaptchaRefused(CaptchaProblem.REQUIRED)
        if answer.text != "right":
            raise CaptchaRefused(CaptchaProblem.WRONG)


@dataclass
class House:
    """Everything of accounts, wired."""

    store: Store
    hasher: QuickHasher
    lockout: Lockout
    throttle: AddressThrottle
    devices: Devices
    captcha: Gate
    credentials: Credentials
    sessions: Sessions
    signin: SignIn
    lifecycle: Lifecycle
    directory: Directory
    question_lockout: Lockout
    outbox: Outbox
    links: Links
    renewal: Renewal
    recovery: Recovery
    own_account: OwnAccount
    disabled: list[str]
    signed_out: list[str]
    changed: list[str]

    def add(self, username: str, now: datetime, **more: Any) -> str:
        """An active account with `PASSWORD`; its id."""
        more = {"email": "buzon@example.com", "password": PASSWORD, **more}
        return self.lifecycle.create(username, now=now, **more).account_id

    def sign_in(self, username: str, password: str, now: datetime, **more: Any) -> SignedIn:
        """As from a browser that answers each CAPTCHA rightly; `more` are circumstances of the attempt."""
        return self.signin.sign_in(username, password, attempt=Attempt(**{"captcha": RIGHT, **more}), now=now)

    def mails(self) -> list[tuple[str, str | None]]:
        """Template and recipient of each mail that waits, in order."""
        with self.store.read() as connection:
            wanted = select(OutboxMessage.template, OutboxMessage.recipient).order_by(OutboxMessage.created_at)
            return [(row.template, row.recipient) for row in connection.execute(wanted)]

    def messages(self) -> list[Message]:
        """Each mail that has somebody to go to, in order."""
        with self.store.read() as connection:
            rows = connection.execute(select(OutboxMessage.__table__).order_by(OutboxMessage.created_at)).all()
        return [
            Message(
                row.id, Template(row.template), row.recipient, row.locale, row.parameters, row.created_at, attempts=1
            )
            for row in rows
            if row.recipient is not None
        ]

    def hand_over(self, message: Message, now: datetime) -> str | None:
        """Send the mail as the worker does; the address in it, or None: it was not sent."""
        address = self.links.address_for(message, now)
        if address is not None:
            with self.store.write() as tx:
                self.links.handed_over(tx, message.id, now)
        return address

    def events(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.scalars(select(AuditEvent.event).order_by(AuditEvent.id)))


def make_house(
    store: Store, hasher: Hasher | None = None, *, trusted_devices: bool = True, mode: str = "alone"
) -> House:
    disabled: list[str] = []
    signed_out: list[str] = []
    changed: list[str] = []
    hasher = hasher or QuickHasher()
    lockout = Lockout(store, LOCKOUT_KEY)
    question_lockout = Lockout(
        store,
        LOCKOUT_KEY,
        attempts=policy.QUESTION_ATTEMPTS,
        duration=policy.QUESTION_CLOSED_FOR,
        purpose="question_counter",
    )
    ephemeral = Ephemeral(store)
    outbox = Outbox(store)
    throttle = AddressThrottle(ephemeral)
    devices = Devices(store, enabled=trusted_devices)
    captcha = Gate()
    credentials = Credentials(store, hasher, lockout, throttle, devices, captcha, outbox)
    sessions = Sessions(store)
    brand_words = ("e-FACTURA", "SERES de México", "Llavero")
    lifecycle = Lifecycle(
        store,
        hasher,
        lockout,
        question_lockout,
        sessions,
        devices,
        outbox,
        brand_words=brand_words,
        on_disable=lambda tx, account_id, now: disabled.append(account_id),
    )
    links = Links(store, ephemeral, LINK_KEY, issuer=ISSUER)
    renewal = Renewal(
        store,
        hasher,
        lockout,
        question_lockout,
        sessions,
        devices,
        outbox,
        brand_words=brand_words,
        on_change=lambda tx, account_id, now: changed.append(account_id),
    )
    recovery = Recovery(
        store,
        hasher,
        question_lockout,
        throttle,
        ephemeral,
        outbox,
        links,
        renewal,
        decoy_key=DECOY_KEY,
        mode=mode,
    )
    own_account = OwnAccount(
        store,
        hasher,
        credentials,
        sessions,
        devices,
        renewal,
        outbox,
        on_sign_out=lambda tx, sid, now: signed_out.append(sid),
    )
    return House(
        store=store,
        hasher=hasher,  # type: ignore[arg-type]  # a real one where a test asks for it
        lockout=lockout,
        throttle=throttle,
        devices=devices,
        captcha=captcha,
        credentials=credentials,
        sessions=sessions,
        signin=SignIn(
            store,
            credentials,
            sessions,
            devices,
            renewal,
            on_sign_out=lambda tx, sid, now: signed_out.append(sid),
        ),
        lifecycle=lifecycle,
        directory=Directory(store, lockout),
        question_lockout=question_lockout,
        outbox=outbox,
        links=links,
        renewal=renewal,
        recovery=recovery,
        own_account=own_account,
        disabled=disabled,
        signed_out=signed_out,
        changed=changed,
    )
