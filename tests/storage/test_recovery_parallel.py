"""At once, over two processes, on one database: one link sets one password, and three answers are compared."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import HashingOverloaded, LinkDead, PermitGone, QuestionClosed, WrongAnswer
from idp.accounts.models import Account, AttemptCounter, PasswordRecord
from idp.accounts.usernames import parse_username
from idp.audit import AuditEvent, Event
from idp.db import Store, engine_options
from tests.accounts.house import House, QuickHasher, make_house
from tests.accounts.recovering import ANSWER, NAME, code_of
from tests.processes import CONTEXT

THREADS = 25
PROCESSES = 2
AT_ONCE = THREADS * PROCESSES
INVITED = "usr.XIA190128J61"

Outcome = tuple[str, str]


class NotingHasher(QuickHasher):
    """Notes each comparison in a file; a slow one, so that others arrive meanwhile."""

    def __init__(self, notes: Path, seconds: float) -> None:
        super().__init__()
        self._notes = notes
        self._seconds = seconds

    def verify(self, password: str, hashed: str | None) -> bool:
        with self._notes.open("a") as file:
            file.write(password + "\n")
        time.sleep(self._seconds)
        return super().verify(password, hashed)


def set_password(house: House, code: str, text: str, now: datetime) -> Outcome:
    try:
        house.recovery.set_password(house.recovery.open_link(code, now), text, now=now)
    except (LinkDead, PermitGone):
        return "gone", text
    return "set", text


def activate(house: House, code: str, text: str, now: datetime) -> Outcome:
    try:
        permit = house.recovery.open_link(code, now)
        prepared = house.lifecycle.prepare_activation(permit, text, now)
        time.sleep(0.2)  # the other browsers get as far as the second step, too
        house.lifecycle.activate(permit, prepared, question="dish", answer=ANSWER, now=now)
    except (LinkDead, PermitGone):
        return "gone", text
    return "set", text


def give_answer(house: House, _code: str, text: str, now: datetime) -> Outcome:
    try:
        house.recovery.answer(parse_username(NAME), text, attempt=Attempt(address="192.0.2.7"), now=now)
    except QuestionClosed:
        return "closed", text
    except WrongAnswer:
        return "wrong", text
    except HashingOverloaded:
        return "overloaded", text
    return "in", text


def ask_for_mail(house: House, _code: str, _text: str, now: datetime) -> Outcome:
    house.recovery.send_reminder(parse_username(NAME), attempt=Attempt(), now=now)
    return "asked", ""


ACTIONS: dict[str, Callable[[House, str, str, datetime], Outcome]] = {
    each.__name__: each for each in (set_password, activate, give_answer, ask_for_mail)
}


def work(
    url: str,
    notes: Path,
    seconds: float,
    action: str,
    code: str,
    texts: list[str],
    now: datetime,
    start: Any,
    told: Any,
) -> None:
    """One process: every text from its own thread, all let go together with the other process's."""
    engine = create_engine(url, **engine_options(url))
    house = make_house(Store(engine), NotingHasher(notes, seconds))
    together = threading.Barrier(len(texts), action=lambda: start.wait(60))

    def act(text: str) -> None:
        together.wait(60)
        told.put(ACTIONS[action](house, code, text, now))

    threads = [threading.Thread(target=act, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()


@pytest.fixture
def at_once(store: Store, tmp_path: Path, now: datetime) -> Callable[..., tuple[list[str], list[Outcome]]]:
    """Do it with every text in the same moment; what was compared, and what each was told."""

    def run(action: str, texts: list[str], *, code: str = "", seconds: float = 0.0) -> tuple[list[str], list[Outcome]]:
        notes = tmp_path / "compared"
        notes.write_text("")
        start, told = CONTEXT.Barrier(PROCESSES), CONTEXT.Queue()
        url = store.engine.url.render_as_string(hide_password=False)
        processes = [
            CONTEXT.Process(
                target=work, args=(url, notes, seconds, action, code, texts[n::PROCESSES], now, start, told)
            )
            for n in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        outcomes = [told.get(timeout=90) for _ in texts]
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
        told.close()
        told.join_thread()
        return notes.read_text().splitlines(), outcomes

    return run


@pytest.fixture
def house(store: Store) -> House:
    return make_house(store)


def count(store: Store, event: Event) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).where(AuditEvent.event == event)) or 0


@pytest.mark.spec("R-3")
def test_one_link_posted_by_many_sets_one_password(
    store: Store, house: House, now: datetime, at_once: Callable[..., tuple[list[str], list[Outcome]]]
) -> None:
    account_id = house.add(NAME, now)
    house.recovery.send_reminder(parse_username(NAME), attempt=Attempt(), now=now)
    code = code_of(house, house.messages()[0], now)
    passwords = [f"Pino;Verde;{chr(97 + n)}{m}" for n in range(13) for m in (3, 7)][:16]
    _, outcomes = at_once("set_password", passwords, code=code)
    told = Counter(word for word, _ in outcomes)
    assert told["set"] == 1
    assert sum(told.values()) == len(passwords)
    ((_, password),) = [each for each in outcomes if each[0] == "set"]
    with store.read() as connection:
        assert connection.scalar(select(Account.epoch).where(Account.id == account_id)) == 2
        assert connection.scalar(select(func.count()).select_from(PasswordRecord)) == 1
    assert count(store, Event.PASSWORD_RESET) == 1
    assert len(house.messages()) == 2  # the reminder and one notice
    house.sign_in(NAME, password, now)


@pytest.mark.spec("R-3")
def test_one_invitation_posted_by_many_activates_once(
    store: Store, house: House, now: datetime, at_once: Callable[..., tuple[list[str], list[Outcome]]]
) -> None:
    house.lifecycle.create(INVITED, email="buzon@example.com", now=now)
    code = code_of(house, house.messages()[0], now)
    _, outcomes = at_once("activate", [f"Pino;Verde;{chr(97 + n)}7" for n in range(20)], code=code)
    assert Counter(word for word, _ in outcomes) == {"set": 1, "gone": 19}
    ((_, password),) = [each for each in outcomes if each[0] == "set"]
    house.sign_in(INVITED, password, now)
    assert count(store, Event.ACCOUNT_ACTIVATE) == 1


@pytest.mark.spec("Q-3")
@pytest.mark.spec("L-2")
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "decoy"])
def test_of_fifty_wrong_answers_three_are_compared(
    store: Store,
    house: House,
    now: datetime,
    at_once: Callable[..., tuple[list[str], list[Outcome]]],
    is_known: bool,
) -> None:
    if is_known:
        house.add(NAME, now, question="dish", answer=ANSWER)
    compared, outcomes = at_once("give_answer", [f"no fue {n}" for n in range(AT_ONCE)], seconds=0.1)
    assert len(compared) == policy.QUESTION_ATTEMPTS
    assert Counter(word for word, _ in outcomes) == {"wrong": 2, "closed": AT_ONCE - 2}
    with store.read() as connection:
        assert [tuple(row) for row in connection.execute(select(AttemptCounter.failures, AttemptCounter.failed))] == [
            (3, 3)
        ]
    assert (count(store, Event.QUESTION_FAILURE), count(store, Event.QUESTION_CLOSE)) == (3, 1)
    assert count(store, Event.QUESTION_REFUSED_CLOSED) == AT_ONCE - 3


@pytest.mark.spec("Q-3")
def test_the_right_answer_many_times_at_once_closes_nothing(
    store: Store, house: House, now: datetime, at_once: Callable[..., tuple[list[str], list[Outcome]]]
) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    _, outcomes = at_once("give_answer", [ANSWER] * 20)
    assert Counter(word for word, _ in outcomes) == {"in": 20}
    with store.read() as connection:
        assert connection.scalars(select(AttemptCounter.failures)).all() == []


@pytest.mark.spec("R-9")
def test_many_requests_at_once_mail_once(
    store: Store, house: House, now: datetime, at_once: Callable[..., tuple[list[str], list[Outcome]]]
) -> None:
    house.add(NAME, now)
    at_once("ask_for_mail", [""] * 20)
    assert len(house.messages()) == 1
    assert count(store, Event.REMINDER_REQUEST) == 20
