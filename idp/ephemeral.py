"""Short-lived things behind a few verbs: codes, interactions, challenges, replay marks, rate counters.

Keys are kept as SHA-256 digests under their *kind*, so that a value of one kind is never accepted for another and
the table holds nothing that could be used (security.md S-3, S-4). Each verb commits by itself; where a rollback can
open no door, `tx` lets it join the caller's transaction instead. A lock never lives here. Where a deployment has Redis,
the kinds of `VOLATILE` are kept there: those whose loss refuses somebody or begins a count anew, and lets nobody in
(docs/decisions/0014).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Connection, Index, Integer, String, bindparam, case, delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from idp.db import Base, Store, StoreUnavailable, UtcDateTime
from idp.installation import Restored
from idp.prepared import Prepared
from idp.volatile import Found, Hits, Taken, Volatile, digest


class EphemeralValue(Base):
    """One short-lived value, or one counter."""

    __tablename__ = "ephemeral"
    __table_args__ = (Index("ix_ephemeral_swept_at", "swept_at"),)

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    key_digest: Mapped[str] = mapped_column(String(43), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    hits: Mapped[int] = mapped_column(Integer, default=0)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    spent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    swept_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the row may go: later than `expires_at` where it must be known as spent for longer."""


VOLATILE = frozenset(
    {
        "address_failures",
        "address_reminders",
        "captcha",
        "captcha_answered",
        "captcha_issued",
        "captcha_slots",
        "captcha_wait",
        "captcha_wrong",
        "client-assertion",
        "device-pace",
        "registration-address",
    }
)
"""The kinds that live in Redis, where there is one. A new kind lives in SQL until somebody has thought it through.

What a caller fills has no place among them: a Redis that is full refuses every sign-in.
"""


_T = EphemeralValue
_KEY = ["kind", "key_digest"]
_COLUMNS = ("kind", "key_digest", "value", "hits", "expires_at", "spent_at", "swept_at")
# Prepared once: compiling a statement costs more than running it.
_GET = Prepared(
    select(_T.value).where(
        _T.kind == bindparam("kind"),
        _T.key_digest == bindparam("digest"),
        _T.spent_at.is_(None),
        _T.expires_at > bindparam("now"),
    )
)
_TAKE = Prepared(
    update(_T)
    .where(
        _T.kind == bindparam("a_kind"),
        _T.key_digest == bindparam("a_digest"),
        _T.spent_at.is_(None),
        _T.expires_at > bindparam("a_now"),
    )
    .values(spent_at=bindparam("a_now"))
    .returning(_T.value)
)
_SPENT = Prepared(
    select(_T.value).where(_T.kind == bindparam("kind"), _T.key_digest == bindparam("digest"), _T.spent_at.is_not(None))
)
_HITS = Prepared(
    select(_T.hits, _T.expires_at).where(
        _T.kind == bindparam("kind"), _T.key_digest == bindparam("digest"), _T.expires_at > bindparam("now")
    )
)
_UNHIT = Prepared(
    update(_T)
    .where(_T.kind == bindparam("a_kind"), _T.key_digest == bindparam("a_digest"), _T.expires_at > bindparam("a_now"))
    .values(hits=case((_T.hits > bindparam("a_step"), _T.hits - bindparam("a_step")), else_=0))
    .returning(_T.hits)
)
_DROP = Prepared(delete(_T).where(_T.kind == bindparam("kind"), _T.key_digest == bindparam("digest")))


class Ephemeral:
    """The store of short-lived values. Every method may raise `StoreUnavailable`.

    A verb on a kind that lives in Redis is done at once and stands by itself: it joins no transaction, and no rollback
    takes it back.
    """

    def __init__(self, store: Store, volatile: Volatile | None = None, kinds: frozenset[str] = VOLATILE) -> None:
        self._store = store
        self._restored = Restored(store)
        self._volatile = volatile
        self._kinds = kinds
        new = store.insert(_T)
        put = new.on_conflict_do_update(
            index_elements=_KEY,
            set_={name: new.excluded[name] for name in ("value", "expires_at", "spent_at", "swept_at")},
        )
        claim = new.on_conflict_do_update(
            index_elements=_KEY,
            set_={"expires_at": new.excluded.expires_at, "swept_at": new.excluded.swept_at},
            where=_T.expires_at <= bindparam("a_now"),
        )
        fresh = _T.expires_at <= bindparam("a_now")
        hit = new.on_conflict_do_update(
            index_elements=_KEY,
            set_={
                "hits": case((fresh, new.excluded.hits), else_=_T.hits + new.excluded.hits),
                "expires_at": case((fresh, new.excluded.expires_at), else_=_T.expires_at),
                "swept_at": case((fresh, new.excluded.swept_at), else_=_T.swept_at),
            },
        )
        self._put = Prepared(put, inserts=_COLUMNS)
        self._claim = Prepared(claim.returning(_T.hits), inserts=_COLUMNS)
        self._hit = Prepared(hit.returning(_T.hits), inserts=_COLUMNS)

    def joins(self, kind: str) -> bool:
        """Whether `tx` has a meaning for this kind, here."""
        return self._apart(kind) is None

    def _apart(self, kind: str) -> Volatile | None:
        return self._volatile if kind in self._kinds else None

    @contextmanager
    def _write(self, tx: Connection | None) -> Iterator[Connection]:
        if tx is not None:
            yield tx
        else:
            with self._store.write() as own:
                yield own

    def put(
        self,
        kind: str,
        key: str,
        value: Any,
        ttl: timedelta,
        *,
        now: datetime,
        remember: timedelta | None = None,
        tx: Connection | None = None,
    ) -> None:
        """Keep `value` (anything that JSON holds) for `ttl`, and the mark that it was spent for `remember` longer.

        A live value under the same key is replaced.
        """
        if (apart := self._apart(kind)) is not None:
            apart.put(kind, key, value, ttl, now=now, remember=remember)
            return
        expires_at = now + ttl
        row = {
            "kind": kind,
            "key_digest": digest(key),
            "value": value,
            "hits": 0,
            "expires_at": expires_at,
            "spent_at": None,
            "swept_at": expires_at if remember is None else expires_at + remember,
        }
        with self._write(tx) as connection:
            self._put.run(connection, row)

    def get(self, kind: str, key: str, *, now: datetime) -> Any | None:
        """The live value, or None. Nothing changes."""
        if (apart := self._apart(kind)) is not None:
            return apart.get(kind, key, now=now)
        row = self._store.first(_GET, {"kind": kind, "digest": digest(key), "now": now})
        return None if row is None else row.value

    def take(self, kind: str, key: str, *, now: datetime, tx: Connection | None = None) -> Taken:
        """Spend the value: of any number of callers at once, one gets `TAKEN` (security.md S-2)."""
        if (apart := self._apart(kind)) is not None:
            return apart.take(kind, key, now=now)
        hashed = digest(key)
        with self._write(tx) as connection:
            row = _TAKE.first(connection, {"a_kind": kind, "a_digest": hashed, "a_now": now})
            if row is not None:
                return Taken(Found.TAKEN, row[0])
            row = _SPENT.first(connection, {"kind": kind, "digest": hashed})
        return Taken(Found.MISSING) if row is None else Taken(Found.SPENT, row[0])

    def claim(
        self,
        kind: str,
        key: str,
        ttl: timedelta,
        *,
        now: datetime,
        known_since: datetime | None = None,
        tx: Connection | None = None,
    ) -> bool:
        """True for the first caller within `ttl`, False for everyone after: replay marks.

        `known_since` is the earliest that anybody can have come with this key. A store that has lost its marks since
        then cannot say who was first, and raises `StoreUnavailable`; so does one that was restored since, wherever
        this kind lives: a deployment may have changed that on the way.
        """
        if known_since is not None and self._restored.is_after(known_since):
            raise StoreUnavailable("replay marks ended with a restore")
        if (apart := self._apart(kind)) is not None:
            return apart.claim(kind, key, ttl, now=now, known_since=known_since)
        with self._write(tx) as connection:
            return self._claim.first(connection, _new(kind, key, 1, now + ttl) | {"a_now": now}) is not None

    def hit(
        self,
        kind: str,
        key: str,
        window: timedelta,
        *,
        now: datetime,
        step: int = 1,
        tx: Connection | None = None,
    ) -> int:
        """Count `step` more within the fixed window that the first hit opened; the count, these included.

        A negative step takes hits of a window back while it is open, opens none and never goes below zero.
        """
        if (apart := self._apart(kind)) is not None:
            return apart.hit(kind, key, window, now=now, step=step)
        if step < 0:
            with self._write(tx) as connection:
                given = {"a_kind": kind, "a_digest": digest(key), "a_now": now, "a_step": -step}
                left = _UNHIT.first(connection, given)
                return 0 if left is None else int(left.hits)
        with self._write(tx) as connection:
            counted = self._hit.first(connection, _new(kind, key, step, now + window) | {"a_now": now})
        assert counted is not None  # noqa: S101  # one row, new or counted on
        return int(counted.hits)

    def hits(self, kind: str, key: str, *, now: datetime) -> Hits | None:
        """How far the window has come, or None where none is open. Nothing changes."""
        if (apart := self._apart(kind)) is not None:
            return apart.hits(kind, key, now=now)
        row = self._store.first(_HITS, {"kind": kind, "digest": digest(key), "now": now})
        return None if row is None else Hits(row.hits, row.expires_at)

    def drop(self, kind: str, key: str, *, tx: Connection | None = None) -> None:
        """Forget the value, if there is one."""
        if (apart := self._apart(kind)) is not None:
            apart.drop(kind, key)
            return
        with self._write(tx) as connection:
            _DROP.run(connection, {"kind": kind, "digest": digest(key)})

    def void(self, tx: Connection) -> None:
        """Forget every value in the database: after a restore, which does not know what has been spent since."""
        tx.execute(delete(_T))

    def sweep(self, *, now: datetime) -> int:
        """Delete what nobody needs any more; how many rows went."""
        with self._store.write() as connection:
            return int(connection.execute(delete(_T).where(_T.swept_at <= now)).rowcount)


def _new(kind: str, key: str, hits: int, expires_at: datetime) -> dict[str, Any]:
    return {
        "kind": kind,
        "key_digest": digest(key),
        "value": None,
        "hits": hits,
        "expires_at": expires_at,
        "spent_at": None,
        "swept_at": expires_at,
    }


__all__ = ["VOLATILE", "Ephemeral", "EphemeralValue", "Found", "Hits", "Taken", "digest"]
