"""The one place that compares a password."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from sqlalchemy import Connection, bindparam, select, update

from idp import audit, policy
from idp.accounts.attempts import Attempt
from idp.accounts.captcha import Captcha
from idp.accounts.devices import Devices
from idp.accounts.errors import HashingOverloaded, PasswordExpired, UsernameLocked, WrongCredentials
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, Kind, State
from idp.accounts.passwords import Hasher
from idp.accounts.permits import Means, Permit
from idp.accounts.throttle import AddressThrottle
from idp.accounts.usernames import Username
from idp.audit import Event
from idp.db import Store
from idp.outbox import Outbox, Template
from idp.prepared import Prepared

PASSWORD_AMR = ("pwd",)
"""RFC 8176."""
PASSWORD_ACR = "1"


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
    epoch: int

    @property
    def account_id(self) -> str:
        return self.person.account_id


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new signed-in session."""

    cookie: str
    """Of the session, to be set."""
    person: Person
    device: str | None
    """The device cookie to set (L-6); None where the deployment has none."""


OnSuccess = Callable[[Connection, VerifiedAccount], None]

_FIND = Prepared(
    select(
        Account.id,
        Account.username,
        Account.kind,
        Account.name,
        Account.locale,
        Account.email,
        Account.state,
        Account.password_hash,
        Account.password_changed_at,
    ).where(Account.username == bindparam("username"))
)
# Locked, so that disabling or a new password comes wholly before or wholly after the success (SQLite: one writer).
_STILL = Prepared(
    select(Account.state, Account.password_hash, Account.epoch)
    .where(Account.id == bindparam("account_id"))
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class _Try:
    """One attempt on its way: who it is said to be, who that is, and which counter it is counted in."""

    username: Username
    row: Any
    """The account's, or None."""
    key: str
    is_device: bool
    address: str | None
    now: datetime

    @property
    def account_id(self) -> str | None:
        return None if self.row is None else self.row.id

    @property
    def is_active(self) -> bool:
        return self.row is not None and self.row.state == State.ACTIVE


class Credentials:
    """Compares a password. Every door that asks for one calls `check`, so there is one counter for all (L-4)."""

    def __init__(
        self,
        store: Store,
        hasher: Hasher,
        lockout: Lockout,
        throttle: AddressThrottle,
        devices: Devices,
        captcha: Captcha,
        outbox: Outbox,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._lockout = lockout
        self._throttle = throttle
        self._devices = devices
        self._captcha = captcha
        self._outbox = outbox

    def check(
        self,
        username: Username,
        password: str,
        now: datetime,
        *,
        attempt: Attempt,
        on_success: OnSuccess | None = None,
        event: Event = Event.SIGNIN_SUCCESS,
    ) -> VerifiedAccount:
        """The account whose password this is. `on_success` joins the transaction that forgets the failures.

        In this order: `AddressThrottled`; `CaptchaRefused` where one is due, which counts nothing and is the same for
        the right password; `UsernameLocked`. Then the password is compared. Refused alike, in the same time: an
        unknown name, a wrong password, an account that is disabled or not activated (`WrongCredentials`); the third
        failure, and whatever follows it, is `UsernameLocked`. A right password that is too old is `PasswordExpired`;
        it is no failed attempt. `HashingOverloaded` counts nothing. A success is recorded as `event`; each outcome
        that was a comparison or a lock leaves one row in the audit trail, and setting the lock one more, and a mail.
        """
        row = self._store.first(_FIND, {"username": username.canonical})
        device = self._devices.find(attempt.device, username, now)
        key = self._lockout.key_of(username, device)
        trying = _Try(username, row, key, device is not None, attempt.address, now)
        self._throttle.check(attempt.address, now)
        self._count(trying, answered=self._take_captcha(trying, attempt))
        hashed = row.password_hash if row is not None and trying.is_active else None
        try:
            is_right = self._hasher.verify(password, hashed)
            is_due = is_right and hashed is not None and self._hasher.needs_rehash(hashed)
            renewed = self._hasher.hash(password) if is_due else None
        except HashingOverloaded:
            with self._store.write() as tx:
                self._lockout.give_back(tx, key, now)
                self._throttle.give_back(attempt.address, now, tx=tx)
            raise
        if not is_right or row is None:
            self._fail(trying)
        return self._succeed(trying, row, renewed, event, on_success)

    def _take_captcha(self, trying: _Try, attempt: Attempt) -> bool:
        """Whether a CAPTCHA was due (C-1) and answered rightly."""
        has_failed = self._lockout.has_failed(trying.key, trying.now)
        if not attempt.captcha_due and not has_failed:
            return False
        if not attempt.captcha_due and attempt.captcha is None and self._lockout.is_locked(trying.key, trying.now):
            return False  # nothing will be compared, so nothing need be proven first
        browser = None if attempt.browser is None else attempt.browser.browser
        self._captcha.take(browser, attempt.captcha, trying.now)
        return True

    def _count(self, trying: _Try, *, answered: bool) -> None:
        def count_address(tx: Connection) -> None:
            self._throttle.check_and_count(trying.address, trying.now, tx=tx)

        try:
            self._lockout.count_attempt(trying.key, trying.now, answered=answered, also=count_address)
        except UsernameLocked:
            self._hasher.pretend()
            with self._store.write() as tx:
                self._record(tx, Event.SIGNIN_REFUSED_LOCKED, trying)
                if self._lockout.note_lock(tx, trying.key, trying.now):
                    self._tell_lock(tx, trying)
                if not answered:
                    # Not even a CAPTCHA stood before this hash, so that the address has to pay for it (L-7).
                    count_address(tx)
            raise

    def _succeed(
        self, trying: _Try, row: Any, renewed: str | None, event: Event, on_success: OnSuccess | None
    ) -> VerifiedAccount:
        now, key = trying.now, trying.key
        # PW-6: good until changed_at + 30 days, exclusive.
        is_expired = now >= row.password_changed_at + policy.PASSWORD_LIFETIME
        with self._store.write() as tx:
            still = _STILL.first(tx, {"account_id": row.id})
            is_current = still is not None and still.state == State.ACTIVE and still.password_hash == row.password_hash
            # The usual case at the price of one statement: nothing failed before, and nobody else is trying.
            is_alone = is_current and not is_expired and self._lockout.succeed_alone(tx, key, now)
            before = 0 if is_alone else self._lockout.count_failed(key, now, tx=tx)
            # An expired password opens the change form only, so what failed before it stays counted.
            settle = self._lockout.give_back if is_expired else self._lockout.succeed
            is_open = is_alone or (is_current and settle(tx, key, now))
            found = _verified(row, 0 if still is None else still.epoch)
            if is_current:
                self._throttle.give_back(trying.address, now, tx=tx)
            if is_open:
                if renewed is not None:
                    tx.execute(update(Account).where(Account.id == row.id).values(password_hash=renewed))
                # L-11: a success after failures is told apart from one without.
                detail = {"failures_before": before} if before else None
                happened = Event.SIGNIN_REFUSED_EXPIRED if is_expired else event
                audit.record(tx, happened, now=now, account_id=row.id, detail=detail)
                if on_success is not None and not is_expired:
                    on_success(tx, found)
            elif is_current:
                self._record(tx, Event.SIGNIN_REFUSED_LOCKED, trying)
        if not is_current:
            # Disabled, or another password set, while this one was being compared: it is right no longer.
            self._fail(trying)
        if not is_open:
            raise UsernameLocked
        if is_expired:
            until = now + policy.PERMIT_LIFETIME
            raise PasswordExpired(Permit(row.id, row.username, found.epoch, Means.EXPIRED, until))
        return found

    def _fail(self, trying: _Try) -> NoReturn:
        with self._store.write() as tx:
            failure = self._lockout.fail(tx, trying.key, trying.now)
            self._record(tx, Event.SIGNIN_FAILURE, trying)
            if failure.locks:
                self._tell_lock(tx, trying)
        if failure.attempts_left == 0:
            raise UsernameLocked
        raise WrongCredentials(failure.attempts_left)

    def _tell_lock(self, tx: Connection, trying: _Try) -> None:
        """Record the lock and mail it, in the transaction that set it: once for each, however long it is tried."""
        self._record(tx, Event.ACCOUNT_LOCK, trying)
        if trying.row is not None and trying.is_active:
            self._outbox.enqueue(
                tx,
                Template.LOCKED,
                recipient=trying.row.email,
                locale=trying.row.locale,
                parameters={"username": trying.username.masked, "at": trying.now.astimezone(UTC).isoformat()},
                now=trying.now,
            )

    def _record(self, tx: Connection, event: Event, trying: _Try) -> None:
        detail: dict[str, Any] = {}
        if trying.account_id is None:
            # What somebody typed may be a password in the wrong field; a name nobody has is kept as its key only.
            detail["username_key"] = self._lockout.key_of(trying.username)
        if trying.is_device:
            detail["known_browser"] = True  # counted for that browser, not for the name
        audit.record(tx, event, now=trying.now, account_id=trying.account_id, detail=detail or None)


def _verified(row: Any, epoch: int) -> VerifiedAccount:
    person = Person(row.id, row.username, Kind(row.kind), row.name, row.locale)
    return VerifiedAccount(person, row.password_changed_at, epoch)


__all__ = [
    "PASSWORD_ACR",
    "PASSWORD_AMR",
    "Credentials",
    "OnSuccess",
    "Person",
    "SignedIn",
    "VerifiedAccount",
]
