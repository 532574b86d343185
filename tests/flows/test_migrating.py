"""Migrations while a server serves: this release on the tables of the one before, and on those of the next."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from idp import schema
from tests.clusters import cluster
from tests.command import Done, run_here
from tests.serving import Client, Provider, provider_in

pytestmark = [pytest.mark.enable_socket, pytest.mark.filterwarnings("ignore:.*alembic.*:DeprecationWarning")]
WITHIN = 20.0


def before_the_newest() -> str:
    """The migration that the release before had."""
    script = ScriptDirectory(str(schema.MIGRATIONS)).get_revision(schema.newest())
    assert isinstance(script.down_revision, str)
    return script.down_revision


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("migrating"))])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provider]:
    with ExitStack() as stack:
        settings = {}
        if request.param == "postgresql":
            settings["IDP_DATABASE_URL"] = stack.enter_context(cluster()).url
        yield stack.enter_context(provider_in(tmp_path, **settings))


def idp(provider: Provider, *arguments: str) -> Done:
    return run_here(arguments, folder=provider.folder, environment=provider.environment())


def ready(provider: Provider) -> requests.Response:
    return requests.get(f"{provider.issuer}/health/ready", timeout=10)


class Load:
    """Tokens and sign-in pages, without a pause; the statuses of the answers."""

    def __init__(self, provider: Provider, client: Client) -> None:
        self.statuses: Counter[int] = Counter()
        self._provider, self._client, self._over = provider, client, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def wait_for(self, status: int, count: int = 10) -> None:
        """Until so many more answers had it."""
        wanted, until = self.statuses[status] + count, time.monotonic() + WITHIN
        while self.statuses[status] < wanted:
            assert time.monotonic() < until, f"{self.statuses}, and no more of {status}"
            time.sleep(0.02)

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(WITHIN)

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._over.is_set():
                token = session.post(
                    f"{self._provider.issuer}/oauth/token",
                    data={"grant_type": "client_credentials"},
                    auth=(self._client.client_id, self._client.client_secret),
                    timeout=10,
                )
                page = session.get(f"{self._provider.issuer}/login", timeout=10)
                # One at a time, so that no two threads add to the same number at once.
                with _COUNTING:
                    self.statuses.update([token.status_code, page.status_code])


_COUNTING = threading.Lock()


@pytest.mark.spec("F-12")
def test_a_server_that_came_before_its_migration_serves_and_is_ready_after_it(provider: Provider) -> None:
    client = provider.add_client(
        "erp", "https://erp.example/cb", "--grant", "client_credentials", "--scope", "api:read"
    )
    assert idp(provider, "init", "--back-to", before_the_newest()).exit_code == 0
    provider.start(1)
    assert (ready(provider).status_code, ready(provider).json()["missing"]) == (503, ["migrations"])
    load = Load(provider, client)
    with load.running():
        load.wait_for(200)
        assert idp(provider, "init").exit_code == 0
        until = time.monotonic() + WITHIN
        while ready(provider).status_code != 200:
            assert time.monotonic() < until, ready(provider).text
            time.sleep(0.1)
        load.wait_for(200)
        assert idp(provider, "init", "--back-to", before_the_newest()).exit_code == 0
        load.wait_for(200)
        assert idp(provider, "init").exit_code == 0
        load.wait_for(200)
    assert set(load.statuses) <= {200, 503}, load.statuses


@pytest.mark.spec("F-12")
def test_a_node_of_the_release_before_starts_anew_on_the_tables_of_the_next(provider: Provider) -> None:
    later = "UPDATE alembic_version SET version_num = '9999'"
    engine = create_engine(provider.environment()["IDP_DATABASE_URL"])
    tables = set(inspect(engine).get_table_names())
    with engine.begin() as connection:
        connection.exec_driver_sql(later)
    # What Compose and systemd run before each node.
    done = idp(provider, "init")
    assert (done.exit_code, done.errors) == (0, "")
    assert "later release, 9999" in done.output
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"
    assert set(inspect(engine).get_table_names()) == tables
    engine.dispose()
    provider.start(1)
    assert ready(provider).status_code == 200


def test_going_back_says_what_it_cannot(provider: Provider) -> None:
    done = idp(provider, "init", "--back-to", "nonsense")
    assert (done.exit_code, done.output, done.errors.count("\n")) == (1, "", 1)
    assert "nonsense" in done.errors
    done = idp(provider, "init", "--back-to", before_the_newest())
    assert (done.exit_code, done.output) == (0, f"tables are those of {before_the_newest()}\n")
