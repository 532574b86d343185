"""Short-lived things behind a few verbs: codes, interactions, challenges, replay marks, rate counters.

Keys are kept as SHA-256 digests under their *kind*, so that a value of one kind is never accepted for another and
the table holds nothing that could be used (security.md S-3, S-4). Each verb commits by itself; where a rollback can
open no door, `tx` lets it join the caller's transaction instead. Never put here what must outlive a cache, such as a
lock: in some deployments this is Redis.
"""

import base64
import enum
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Connection, Index, Integer, String, bindparam, case, delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from idp.db import Base, Store, UtcDateTime
from idp.prepared import Prepared


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


class Found(enum.Enum):
    """What `take` met."""

    TAKEN = "taken"
    SPENT = "spent"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer of `take`: the value comes with `TAKEN` and, so that its offspring can be revoked, with `SPENT`."""

    found: Found
    value: Any = None


@dataclass(frozen=True, slots=True)
class Hits:
    """A window of `hit` that is open."""

    count: int
    ends_at: datetime


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


def digest(key: str) -> str:
    """The form in which a key is stored: base64url of its SHA-256, without padding."""
    return _b64(hashlib.sha256(key.encode()).digest())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


class Ephemeral:
    """The SQL store of short-lived values. Every method may raise `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store
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
        row = self._store.first(_GET, {"kind": kind, "digest": digest(key), "now": now})
        return None if row is None else row.value

    def take(self, kind: str, key: str, *, now: datetime, tx: Connection | None = None) -> Taken:
        """Spend the value: of any number of callers at once, one gets `TAKEN` (security.md S-2)."""
        hashed = digest(key)
        with self._write(tx) as connection:
            row = _TAKE.first(connection, {"a_kind": kind, "a_digest": hashed, "a_now": now})
            if row is not None:
                return Taken(Found.TAKEN, row[0])
            row = _SPENT.first(connection, {"kind": kind, "digest": hashed})
        return Taken(Found.MISSING) if row is None else Taken(Found.SPENT, row[0])

    def claim(self, kind: str, key: str, ttl: timedelta, *, now: datetime, tx: Connection | None = None) -> bool:
        """True for the first caller within `ttl`, False for everyone after: replay marks."""
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
        row = self._store.first(_HITS, {"kind": kind, "digest": digest(key), "now": now})
        return None if row is None else Hits(row.hits, row.expires_at)

    def drop(self, kind: str, key: str, *, tx: Connection | None = None) -> None:
        """Forget the value, if there is one."""
        with self._write(tx) as connection:
            _DROP.run(connection, {"kind": kind, "digest": digest(key)})

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
