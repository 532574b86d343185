"""`idp doctor` over PostgreSQL and Redis: settings under which what was acknowledged is lost, or a replay let in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from idp.cli.main import cli
from tests.clusters import Cluster, RedisServer, cluster, redis_server
from tests.storage.conftest import clear

pytestmark = pytest.mark.xdist_group("postgresql")


@pytest.fixture(scope="module")
def durable() -> Iterator[Cluster]:
    """A PostgreSQL as it comes: the others of the tests never flush."""
    with cluster(fsync="on") as found:
        yield found


@pytest.fixture(scope="module")
def redis_alone() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


@pytest.fixture
def place(
    durable: Cluster, redis_alone: RedisServer, keys_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation over both, that is well."""
    for name, value in {
        "IDP_ISSUER": "http://localhost",
        "IDP_DATABASE_URL": durable.url,
        "IDP_REDIS_URL": redis_alone.url,
        "IDP_KEYS_DIR": str(keys_folder),
        "IDP_SECRET_KEY": "0123456789abcdef0123456789abcdef-tests",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli, ["init"]).exit_code == 0


def look(part: str) -> tuple[int, list[tuple[str, str]]]:
    """The exit code, and of one part what is not well: how bad, with what to do."""
    result = CliRunner().invoke(cli, ["doctor", "--json", "--offline"])
    found: dict[str, Any] = json.loads(result.stdout)
    mine = [each for each in found["findings"] if each["part"] == part]
    assert mine, found
    return result.exit_code, [(each["level"], each["remedy"]) for each in mine if each["level"] != "ok"]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("how", ["off", "local"])
def test_commits_that_do_not_wait(durable: Cluster, how: str) -> None:
    assert look("commits") == (0, [])
    durable.execute(f"ALTER ROLE llavero SET synchronous_commit = {how}")
    try:
        found = look("commits")
        if how == "off":
            assert found == (1, [("fail", "synchronous_commit = on, for the server, the database and the role")])
            return
        # Without a standby, all but `off` is the same.
        assert found == (0, [])
        durable.execute("ALTER SYSTEM SET synchronous_standby_names = 'b'")
        durable.execute("SELECT pg_reload_conf()")
        # A standby that is not there keeps commits that wait for it; ours do not.
        assert look("commits") == (0, [("warn", "synchronous_commit = on or remote_apply")])
    finally:
        durable.execute("ALTER SYSTEM RESET synchronous_standby_names")
        durable.execute("SELECT pg_reload_conf()")
        durable.execute("ALTER ROLE llavero RESET synchronous_commit")


@pytest.mark.usefixtures("place")
def test_a_database_that_never_flushes(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look("commits") == (0, [])
    clear(postgresql)
    monkeypatch.setenv("IDP_DATABASE_URL", postgresql)
    assert CliRunner().invoke(cli, ["init"]).exit_code == 0
    assert look("commits") == (1, [("fail", "fsync = on")])


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("eviction", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_forgets_one_by_one(redis_alone: RedisServer, eviction: str) -> None:
    assert look("redis") == (0, [])
    redis_alone.call(f"CONFIG SET maxmemory-policy {eviction}")
    try:
        assert look("redis") == (0, [("warn", "maxmemory-policy noeviction")])
        redis_alone.call("CONFIG SET maxmemory 100mb")
        assert look("redis") == (1, [("fail", "maxmemory-policy noeviction")])
    finally:
        redis_alone.call("CONFIG SET maxmemory 0")
        redis_alone.call("CONFIG SET maxmemory-policy noeviction")


@pytest.mark.usefixtures("place")
def test_a_redis_that_is_nearly_full_and_one_that_is(redis_alone: RedisServer) -> None:
    redis_alone.call("SETRANGE filler 40000000 x")  # so that a connection more or less is nothing
    used = next(line for line in redis_alone.lines("INFO memory") if line.startswith("used_memory:"))
    taken = int(used.partition(":")[2])
    try:
        redis_alone.call(f"CONFIG SET maxmemory {taken * 2}")
        assert look("redis") == (0, [])
        redis_alone.call(f"CONFIG SET maxmemory {int(taken * 1.06)}")
        assert look("redis") == (0, [("warn", "raise maxmemory")])
        redis_alone.call("CONFIG SET maxmemory 1000")
        code, [(level, remedy)] = look("redis")
        assert (code, level) == (1, "fail")
        assert "full" in remedy
    finally:
        redis_alone.call("CONFIG SET maxmemory 0")
        redis_alone.call("DEL filler")


@pytest.mark.usefixtures("place")
def test_a_redis_that_is_a_replica_or_is_not_there(redis_alone: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    redis_alone.call("REPLICAOF 127.0.0.1 1")
    try:
        code, [(level, _)] = look("redis")
        assert (code, level) == (1, "fail")
    finally:
        redis_alone.call("REPLICAOF NO ONE")
    assert look("redis") == (0, [])
    monkeypatch.setenv("IDP_REDIS_URL", f"unix://{redis_alone.folder}/nobody.sock")
    assert [level for level, _ in look("redis")[1]] == ["fail"]
