"""Builds `Services` once: the one file in which accounts, protocol and retention meet."""

import enum
import hashlib
import hmac
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from idp import installation, policy, retention, schema
from idp.accounts.captcha import Captcha
from idp.accounts.credentials import Credentials
from idp.accounts.devices import Devices
from idp.accounts.directory import Directory, SubjectRow
from idp.accounts.expiry import ExpiryWarnings
from idp.accounts.lifecycle import Lifecycle
from idp.accounts.links import Links
from idp.accounts.lockout import Lockout
from idp.accounts.own_account import OwnAccount
from idp.accounts.passwords import Hasher
from idp.accounts.recovery import Recovery
from idp.accounts.renewal import Renewal
from idp.accounts.sessions import Browser, Sessions, hold_session
from idp.accounts.signin import SignIn
from idp.accounts.throttle import AddressThrottle
from idp.db import Store, StoreUnavailable
from idp.ephemeral import Ephemeral
from idp.keys import KeyProblem, KeyRing
from idp.outbox import Outbox
from idp.protocol.client_keys import ClientKeys
from idp.protocol.clients import Clients
from idp.protocol.fetch import Fetcher
from idp.protocol.grants import GrantServices
from idp.protocol.messages import ProtocolRequest, ProtocolResponse
from idp.protocol.notices import Notices
from idp.protocol.server import ProtocolServer
from idp.protocol.subjects import Authentication, Subject
from idp.protocol.tokens import Tokens
from idp.settings import Settings, SettingsError
from idp.volatile import Volatile


class Part(enum.StrEnum):
    """What a node cannot serve without."""

    STORE = "store"
    MIGRATIONS = "migrations"
    KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Services:
    """Every door, and the settings they were built from."""

    settings: Settings
    store: Store
    ephemeral: Ephemeral
    volatile: Volatile | None
    keys: KeyRing
    outbox: Outbox
    captcha: Captcha
    sessions: Sessions
    devices: Devices
    sign_in: SignIn
    recovery: Recovery
    links: Links
    own_account: OwnAccount
    lifecycle: Lifecycle
    directory: Directory
    expiry_warnings: ExpiryWarnings
    notices: Notices
    protocol: ProtocolServer

    def missing(self, now: datetime) -> tuple[str, ...]:
        """What this node lacks to serve, by the words of `Part`; nothing: it is ready (O-3).

        Redis is no part: without it tokens go on, and a node taken out would end that, too (decision 0014).
        """
        found = []
        try:
            if not schema.is_current(schema.find_present(self.store)):
                found.append(Part.MIGRATIONS)
            else:
                installation.prove_writable(self.store, now)
        except StoreUnavailable:
            found.append(Part.STORE)
        try:
            self.keys.check_ready(now)
        except KeyProblem:
            found.append(Part.KEYS)
        return tuple(found)

    @property
    def fingerprint(self) -> str:
        """Tells whether two settings have the same secret key, and nothing of it."""
        return _derive_key(self.settings, "fingerprint").hex()[:16]

    def void_what_was_issued(self, now: datetime, *, tx: Connection | None = None) -> int:
        """After a restore: nothing that was handed out before can be spent; the number of the epoch that begins.

        The database does not know what has been spent since its backup, so all of it is dead: codes, refresh tokens,
        links, permits, sessions, known browsers, initial access tokens (F-15). Accounts, clients, consents and locks
        are as they were. One transaction, or part of `tx`.
        """
        if tx is None:
            with self.store.write() as own:
                return self.void_what_was_issued(now, tx=own)
        self.ephemeral.void(tx)
        self.protocol.services.tokens.void(tx, now=now)
        self.protocol.registrations.void(tx)
        self.links.void(tx)
        self.sessions.void(tx)
        self.devices.void(tx)
        return installation.raise_epoch(self.store, tx, now)

    def sweep(self, now: datetime) -> dict[str, int]:
        """Delete what is over; how many rows of each kind went."""
        return {
            "ephemeral": self.ephemeral.sweep(now=now),
            "grants": self.protocol.services.tokens.sweep(now=now),
            "sessions": self.sessions.sweep(now),
            "devices": self.devices.sweep(now),
            "links": self.links.sweep(now),
            "mails": self.outbox.sweep(now),
            "registration_tokens": self.protocol.registrations.sweep(now),
            # After the sessions, whose end is told to the clients that are forgotten here.
            "notices": self.notices.sweep(now),
        }


def build_services(settings: Settings, engine: Engine) -> Services:
    """Put the house together. Opens nothing and asks the database nothing."""
    store = Store(engine)
    volatile = Volatile(settings.redis_url) if settings.redis_url else None
    ephemeral = Ephemeral(store, volatile)
    keys = KeyRing(settings.keys_dir, strict=settings.is_production)
    outbox = Outbox(store)
    brand_words = (settings.brand, settings.company, "Llavero")

    lockout = Lockout(store, _derive_key(settings, "lockout"))
    question_lockout = Lockout(
        store,
        _derive_key(settings, "lockout"),
        attempts=policy.QUESTION_ATTEMPTS,
        duration=policy.QUESTION_CLOSED_FOR,
        purpose="question_counter",
    )
    hasher = Hasher(_hash_slots())
    throttle = AddressThrottle(ephemeral)
    devices = Devices(store, enabled=settings.lockout_trusted_devices)
    captcha = Captcha(ephemeral, _derive_key(settings, "captcha"))
    directory = Directory(store, lockout)
    subjects = _Subjects(directory, settings)
    clients = Clients(store, sealing_key=_derive_key(settings, "client-secrets"))
    fetcher = Fetcher(allow_loopback=settings.allow_loopback_clients)
    client_keys = ClientKeys(fetcher)
    tokens = Tokens(
        store,
        ephemeral,
        keys,
        subjects,
        issuer=settings.issuer,
        pairwise_key=_derive_key(settings, "pairwise"),
        refresh_key=_derive_key(settings, "refresh"),
        refresh_grace=timedelta(seconds=settings.refresh_grace),
    )
    notices = Notices(store, clients, tokens, post_form=fetcher.post_form)

    def end_all_of_account(tx: Connection, account_id: str, now: datetime) -> None:
        tokens.revoke_grants_of(tx, account_id, now=now)
        notices.queue_for_account(tx, account_id, now)

    def end_all_of_session(tx: Connection, sid: str, now: datetime) -> None:
        tokens.end_session(tx, sid, now=now)
        notices.queue_for_session(tx, sid, now)

    sessions = Sessions(store, on_end=end_all_of_session)
    credentials = Credentials(store, hasher, lockout, throttle, devices, captcha, outbox)
    renewal = Renewal(
        store,
        hasher,
        lockout,
        question_lockout,
        sessions,
        devices,
        outbox,
        brand_words=brand_words,
        on_change=end_all_of_account,
    )
    links = Links(store, ephemeral, _derive_key(settings, "links"), issuer=settings.issuer)
    return Services(
        settings=settings,
        store=store,
        ephemeral=ephemeral,
        volatile=volatile,
        keys=keys,
        outbox=outbox,
        captcha=captcha,
        sessions=sessions,
        devices=devices,
        sign_in=SignIn(store, credentials, sessions, devices, renewal, on_sign_out=end_all_of_session),
        recovery=Recovery(
            store,
            hasher,
            question_lockout,
            throttle,
            ephemeral,
            outbox,
            links,
            renewal,
            decoy_key=_derive_key(settings, "decoy"),
            mode=settings.recovery_question,
        ),
        links=links,
        own_account=OwnAccount(
            store,
            hasher,
            credentials,
            sessions,
            devices,
            renewal,
            outbox,
            on_sign_out=end_all_of_session,
        ),
        lifecycle=Lifecycle(
            store,
            hasher,
            lockout,
            question_lockout,
            sessions,
            devices,
            outbox,
            brand_words=brand_words,
            on_disable=end_all_of_account,
        ),
        directory=directory,
        expiry_warnings=ExpiryWarnings(store, outbox),
        notices=notices,
        protocol=ProtocolServer.over(
            GrantServices(store, ephemeral, clients, tokens, subjects, client_keys),
            keys,
            registration=settings.registration,
        ),
    )


def authentication_of(browser: Browser | None) -> Authentication | None:
    """What the protocol may know of who is signed in at this browser."""
    if browser is None or browser.account_id is None or browser.sid is None or browser.auth_time is None:
        return None
    return Authentication(browser.account_id, browser.sid, browser.auth_time, browser.amr, browser.acr or "0")


class _Subjects:
    """The port of the protocol, answered by the directory of accounts."""

    def __init__(self, directory: Directory, settings: Settings) -> None:
        self._directory = directory
        self.deployment_retention_days = settings.retention_days

    def find_subject(self, sub: str) -> Subject | None:
        row = self._directory.find_subject_row(sub)
        if row is None or row.password_changed_at is None:
            return None
        return Subject(
            sub=row.sub,
            claims=_claims(row),
            credentials_expire_at=row.password_changed_at + policy.PASSWORD_LIFETIME,
            mailbox_rfc=row.rfc,
            retention_days=row.organization_retention_days or self.deployment_retention_days,
        )

    def is_signed_in(self, authentication: Authentication, tx: Connection) -> bool:
        return hold_session(tx, authentication.sub, authentication.sid, authentication.auth_time)

    def find_organization_retention(self, rfc: str) -> int:
        return self._directory.find_organization_retention(rfc) or self.deployment_retention_days

    def mailbox_claim(
        self, rfc: str, scopes: Collection[str], retention_days: int, now: datetime
    ) -> tuple[dict[str, Any], datetime]:
        return retention.mailbox_claim(rfc, scopes, retention_days, now)


def _claims(row: SubjectRow) -> dict[str, Any]:
    """OIDC Core section 5.1, and the claims of scope `rfc` (contract.md section 6)."""
    claims: dict[str, Any] = {
        **row.claims,
        "name": row.name,
        "preferred_username": row.username,
        "email": row.email,
        "email_verified": row.email_verified,
        "locale": row.locale,
        "updated_at": int(row.updated_at.astimezone(UTC).timestamp()),
    }
    if row.rfc is not None:
        claims.update(rfc=row.rfc, account_kind=str(row.kind), organization=row.organization_rfc)
    return claims


def _derive_key(settings: Settings, purpose: str) -> bytes:
    """A key of its own for each purpose, so that what one leaks is of no use to another."""
    return hmac.digest(settings.secret_key.encode(), b"llavero/" + purpose.encode(), hashlib.sha256)


def _hash_slots() -> int:
    """How many password hashes this process may run at once: the cores, shared by the workers (L-10)."""
    workers = max(1, int(os.environ.get("WEB_CONCURRENCY", "1")))
    return max(1, (os.cpu_count() or 1) // workers)


__all__ = [
    "Authentication",
    "KeyProblem",
    "ProtocolRequest",
    "ProtocolResponse",
    "Services",
    "SettingsError",
    "authentication_of",
    "build_services",
]
