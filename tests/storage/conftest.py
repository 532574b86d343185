"""The stores that storage tests run on: SQLite and a PostgreSQL of the tests' own, each with and without Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from idp.db import Store, engine_options
from idp.volatile import Volatile
from tests.clusters import RedisServer, cluster, redis_server
from tests.tables import make_tables


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a running cluster; it ends with the tests."""
    with cluster() as found:
        yield found.url


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A running Redis; it ends with the tests."""
    with redis_server() as found:
        yield found


def clear(url: str) -> None:
    """Take everything out of a PostgreSQL database, which the tests before have used."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'storage.db'}"
    found: str = request.getfixturevalue("postgresql")
    clear(found)
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store with every table, on each database."""
    engine = create_engine(url, **engine_options(url))
    store = Store(engine)
    make_tables(engine)
    yield store
    engine.dispose()


@pytest.fixture(params=["sql", pytest.param("redis", marks=pytest.mark.xdist_group("postgresql"))])
def redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty Redis, or nothing: short-lived values are in the database then."""
    if request.param == "sql":
        return ""
    server: RedisServer = request.getfixturevalue("redis")
    server.call("FLUSHALL")
    return server.url


@pytest.fixture
def volatile(redis_url: str) -> Iterator[Volatile | None]:
    """Where short-lived values live beside the database, if anywhere."""
    if not redis_url:
        yield None
        return
    found = Volatile(redis_url)
    yield found
    found.close()
