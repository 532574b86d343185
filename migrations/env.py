"""Alembic's way to the database: the one outsider that sees all tables."""

from alembic import context
from flask import current_app
from sqlalchemy import Connection

import idp.accounts.models
import idp.audit
import idp.ephemeral
import idp.installation
import idp.outbox
import idp.protocol.models  # noqa: F401  # imported so that every table is known
from idp.db import Base, UtcDateTime


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
    with context.begin_transaction():
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
    run_online()
