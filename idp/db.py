"""The database: declarative base, the UTC column type, and `Store`, which reads and writes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, MetaData, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import DateTime, TypeDecorator


class StoreUnavailable(Exception):
    """The database did not answer; the request is refused and may be tried again."""


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
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 10, "check_same_thread": False}, "pool_timeout": 10}
    return {"pool_pre_ping": True, "pool_size": 8, "max_overflow": 8, "pool_timeout": 5}


class Store:
    """The database in two verbs.

    `read` gives a connection on which each statement sees the last commit and no lock is held between them.
    `write` gives one transaction: it commits when the block ends and rolls back when it raises. A write is short:
    nothing slow (a password hash, a mail server) is done inside. Writes do not nest; what wants to join a
    transaction takes its connection as an argument, by convention `tx`.

    Both raise `StoreUnavailable` where the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sqlite = engine.dialect.name == "sqlite"
        self.insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        """The database's own INSERT, which knows ON CONFLICT."""
        self._inside = threading.local()
        # SQLite has one writer. Threads of one process queue here, fairly; only processes meet in its busy handler,
        # which sleeps and polls.
        self._turn = threading.Lock() if self._sqlite else None
        if self._sqlite:
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            self._reader: Engine = engine
            self._writer: Engine = engine.execution_options(begin_immediate=True)
        else:
            self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
            self._writer = engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        try:
            with self._reader.connect() as connection:
                yield connection
        except _UNANSWERED as error:
            raise _unavailable(error) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if getattr(self._inside, "writing", False):
            raise RuntimeError("Store.write() inside Store.write(): pass the connection on instead")
        self._inside.writing = True
        try:
            if self._turn is not None:
                self._turn.acquire()
            try:
                with self._writer.begin() as connection:
                    yield connection
            finally:
                if self._turn is not None:
                    self._turn.release()
        except _UNANSWERED as error:
            raise _unavailable(error) from error
        finally:
            self._inside.writing = False


_UNANSWERED = (OperationalError, InterfaceError, PoolTimeout)


def _unavailable(error: Exception) -> StoreUnavailable:
    # The driver's text may hold values of the statement: it goes to the chained cause only, never into a message.
    return StoreUnavailable(type(error).__name__)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin late and commit early (https://docs.sqlalchemy.org/en/20/dialects/sqlite.html
    # "Pysqlite transactions"); None leaves BEGIN to us.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    # S-1: what was acknowledged survives power loss. NORMAL may lose the last commits, says SQLite itself.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock before anything is read: a transaction that reads first and then writes would
    # fail at once with SQLITE_BUSY_SNAPSHOT if another process wrote in between.
    if connection.get_execution_options().get("begin_immediate"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
