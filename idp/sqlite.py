"""SQLite behind the same two verbs as PostgreSQL: its one writer shared, connections to read with kept open."""

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from idp import meters
from idp.places import Word, aside
from idp.prepared import Prepared

_LINGER = 0.003  # seconds; about what one commit takes
_BUSY_MAX = 10.0
"""Seconds that a writer waits for another process'."""
_LOOK_EVERY = 0.001
"""Seconds. SQLite's own busy handler sleeps longer each time, up to 0.1 s: with two processes at work, that is the
longest of what a caller waits for."""


class CommitFailed(Exception):
    """A commit shared with others did not come about; its cause says why."""


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


def is_in_memory(engine: Engine) -> bool:
    """Whether the database is gone with its connection."""
    return engine.url.database in {None, "", ":memory:"}


def prepare(engine: Engine) -> None:
    """Make every connection of `engine` durable, and every transaction begin when it says so."""
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)


class Readers:
    """Connections to SQLite for single queries: one is 0.1 ms from SQLAlchemy's pool and back, a query 0.01 ms.

    As many as there are queries at once; who asks takes one that is free, or opens another. Nothing hangs on a thread:
    those of the production server end without Python's knowing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._free: list[sqlite3.Connection] = []
        self._closings = 0

    def first(self, statement: Prepared, values: Mapping[str, Any]) -> Any | None:
        """The first row that a query finds, or None; asked on a connection that nobody else uses meanwhile."""
        closings = self._closings
        try:
            driver = self._free.pop()
        except IndexError:
            driver = self._open()
        try:
            found = statement.first_of(driver, self._engine.dialect, values)
        except BaseException:
            driver.close()
            raise
        if closings == self._closings:
            self._free.append(driver)
        else:
            driver.close()
        return found

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
        self.error: BaseException | None = None
        self._open = threading.Lock()
        self._open.acquire()

    def run(self, statement: str) -> None:
        # By the driver: three words a transaction are not worth SQLAlchemy's bookkeeping.
        driver: Any = self.connection.connection.dbapi_connection
        driver.execute(statement)

    def commit(self) -> None:
        driver: Any = self.connection.connection.dbapi_connection
        driver.commit()

    def end(self, error: BaseException | None) -> None:
        self.error = error
        self._open.release()

    def wait(self) -> None:
        """Return once it is committed; `CommitFailed` where it is not."""
        # One after the other: an Event would wake all at once, for each other's locks.
        with self._open:
            pass
        if self.error is not None:
            raise CommitFailed from self.error


class _Job:
    """Work for a transaction, done by whoever leads; who asked for it sleeps meanwhile."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self._work = work
        self._context = copy_context()
        self._told = Word()
        self._found: Any = None
        self._error: BaseException | None = None
        self.batch: _Batch | None = None

    def do(self, batch: _Batch) -> None:
        self._found = self._context.run(self._work, batch.connection)

    def fail(self, error: BaseException) -> None:
        self._error = error

    def settle(self) -> None:
        """Return once its batch has ended."""
        try:
            if self.batch is not None:
                self.batch.wait()
        except CommitFailed as error:
            self._error = self._error or error

    def tell(self) -> None:
        """Let the one who sleeps go on."""
        self._told.say()

    def wait(self) -> None:
        """Until it is told."""
        self._told.wait()

    def result(self) -> Any:
        """What the work gave, or raised."""
        if self._error is not None:
            raise self._error
        return self._found


class SharedCommits:
    """SQLite's one writer, shared: threads that wait for their turn end up in one commit, and so in one fsync.

    A commit costs more than all that stands in it. Who gets the turn works in the transaction that is open, inside a
    savepoint of its own, so that its failure undoes its own work only; the last for whom nobody waits commits for
    all. Nobody returns before that commit is on the disk (security.md S-1), and if it fails it fails for all. Threads
    of one process queue here, fairly; only processes meet in `_begin_immediate`, which looks every millisecond.

    The turn going from thread to thread costs as much as a short transaction. Work that is handed over (`apply`) needs
    none of that: one thread, who leads, does what others have handed over meanwhile, and they are woken once.

    Whoever has the turn works beside the places of those who compute (`places`): others wait for it, and it for nobody.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(begin_immediate=True)
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._jobs: deque[_Job] = deque()
        self._is_led = False
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
        """A transaction of the calling thread."""
        with aside():
            self._take_turn()
            try:
                batch = self._join()
            except BaseException:
                self._turn.release()
                raise
            try:
                yield batch.connection
            except BaseException:
                self._undo(batch)
                self._leave(batch)
                raise
            self._leave(batch)
            batch.wait()

    def apply(self, work: Callable[[Connection], Any]) -> Any:
        """What `work` gives, done in a transaction by this thread or another, in this one's context."""
        job = _Job(work)
        with self._count:
            self._jobs.append(job)
            leads, self._is_led = not self._is_led, True
        if leads:
            with aside():
                self._lead(job)
        else:
            job.wait()
        return job.result()

    def _lead(self, own: _Job) -> None:
        """Do all that was handed over until nothing is left; who comes later leads the next."""
        self._take_turn()
        done: list[_Job] = []
        while True:
            with self._count:
                if not self._jobs:
                    self._is_led = False
                    break
                job = self._jobs.popleft()
            done.append(job)
            try:
                job.batch = self._join()
                try:
                    job.do(job.batch)
                except BaseException:
                    self._undo(job.batch)
                    raise
            except BaseException as error:  # told to whoever handed it over, so nothing of it is lost
                job.fail(error)
        if self._batch is None:
            self._turn.release()
        else:
            self._leave(self._batch)
        for job in done:
            job.settle()
            if job is not own:
                job.tell()

    def _take_turn(self) -> None:
        with self._count:
            self._waiting += 1
        self._turn.acquire()
        with self._count:
            self._waiting -= 1

    def _join(self) -> _Batch:
        """The batch that is open, or another, with a savepoint for what comes now."""
        batch = self._batch or self._open()
        batch.members += 1
        if batch.members > 1:
            try:
                # Released by the commit, with all before it.
                batch.run("SAVEPOINT member")
            except BaseException as error:
                self._close(batch, error)
                raise
        return batch

    def _open(self) -> _Batch:
        if self._had_company:
            # Under load the next ones are a moment away, and waiting for them costs less than a commit each. SQLite's
            # lock is not held yet, so that no other process waits for us.
            time.sleep(_LINGER)
        connection, self._kept = self._kept or self._connect(), None
        try:
            _begin_immediate(connection.connection.dbapi_connection)
        except BaseException:
            connection.close()
            raise
        self._batch = _Batch(connection)
        return self._batch

    def _connect(self) -> Connection:
        connection = self._engine.connect()
        if not is_in_memory(self._engine):  # which is one connection, everybody's
            # Out of the pool: it would hold a place there for good, and only go back when it is to be closed.
            connection.detach()
            driver: Any = connection.connection.dbapi_connection
            driver.execute("PRAGMA busy_timeout=0")  # `_begin_immediate` waits instead
        return connection

    def _undo(self, batch: _Batch) -> None:
        """Take back what the member who failed has done; the first takes back the whole transaction, its own."""
        if batch.members == 1:
            self._close(batch, None, keep=False)
            return
        try:
            batch.run("ROLLBACK TO member")
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
            if error is None and keep:
                # SQLAlchemy knows of a transaction only where it was asked to execute something.
                transaction = batch.connection.get_transaction()
                meters.timed(meters.Timed.COMMIT, batch.commit if transaction is None else transaction.commit)
                self._kept = batch.connection
        except BaseException as failure:  # told to every member, so nothing of it is lost
            error = failure
        finally:
            if self._kept is not batch.connection:
                # Closing rolls back what was not committed.
                with suppress(Exception):
                    batch.connection.close()
            batch.end(error)


def _prepare_connection(connection: Any, _record: Any) -> None:
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


def _begin(connection: Connection) -> None:
    # Where a batch has begun by itself, SQLAlchemy only comes to know of it.
    driver: Any = connection.connection.dbapi_connection
    if connection.get_execution_options().get("begin_immediate") and not driver.in_transaction:
        _begin_immediate(driver)


def _begin_immediate(driver: Any) -> None:
    # IMMEDIATE takes the write lock before anything is read: a transaction that reads first and then writes would
    # fail at once with SQLITE_BUSY_SNAPSHOT if another process wrote in between.
    until = time.monotonic() + _BUSY_MAX
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            # The low byte: there are several reasons to be busy.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(_LOOK_EVERY)
