"""The counters of failed attempts, in SQL."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, case, delete, false, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from idp import policy
from idp.accounts.errors import UsernameLocked
from idp.accounts.models import AttemptCounter
from idp.db import Store

if TYPE_CHECKING:
    from idp.accounts.usernames import Username

_C = AttemptCounter


class Lockout:
    """Three attempts for each username, whether anybody has it or not.

    An attempt is counted *before* the password is compared, by one statement that also refuses, so however many
    guesses arrive at once, over all processes and nodes, at most three are compared (L-2). What a right password or
    a comparison that never took place shows to be no failure is given back afterwards.
    """

    def __init__(self, store: Store, key: bytes, *, duration: timedelta | None = policy.LOCKOUT_DURATION) -> None:
        self._store = store
        self._key = key
        self._duration = duration
        self._insert = postgresql.insert if store.engine.dialect.name == "postgresql" else sqlite.insert

    def key_of(self, username: "Username") -> str:
        """The counter's name: a keyed hash, so that the table does not tell which names were tried (L-3)."""
        mac = hmac.digest(self._key, b"attempt_counter\0" + username.canonical.encode(), "sha256")
        return urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")

    def count_attempt(self, username: "Username", now: datetime) -> int:
        """Count one attempt and commit; how many are used, this one included. `UsernameLocked` if none was left."""
        is_over = self._is_over(now)
        fresh = self._insert(_C).values(key=self.key_of(username), failures=1, last_at=now, locked_at=None)
        counted = fresh.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "failures": case((is_over, 1), else_=_C.failures + 1),
                "last_at": now,
                "locked_at": case((is_over, None), else_=_C.locked_at),
            },
            where=or_(_C.failures < policy.LOCKOUT_ATTEMPTS, is_over),
        ).returning(_C.failures)
        with self._store.write() as tx:
            used = tx.execute(counted).scalar()
        if used is None:
            raise UsernameLocked
        return int(used)

    def set_lock(self, tx: Connection, username: "Username", now: datetime) -> bool:
        """Note that the last attempt failed too. True once for each lock; False where it is set or no longer due."""
        due = and_(_C.key == self.key_of(username), _C.failures >= policy.LOCKOUT_ATTEMPTS, _C.locked_at.is_(None))
        return tx.execute(update(_C).where(due).values(locked_at=now)).rowcount == 1

    def clear_unless_locked(self, tx: Connection, username: "Username", now: datetime) -> bool:
        """Forget the failures, since the right password came; False where the lock was set meanwhile, and stays."""
        key = self.key_of(username)
        changed = tx.execute(delete(_C).where(_C.key == key, ~self._is_set(now))).rowcount
        return changed == 1 or self._is_gone(tx, key)

    def give_back(self, tx: Connection, username: "Username", now: datetime) -> bool:
        """Uncount one attempt that was no failure, and no other; False where the lock was set meanwhile, and stays."""
        key = self.key_of(username)
        counted = update(_C).where(_C.key == key, _C.failures > 0, ~self._is_set(now))
        changed = tx.execute(counted.values(failures=_C.failures - 1)).rowcount
        return changed == 1 or self._is_gone(tx, key)

    def clear(self, tx: Connection, username: "Username") -> None:
        """Forget failures and lock: for recovery and operators, and for nothing else (L-8)."""
        tx.execute(delete(_C).where(_C.key == self.key_of(username)))

    def is_locked(self, username: "Username", now: datetime) -> bool:
        """Whether the next attempt would be refused."""
        return bool(self.find_locked([username], now))

    def find_locked(self, usernames: Collection["Username"], now: datetime) -> set["Username"]:
        """Those of the names whose next attempt would be refused."""
        by_key = {self.key_of(each): each for each in usernames}
        is_full = and_(_C.failures >= policy.LOCKOUT_ATTEMPTS, ~self._is_over(now))
        with self._store.read() as connection:
            return {by_key[key] for key in connection.scalars(select(_C.key).where(_C.key.in_(by_key), is_full))}

    def attempts_left(self, used: int) -> int:
        """How many attempts remain before the lock, after `used` of them."""
        return max(policy.LOCKOUT_ATTEMPTS - used, 0)

    def _is_gone(self, tx: Connection, key: str) -> bool:
        # Another attempt with the right password was faster, or an operator was.
        return tx.execute(select(_C.key).where(_C.key == key, _C.failures > 0)).first() is None

    def _is_set(self, now: datetime) -> ColumnElement[bool]:
        return and_(_C.locked_at.is_not(None), ~self._is_over(now))

    def _is_over(self, now: datetime) -> ColumnElement[bool]:
        """A lock that has lasted as long as policy lets one last."""
        if self._duration is None:
            return false()
        since = func.coalesce(_C.locked_at, _C.last_at)
        end = literal(now - self._duration, _C.last_at.type)
        return and_(_C.failures >= policy.LOCKOUT_ATTEMPTS, since <= end)
