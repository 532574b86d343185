"""The migrations make on each database what the tables in Python say, and can be undone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import create_engine, inspect

from idp import schema
from idp.app import create_app
from idp.cli.terminal import know_migrations
from idp.db import Base, TablesBusy
from idp.settings import Settings
from idp.web.current import EXTENSION

pytestmark = pytest.mark.filterwarnings("ignore:.*alembic.*:DeprecationWarning")


def make_app(url: str, folder: Path) -> Flask:
    app = create_app(Settings(secret_key="0123456789abcdef0123456789abcdef", database_url=url, keys_dir=folder))
    know_migrations(app)
    return app


@pytest.fixture
def app(url: str, tmp_path: Path) -> Iterator[Flask]:
    made = make_app(url, tmp_path / "keys")
    yield made
    made.extensions[EXTENSION].store.engine.dispose()


def differences(url: str) -> list[object]:
    """What the database has and the tables in Python have not, or the other way round."""
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[object] = list(compare_metadata(context, Base.metadata))
    engine.dispose()
    return found


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


def test_up_is_what_the_code_says_and_down_is_nothing(app: Flask, url: str) -> None:
    with app.app_context():
        upgrade()
        assert differences(url) == []
        assert {"account", "ephemeral", "audit_event"} <= tables(url)
        downgrade(revision="base")
        assert tables(url) <= {"alembic_version"}
        upgrade()
        assert differences(url) == []


def test_what_is_newest_is_what_alembic_says() -> None:
    assert schema.newest() == ScriptDirectory(str(schema.MIGRATIONS)).get_current_head()
    assert schema.is_current(schema.newest())
    assert not schema.is_current("0001")


@pytest.mark.spec("F-12")
@pytest.mark.xdist_group("postgresql")
def test_a_migration_makes_nobody_wait_behind_it(postgresql: str, tmp_path: Path) -> None:
    clear(postgresql)
    app = make_app(postgresql, tmp_path / "keys")
    holder = create_engine(postgresql).connect()
    with app.app_context():
        upgrade()
        holder.exec_driver_sql("SELECT count(*) FROM account")  # and its lock, until this transaction ends
        with pytest.raises(TablesBusy):
            downgrade(revision="base")
        assert differences(postgresql) == []
        holder.close()
        downgrade(revision="base")
    assert tables(postgresql) <= {"alembic_version"}
    holder.engine.dispose()
    app.extensions[EXTENSION].store.engine.dispose()


def clear(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


@pytest.mark.spec("F-12")
@pytest.mark.xdist_group("postgresql")
def test_of_two_nodes_that_come_up_at_once_one_migrates(postgresql: str, tmp_path: Path) -> None:
    clear(postgresql)
    apps = [make_app(postgresql, tmp_path / "keys") for _ in range(2)]
    errors: list[BaseException] = []

    def migrate(app: Flask) -> None:
        try:
            with app.app_context():
                upgrade()
        except BaseException as error:
            errors.append(error)

    # Alembic keeps its context in the module: in one process only the database's own lock is tested, one after another.
    holder = create_engine(postgresql).connect()
    holder.exec_driver_sql("SELECT pg_advisory_lock(5305026531)")
    thread = threading.Thread(target=migrate, args=(apps[0],))
    thread.start()
    thread.join(2)
    assert thread.is_alive(), "it did not wait for the one that migrates"
    assert tables(postgresql) <= {"alembic_version"}
    holder.close()
    holder.engine.dispose()
    thread.join(60)
    migrate(apps[1])
    assert errors == []
    assert differences(postgresql) == []
    for app in apps:
        app.extensions[EXTENSION].store.engine.dispose()
