"""Alive and ready are two things; what is missing is for the log and for this machine."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from werkzeug.test import TestResponse

from idp import policy
from idp.app import create_app
from idp.cli.terminal import migrate
from idp.settings import Settings
from idp.web import health
from idp.web.current import EXTENSION
from idp.wiring import Services
from tests.web.conftest import SECRET


@pytest.fixture
def settings(tmp_path: Path, keys_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # Each look is a look: how long one is believed is another matter.
    monkeypatch.setattr(policy, "READY_KEPT", timedelta())
    return Settings(secret_key=SECRET, database_url=f"sqlite:///{tmp_path}/idp.db", keys_dir=keys_folder)


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    migrate(made)
    yield made
    services: Services = made.extensions[EXTENSION]
    services.store.engine.dispose()


def ready(app: Flask, **environ: str) -> TestResponse:
    return app.test_client().get("/health/ready", environ_overrides={"REMOTE_ADDR": "127.0.0.1", **environ})


@pytest.mark.spec("O-3")
def test_it_is_ready_when_nothing_is_missing(app: Flask) -> None:
    answer = ready(app)
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.spec("O-3")
def test_keys_that_are_missing(app: Flask, settings: Settings) -> None:
    for path in settings.keys_dir.glob("*ES256*"):
        path.unlink()
    app = create_app(settings)
    assert (ready(app).status_code, ready(app).json) == (503, {"status": "unavailable", "missing": ["keys"]})
    assert app.test_client().get("/health/live").status_code == 200
    app.extensions[EXTENSION].store.engine.dispose()


@pytest.mark.spec("O-3")
@pytest.mark.parametrize(
    ("revision", "missing"), [("0003", ["migrations"]), ("9999", None)], ids=["one behind", "one of a later release"]
)
@pytest.mark.spec("F-12")
def test_migrations_that_are_missing(app: Flask, revision: str, missing: list[str] | None) -> None:
    services: Services = app.extensions[EXTENSION]
    with services.store.write() as tx:
        tx.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    answer = ready(app)
    assert answer.json is not None
    assert (answer.status_code, answer.json.get("missing")) == (503 if missing else 200, missing)


@pytest.mark.spec("O-3")
@pytest.mark.spec("F-3")
def test_a_store_that_takes_no_writes(app: Flask) -> None:
    services: Services = app.extensions[EXTENSION]
    assert ready(app).status_code == 200
    event.listen(services.store.engine, "connect", _make_read_only)
    services.store.engine.dispose()
    assert ready(app).json == {"status": "unavailable", "missing": ["store"]}
    event.remove(services.store.engine, "connect", _make_read_only)
    services.store.engine.dispose()
    assert ready(app).status_code == 200


def _make_read_only(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only = ON")


@pytest.mark.spec("O-3")
@pytest.mark.parametrize(
    "environ", [{"REMOTE_ADDR": "192.0.2.1"}, {"HTTP_X_FORWARDED_FOR": "192.0.2.1"}, {"HTTP_FORWARDED": "for=x"}]
)
def test_nobody_else_hears_what_is_missing(app: Flask, environ: dict[str, str]) -> None:
    services: Services = app.extensions[EXTENSION]
    with services.store.write() as tx:
        tx.exec_driver_sql("DROP TABLE alembic_version")
    assert ready(app, **environ).json == {"status": "unavailable"}
    assert ready(app).json == {"status": "unavailable", "missing": ["migrations"]}


def test_a_change_is_said_once(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    services: Services = app.extensions[EXTENSION]
    with caplog.at_level(logging.WARNING, "idp.web.health"):
        ready(app)
        for statement in ("ALTER TABLE alembic_version RENAME TO away", "ALTER TABLE away RENAME TO alembic_version"):
            with services.store.write() as tx:
                tx.exec_driver_sql(statement)
            ready(app)
            ready(app)
    assert [record.getMessage() for record in caplog.records] == [
        "ready: no, missing: migrations; see: idp doctor",
        "ready: yes again",
    ]


@pytest.mark.spec("F-16")
def test_a_server_that_ends_is_not_ready(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(health.RUN_FOLDER, str(tmp_path))
    assert ready(app).status_code == 200
    (tmp_path / health.DRAINING).touch()
    assert ready(app).json == {"status": "unavailable", "missing": ["draining"]}
