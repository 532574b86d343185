"""Fifty guesses at once, over two processes, on one database: at most three are compared."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, update

from idp.accounts.attempts import Attempt
from idp.accounts.devices import Devices
from idp.accounts.errors import CaptchaRefused, UsernameLocked, WrongCredentials
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, AttemptCounter
from idp.accounts.passwords import Hasher
from idp.accounts.usernames import parse_username
from idp.audit import AuditEvent, Event
from idp.db import Store, engine_options
from tests.accounts.house import LOCKOUT_KEY, RIGHT, make_house
from tests.processes import CONTEXT

PASSWORD = "Nieve.Tibia7"
USERNAME = "EKU9003173C9"
THREADS = 25
PROCESSES = 2
GUESSES = THREADS * PROCESSES
SILENT = Attempt()
ANSWERING = Attempt(captcha=RIGHT, captcha_due=True)
MADE_AT_ONCE = 0.3  # seconds that a comparison takes, so that the others arrive meanwhile


class SlowHasher(Hasher):
    """Notes each comparison in a file, and takes long enough for the other guesses to arrive: that is *at once*."""

    def __init__(self, notes: Path, seconds: float) -> None:
        super().__init__(THREADS)
        self._notes = notes
        self._seconds = seconds

    def hash(self, password: str) -> str:
        return "quick$" + password[::-1]

    def verify(self, password: str, hashed: str | None) -> bool:
        with self._notes.open("a") as file:
            file.write(password + "\n")
        until = time.monotonic() + 10
        while self._seconds >= MADE_AT_ONCE and len(self._notes.read_text().split()) < 3 and time.monotonic() < until:
            time.sleep(0.01)  # the machine is slow today
        time.sleep(self._seconds)
        return hashed == self.hash(password)

    def pretend(self) -> None:
        """Costs nothing, so that fifty refusals take no time."""

    def needs_rehash(self, hashed: str) -> bool:
        return False


def guess(
    url: str, hashing: tuple[Path, float], guesses: list[tuple[str, Attempt]], now: datetime, start: Any, answers: Any
) -> None:
    """One process: every password from its own thread, all let go together with the other process's."""
    engine = create_engine(url, **engine_options(url))
    credentials = make_house(Store(engine), SlowHasher(*hashing)).credentials
    together = threading.Barrier(len(guesses), action=lambda: start.wait(30))

    def attempt(password: str, attempt: Attempt) -> None:
        together.wait(30)
        try:
            credentials.check(parse_username(USERNAME), password, now, attempt=attempt)
            answers.put("in")
        except UsernameLocked:
            answers.put("locked")
        except CaptchaRefused:
            answers.put("captcha")
        except WrongCredentials:
            answers.put("wrong")
        except Exception as error:  # the test shows it
            answers.put(repr(error))

    threads = [threading.Thread(target=attempt, args=each) for each in guesses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()


Attack = Callable[..., tuple[list[str], Counter[str]]]


@pytest.fixture
def attack(store: Store, tmp_path: Path, now: datetime) -> Attack:
    """Run the guesses; what was compared, and how often each answer was given."""

    def run(
        passwords: list[str], attempt: Attempt = SILENT, seconds: float = MADE_AT_ONCE
    ) -> tuple[list[str], Counter[str]]:
        notes = tmp_path / "compared"
        notes.write_text("")
        start, answers = CONTEXT.Barrier(PROCESSES), CONTEXT.Queue()
        url = store.engine.url.render_as_string(hide_password=False)
        guesses = [(password, attempt) for password in passwords]
        processes = [
            CONTEXT.Process(target=guess, args=(url, (notes, seconds), guesses[n::PROCESSES], now, start, answers))
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
    return make_house(store, SlowHasher(tmp_path / "unused", 0)).add(USERNAME, now, password=PASSWORD)


def count(store: Store, event: Event) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).where(AuditEvent.event == event)) or 0


def counters(store: Store) -> list[tuple[int, int]]:
    with store.read() as connection:
        rows = connection.execute(select(AttemptCounter.failures, AttemptCounter.failed)).all()
    return [(row.failures, row.failed) for row in rows]


WRONG = [f"guess-{n}" for n in range(GUESSES)]


@pytest.mark.spec("L-2")
@pytest.mark.parametrize(
    ("is_known", "is_answering"), [(True, False), (False, True)], ids=["known", "unknown, with CAPTCHAs"]
)
def test_fifty_wrong_guesses(
    store: Store, attack: Attack, account: str, now: datetime, is_known: bool, is_answering: bool
) -> None:
    if not is_known:
        with store.write() as tx:
            tx.execute(update(Account).values(username="usr." + USERNAME))
    compared, shown = attack(WRONG, ANSWERING if is_answering else SILENT)
    assert len(compared) == 3
    # The first failure asks those who wait for a CAPTCHA; who had answered one is locked out with the others.
    assert shown["wrong"] == 2
    assert shown["locked"] >= (GUESSES - 2 if is_answering else 1)
    assert shown["wrong"] + shown["locked"] + shown["captcha"] == GUESSES
    assert counters(store) == [(3, 3)]
    assert (count(store, Event.SIGNIN_FAILURE), count(store, Event.ACCOUNT_LOCK)) == (3, 1)
    assert count(store, Event.SIGNIN_REFUSED_LOCKED) == shown["locked"] - 1
    house = make_house(store)
    assert len(house.mails()) == (1 if is_known else 0)
    with pytest.raises(UsernameLocked):
        house.sign_in(USERNAME, PASSWORD, now)


@pytest.mark.spec("L-2", "L-6")
def test_fifty_wrong_guesses_at_a_known_browser(store: Store, attack: Attack, account: str, now: datetime) -> None:
    with store.write() as tx:
        device = Devices(store, enabled=True).remember(tx, None, account, now)
    compared, shown = attack(WRONG, Attempt(device=device, captcha=RIGHT, captcha_due=True))
    assert len(compared) == 3
    assert shown == {"wrong": 2, "locked": GUESSES - 2}
    # To everybody else the name is as it was.
    assert not Lockout(store, LOCKOUT_KEY).has_failed(Lockout(store, LOCKOUT_KEY).key_of(parse_username(USERNAME)), now)


@pytest.mark.spec("L-2")
def test_fifty_guesses_with_right_ones_among_them(store: Store, attack: Attack, account: str) -> None:
    compared, shown = attack([PASSWORD if n % 17 == 8 else f"guess-{n}" for n in range(GUESSES)], ANSWERING, 0.02)
    wrong = len(compared) - compared.count(PASSWORD)
    assert shown["in"] == compared.count(PASSWORD) == count(store, Event.SIGNIN_SUCCESS)
    # Each of them begins the count afresh.
    assert 0 < wrong <= 3 * (shown["in"] + 1)
    assert wrong == count(store, Event.SIGNIN_FAILURE)
    assert shown["in"] + shown["wrong"] + shown["locked"] == GUESSES


@pytest.mark.spec("L-2")
def test_twenty_times_the_right_one_lets_everybody_in(store: Store, attack: Attack, account: str) -> None:
    compared, shown = attack([PASSWORD] * 20, SILENT, 0.05)
    assert compared == [PASSWORD] * 20
    assert shown == {"in": 20}
    assert counters(store) == []
