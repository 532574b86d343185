"""What every command needs: the clock, the services, how to print and how to fail."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import click
from flask import Flask

from idp.app import create_app, load_settings
from idp.schema import MIGRATIONS
from idp.web.current import EXTENSION
from idp.web.extensions import db
from idp.wiring import Services


def fail(text: str) -> NoReturn:
    click.echo(f"idp: {text}", err=True)
    sys.exit(1)


def now() -> datetime:
    return datetime.now(UTC)


def open_app(database_url: str | None = None) -> Flask:
    """The application, over another database of the same kind where one is named."""
    settings = load_settings()
    app = create_app(settings if database_url is None else replace(settings, database_url=database_url))
    command = click.get_current_context(silent=True)
    if command is not None:
        # No connection outlives its command: the next one may want the database for itself.
        command.call_on_close(app.extensions[EXTENSION].store.engine.dispose)
    return app


def open_services() -> Services:
    services: Services = open_app().extensions[EXTENSION]
    return services


def know_migrations(app: Flask) -> None:
    """Tell Flask-Migrate of this application: a command that migrates needs it, a server does not."""
    # Here and not above: Alembic and what it brings are 15 MiB.
    from flask_migrate import Migrate

    Migrate(app, db, directory=str(MIGRATIONS), render_as_batch=True)


def migrate(app: Flask, revision: str = "head", *, connection: Any = None) -> None:
    """Bring the tables up to this revision, in the transaction of `connection` where one is given.

    Raises `StoreUnavailable`; says so and ends where this release does not know the revision.
    """
    from alembic import command

    _run(app, command.upgrade, revision, connection)


def migrate_back(app: Flask, revision: str) -> None:
    """Take away what the migrations after this revision have added, as `migrate` brings it."""
    from alembic import command

    _run(app, command.downgrade, revision, None)


def _run(app: Flask, change: Callable[[Any, str], None], revision: str, connection: Any) -> None:
    from alembic.util import CommandError

    know_migrations(app)
    with app.app_context():
        config = app.extensions["migrate"].migrate.get_config()
        if connection is not None:
            config.attributes["connection"] = connection
        try:
            change(config, revision)
        except CommandError as error:
            fail(f"these migrations cannot be run by this release: {error}")


def show(value: Any, as_json: bool) -> None:
    """Machine-readable, or one `name: value` a line."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))
        return
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows):
        if number:
            click.echo()
        width = max(map(len, row), default=0)
        for name, each in row.items():
            text = " ".join(map(str, each)) if isinstance(each, list | tuple) else each
            click.echo(f"{name.ljust(width)}  {'' if text is None else text}")


json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
