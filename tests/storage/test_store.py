"""What a write promises: all or nothing, one at a time where it must be, and a word when the database is away."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text

from idp import audit
from idp.db import Store, StoreUnavailable, engine_options


@pytest.fixture
def counted(store: Store) -> Store:
    with store.write() as tx:
        tx.execute(text("CREATE TABLE counted (n INTEGER NOT NULL)"))
        tx.execute(text("INSERT INTO counted VALUES (0)"))
    return store


def _read(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute(text("SELECT n FROM counted")).scalar_one())


@pytest.mark.spec("S-2")
def test_nothing_is_lost_between_many_writers(counted: Store) -> None:
    def add(_number: int) -> None:
        with counted.write() as tx:
            tx.execute(text("UPDATE counted SET n = n + 1"))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(add, range(200)))
    assert _read(counted) == 200


@pytest.mark.spec("S-1")
def test_a_block_that_raises_changes_nothing_and_harms_no_neighbour(counted: Store) -> None:
    ready = threading.Barrier(16)

    def add(number: int) -> bool:
        ready.wait()
        try:
            with counted.write() as tx:
                tx.execute(text("UPDATE counted SET n = n + 1"))
                if number % 2:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(add, range(16)))
    assert done.count(True) == 8
    assert _read(counted) == 8


@pytest.mark.spec("S-1")
def test_what_write_acknowledged_is_seen_by_everyone(counted: Store) -> None:
    def add(_number: int) -> int:
        with counted.write() as tx:
            mine = int(tx.execute(text("UPDATE counted SET n = n + 1 RETURNING n")).scalar_one())
        return _read(counted) - mine

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(add, range(64))) >= 0


def test_writes_do_not_nest(counted: Store) -> None:
    with counted.write(), pytest.raises(RuntimeError), counted.write():
        pass
    with counted.write() as tx:
        tx.execute(text("UPDATE counted SET n = 7"))
    assert _read(counted) == 7


@pytest.mark.spec("F-7", "F-8")
def test_a_read_inside_a_write_waits_for_no_second_connection(url: str, counted: Store) -> None:
    """As many threads as there are connections, each with one in hand and waiting for another, would all wait."""
    alone = Store(create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.1))
    try:
        with alone.write() as tx:
            tx.execute(text("UPDATE counted SET n = 7"))
            assert _read(alone) == 7
            assert _read(counted) == 0
        assert _read(alone) == 7
    finally:
        alone.engine.dispose()


@pytest.mark.spec("O-5")
def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/no-such-folder/idp.db"
    store = Store(create_engine(url, **engine_options(url)))
    with pytest.raises(StoreUnavailable), store.read() as connection:
        connection.execute(text("SELECT 1"))
    with pytest.raises(StoreUnavailable), store.write():
        pass
    with pytest.raises(StoreUnavailable), store.write():
        pass


def test_a_prepared_insert_writes_what_the_statement_would(store: Store, now: datetime) -> None:
    detail = {"scope": "openid", "ñ": [1, None]}
    with store.write() as tx:
        audit.record(tx, audit.Event.TOKEN_ISSUE, now=now, client_id="c", detail=detail)
        audit.record(tx, audit.Event.SIGNOUT, now=now)
    with store.read() as connection:
        rows = connection.execute(select(audit.AuditEvent).order_by(audit.AuditEvent.id)).all()
    assert [(row.event, row.at, row.client_id, row.detail) for row in rows] == [
        ("client:token:issue", now, "c", detail),
        ("account:session:end", now, None, None),
    ]
