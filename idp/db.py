"""The database: declarative base, the UTC column type, and `Store`, which reads and writes."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, MetaData, event
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import DateTime, TypeDecorator

from idp.prepared import Prepared


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
    # No statement's values in an error's text, and so none in a log (security.md O-2).
    quiet = {"hide_parameters": True}
    if url.startswith("sqlite"):
        return {**quiet, "connect_args": {"timeout": 10, "check_same_thread": False}, "pool_timeout": 10}
    return {**quiet, "pool_pre_ping": True, "pool_size": 8, "max_overflow": 8, "pool_timeout": 5}


def own_insert(dialect: str) -> Callable[[Any], Any]:
    """The INSERT of this kind of database, which knows ON CONFLICT. Only that one is loaded: the other is memory."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert

        return insert
    from sqlalchemy.dialects.sqlite import insert as insert_into_sqlite

    return insert_into_sqlite


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
        self.insert = own_insert(engine.dialect.name)
        """The database's own INSERT, which knows ON CONFLICT."""
        self._inside = threading.local()
        self._transaction: Callable[[], AbstractContextManager[Connection]]
        self._readers: _Readers | None = None
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            self._reader: Engine = engine
            shared = _SharedCommits(engine)
            event.listen(engine, "engine_disposed", shared.let_go)
            self._transaction = shared.transaction
            if engine.url.database not in {None, "", ":memory:"}:
                self._readers = _Readers(engine)
                event.listen(engine, "engine_disposed", self._readers.let_go)
        else:
            # PostgreSQL lets commits of the same moment share one flush by itself.
            self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
            self._transaction = engine.begin

    @contextmanager
    def read(self) -> Iterator[Connection]:
        try:
            with self._reader.connect() as connection:
                yield connection
        except _UNANSWERED as error:
            raise _unavailable(error) from error

    def first(self, statement: Prepared, values: Mapping[str, Any]) -> Any | None:
        """The first row that a prepared query finds in the last commit, or None."""
        if self._readers is None:
            with self.read() as connection:
                return statement.first(connection, values)
        try:
            with self._readers.connection() as driver:
                return statement.first_of(driver, self.engine.dialect, values)
        except _UNANSWERED as error:
            raise _unavailable(error) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if getattr(self._inside, "writing", False):
            raise RuntimeError("Store.write() inside Store.write(): pass the connection on instead")
        self._inside.writing = True
        try:
            with self._transaction() as connection:
                yield connection
        except _UNANSWERED as error:
            raise _unavailable(error) from error
        finally:
            self._inside.writing = False


class _Readers:
    """Connections to SQLite for single queries: one is 0.1 ms from SQLAlchemy's pool and back, a query 0.01 ms.

    As many as there are queries at once; who asks takes one that is free, or opens another. Nothing hangs on a thread:
    those of the production server end without Python's knowing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._free: list[sqlite3.Connection] = []
        self._closings = 0

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """One that nobody else uses meanwhile; closed after an error."""
        closings = self._closings
        try:
            driver = self._free.pop()
        except IndexError:
            driver = self._open()
        try:
            yield driver
        except BaseException:
            driver.close()
            raise
        if closings == self._closings:
            self._free.append(driver)
        else:
            driver.close()

    def _open(self) -> sqlite3.Connection:
        fairy = self._engine.raw_connection()
        driver: Any = fairy.dbapi_connection
        fairy.detach()
        found: sqlite3.Connection = driver
        return found

    def let_go(self, _engine: Engine) -> None:
        """Close those that are free now, and each of the others when it comes back."""
        self._closings += 1
        while self._free:
            self._free.pop().close()


class _Batch:
    """Transactions that end in one commit."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.members = 0
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def run(self, statement: str) -> None:
        # By the driver: three words a transaction are not worth SQLAlchemy's bookkeeping.
        driver: Any = self.connection.connection.dbapi_connection
        driver.execute(statement)


class _SharedCommits:
    """SQLite's one writer, shared: threads that wait for their turn end up in one commit, and so in one fsync.

    A commit costs more than all that stands in it. Who gets the turn works in the transaction that is open, inside a
    savepoint of its own, so that its failure undoes its own work only; the last for whom nobody waits commits for
    all. Nobody returns before that commit is on the disk (security.md S-1), and if it fails it fails for all. Threads
    of one process queue here, fairly; only processes meet in SQLite's busy handler, which sleeps and polls.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(begin_immediate=True)
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._batch: _Batch | None = None
        self._had_company = False
        self._kept: Connection | None = None
        """Stays open between two batches: to fetch one from the pool and give it back costs as much as three writes."""

    def let_go(self, _engine: Engine) -> None:
        """Close the connection that waits for the next batch."""
        with self._turn:
            if self._kept is not None and self._batch is None:
                self._kept.close()
            self._kept = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        batch = self._enter()
        try:
            yield batch.connection
            if batch.members > 1:
                batch.run("RELEASE member")
        except BaseException:
            self._undo(batch)
            self._leave(batch)
            raise
        self._leave(batch)
        batch.ended.wait()
        if batch.error is not None:
            raise StoreUnavailable(type(batch.error).__name__) from batch.error

    def _enter(self) -> _Batch:
        with self._count:
            self._waiting += 1
        self._turn.acquire()
        with self._count:
            self._waiting -= 1
        try:
            batch = self._batch or self._open()
            batch.members += 1
            if batch.members > 1:
                batch.run("SAVEPOINT member")
        except BaseException as error:
            if self._batch is not None:
                self._close(self._batch, error)
            self._turn.release()
            raise
        return batch

    def _open(self) -> _Batch:
        if self._had_company:
            # Under load the next ones are a moment away, and waiting for them costs less than a commit each. SQLite's
            # lock is not held yet, so that no other process waits for us.
            time.sleep(_LINGER)
        connection, self._kept = self._kept or self._engine.connect(), None
        try:
            connection.begin()
        except BaseException:
            connection.close()
            raise
        self._batch = _Batch(connection)
        return self._batch

    def _undo(self, batch: _Batch) -> None:
        """Take back what the member who failed has done; the first takes back the whole transaction, its own."""
        if batch.members == 1:
            self._close(batch, None, keep=False)
            return
        try:
            batch.run("ROLLBACK TO member")
            batch.run("RELEASE member")
        except sqlite3.Error as error:
            # SQLite itself has rolled back everything, as it does when the disk is full: the neighbours' work too.
            self._close(batch, error)

    def _leave(self, batch: _Batch) -> None:
        if self._is_last(batch):
            self._close(batch, None)
        self._turn.release()

    def _is_last(self, batch: _Batch) -> bool:
        with self._count:
            return self._batch is batch and self._waiting == 0

    def _close(self, batch: _Batch, error: BaseException | None, *, keep: bool = True) -> None:
        """End the transaction and tell everyone in it how it went."""
        self._batch = None
        self._had_company = batch.members > 1
        try:
            transaction = batch.connection.get_transaction()
            if error is None and keep and transaction is not None:
                transaction.commit()
                self._kept = batch.connection
        except BaseException as failure:  # told to every member, so nothing of it is lost
            error = failure
        finally:
            batch.error = error
            if self._kept is not batch.connection:
                # Closing rolls back what was not committed.
                with suppress(Exception):
                    batch.connection.close()
            batch.ended.set()


_LINGER = 0.003  # seconds; about what one commit takes

_UNANSWERED = (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError)


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
        # By the driver, as in _Batch.run.
        driver: Any = connection.connection.dbapi_connection
        driver.execute("BEGIN IMMEDIATE")
