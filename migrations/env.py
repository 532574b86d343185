"""Alembic's way to the database: the one outsider that sees all tables."""

from alembic import context
from flask import current_app
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

import idp.accounts.models
import idp.audit
import idp.ephemeral
import idp.installation
import idp.outbox
import idp.protocol.models  # noqa: F401  # imported so that every table is known
from idp.db import Base, StoreUnavailable, TablesBusy, UtcDateTime
from idp.postgresql import without_deadline

_ONE_AT_A_TIME = 5_305_026_531
"""Any number that no other program on this database takes an advisory lock with."""


def render_item(kind: str, item: object, _context: object) -> str | bool:
    """Our own column type by its short name, which `script.py.mako` imports."""
    return "UtcDateTime()" if kind == "type" and isinstance(item, UtcDateTime) else False


engine = current_app.extensions["migrate"].db.engine


def run_online() -> None:
    """Run the migrations on the application's own engine, each database type with what it needs."""
    with engine.connect() as connection:
        run_on(connection)
        connection.commit()


def run_on(connection: Connection) -> None:
    """Run the migrations on this connection; in a transaction that has begun they are part of it."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        render_item=render_item,
        compare_type=True,
    )
    if connection.dialect.name == "postgresql":
        without_deadline(connection.connection.driver_connection)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # Of two nodes that come up at once one migrates, and the other finds it done.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})")
            # A change that waits for its table makes everybody after it wait, too: rather fail and be run again.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        context.run_migrations()


def run_offline() -> None:
    """Print the SQL instead."""
    context.configure(url=str(engine.url), target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
elif (given := context.config.attributes.get("connection")) is not None:
    run_on(given)  # restoring a backup is one transaction, its tables included
else:
    try:
        run_online()
    except OperationalError as error:
        # SQLSTATE lock_not_available.
        busy = getattr(error.orig, "sqlstate", None) == "55P03"
        raise (TablesBusy if busy else StoreUnavailable)(type(error).__name__) from error
