"""The counters of failed attempts, in SQL."""

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, false, func, or_, select, update

from idp import policy
from idp.accounts.errors import CaptchaProblem, CaptchaRefused, HashingOverloaded, UsernameLocked
from idp.accounts.models import AttemptCounter
from idp.db import Store
from idp.prepared import Prepared

if TYPE_CHECKING:
    from idp.accounts.usernames import Username

_C = AttemptCounter
_POLL_FROM, _POLL_TO = 0.020, 0.050  # seconds; about as long as comparing one password takes


_COLUMNS = ("key", "failures", "failed", "last_at", "locked_at")
_OF_KEY = _C.key == bindparam("a_key")
_KEY = Prepared(select(_C.key).where(_OF_KEY))
_TAKEN = Prepared(select(_C.failures, _C.failed).where(_OF_KEY))
_CLEAR = Prepared(delete(_C).where(_OF_KEY))
_CLEAR_EMPTY = Prepared(delete(_C).where(_OF_KEY, _C.failures == 0))
_LOCK = Prepared(update(_C).where(_OF_KEY, _C.locked_at.is_(None)).values(locked_at=bindparam("a_now")))


class _Statements:
    """What depends on how many attempts there are and how long a lock holds, compiled once for each `Lockout`.

    Their parameters are those of `Lockout._at`.
    """

    def __init__(self, store: Store, attempts: int, *, ends: bool) -> None:
        fresh = store.insert(_C)
        is_stale = _C.last_at <= bindparam("stale_at", type_=_C.last_at.type)
        since = func.coalesce(_C.locked_at, _C.last_at)
        is_over: ColumnElement[bool] = since <= bindparam("over_at", type_=_C.last_at.type) if ends else false()
        # Failures, those among them of which nobody will hear any more.
        failed = case((is_stale, _C.failures), else_=_C.failed)
        self.is_locked = and_(or_(_C.locked_at.is_not(None), failed >= attempts), ~is_over)
        may_try = _C.failures < attempts
        taken = {
            "failures": case((is_over, 1), else_=_C.failures + 1),
            "failed": case((is_over, 0), else_=failed),
            "last_at": fresh.excluded.last_at,
            "locked_at": case((is_over, None), else_=_C.locked_at),
        }

        def take(condition: ColumnElement[bool]) -> Prepared:
            counted = fresh.on_conflict_do_update(index_elements=["key"], set_=taken, where=or_(is_over, condition))
            return Prepared(counted.returning(_C.failures), inserts=_COLUMNS)

        self.take = {True: take(may_try), False: take(and_(may_try, failed == 0))}
        """By whether a CAPTCHA was answered."""
        self.why_not = Prepared(select(failed.label("failed"), self.is_locked.label("is_locked")).where(_OF_KEY))
        self.count = Prepared(select(failed.label("failed")).where(_OF_KEY, ~is_over))
        self.locked = Prepared(select(_C.key).where(_OF_KEY, self.is_locked))
        # Where the counter was cleared meanwhile, or the slot was taken for a dead one, there is one failure more.
        more = _C.failed + 1
        self.fail = Prepared(
            fresh.on_conflict_do_update(
                index_elements=["key"],
                set_={"failed": more, "failures": case((_C.failures < more, more), else_=_C.failures)},
            ).returning(_C.failed),
            inserts=_COLUMNS,
        )
        is_alone = and_(_C.failures == 1, _C.failed == 0, _C.locked_at.is_(None), ~is_stale)
        self.succeed_alone = Prepared(delete(_C).where(_OF_KEY, is_alone))
        is_dead = and_(_OF_KEY, _C.failures >= attempts, is_stale, _C.locked_at.is_(None))
        self.note_lock = Prepared(update(_C).where(is_dead).values(failed=_C.failures, locked_at=bindparam("a_now")))

        def release(is_open: ColumnElement[bool], **changed: ColumnElement[int] | int) -> Prepared:
            return Prepared(update(_C).where(_OF_KEY, is_open).values(**changed).returning(_C.failures))

        is_free = or_(_C.locked_at.is_(None), is_over)
        one_less = case((_C.failures > _C.failed, _C.failures - 1), else_=_C.failures)
        self.succeed = release(is_free, failures=_not_negative(_C.failures - _C.failed - 1), failed=0)
        self.give_back = release(is_free, failures=one_less)
        self.forgive = release(~self.is_locked, failures=_not_negative(_C.failures - _C.failed), failed=0)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed attempt led to."""

    attempts_left: int
    locks: bool
    """True for one failure of each lock: that which set it."""


class Lockout:
    """Three attempts for each key, whether anybody has the username that it stands for or not.

    An attempt takes a *slot* before anything is compared, by one statement that also refuses, so however many guesses
    arrive at once, over all processes and nodes, at most three are compared (L-2). `fail`, `succeed` or `give_back`
    then says what became of it. Slots that are only being compared lock nobody: who finds all of them taken waits.
    What is as old as `duration` is over, a lock and failures that led to none.
    """

    def __init__(
        self,
        store: Store,
        key: bytes,
        *,
        attempts: int = policy.LOCKOUT_ATTEMPTS,
        duration: timedelta | None = policy.LOCKOUT_DURATION,
        purpose: str = "attempt_counter",
    ) -> None:
        self._store = store
        self._key = key
        self._attempts = attempts
        self._duration = duration
        self._purpose = purpose
        self._statements = _Statements(store, attempts, ends=duration is not None)

    def key_of(self, username: "Username", device: str | None = None) -> str:
        """The counter's name: a keyed hash, so that the table does not tell which names were tried (L-3).

        With the digest of a device cookie: the counter of that browser alone (L-6).
        """
        parts = [self._purpose, username.canonical] if device is None else [self._purpose, username.canonical, device]
        mac = hmac.digest(self._key, "\0".join(parts).encode(), "sha256")
        return urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")

    def count_attempt(
        self, key: str, now: datetime, *, answered: bool, also: Callable[[Connection], None] | None = None
    ) -> None:
        """Take a slot and commit, in one statement that also refuses; `also` joins the transaction that takes it.

        `UsernameLocked` after the last failure. `CaptchaRefused` where one has failed already and no CAPTCHA was
        `answered` (C-1). `HashingOverloaded` where others were being compared for as long as one may wait.
        """
        until = time.monotonic() + policy.PASSWORD_HASH_WAIT.total_seconds()
        while not self._take_slot(key, now, answered, also):
            self._wait(key, answered, until)

    def fail(self, tx: Connection, key: str, now: datetime) -> Failure:
        """The slot's attempt was compared, and wrong. The last one that may fail sets the lock."""
        counted = self._statements.fail.first(tx, self._at(key, now) | _row(key, now, failed=1))
        assert counted is not None  # noqa: S101  # one row, new or counted on
        used = int(counted.failed)
        locks = used >= self._attempts and _LOCK.run(tx, {"a_key": key, "a_now": now}) == 1
        return Failure(max(self._attempts - used, 0), locks)

    def succeed_alone(self, tx: Connection, key: str, now: datetime) -> bool:
        """`succeed` in one statement, where the slot is all there is: nothing has failed and nobody else is trying.

        False, and nothing has changed, where there is more to it.
        """
        return self._statements.succeed_alone.run(tx, self._at(key, now)) == 1

    def succeed(self, tx: Connection, key: str, now: datetime) -> bool:
        """The slot's attempt was right: forget what has failed, keep the slots of those still being compared.

        False where the lock was set meanwhile, and stays.
        """
        return self._release(tx, key, now, self._statements.succeed)

    def give_back(self, tx: Connection, key: str, now: datetime) -> bool:
        """The slot's attempt was no failure and forgives none. False where the lock was set meanwhile, and stays."""
        return self._release(tx, key, now, self._statements.give_back)

    def forgive(self, tx: Connection, key: str, now: datetime) -> bool:
        """Forget what has failed, keep every slot: for a success that held none. False where a lock stands."""
        return self._release(tx, key, now, self._statements.forgive)

    def clear(self, tx: Connection, key: str) -> None:
        """Forget failures and lock: for recovery and operators, and for nothing else (L-8)."""
        _CLEAR.run(tx, {"a_key": key})

    def note_lock(self, tx: Connection, key: str, now: datetime) -> bool:
        """Set the lock that attempts whose process died have led to. True once, where nobody has been told of it."""
        return self._statements.note_lock.run(tx, self._at(key, now)) == 1

    def count_failed(self, key: str, now: datetime, *, tx: Connection | None = None) -> int:
        """How many attempts have failed and are not forgiven."""
        count, at = self._statements.count, self._at(key, now)
        row = self._store.first(count, at) if tx is None else count.first(tx, at)
        return 0 if row is None else int(row.failed)

    def has_failed(self, key: str, now: datetime) -> bool:
        """Whether a CAPTCHA is due (C-1)."""
        return self.count_failed(key, now) > 0

    def is_locked(self, key: str, now: datetime) -> bool:
        """Whether the next attempt would be refused, with a CAPTCHA and without."""
        return self._store.first(self._statements.locked, self._at(key, now)) is not None

    def find_locked(self, usernames: Collection["Username"], now: datetime) -> set["Username"]:
        """Those of the names whose next attempt, at a browser that nobody knows, would be refused."""
        by_key = {self.key_of(each): each for each in usernames}
        # A list of unknown length is nothing to prepare.
        wanted = select(_C.key).where(_C.key.in_(by_key), self._statements.is_locked)
        with self._store.read() as connection:
            return {by_key[key] for key in connection.scalars(wanted, self._at("", now))}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _take_slot(self, key: str, now: datetime, answered: bool, also: Callable[[Connection], None] | None) -> bool:
        at = self._at(key, now)
        with self._store.write() as tx:
            if self._statements.take[answered].first(tx, at | _row(key, now, failed=0)) is not None:
                if also is not None:
                    also(tx)
                return True
            row = self._statements.why_not.first(tx, at)
        if row is None:
            return False  # forgotten between the two statements
        if row.is_locked:
            raise UsernameLocked
        if row.failed > 0 and not answered:
            raise CaptchaRefused(CaptchaProblem.REQUIRED)
        return False

    def _wait(self, key: str, answered: bool, until: float) -> None:
        """Return once there may be another answer than to wait; `HashingOverloaded` if that takes too long."""
        refused_from = self._attempts if answered else 1
        while time.monotonic() < until:
            # Not all at the same moment.
            time.sleep(_POLL_FROM + (_POLL_TO - _POLL_FROM) * secrets.randbelow(1000) / 1000)
            row = self._store.first(_TAKEN, {"a_key": key})
            if row is None or row.failures < self._attempts or row.failed >= refused_from:
                return
        raise HashingOverloaded(policy.RETRY_AFTER)

    def _release(self, tx: Connection, key: str, now: datetime, release: Prepared) -> bool:
        row = release.first(tx, self._at(key, now))
        if row is None:
            # No row: an operator or a finished reset was faster.
            return _KEY.first(tx, {"a_key": key}) is None
        if row.failures == 0:
            _CLEAR_EMPTY.run(tx, {"a_key": key})
        return True

    def _at(self, key: str, now: datetime) -> dict[str, Any]:
        """What a statement may ask for: the counter, the time, what is stale by then and what is over."""
        at: dict[str, Any] = {"a_key": key, "a_now": now, "stale_at": now - policy.ATTEMPT_PENDING_MAX}
        if self._duration is not None:
            at["over_at"] = now - self._duration
        return at


def _row(key: str, now: datetime, *, failed: int) -> dict[str, Any]:
    return {"key": key, "failures": 1, "failed": failed, "last_at": now, "locked_at": None}


def _not_negative(number: ColumnElement[int]) -> ColumnElement[int]:
    return case((number > 0, number), else_=0)


__all__ = ["Failure", "Lockout"]
