"""The doors of accounts, wired as tests want them."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from idp.accounts.credentials import Credentials
from idp.accounts.directory import Directory
from idp.accounts.lifecycle import Lifecycle
from idp.accounts.lockout import Lockout
from idp.accounts.passwords import Hasher
from idp.accounts.sessions import Sessions
from idp.accounts.signin import SignIn
from idp.audit import AuditEvent
from idp.db import Store

LOCKOUT_KEY = b"a key for tests, which locks nobody out"
PASSWORD = "Nieve.Tibia7"


class QuickHasher(Hasher):
    """Compares like the real one, without its cost, and counts what it compared."""

    def __init__(self) -> None:
        super().__init__(1)
        self.compared = 0
        self.due: set[str] = set()

    def hash(self, password: str) -> str:
        return "quick$" + hashlib.sha256(password.encode()).hexdigest()

    def verify(self, password: str, hashed: str | None) -> bool:
        self.compared += 1
        return hashed is not None and hashed.removeprefix("old$") == self.hash(password)

    def needs_rehash(self, hashed: str) -> bool:
        return hashed.startswith("old$")


@dataclass
class House:
    """Everything of accounts, wired."""

    store: Store
    hasher: QuickHasher
    lockout: Lockout
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

    def events(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.scalars(select(AuditEvent.event).order_by(AuditEvent.id)))


def make_house(store: Store, hasher: Hasher | None = None) -> House:
    disabled: list[str] = []
    signed_out: list[str] = []
    hasher = hasher or QuickHasher()
    lockout = Lockout(store, LOCKOUT_KEY)
    credentials = Credentials(store, hasher, lockout)
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
        credentials=credentials,
        sessions=sessions,
        signin=SignIn(store, credentials, sessions, on_sign_out=lambda tx, sid, now: signed_out.append(sid)),
        lifecycle=lifecycle,
        directory=Directory(store, lockout),
        disabled=disabled,
        signed_out=signed_out,
    )
