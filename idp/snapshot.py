"""The database as files and back: a consistent copy taken while servers run, and its return while none does.

SQLite gives a copy of its file. PostgreSQL gives each table as COPY writes it, all of one instant; no program of
PostgreSQL's own is needed, and none of its versions.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Inspector, inspect, text

from idp.db import Store, StoreUnavailable

FILE = "database.sqlite"
_TABLE = ".copy"
_OWN = frozenset({"alembic_version"})
_LATER = frozenset({"alembic_version", "installation", "audit_event", "ephemeral"})
"""Tables that hold something as soon as anybody has looked at an installation."""


class SnapshotProblem(Exception):
    """The copy cannot be taken or returned; the text says why, and shows no value of a row."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a copy holds."""

    database: str
    """`sqlite` or `postgresql`."""
    revision: str
    """The migration its tables have had."""
    rows: dict[str, int]
    """How many each table has."""


def take(store: Store, folder: Path) -> Contents:
    """Write a copy into the empty `folder`; servers go on meanwhile.

    Raises `SnapshotProblem` where there are no tables, `StoreUnavailable` where the database does not answer.
    """
    name = store.engine.dialect.name
    revision, rows = _take_sqlite(store, folder) if name == "sqlite" else _take_postgresql(store, folder)
    return Contents(name, revision, rows)


def is_empty(store: Store) -> bool:
    """Whether nobody has put anything into the database yet."""
    with store.read() as connection:
        return not any(
            connection.execute(text(f'SELECT 1 FROM "{table}" LIMIT 1')).first()  # noqa: S608  # a table's own name
            for table in inspect(connection).get_table_names()
            if table not in _LATER
        )


# -- SQLite ----------------------------------------------------------------------------------------------------------


def put_in_place(store: Store, file: Path, *, aside: Path) -> bool:
    """Make `file` the database of `store`, in one step; the old one, if there is one, becomes `aside`.

    Whether there was one. `SnapshotProblem` where another process has the database open: it would go on with the old.
    """
    target = Path(str(store.engine.url.database))
    store.engine.dispose()
    existed = target.exists() and target.stat().st_size > 0
    if existed:
        with closing(sqlite3.connect(target, timeout=1)) as connection:
            try:
                # To leave WAL takes a lock that no other connection, idle or not, leaves free.
                connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            except sqlite3.OperationalError as error:
                raise SnapshotProblem(
                    "another process has the database open: stop servers and workers first"
                ) from error
        target.rename(aside)
    for ending in ("-wal", "-shm", "-journal"):
        # Of a file that somebody took away: SQLite would play it into the new one.
        target.with_name(target.name + ending).unlink(missing_ok=True)
    file.rename(target)
    sync_folder(target.parent)
    return existed


def close_copy(store: Store) -> None:
    """Fold what was written to a copy into its one file, and check it; `SnapshotProblem` if it is damaged."""
    store.engine.dispose()
    with closing(sqlite3.connect(str(store.engine.url.database))) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        _check(connection)


def _take_sqlite(store: Store, folder: Path) -> tuple[str, dict[str, int]]:
    path = folder / FILE
    path.touch(mode=0o600)
    with store.read() as connection, closing(sqlite3.connect(path)) as copy:
        source: Any = connection.connection.driver_connection
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
            _check(copy)
        except sqlite3.Error as error:
            raise StoreUnavailable(type(error).__name__) from error
        names = [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if "alembic_version" not in names:
            raise SnapshotProblem("the database has no tables yet: idp init makes them")
        revision = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        rows = {
            name: copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608  # a table's own name
            for name in names
            if name not in _OWN and not name.startswith("sqlite_")
        }
    return str(revision[0]), rows


def _check(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        raise SnapshotProblem("SQLite finds the database damaged: PRAGMA integrity_check says more")


def sync_folder(folder: Path) -> None:
    """Have on the disk which names stand in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


@contextmanager
def rebuilding(store: Store, *, force: bool = False) -> Iterator[Connection]:
    """One transaction in which the database is emptied, made anew and filled; if it fails, nothing has changed.

    `SnapshotProblem` where others of the same role are connected, unless `force`: servers would go on.
    """
    store.engine.dispose()
    with store.engine.begin() as connection:
        _without_deadline(connection)
        others = connection.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = current_user AND pid <> pg_backend_pid()"
            )
        ).scalar_one()
        if others and not force:
            raise SnapshotProblem(f"{others} other connections to the database: stop servers and workers first")
        for table in inspect(connection).get_table_names():
            connection.execute(text(f'DROP TABLE "{table}" CASCADE'))
        yield connection


def fill(connection: Connection, folder: Path, rows: dict[str, int]) -> None:
    """Put the rows of a copy into tables that are empty; `SnapshotProblem` unless all of them arrived."""
    inspector = inspect(connection)
    present = set(inspector.get_table_names()) - _OWN
    if present != set(rows):
        raise SnapshotProblem(f"the backup's tables are others: {', '.join(sorted(present ^ set(rows)))}")
    cursor: Any = connection.connection.cursor()
    for table in _in_order(inspector):
        path = folder / f"{table}{_TABLE}"
        with path.open("rb") as file:
            columns = file.readline().decode().rstrip("\n")
            with cursor.copy(f'COPY "{table}" ({columns}) FROM STDIN') as copy:
                while block := file.read(1 << 16):
                    copy.write(block)
        arrived = connection.execute(text(f'SELECT count(*) FROM "{table}"')).scalar_one()  # noqa: S608
        if arrived != rows[table]:
            raise SnapshotProblem(f"{arrived} of {rows[table]} rows of {table} arrived")
        _move_sequences(connection, inspector, table)


def _take_postgresql(store: Store, folder: Path) -> tuple[str, dict[str, int]]:
    rows: dict[str, int] = {}
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with store.own_connection(**options) as connection, connection.begin():
        _without_deadline(connection)
        inspector = inspect(connection)
        if not inspector.has_table("alembic_version"):
            raise SnapshotProblem("the database has no tables yet: idp init makes them")
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        cursor: Any = connection.connection.cursor()
        for table in _in_order(inspector):
            columns = ", ".join(f'"{column["name"]}"' for column in inspector.get_columns(table))
            with (folder / f"{table}{_TABLE}").open("wb") as file:
                file.write(f"{columns}\n".encode())
                with cursor.copy(f'COPY "{table}" ({columns}) TO STDOUT') as copy:
                    for block in copy:
                        file.write(block)
            rows[table] = cursor.rowcount
    return str(revision), rows


def _in_order(inspector: Inspector) -> list[str]:
    """The tables, each after those that its rows refer to."""
    return [name for name, _ in inspector.get_sorted_table_and_fkc_names() if name is not None and name not in _OWN]


def _move_sequences(connection: Connection, inspector: Inspector, table: str) -> None:
    """Let automatic numbers go on after the highest that has come."""
    for column in inspector.get_columns(table):
        found = connection.execute(
            text("SELECT pg_get_serial_sequence(:name, :column)"), {"name": f'"{table}"', "column": column["name"]}
        ).scalar()
        if found is not None:
            highest = f'SELECT max("{column["name"]}") FROM "{table}"'  # noqa: S608  # names of the database itself
            connection.execute(text(f"SELECT setval(:found, coalesce(({highest}), 1))"), {"found": found})


def _without_deadline(connection: Connection) -> None:
    # What a request may take is no measure for the whole database.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
