"""The database: declarative base, the UTC column type, and `Store`, which reads and writes."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from sqlite3 import OperationalError as SqliteError
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, MetaData, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import DateTime, TypeDecorator

from idp import meters, sqlite
from idp.prepared import Prepared


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

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant must be aware")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


def engine_options(url: str) -> dict[str, Any]:
    """The `create_engine` options that suit the database of `url`."""
    # No statement's values in an error's text, and so none in a log (security.md O-2).
    quiet = {"hide_parameters": True}
    if url.startswith("sqlite"):
        return {**quiet, "connect_args": {"timeout": 10, "check_same_thread": False}, "pool_timeout": 10}
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
    """The database in two verbs.

    `read` gives a connection on which each statement sees the last commit and no lock is held between them. Inside a
    `write` of the same thread it gives that transaction's own: who held one connection and waited for a second could
    wait for others who do the same, until nobody has one.
    `write` gives one transaction: it commits when the block ends and rolls back when it raises. A write is short:
    nothing slow (a password hash, a mail server) is done inside. Writes do not nest; what wants to join a
    transaction takes its connection as an argument, by convention `tx`.

    Both raise `StoreUnavailable` where the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.insert = own_insert(engine.dialect.name)
        """The database's own INSERT, which knows ON CONFLICT."""
        self._inside = threading.local()
        self._transaction: Callable[[], AbstractContextManager[Connection]]
        self._readers: sqlite.Readers | None = None
        if engine.dialect.name == "sqlite":
            sqlite.prepare(engine)
            self._reader: Engine = engine
            shared = sqlite.SharedCommits(engine)
            event.listen(engine, "engine_disposed", shared.let_go)
            self._transaction = shared.transaction
            if not sqlite.is_in_memory(engine):
                self._readers = sqlite.Readers(engine)
                event.listen(engine, "engine_disposed", self._readers.let_go)
        else:
            from idp import postgresql

            # PostgreSQL lets commits of the same moment share one flush by itself.
            postgresql.prepare(engine)
            self._reader = postgresql.make_reader(engine)
            self._transaction = partial(_begin_timed, engine)

    @contextmanager
    def own_connection(self, **options: Any) -> Iterator[Connection]:
        """A connection with these execution options, for whoever does something else than a request does."""
        try:
            with self.engine.connect().execution_options(**options) as connection:
                yield connection
        except _FAILURES as error:
            _raise_unavailable(error)
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        own: Connection | None = getattr(self._inside, "connection", None)
        try:
            if own is not None:
                yield own
                return
            with self._reader.connect() as connection:
                yield connection
        except _FAILURES as error:
            _raise_unavailable(error)
            raise

    def first(self, statement: Prepared, values: Mapping[str, Any]) -> Any | None:
        """The first row that a prepared query finds in the last commit, or None."""
        if self._readers is None or getattr(self._inside, "connection", None) is not None:
            with self.read() as connection:
                return statement.first(connection, values)
        try:
            with self._readers.connection() as driver:
                return statement.first_of(driver, self.engine.dialect, values)
        except _FAILURES as error:
            _raise_unavailable(error)
            raise

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if getattr(self._inside, "writing", False):
            raise RuntimeError("Store.write() inside Store.write(): pass the connection on instead")
        self._inside.writing = True
        try:
            with self._transaction() as connection:
                self._inside.connection = connection
                try:
                    yield connection
                finally:
                    # Before the commit, after which it is somebody else's.
                    self._inside.connection = None
        except _FAILURES as error:
            _raise_unavailable(error)
            raise
        finally:
            self._inside.writing = False


@contextmanager
def _begin_timed(engine: Engine) -> Iterator[Connection]:
    """`Engine.begin`, whose commit is timed."""
    with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        meters.timed(meters.Timed.COMMIT, transaction.commit)


_FAILURES = (DBAPIError, PoolTimeout, SqliteError, sqlite.CommitFailed)
_UNANSWERED = (OperationalError, InterfaceError, PoolTimeout, SqliteError, sqlite.CommitFailed)


def _raise_unavailable(error: Exception) -> None:
    """Raise `StoreUnavailable` if that is what `error` means; what is wrong with a statement is another matter."""
    # The driver's text may hold values of the statement: it goes to the chained cause only, never into a message.
    if isinstance(error, _UNANSWERED) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        raise StoreUnavailable(type(error).__name__) from error
