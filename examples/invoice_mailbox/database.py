"""The mailbox's own SQLite file, which only its user may read."""

import os
import secrets
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, event, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import NullPool

metadata = MetaData()

secret_table = Table("secret", metadata, Column("name", String, primary_key=True), Column("value", String))


def open_database(folder: Path) -> Engine:
    """The database in `folder`, made with its tables where there is none."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "mailbox.db"
    # It holds tokens: nobody but us may read it, from its first moment on.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 10})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")

    with engine.begin() as connection:
        # Two workers may start at once; the second finds the tables made.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        metadata.create_all(connection)
    return engine


def get_secret(engine: Engine, name: str) -> str:
    """A random secret of this installation, the same for every worker and after every restart."""
    with engine.begin() as connection:
        connection.execute(
            insert(secret_table).values(name=name, value=secrets.token_urlsafe(32)).on_conflict_do_nothing()
        )
        return str(connection.execute(select(secret_table.c.value).where(secret_table.c.name == name)).scalar_one())
