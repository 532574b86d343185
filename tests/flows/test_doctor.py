"""`idp doctor`: each thing that is wrong is said, with what to do, and the exit code tells a script."""

import json
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from idp.cli.main import cli
from tests.clusters import redis_server
from tests.postbox import postbox
from tests.serving import free_port

SECRET = "0123456789abcdef0123456789abcdef-tests"
DATABASE_PASSWORD = "clave-de-la-base"


@pytest.fixture
def place(keys_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that is well."""
    for name, value in {
        "IDP_ISSUER": "http://localhost",
        "IDP_DATABASE_URL": f"sqlite:///{tmp_path}/idp.db",
        "IDP_KEYS_DIR": str(keys_folder),
        "IDP_SECRET_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli, ["init"]).exit_code == 0
    return tmp_path


def look(*options: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(cli, ["doctor", "--json", *(options or ("--offline",))])
    return result.exit_code, json.loads(result.stdout)


def of(part: str, found: dict[str, Any]) -> list[dict[str, str]]:
    """The findings of one part that are not well."""
    return [each for each in found["findings"] if each["part"] == part and each["level"] != "ok"]


def test_an_installation_that_is_well(place: Path) -> None:
    assert place
    code, found = look()
    assert (code, found["healthy"]) == (0, True)
    assert {each["level"] for each in found["findings"]} <= {"ok", "warn"}
    assert {"settings", "files", "store", "clock", "keys", "outbox", "disk"} <= {
        each["part"] for each in found["findings"]
    }


def _forget_migration(place: Path) -> None:
    with closing(sqlite3.connect(place / "idp.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0003'")


def _lose_keys(place: Path) -> None:
    for path in (place / "keys").glob("*ES256*"):
        path.unlink()


def _fill_outbox(place: Path) -> None:
    then = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None).isoformat(" ")
    row = ("m", "locked", "a@cliente.example", "es-MX", "{}", then, then, 0)
    with closing(sqlite3.connect(place / "idp.db")) as connection, connection:
        connection.execute(
            "INSERT INTO outbox_message (id, template, recipient, locale, parameters, created_at, due_at, attempts)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )


def _open_env(place: Path) -> None:
    (place / ".env").write_text("IDP_BRAND=Uno\n")
    (place / ".env").chmod(0o644)


@pytest.mark.parametrize(
    ("harm", "part", "remedy", "level"),
    [
        (_forget_migration, "store", "idp init", "fail"),
        (_lose_keys, "keys", "idp init", "fail"),
        (_fill_outbox, "outbox", "idp worker", "fail"),
        (_open_env, "files", "chmod 600", "warn"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(
    place: Path, harm: Callable[[Path], None], part: str, remedy: str, level: str
) -> None:
    assert of(part, look()[1]) == []
    harm(place)
    code, found = look()
    (finding,) = of(part, found)
    assert finding["level"] == level
    assert remedy in finding["remedy"]
    assert code == (1 if level == "fail" else 0)


@pytest.mark.spec("D-75")
def test_settings_that_no_server_starts_with(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place
    monkeypatch.setenv("IDP_SECRET_KEY", "corta")
    code, found = look()
    assert code == 1
    assert "IDP_SECRET_KEY" in found["findings"][0]["text"]
    assert "corta" not in json.dumps(found)


@pytest.mark.spec("O-2")
def test_settings_are_listed_with_their_origin_and_no_secret(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / ".env").write_text("IDP_BRAND=Del archivo\n")
    monkeypatch.setenv("IDP_MAIL_PASSWORD", DATABASE_PASSWORD)
    listed = {each["name"]: each for each in look()[1]["settings"]}
    assert listed["IDP_BRAND"] == {"name": "IDP_BRAND", "value": "Del archivo", "origin": ".env"}
    assert listed["IDP_ISSUER"]["origin"] == "environment"
    assert listed["IDP_MAIL_PORT"] == {"name": "IDP_MAIL_PORT", "value": "25", "origin": "default"}
    assert DATABASE_PASSWORD not in json.dumps(listed)
    assert SECRET not in json.dumps(listed)


@pytest.mark.spec("O-6")
@pytest.mark.parametrize(("most", "level"), [(4096, "warn"), (20_000, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_how_many_files_may_be_open(place: Path, monkeypatch: pytest.MonkeyPatch, most: int, level: str) -> None:
    assert place
    # What a process may raise its own limit to cannot be raised again in a test.
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, most))
    (finding,) = [each for each in look()[1]["findings"] if each["part"] == "limits"]
    assert finding["level"] == level
    assert ("20000" in finding["remedy"]) == (level == "warn")


@pytest.mark.spec("L-7")
@pytest.mark.parametrize(("networks", "level"), [("0.0.0.0/0", "fail"), ("10.0.0.0/8", "ok"), (None, "warn")])
def test_who_is_believed_about_addresses(
    place: Path, monkeypatch: pytest.MonkeyPatch, networks: str | None, level: str
) -> None:
    assert place
    monkeypatch.setenv("IDP_ISSUER", "https://llave.example")
    if networks is not None:
        monkeypatch.setenv("IDP_TRUSTED_PROXIES", networks)
    assert [each["level"] for each in look()[1]["findings"] if each["part"] == "proxies"] == [level]


@pytest.mark.enable_socket
def test_a_mail_server_and_an_issuer_that_answer_or_do_not(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place
    monkeypatch.setenv("IDP_ISSUER", f"http://localhost:{free_port()}")
    monkeypatch.setenv("IDP_MAIL_SERVER", "127.0.0.1")
    with postbox() as box:
        monkeypatch.setenv("IDP_MAIL_PORT", str(box.port))
        code, found = look("--json")
        assert code == 0
        assert of("mail", found) == []
        assert [each["level"] for each in of("issuer", found)] == ["warn"]
    code, found = look("--json")
    assert code == 1
    assert [each["level"] for each in of("mail", found)] == ["fail"]


@pytest.mark.spec("O-5", "P-10")
def test_a_redis_that_drops_what_lives_is_not_well(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay mark that is dropped to make room is an assertion that is taken twice."""
    assert place
    with redis_server() as redis:
        monkeypatch.setenv("IDP_REDIS_URL", redis.url)
        redis.call("CONFIG SET maxmemory 100mb")
        redis.call("CONFIG SET maxmemory-policy noeviction")
        code, found = look()
        assert (code, of("redis", found)) == (0, [])
        redis.call("CONFIG SET maxmemory-policy volatile-lru")
        code, found = look()
        assert (code, [each["level"] for each in of("redis", found)]) == (1, ["fail"])
