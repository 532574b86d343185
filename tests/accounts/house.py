"""The doors of accounts, wired as tests want them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from idp import audit, policy
from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.credentials import Credentials, SignedIn
from idp.accounts.devices import Devices
from idp.accounts.directory import Directory
from idp.accounts.errors import CaptchaProblem, CaptchaRefused, PermitGone
from idp.accounts.lifecycle import Lifecycle
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account
from idp.accounts.passwords import Hasher
from idp.accounts.permits import Permit
from idp.accounts.sessions import Sessions
from idp.accounts.signin import SignIn
from idp.accounts.throttle import AddressThrottle
from idp.audit import AuditEvent, Event
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.outbox import Outbox, OutboxMessage

LOCKOUT_KEY = b"a key for tests, which locks nobody out"
PASSWORD = "Nieve.Tibia7"
RIGHT = CaptchaAnswer("handle", "right")


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


class SimpleRenewal:
    """Sets a password in one transaction with what is to follow, and judges nothing but the permit."""

    def __init__(self, store: Store, hasher: Hasher, sessions: Sessions, devices: Devices) -> None:
        self._store = store
        self._hasher = hasher
        self._sessions = sessions
        self._devices = devices

    def renew(
        self,
        permit: Permit,
        new_password: str,
        *,
        now: datetime,
        event: Event,
        then: Callable[[Connection], None] | None = None,
    ) -> datetime:
        still = update(Account).where(Account.id == permit.account_id, Account.epoch == permit.epoch)
        changed = {
            "password_hash": self._hasher.hash(new_password),
            "password_changed_at": now,
            "epoch": permit.epoch + 1,
        }
        with self._store.write() as tx:
            if permit.is_over(now) or tx.execute(still.values(changed)).rowcount == 0:
                raise PermitGone
            self._sessions.end_all(tx, permit.account_id)
            self._devices.end_all(tx, permit.account_id)
            audit.record(tx, event, now=now, account_id=permit.account_id)
            if then is not None:
                then(tx)
        return now + policy.PASSWORD_LIFETIME


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
    disabled: list[str]
    signed_out: list[str]

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

    def events(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.scalars(select(AuditEvent.event).order_by(AuditEvent.id)))


def make_house(store: Store, hasher: Hasher | None = None, *, trusted_devices: bool = True) -> House:
    disabled: list[str] = []
    signed_out: list[str] = []
    hasher = hasher or QuickHasher()
    lockout = Lockout(store, LOCKOUT_KEY)
    throttle = AddressThrottle(Ephemeral(store))
    devices = Devices(store, enabled=trusted_devices)
    captcha = Gate()
    credentials = Credentials(store, hasher, lockout, throttle, devices, captcha, Outbox(store))
    sessions = Sessions(store)
    lifecycle = Lifecycle(
        store,
        hasher,
        lockout,
        sessions,
        brand_words=("e-FACTURA", "SERES de México", "Llavero"),
        on_disable=lambda tx, account_id, now: disabled.append(account_id),
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
            SimpleRenewal(store, hasher, sessions, devices),
            on_sign_out=lambda tx, sid, now: signed_out.append(sid),
        ),
        lifecycle=lifecycle,
        directory=Directory(store, lockout),
        disabled=disabled,
        signed_out=signed_out,
    )
