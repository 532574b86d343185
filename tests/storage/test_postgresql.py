"""What prepared statements raise goes past SQLAlchemy: connections that are lost are given up all the same."""

from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from sqlalchemy import Connection, create_engine, func, select, text

from idp import audit
from idp.db import Store, StoreUnavailable, engine_options
from idp.prepared import Prepared
from tests.storage.conftest import clear
from tests.tables import make_tables

pytestmark = [pytest.mark.xdist_group("postgresql"), pytest.mark.spec("F-7", "O-5")]

_BACKEND = Prepared(select(func.pg_backend_pid().label("pid")))


@pytest.fixture
def store(postgresql: str) -> Iterator[Store]:
    clear(postgresql)
    engine = create_engine(postgresql, **engine_options(postgresql))
    made = Store(engine)
    make_tables(engine)
    yield made
    engine.dispose()


def reading(store: Store) -> int:
    found = store.first(_BACKEND, {})
    assert found is not None
    return int(found.pid)


def writing(store: Store) -> int:
    return store.apply(lambda tx: int(_BACKEND.all(tx, {})[0].pid))


@pytest.fixture(params=[reading, writing])
def ask(request: pytest.FixtureRequest) -> Callable[[Store], int]:
    found: Callable[[Store], int] = request.param
    return found


def end_all(store: Store) -> None:
    """As a restart of the server does."""
    other = create_engine(store.engine.url)
    with other.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        )
    other.dispose()


def test_a_connection_that_ended_between_two_queries_is_not_noticed(store: Store, ask: Callable[[Store], int]) -> None:
    before = ask(store)
    assert ask(store) == before
    end_all(store)
    assert ask(store) != before


def test_a_connection_that_ends_under_a_statement_is_given_up(store: Store, now: datetime) -> None:
    def work(tx: Connection) -> None:
        audit.record(tx, audit.Event.SIGNOUT, now=now)
        end_all(store)
        audit.record(tx, audit.Event.SIGNOUT, now=now)

    with pytest.raises(StoreUnavailable):
        store.apply(work)
    store.apply(lambda tx: audit.record(tx, audit.Event.SIGNOUT, now=now))
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(audit.AuditEvent)).scalar_one() == 1


def test_a_server_that_takes_no_writes_any_more_is_looked_for_anew(store: Store, now: datetime) -> None:
    read, written = reading(store), writing(store)

    def work(tx: Connection) -> None:
        # As a primary says that has become a standby.
        tx.execute(text("SET TRANSACTION READ ONLY"))
        audit.record(tx, audit.Event.SIGNOUT, now=now)

    with pytest.raises(StoreUnavailable):
        store.apply(work)
    assert {reading(store), writing(store)}.isdisjoint({read, written})


def test_what_is_wrong_with_a_statement_costs_no_connection(store: Store) -> None:
    written, wrong = writing(store), Prepared(select(text("1 / 0")))
    with pytest.raises(Exception, match="division by zero") as told:
        store.apply(lambda tx: wrong.all(tx, {}))
    assert not isinstance(told.value, StoreUnavailable)
    assert writing(store) == written
