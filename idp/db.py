"""The database: declarative base, the UTC column type, and `Store`, which reads and writes."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Insert, MetaData, Transaction, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import DateTime, TypeDecorator

from idp import meters
from idp import postgresql as server


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
    pool = {"pool_pre_ping": True, "pool_size": 8, "max_overflow": 8, "pool_timeout": 5}
    return {**quiet, **pool, "connect_args": server.connect_args(url)}


def make_private(url: str, *, mend: bool = False) -> None:
    """Make SQLite's folder and file where they are missing, for this user alone: hashes and addresses stand in it.

    What SQLite puts beside the file later has the file's mode. `mend` takes the right to read from everybody else
    where files are there already. Raises `OSError`.
    """
    if not url.startswith("sqlite:///") or url.endswith(":memory:"):
        return
    file = Path(url.removeprefix("sqlite:///"))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One that is there is never opened: closing it again would end the locks that SQLite holds for this process
    # (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for each in (file, *(file.with_name(file.name + ending) for ending in ("-wal", "-shm"))) if mend else ():
        with suppress(FileNotFoundError):
            each.chmod(0o600)


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
        self._sqlite = engine.dialect.name == "sqlite"
        self.insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        """The database's own INSERT, which knows ON CONFLICT."""
        self._inside = threading.local()
        self._transaction: Callable[[], AbstractContextManager[Connection]]
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            self._reader: Engine = engine
            self._transaction = _SharedCommits(engine).transaction
        else:
            # PostgreSQL lets commits of the same moment share one flush by itself.
            server.prepare(engine)
            self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
            self._transaction = partial(_begin_timed, engine)

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
        _commit(transaction)


def _commit(transaction: Transaction) -> None:
    began = time.perf_counter()
    transaction.commit()
    meters.time(meters.Timed.COMMIT, time.perf_counter() - began)


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
        connection = self._engine.connect()
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
                _commit(transaction)
        except BaseException as failure:  # told to every member, so nothing of it is lost
            error = failure
        finally:
            batch.error = error
            # Closing rolls back what was not committed.
            with suppress(Exception):
                batch.connection.close()
            batch.ended.set()


def prepare(statement: Insert, columns: tuple[str, ...]) -> Callable[[Connection, Mapping[str, Any]], None]:
    """`statement` as a function that inserts one row of these columns, compiled once for each kind of database.

    For rows that are written at each request: SQLAlchemy's own way from a statement to the driver costs more than the
    insert itself.
    """
    compiled: dict[str, tuple[str, list[tuple[str, Callable[[Any], Any] | None]], bool]] = {}

    def compile_for(connection: Connection) -> tuple[str, list[tuple[str, Callable[[Any], Any] | None]], bool]:
        dialect = connection.dialect
        # Inline: without RETURNING, since nobody asks for the number of the row.
        made: Any = statement.inline().compile(dialect=dialect, column_keys=list(columns))
        names = made.positiontup if made.positional else list(columns)
        processors = [(name, made.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names]
        return str(made), processors, bool(made.positional)

    def execute(connection: Connection, row: Mapping[str, Any]) -> None:
        name = connection.dialect.name
        if name not in compiled:
            compiled[name] = compile_for(connection)
        text, processors, positional = compiled[name]
        values = [(column, row[column] if process is None else process(row[column])) for column, process in processors]
        parameters: Any = tuple(value for _, value in values) if positional else dict(values)
        connection.exec_driver_sql(text, parameters)

    return execute


_LINGER = 0.003  # seconds; about what one commit takes

_FAILURES = (DBAPIError, PoolTimeout, sqlite3.OperationalError)
_UNANSWERED = (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError)


def _raise_unavailable(error: Exception) -> None:
    """Raise `StoreUnavailable` if that is what `error` means; what is wrong with a statement is another matter."""
    # The driver's text may hold values of the statement: it goes to the chained cause only, never into a message.
    if isinstance(error, _UNANSWERED) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        raise StoreUnavailable(type(error).__name__) from error


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
