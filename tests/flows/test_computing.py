"""Few compute at once, nobody is held up, and no place is lost (`idp.places`)."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from idp import places
from idp.db import Store, engine_options
from idp.places import Places, Word, aside

REQUESTS, COMPUTING = 6, 2


class Watch:
    """How many are in a part of the work, and how many ever were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1


def _storm(room: Places, seed: int) -> tuple[Watch, Watch]:
    begun, computing = Watch(), Watch()

    def request(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        with room, begun.inside():
            for _ in range(3):
                with computing.inside():
                    time.sleep(chance.random() / 2000)
                with aside(), aside():  # given up once, however often it is said
                    time.sleep(chance.random() / 500)
                    if chance.random() < 0.1:
                        word = Word()
                        threading.Timer(0.001, word.say).start()
                        word.wait()

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(request, range(120)))
    return begun, computing


@pytest.mark.parametrize("seed", range(3))
def test_no_more_compute_at_once_than_may(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE", 60.0)
    begun, computing = _storm(Places(REQUESTS, COMPUTING), seed)
    assert computing.most == COMPUTING
    assert COMPUTING < begun.most <= REQUESTS


def test_no_place_is_lost_or_won_by_those_who_lose_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Places(REQUESTS, COMPUTING)
    monkeypatch.setattr(places, "PATIENCE", 0.0005)
    begun, computing = _storm(room, 1)
    assert computing.most > COMPUTING, "nobody lost patience"
    assert begun.most <= REQUESTS
    monkeypatch.setattr(places, "PATIENCE", 60.0)
    begun, computing = _storm(room, 2)
    assert computing.most == COMPUTING
    assert COMPUTING < begun.most <= REQUESTS


def test_who_waits_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE", 60.0)
    room, go_on, waits = Places(REQUESTS, 1), threading.Event(), threading.Event()

    def wait() -> None:
        with room, aside():
            waits.set()
            go_on.wait(30)

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(wait)
        waits.wait(30)
        assert pool.submit(_pass, room).result(10)
        assert not waiting.done()
        go_on.set()


def test_who_computes_for_long_holds_nobody_up() -> None:
    room, go_on = Places(REQUESTS, 1), threading.Event()

    def compute() -> None:
        with room:
            go_on.wait(30)

    with ThreadPoolExecutor(4) as pool:
        long = pool.submit(compute)
        began = time.monotonic()
        assert all(pool.map(_pass, [room] * 3, timeout=10))
        assert time.monotonic() - began > places.PATIENCE * 0.9
        assert not long.done()
        go_on.set()


def _pass(room: Places) -> bool:
    with room:
        return True


@pytest.mark.parametrize("is_early", [True, False])
def test_a_word_brings_a_place_with_it(is_early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE", 60.0)
    room = Places(REQUESTS, 1)
    with ThreadPoolExecutor(2) as pool:
        with room:
            word = Word()
            if is_early:
                word.say()
            else:
                threading.Timer(0.05, word.say).start()
            word.wait()
            another = pool.submit(_pass, room)
            time.sleep(0.05)
            assert not another.done(), "two compute where one may"
        assert another.result(10)


def test_a_word_is_heard_by_a_thread_without_a_place() -> None:
    word, said = Word(), threading.Event()

    def say() -> None:
        said.set()
        word.say()

    threading.Timer(0.05, say).start()
    word.wait()
    assert said.is_set(), "it did not wait"


def test_a_commit_waits_for_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever computes would hold up the writer, and with it every other process."""
    monkeypatch.setattr(places, "PATIENCE", 60.0)
    url = f"sqlite:///{tmp_path / 'x.db'}"
    store, other = (Store(create_engine(url, **engine_options(url))) for _ in range(2))
    with store.write() as tx:
        tx.execute(text("CREATE TABLE written (n INTEGER)"))
    room, writes, go_on = Places(REQUESTS, 1), threading.Event(), threading.Event()

    def write() -> None:
        with room, store.write() as tx:
            writes.set()
            go_on.wait(30)
            tx.execute(text("INSERT INTO written VALUES (1)"))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        writes.wait(30)
        with room:  # which the writer has given up
            go_on.set()
            until = time.monotonic() + 10
            while not _count(other) and time.monotonic() < until:
                time.sleep(0.01)
            assert _count(other) == 1
            assert not writing.done(), "it computes beside us"
        writing.result(10)
    for each in (store, other):
        each.engine.dispose()


def _count(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM written")).scalar_one())
