"""What a write promises: all or nothing, one at a time where it must be, and a word when the database is away."""

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, select, text

from idp import audit
from idp.db import Store, StoreUnavailable, engine_options


@pytest.fixture
def counted(store: Store) -> Store:
    with store.write() as tx:
        tx.execute(text("CREATE TABLE counted (n INTEGER NOT NULL)"))
        tx.execute(text("INSERT INTO counted VALUES (0)"))
    return store


Work = Callable[[Connection], Any]
Way = Callable[[Store, int, Work], Any]


def by_write(store: Store, _number: int, work: Work) -> Any:
    with store.write() as tx:
        return work(tx)


def by_apply(store: Store, _number: int, work: Work) -> Any:
    return store.apply(work)


def by_either(store: Store, number: int, work: Work) -> Any:
    return (by_write if number % 3 else by_apply)(store, number, work)


in_each_way = pytest.mark.parametrize("way", [by_write, by_apply, by_either])


def _add(tx: Connection) -> int:
    return int(tx.execute(text("UPDATE counted SET n = n + 1 RETURNING n")).scalar_one())


def _read(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute(text("SELECT n FROM counted")).scalar_one())


@pytest.mark.parametrize("way", [by_write, by_apply])
def test_who_waits_for_another_process_goes_on_soon_after_it(tmp_path: Path, way: Way) -> None:
    """SQLite's own way of waiting looks again after 0.1 s, when it has waited for a while."""
    store, late = _on_disk(tmp_path), []
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        for _ in range(7):
            other.execute("BEGIN IMMEDIATE")
            waiting = pool.submit(way, store, 0, lambda _tx: time.monotonic())
            time.sleep(0.3)
            assert not waiting.done()
            ended = time.monotonic()
            other.execute("COMMIT")
            late.append(waiting.result(10) - ended)
    store.engine.dispose()
    assert median(late) < 0.02, late


@pytest.mark.parametrize("way", [by_write, by_apply])
def test_who_waits_for_another_process_does_so_for_a_while(
    tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.sqlite._BUSY_MAX", 0.2)
    store = _on_disk(tmp_path)
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            way(store, 0, lambda _tx: None)
    assert way(store, 0, lambda tx: tx.execute(text("SELECT 1")).scalar_one()) == 1
    store.engine.dispose()


def _on_disk(folder: Path) -> Store:
    url = f"sqlite:///{folder / 'x.db'}"
    store = Store(create_engine(url, **engine_options(url)))
    with store.write() as tx:
        tx.execute(text("CREATE TABLE counted (n INTEGER NOT NULL)"))
    return store


@pytest.mark.spec("S-2")
@in_each_way
def test_nothing_is_lost_between_many_writers(counted: Store, way: Way) -> None:
    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(lambda number: way(counted, number, _add), range(200)))
    assert sorted(seen) == list(range(1, 201))
    assert _read(counted) == 200


@pytest.mark.spec("S-1")
@in_each_way
def test_a_block_that_raises_changes_nothing_and_harms_no_neighbour(counted: Store, way: Way) -> None:
    ready = threading.Barrier(16)

    def add(number: int) -> bool:
        def work(tx: Connection) -> None:
            _add(tx)
            if number % 2:
                raise ZeroDivisionError

        ready.wait()
        try:
            way(counted, number, work)
        except ZeroDivisionError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(add, range(16)))
    assert done.count(True) == 8
    assert _read(counted) == 8


@pytest.mark.spec("S-1")
@in_each_way
def test_what_write_acknowledged_is_seen_by_everyone(counted: Store, way: Way) -> None:
    def add(number: int) -> int:
        mine = way(counted, number, _add)
        return _read(counted) - int(mine)

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(add, range(64))) >= 0


@pytest.mark.spec("S-1")
@in_each_way
def test_a_commit_that_fails_fails_for_all_who_share_it(tmp_path: Path, way: Way) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    store = Store(create_engine(url, **engine_options(url)))
    with store.write() as tx:
        tx.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
        tx.execute(text("CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"))
    inside, go_on = threading.Event(), threading.Event()

    def first(tx: Connection) -> None:
        inside.set()
        assert go_on.wait(10)
        tx.execute(text("INSERT INTO parent VALUES (1)"))

    def orphan(tx: Connection) -> None:
        tx.execute(text("INSERT INTO child VALUES (99)"))

    def proper(tx: Connection) -> None:
        tx.execute(text("INSERT INTO child VALUES (1)"))

    with ThreadPoolExecutor(4) as pool:
        begun = [pool.submit(by_write, store, 0, first)]
        assert inside.wait(10)
        begun += [pool.submit(way, store, number, work) for number, work in enumerate((proper, orphan, proper))]
        time.sleep(0.2)  # until they wait for the one who is inside
        go_on.set()
        assert [type(each.exception(10)) for each in begun] == [StoreUnavailable] * 4
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM parent")).scalar_one() == 0
    way(store, 0, lambda tx: tx.execute(text("INSERT INTO parent VALUES (1)")))
    way(store, 1, proper)
    store.engine.dispose()


def test_work_that_is_handed_over_knows_whose_it_is(counted: Store) -> None:
    """Whoever does it, the audit row says the caller's address."""
    ready = threading.Barrier(8)

    def ask(number: int) -> str | None:
        before = audit.origin.set(audit.Origin(address=f"10.0.0.{number}"))
        try:
            ready.wait()
            return counted.apply(lambda _tx: audit.origin.get().address)
        finally:
            audit.origin.reset(before)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [f"10.0.0.{number}" for number in range(8)]


@pytest.mark.parametrize("outer", [by_write, by_apply])
@pytest.mark.parametrize("inner", [by_write, by_apply])
def test_no_write_stands_inside_another(counted: Store, outer: Way, inner: Way) -> None:
    def work(tx: Connection) -> None:
        _add(tx)
        assert _read(counted) == 1  # its own, not yet committed
        with pytest.raises(RuntimeError):
            inner(counted, 0, _add)

    outer(counted, 0, work)
    assert _read(counted) == 1
    inner(counted, 0, _add)
    assert _read(counted) == 2


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
    for _ in range(2):
        with pytest.raises(StoreUnavailable), store.write():
            pass
        with pytest.raises(StoreUnavailable):
            store.apply(lambda _tx: None)


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
