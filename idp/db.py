"""The database: declarative base, the UTC column type, and `Store`, which reads and writes."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from json import JSONDecoder, JSONEncoder
from sqlite3 import OperationalError as SqliteError
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Dialect, Engine, MetaData, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import DateTime, TypeDecorator

from idp import sqlite
from idp.prepared import Prepared

_Found = TypeVar("_Found")


class StoreUnavailable(Exception):
    """The database did not answer; the request is refused and may be tried again."""


class TablesBusy(StoreUnavailable):
    """A migration would have made everybody wait for a table that somebody holds; nothing was changed."""


class Base(DeclarativeBase):
    """What every table of the server derives from. The names make migrations the same on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware UTC in Python, whatever the database makes of it. A naive value is a programming error."""

    impl = DateTime(timezone=True)
    cache_ok = True

    # Whole processors, where SQLAlchemy would put two of its own around ours: every row has instants.

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        return _to_sqlite if dialect.name == "sqlite" else _to_utc

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        # PostgreSQL's driver gives aware ones.
        return _from_sqlite if dialect.name == "sqlite" else None


def _to_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("an instant must be aware")
    return value.astimezone(UTC)


def _to_sqlite(value: datetime | None) -> str | None:
    """UTC as SQLAlchemy's own type writes it, so that texts compare as instants do."""
    found = _to_utc(value)
    return None if found is None else found.isoformat(" ", "microseconds")[:_SQLITE_LENGTH]


def _from_sqlite(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text + "+00:00")


_SQLITE_LENGTH = len("2026-01-01 00:00:00.000000")


def engine_options(url: str) -> dict[str, Any]:
    """The `create_engine` options that suit the database of `url`."""
    # No statement's values in an error's text, and so none in a log (security.md O-2).
    quiet = {"hide_parameters": True}
    if url.startswith("sqlite"):
        # json.dumps and json.loads, which look at their options at each call.
        codec = {"json_serializer": JSONEncoder().encode, "json_deserializer": JSONDecoder().decode}
        return {**quiet, **codec, "connect_args": {"timeout": 10, "check_same_thread": False}, "pool_timeout": 10}
    from idp import postgresql  # its driver is memory that SQLite's users need not pay for

    return {**quiet, **postgresql.engine_options(url)}


def own_insert(dialect: str) -> Callable[[Any], Any]:
    """The INSERT of this kind of database, which knows ON CONFLICT. Only that one is loaded: the other is memory."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert

        return insert
    from sqlalchemy.dialects.sqlite import insert as insert_into_sqlite

    return insert_into_sqlite


class Store:
    """The database in two verbs, `read` and `write`.

    `read` gives a connection on which each statement sees the last commit and no lock is held between them. Inside a
    `write` of the same thread it gives that transaction's own: who held one connection and waited for a second could
    wait for others who do the same, until nobody has one.
    `write` gives one transaction: it commits when the block ends and rolls back when it raises. A write is short:
    nothing slow (a password hash, a mail server) is done inside. Writes do not nest; what wants to join a
    transaction takes its connection as an argument, by convention `tx`. `apply` is a write whose work is a function:
    on SQLite another thread may do it, with others' work, which costs half as much where many come at once.

    All raise `StoreUnavailable` where the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.insert = own_insert(engine.dialect.name)
        """The database's own INSERT, which knows ON CONFLICT."""
        self._inside = threading.local()
        self._transaction: Callable[[], AbstractContextManager[Connection]]
        self._apply: Callable[[Callable[[Connection], Any]], Any]
        self._readers: _Readers | None = None
        self._failures: tuple[type[Exception], ...] = _FAILURES
        self._is_unanswered: Callable[[Exception], bool] = _is_unanswered
        if engine.dialect.name == "sqlite":
            sqlite.prepare(engine)
            self._connect: Callable[[], AbstractContextManager[Connection]] = engine.connect
            shared = sqlite.SharedCommits(engine)
            event.listen(engine, "engine_disposed", shared.let_go)
            self._transaction, self._apply = shared.transaction, shared.apply
            if not sqlite.is_in_memory(engine):
                self._readers = readers = sqlite.Readers(engine)
                event.listen(engine, "engine_disposed", readers.let_go)
        else:
            from idp import postgresql

            # PostgreSQL lets commits of the same moment share one flush by itself.
            postgresql.prepare(engine)
            reader = postgresql.make_reader(engine)
            self._connect, self._readers = partial(postgresql.connected, reader), postgresql.Readers(reader)
            self._transaction, self._apply = partial(postgresql.begun, engine), self._apply_here
            self._failures = (*_FAILURES, postgresql.Error)
            self._is_unanswered = lambda error: _is_unanswered(error) or postgresql.is_unanswered(error)

    @contextmanager
    def own_connection(self, **options: Any) -> Iterator[Connection]:
        """A connection with these execution options, for whoever does something else than a request does."""
        try:
            with self.engine.connect().execution_options(**options) as connection:
                yield connection
        except self._failures as error:
            self._raise_unavailable(error)
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        own: Connection | None = getattr(self._inside, "connection", None)
        try:
            if own is not None:
                yield own
                return
            with self._connect() as connection:
                yield connection
        except self._failures as error:
            self._raise_unavailable(error)
            raise

    def first(self, statement: Prepared, values: Mapping[str, Any]) -> Any | None:
        """The first row that a prepared query finds in the last commit, or None."""
        if self._readers is None or getattr(self._inside, "connection", None) is not None:
            with self.read() as connection:
                return statement.first(connection, values)
        try:
            return self._readers.first(statement, values)
        except self._failures as error:
            self._raise_unavailable(error)
            raise

    def apply(self, work: Callable[[Connection], _Found]) -> _Found:
        """What `work` gives in a transaction of its own, which is rolled back if it raises; another thread may do it.

        The context (`contextvars`) is the caller's.
        """
        self._refuse_nesting()

        def inside(connection: Connection) -> _Found:
            with self._writing(connection):
                return work(connection)

        try:
            found: _Found = self._apply(inside)
        except self._failures as error:
            self._raise_unavailable(error)
            raise
        return found

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._refuse_nesting()
        try:
            with self._transaction() as connection, self._writing(connection):
                yield connection
        except self._failures as error:
            self._raise_unavailable(error)
            raise

    def _apply_here(self, work: Callable[[Connection], Any]) -> Any:
        with self._transaction() as connection:
            return work(connection)

    def _raise_unavailable(self, error: Exception) -> None:
        """Raise `StoreUnavailable` if that is what `error` means; what is wrong with a statement is another matter."""
        # The driver's text may hold values of the statement: it goes to the chained cause only, never into a message.
        if self._is_unanswered(error):
            raise StoreUnavailable(type(error).__name__) from error

    def _refuse_nesting(self) -> None:
        if getattr(self._inside, "connection", None) is not None:
            raise RuntimeError("a write inside a write: pass the connection on instead")

    @contextmanager
    def _writing(self, connection: Connection) -> Iterator[None]:
        """Let this thread's reads see the transaction, until before its commit: afterwards it is somebody else's."""
        self._inside.connection = connection
        try:
            yield
        finally:
            self._inside.connection = None


_FAILURES = (DBAPIError, PoolTimeout, SqliteError, sqlite.CommitFailed)
_UNANSWERED = (OperationalError, InterfaceError, PoolTimeout, SqliteError, sqlite.CommitFailed)


def _is_unanswered(error: Exception) -> bool:
    return isinstance(error, _UNANSWERED) or (isinstance(error, DBAPIError) and error.connection_invalidated)


class _Readers(Protocol):
    def first(self, statement: Prepared, values: Mapping[str, Any]) -> Any | None: ...
