"""Sets a password where one was before, and ends whatever the old one had opened."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from idp import audit, policy
from idp.accounts.devices import Devices
from idp.accounts.errors import PasswordRefused, PasswordRule, PermitGone, UsernameLocked
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, PasswordRecord, State
from idp.accounts.passwords import Hasher, check_new_password, find_neighbours, only_digits_differ
from idp.accounts.permits import Means, Permit
from idp.accounts.questions import check_answer
from idp.accounts.sessions import Sessions
from idp.accounts.usernames import Username, parse_username
from idp.audit import Event
from idp.db import Store
from idp.outbox import Outbox, Template

OnChange = Callable[[Connection, str, datetime], None]

_RECOVERIES = frozenset({Means.QUESTION, Means.LINK, Means.INVITATION})
"""What recovers an account: these alone end a lock and open a closed question (L-8)."""
_MAILED = frozenset({Means.LINK, Means.INVITATION})
"""What only the mailbox's reader has: these prove the mail address."""

_FIND = select(Account.password_hash).where(
    Account.id == bindparam("account_id"), Account.epoch == bindparam("epoch"), Account.state == State.ACTIVE
)
_HISTORY = (
    select(PasswordRecord.password_hash)
    .where(PasswordRecord.account_id == bindparam("account_id"))
    .order_by(PasswordRecord.replaced_at.desc(), PasswordRecord.id.desc())
    .limit(policy.PASSWORD_HISTORY - 1)
)
_KEPT = (
    select(PasswordRecord.id)
    .where(PasswordRecord.account_id == bindparam("account_id"))
    .order_by(PasswordRecord.replaced_at.desc(), PasswordRecord.id.desc())
    .limit(policy.PASSWORD_HISTORY - 1)
)


def change_nothing_more(tx: Connection, account_id: str, now: datetime) -> None:
    """Where accounts stand alone, nothing else hangs on a password."""


class Renewal:
    """The one place that gives an account another password. Every door that does so calls `renew`.

    `on_change` joins the transaction, so that what else hangs on the old password ends with it (W-4).
    """

    def __init__(
        self,
        store: Store,
        hasher: Hasher,
        lockout: Lockout,
        question_lockout: Lockout,
        sessions: Sessions,
        devices: Devices,
        outbox: Outbox,
        *,
        brand_words: Sequence[str] = (),
        on_change: OnChange = change_nothing_more,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._lockout = lockout
        self._question_lockout = question_lockout
        self._sessions = sessions
        self._devices = devices
        self._outbox = outbox
        self._brand_words = brand_words
        self._on_change = on_change

    def renew(
        self,
        permit: Permit,
        new_password: str,
        *,
        now: datetime,
        current: str | None = None,
        question: str | None = None,
        answer: str | None = None,
        device: str | None = None,
        event: Event,
        then: Callable[[Connection], None] | None = None,
    ) -> datetime:
        """Set the password, and question and answer where they are given; when the new password ends.

        In one transaction: of any number of permits and links of this account, in any number of hands, one sets a
        password, and all are dead afterwards (R-3, R-4); every session, device and grant ends; the notices go to the
        address that was known before; `then` comes last. Refuses with `PermitGone`, `PasswordRefused`,
        `AnswerRefused`, `HashingOverloaded`; then nothing has changed.
        Recovery, and nothing else here, lifts lock and question counter (L-8). An expired password that comes to be
        renewed where signing in would be locked is `UsernameLocked` (L-5): `device` is the browser's cookie, whose
        own counter is asked where the account knows it (L-6).
        `current` is the password that was typed and compared in the same form, where one was (PW-5).
        """
        if permit.is_over(now):
            raise PermitGone
        username = parse_username(permit.username)
        check_new_password(new_password, username=username, brand_words=self._brand_words)
        with self._store.read() as connection:
            found = connection.execute(_FIND, {"account_id": permit.account_id, "epoch": permit.epoch}).first()
            earlier = connection.scalars(_HISTORY, {"account_id": permit.account_id}).all()
        if found is None:
            raise PermitGone
        normal = None if question is None and answer is None else check_answer(answer, question, username)
        if self._is_old(new_password, found.password_hash, earlier, current):
            raise PasswordRefused((PasswordRule.NOT_OLD,))
        changed: dict[str, Any] = {"password_hash": self._hasher.hash(new_password)}
        if normal is not None:
            changed |= {"question": question, "answer_hash": self._hasher.hash(normal)}
        if permit.means in _MAILED:
            changed["email_verified"] = True
        was_locked = self._lockout.is_locked(self._lockout.key_of(username), now)
        own_key = self._lockout.key_of(username, self._devices.find(device, username, now))
        with self._store.write() as tx:
            account = self._set(tx, permit, changed, now)
            self._keep_history(tx, permit.account_id, found.password_hash, now)
            self._settle(tx, permit, username, own_key, now)
            self._sessions.end_all(tx, permit.account_id)
            self._devices.end_all(tx, permit.account_id)
            self._on_change(tx, permit.account_id, now)
            detail = {"means": permit.means.value}
            audit.record(tx, event, now=now, account_id=permit.account_id, detail=detail)
            if was_locked and permit.means in _RECOVERIES:
                audit.record(tx, Event.ACCOUNT_UNLOCK, now=now, account_id=permit.account_id, detail=detail)
            self._notify(tx, Template.PASSWORD_CHANGED, account, username, now)
            if normal is not None:
                audit.record(tx, Event.QUESTION_CHANGE, now=now, account_id=permit.account_id, detail=detail)
                self._notify(tx, Template.QUESTION_CHANGED, account, username, now)
            if then is not None:
                then(tx)
        return now + policy.PASSWORD_LIFETIME

    # -- inside ------------------------------------------------------------------------------------------------------

    def _is_old(self, new_password: str, hashed: str, earlier: Sequence[str], current: str | None) -> bool:
        """PW-5, each comparison in a hash slot of its own: fifteen at most."""
        if current is not None and only_digits_differ(new_password, current):
            return True
        return any(self._hasher.verify(each, old) for each, old in _pairs(new_password, hashed, earlier, current))

    def _set(self, tx: Connection, permit: Permit, changed: dict[str, Any], now: datetime) -> Any:
        still = update(Account).where(
            Account.id == permit.account_id, Account.epoch == permit.epoch, Account.state == State.ACTIVE
        )
        row = tx.execute(
            still.values(
                **changed, password_changed_at=now, epoch=Account.epoch + 1, expiry_warned=None, updated_at=now
            ).returning(Account.email, Account.locale)
        ).first()
        if row is None:
            raise PermitGone
        return row

    def _settle(self, tx: Connection, permit: Permit, username: Username, own_key: str, now: datetime) -> None:
        """What becomes of the counters. `UsernameLocked` takes the whole transaction back."""
        if permit.means in _RECOVERIES:
            self._lockout.clear(tx, self._lockout.key_of(username))
            self._question_lockout.clear(tx, self._question_lockout.key_of(username))
        elif permit.means is Means.EXPIRED and not self._lockout.forgive(tx, own_key, now):
            raise UsernameLocked

    def _keep_history(self, tx: Connection, account_id: str, hashed: str, now: datetime) -> None:
        tx.execute(insert(PasswordRecord), {"account_id": account_id, "password_hash": hashed, "replaced_at": now})
        kept = list(tx.scalars(_KEPT, {"account_id": account_id}))
        tx.execute(
            delete(PasswordRecord).where(PasswordRecord.account_id == account_id, PasswordRecord.id.not_in(kept))
        )

    def _notify(self, tx: Connection, template: Template, account: Any, username: Username, now: datetime) -> None:
        parameters = {"username": username.masked, "at": now.isoformat()}
        self._outbox.enqueue(
            tx, template, recipient=account.email, locale=account.locale, parameters=parameters, now=now
        )


def _pairs(new_password: str, hashed: str, earlier: Sequence[str], current: str | None) -> Iterator[tuple[str, str]]:
    """What is to be compared with what, the likeliest first."""
    yield new_password, hashed
    if current is None:
        # Nobody typed the old password, so only what the new one may have been made from can be tried.
        yield from ((each, hashed) for each in find_neighbours(new_password))
    yield from ((new_password, each) for each in earlier)


__all__ = ["OnChange", "Renewal", "change_nothing_more"]
