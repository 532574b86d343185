"""The one place that compares a password."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from sqlalchemy import Connection, bindparam, select, update

from idp import audit, policy
from idp.accounts.errors import HashingOverloaded, PasswordExpired, UsernameLocked, WrongCredentials
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, Kind, State
from idp.accounts.passwords import Hasher
from idp.accounts.permits import Means, Permit
from idp.accounts.usernames import Username
from idp.audit import Event
from idp.db import Store


@dataclass(frozen=True, slots=True)
class Person:
    """An account as pages greet it."""

    account_id: str
    username: str
    kind: Kind
    name: str
    locale: str


@dataclass(frozen=True, slots=True)
class VerifiedAccount:
    """An active account whose password has just been typed."""

    person: Person
    password_changed_at: datetime

    @property
    def account_id(self) -> str:
        return self.person.account_id


OnSuccess = Callable[[Connection, VerifiedAccount], None]

_FIND = select(
    Account.id,
    Account.username,
    Account.kind,
    Account.name,
    Account.locale,
    Account.state,
    Account.password_hash,
    Account.password_changed_at,
).where(Account.username == bindparam("username"))
# Locked, so that disabling or a new password comes wholly before or wholly after the success (SQLite: one writer).
_STILL = (
    select(Account.state, Account.password_hash, Account.epoch)
    .where(Account.id == bindparam("account_id"))
    .with_for_update()
)


class Credentials:
    """Compares a password. Every door that asks for one calls `check`, so there is one counter for all (L-4)."""

    def __init__(self, store: Store, hasher: Hasher, lockout: Lockout) -> None:
        self._store = store
        self._hasher = hasher
        self._lockout = lockout

    def check(
        self, username: Username, password: str, now: datetime, *, on_success: OnSuccess | None = None
    ) -> VerifiedAccount:
        """The account whose password this is. `on_success` joins the transaction that forgets the failures.

        Refused alike, in the same time: an unknown name, a wrong password, an account that is disabled or not
        activated (`WrongCredentials`); the third failure, and whatever follows it, is `UsernameLocked`. A right
        password that is too old is `PasswordExpired`; it is no failed attempt. `HashingOverloaded` counts nothing.
        Each outcome but the last leaves one row in the audit trail, and the lock one more.
        """
        with self._store.read() as connection:
            row = connection.execute(_FIND, {"username": username.canonical}).first()
        account_id = None if row is None else row.id
        try:
            self._lockout.count_attempt(self._lockout.key_of(username), now, answered=True)
        except UsernameLocked:
            with self._store.write() as tx:
                self._record(tx, Event.SIGNIN_REFUSED_LOCKED, username, account_id, now)
            raise
        hashed = row.password_hash if row is not None and row.state == State.ACTIVE else None
        try:
            is_right = self._hasher.verify(password, hashed)
            is_due = is_right and hashed is not None and self._hasher.needs_rehash(hashed)
            renewed = self._hasher.hash(password) if is_due else None
        except HashingOverloaded:
            with self._store.write() as tx:
                self._lockout.give_back(tx, self._lockout.key_of(username), now)
            raise
        if not is_right or row is None:
            self._fail(username, account_id, now)
        found = VerifiedAccount(
            Person(row.id, row.username, Kind(row.kind), row.name, row.locale), row.password_changed_at
        )
        return self._succeed(username, found, row.password_hash, renewed, now, on_success)

    def _succeed(
        self,
        username: Username,
        found: VerifiedAccount,
        hashed: str,
        renewed: str | None,
        now: datetime,
        on_success: OnSuccess | None,
    ) -> VerifiedAccount:
        # PW-6: good until changed_at + 30 days, exclusive.
        key = self._lockout.key_of(username)
        is_expired = now >= found.password_changed_at + policy.PASSWORD_LIFETIME
        with self._store.write() as tx:
            still = tx.execute(_STILL, {"account_id": found.account_id}).first()
            is_current = still is not None and still.state == State.ACTIVE and still.password_hash == hashed
            # An expired password opens the change form only, so what failed before it stays counted.
            settle = self._lockout.give_back if is_expired else self._lockout.succeed
            before = self._lockout.count_failed(key, now, tx=tx)
            is_open = is_current and settle(tx, key, now)
            if is_open:
                if renewed is not None:
                    tx.execute(update(Account).where(Account.id == found.account_id).values(password_hash=renewed))
                event = Event.SIGNIN_REFUSED_EXPIRED if is_expired else Event.SIGNIN_SUCCESS
                # L-11: a success after failures is told apart from one without.
                detail = {"failures_before": before} if before else None
                audit.record(tx, event, now=now, account_id=found.account_id, detail=detail)
                if on_success is not None and not is_expired:
                    on_success(tx, found)
            elif is_current:
                self._record(tx, Event.SIGNIN_REFUSED_LOCKED, username, found.account_id, now)
        if not is_current:
            # Disabled, or another password set, while this one was being compared: it is right no longer.
            self._fail(username, found.account_id, now)
        if not is_open:
            raise UsernameLocked
        if is_expired and still is not None:
            raise PasswordExpired(
                Permit(found.account_id, username.canonical, still.epoch, Means.EXPIRED, now + policy.PERMIT_LIFETIME)
            )
        return found

    def _fail(self, username: Username, account_id: str | None, now: datetime) -> NoReturn:
        with self._store.write() as tx:
            self._record(tx, Event.SIGNIN_FAILURE, username, account_id, now)
            failure = self._lockout.fail(tx, self._lockout.key_of(username), now)
            if failure.locks:
                self._record(tx, Event.ACCOUNT_LOCK, username, account_id, now)
        if failure.attempts_left == 0:
            raise UsernameLocked
        raise WrongCredentials(failure.attempts_left)

    def _record(self, tx: Connection, event: Event, username: Username, account_id: str | None, now: datetime) -> None:
        # What somebody typed may be a password in the wrong field; a name that nobody has is kept as its key only.
        detail = {"username_key": self._lockout.key_of(username)} if account_id is None else None
        audit.record(tx, event, now=now, account_id=account_id, detail=detail)


__all__ = ["Credentials", "OnSuccess", "Person", "VerifiedAccount"]
