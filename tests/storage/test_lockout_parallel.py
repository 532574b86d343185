"""Fifty guesses at once, over two processes, on one database: at most three are compared."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, update

from idp.accounts.credentials import Credentials
from idp.accounts.errors import UsernameLocked, WrongCredentials
from idp.accounts.lifecycle import Lifecycle
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, AttemptCounter
from idp.accounts.passwords import Hasher
from idp.accounts.sessions import Sessions
from idp.accounts.usernames import parse_username
from idp.audit import AuditEvent, Event
from idp.db import Store, engine_options
from idp.outbox import Outbox

KEY = b"a key for tests, which locks nobody out"
RIGHT = "Nieve.Tibia7"
USERNAME = "EKU9003173C9"
THREADS = 25
PROCESSES = 2
GUESSES = THREADS * PROCESSES


class SlowHasher(Hasher):
    """Notes each comparison in a file, and ends none before the other guesses were refused: that is *at once*."""

    def __init__(self, notes: Path, refused: Any) -> None:
        super().__init__(THREADS)
        self._notes = notes
        self._refused = refused

    def hash(self, password: str) -> str:
        return "quick$" + password[::-1]

    def verify(self, password: str, hashed: str | None) -> bool:
        with self._notes.open("a") as file:
            file.write(password + "\n")
        until = time.monotonic() + 30
        while self._refused.value < GUESSES - 3 and time.monotonic() < until:
            time.sleep(0.01)
        return hashed == self.hash(password)

    def needs_rehash(self, hashed: str) -> bool:
        return False


def guess(url: str, notes: Path, passwords: list[str], now: datetime, start: Any, refused: Any, answers: Any) -> None:
    """One process: every password from its own thread, all let go together with the other process's."""
    engine = create_engine(url, **engine_options(url))
    store = Store(engine)
    credentials = Credentials(store, SlowHasher(notes, refused), Lockout(store, KEY))
    together = threading.Barrier(len(passwords), action=lambda: start.wait(30))

    def attempt(password: str) -> None:
        together.wait(30)
        try:
            credentials.check(parse_username(USERNAME), password, now)
            answers.put("in")
        except UsernameLocked:
            with refused.get_lock():
                refused.value += 1
            answers.put("locked")
        except WrongCredentials:
            answers.put("wrong")

    threads = [threading.Thread(target=attempt, args=(password,)) for password in passwords]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()


@pytest.fixture
def attack(store: Store, tmp_path: Path, now: datetime) -> Callable[[list[str]], tuple[list[str], Counter[str]]]:
    """Run the guesses; what was compared, and how often each answer was given."""

    def run(passwords: list[str]) -> tuple[list[str], Counter[str]]:
        context = multiprocessing.get_context("spawn")
        notes = tmp_path / "compared"
        notes.touch()
        start, refused, answers = context.Barrier(PROCESSES), context.Value("i", 0), context.Queue()
        url = store.engine.url.render_as_string(hide_password=False)
        processes = [
            context.Process(target=guess, args=(url, notes, passwords[n::PROCESSES], now, start, refused, answers))
            for n in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        shown = Counter(answers.get(timeout=60) for _ in passwords)
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
        answers.close()
        answers.join_thread()
        return notes.read_text().split(), shown

    return run


@pytest.fixture
def account(store: Store, tmp_path: Path, now: datetime) -> str:
    hasher = SlowHasher(tmp_path / "unused", None)
    lifecycle = Lifecycle(store, hasher, Lockout(store, KEY), Lockout(store, KEY), Sessions(store), Outbox(store))
    return lifecycle.create(USERNAME, email="buzon@example.com", password=RIGHT, now=now).account_id


def count(store: Store, event: Event) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).where(AuditEvent.event == event)) or 0


@pytest.mark.spec("L-2")
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_fifty_wrong_guesses(
    store: Store,
    attack: Callable[[list[str]], tuple[list[str], Counter[str]]],
    account: str,
    is_known: bool,
) -> None:
    if not is_known:
        with store.write() as tx:
            tx.execute(update(Account).values(username="usr." + USERNAME))
    compared, shown = attack([f"guess-{n}" for n in range(GUESSES)])
    assert len(compared) == 3
    assert shown == {"wrong": 2, "locked": GUESSES - 2}
    with store.read() as connection:
        assert connection.scalars(select(AttemptCounter.failures)).all() == [3]
    assert (count(store, Event.SIGNIN_FAILURE), count(store, Event.ACCOUNT_LOCK)) == (3, 1)
    assert count(store, Event.SIGNIN_REFUSED_LOCKED) == GUESSES - 3


@pytest.mark.spec("L-2")
def test_fifty_guesses_with_the_right_one_among_them(
    store: Store,
    attack: Callable[[list[str]], tuple[list[str], Counter[str]]],
    account: str,
) -> None:
    compared, shown = attack([RIGHT if n % 17 == 8 else f"guess-{n}" for n in range(GUESSES)])
    assert len(compared) == 3
    assert shown["in"] <= compared.count(RIGHT)
    assert shown["in"] == count(store, Event.SIGNIN_SUCCESS)
    assert sum(shown.values()) == GUESSES


@pytest.mark.spec("L-2")
def test_fifty_times_the_right_one(
    store: Store, attack: Callable[[list[str]], tuple[list[str], Counter[str]]], account: str
) -> None:
    compared, shown = attack([RIGHT] * GUESSES)
    assert compared == [RIGHT] * 3
    assert shown == {"in": 3, "locked": GUESSES - 3}
    with store.read() as connection:
        assert connection.scalars(select(AttemptCounter.failures)).all() == []
