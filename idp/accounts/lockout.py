"""The counters of failed attempts, in SQL."""

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, case, delete, false, func, literal, or_, select, update

from idp import policy
from idp.accounts.errors import CaptchaProblem, CaptchaRefused, HashingOverloaded, UsernameLocked
from idp.accounts.models import AttemptCounter
from idp.db import Store

if TYPE_CHECKING:
    from idp.accounts.usernames import Username

_C = AttemptCounter
_POLL_FROM, _POLL_TO = 0.020, 0.050  # seconds; about as long as comparing one password takes


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
        fresh = self._store.insert(_C).values(key=key, failures=1, failed=1, last_at=now, locked_at=None)
        # Where the counter was cleared meanwhile, or the slot was taken for a dead one, there is one failure more.
        failed = _C.failed + 1
        counted = fresh.on_conflict_do_update(
            index_elements=["key"],
            set_={"failed": failed, "failures": case((_C.failures < failed, failed), else_=_C.failures)},
        ).returning(_C.failed)
        used = int(tx.execute(counted).scalar_one())
        locks = used >= self._attempts and self._lock(tx, key, now)
        return Failure(max(self._attempts - used, 0), locks)

    def succeed(self, tx: Connection, key: str, now: datetime) -> bool:
        """The slot's attempt was right: forget what has failed, keep the slots of those still being compared.

        False where the lock was set meanwhile, and stays.
        """
        return self._release(tx, key, now, {"failures": _not_negative(_C.failures - _C.failed - 1), "failed": 0})

    def give_back(self, tx: Connection, key: str, now: datetime) -> bool:
        """The slot's attempt was no failure and forgives none. False where the lock was set meanwhile, and stays."""
        is_pending = _C.failures > _C.failed
        return self._release(tx, key, now, {"failures": case((is_pending, _C.failures - 1), else_=_C.failures)})

    def forgive(self, tx: Connection, key: str, now: datetime) -> bool:
        """Forget what has failed, keep every slot: for a success that held none. False where a lock stands."""
        kept = _not_negative(_C.failures - _C.failed)
        return self._release(tx, key, now, {"failures": kept, "failed": 0}, unless=self._is_locked(now))

    def clear(self, tx: Connection, key: str) -> None:
        """Forget failures and lock: for recovery and operators, and for nothing else (L-8)."""
        tx.execute(delete(_C).where(_C.key == key))

    def note_lock(self, tx: Connection, key: str, now: datetime) -> bool:
        """Set the lock that attempts whose process died have led to. True once, where nobody has been told of it."""
        dead = and_(_C.key == key, _C.failures >= self._attempts, self._is_stale(now))
        noted = update(_C).where(dead, _C.locked_at.is_(None)).values(failed=_C.failures, locked_at=now)
        return tx.execute(noted).rowcount == 1

    def count_failed(self, key: str, now: datetime, *, tx: Connection | None = None) -> int:
        """How many attempts have failed and are not forgiven."""
        wanted = select(self._failed(now)).where(_C.key == key, ~self._is_over(now))
        if tx is not None:
            return tx.execute(wanted).scalar() or 0
        with self._store.read() as connection:
            return connection.execute(wanted).scalar() or 0

    def has_failed(self, key: str, now: datetime) -> bool:
        """Whether a CAPTCHA is due (C-1)."""
        return self.count_failed(key, now) > 0

    def is_locked(self, key: str, now: datetime) -> bool:
        """Whether the next attempt would be refused, with a CAPTCHA and without."""
        return bool(self._locked_of([key], now))

    def find_locked(self, usernames: Collection["Username"], now: datetime) -> set["Username"]:
        """Those of the names whose next attempt, at a browser that nobody knows, would be refused."""
        by_key = {self.key_of(each): each for each in usernames}
        return {by_key[key] for key in self._locked_of(by_key, now)}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _take_slot(self, key: str, now: datetime, answered: bool, also: Callable[[Connection], None] | None) -> bool:
        is_over, failed = self._is_over(now), self._failed(now)
        fresh = self._store.insert(_C).values(key=key, failures=1, failed=0, last_at=now, locked_at=None)
        may_try = _C.failures < self._attempts
        counted = fresh.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "failures": case((is_over, 1), else_=_C.failures + 1),
                "failed": case((is_over, 0), else_=failed),
                "last_at": now,
                "locked_at": case((is_over, None), else_=_C.locked_at),
            },
            where=or_(is_over, may_try if answered else and_(may_try, failed == 0)),
        ).returning(_C.failures)
        with self._store.write() as tx:
            if tx.execute(counted).first() is not None:
                if also is not None:
                    also(tx)
                return True
            row = tx.execute(select(failed, self._is_locked(now)).where(_C.key == key)).first()
        if row is None:
            return False  # forgotten between the two statements
        if row[1]:
            raise UsernameLocked
        if row[0] > 0 and not answered:
            raise CaptchaRefused(CaptchaProblem.REQUIRED)
        return False

    def _wait(self, key: str, answered: bool, until: float) -> None:
        """Return once there may be another answer than to wait; `HashingOverloaded` if that takes too long."""
        refused_from = self._attempts if answered else 1
        wanted = select(_C.failures, _C.failed).where(_C.key == key)
        while time.monotonic() < until:
            # Not all at the same moment.
            time.sleep(_POLL_FROM + (_POLL_TO - _POLL_FROM) * secrets.randbelow(1000) / 1000)
            with self._store.read() as connection:
                row = connection.execute(wanted).first()
            if row is None or row.failures < self._attempts or row.failed >= refused_from:
                return
        raise HashingOverloaded(policy.RETRY_AFTER)

    def _lock(self, tx: Connection, key: str, now: datetime) -> bool:
        return tx.execute(update(_C).where(_C.key == key, _C.locked_at.is_(None)).values(locked_at=now)).rowcount == 1

    def _release(
        self,
        tx: Connection,
        key: str,
        now: datetime,
        changed: dict[str, ColumnElement[int] | int],
        *,
        unless: ColumnElement[bool] | None = None,
    ) -> bool:
        is_open = or_(_C.locked_at.is_(None), self._is_over(now)) if unless is None else ~unless
        row = tx.execute(update(_C).where(_C.key == key, is_open).values(changed).returning(_C.failures)).first()
        if row is None:
            # No row: an operator or a finished reset was faster.
            return tx.execute(select(_C.key).where(_C.key == key)).first() is None
        if row.failures == 0:
            tx.execute(delete(_C).where(_C.key == key, _C.failures == 0))
        return True

    def _locked_of(self, keys: Collection[str], now: datetime) -> set[str]:
        with self._store.read() as connection:
            return set(connection.scalars(select(_C.key).where(_C.key.in_(keys), self._is_locked(now))))

    def _is_locked(self, now: datetime) -> ColumnElement[bool]:
        is_full = or_(_C.locked_at.is_not(None), self._failed(now) >= self._attempts)
        return and_(is_full, ~self._is_over(now))

    def _failed(self, now: datetime) -> ColumnElement[int]:
        """Failures, those among them of which nobody will hear any more."""
        return case((self._is_stale(now), _C.failures), else_=_C.failed)

    def _is_stale(self, now: datetime) -> ColumnElement[bool]:
        return _C.last_at <= literal(now - policy.ATTEMPT_PENDING_MAX, _C.last_at.type)

    def _is_over(self, now: datetime) -> ColumnElement[bool]:
        if self._duration is None:
            return false()
        return func.coalesce(_C.locked_at, _C.last_at) <= literal(now - self._duration, _C.last_at.type)


def _not_negative(number: ColumnElement[int]) -> ColumnElement[int]:
    return case((number > 0, number), else_=0)


__all__ = ["Failure", "Lockout"]
