"""A forgotten password: the question, its decoys, its three tries, and the reminder by mail."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import (
    AddressThrottled,
    HashingOverloaded,
    LinkDead,
    PermitGone,
    UsernameLocked,
    WrongCredentials,
)
from idp.accounts.models import AttemptCounter
from idp.accounts.permits import Means
from idp.accounts.usernames import parse_username
from idp.audit import AuditEvent, Event
from idp.db import Store
from tests.accounts.house import PASSWORD, House, make_house, watch_statements
from tests.accounts.recovering import (
    ANSWER,
    NAME,
    NEW,
    NOBODY,
    SECOND,
    answer,
    code_of,
    open_by_answer,
    remind,
)

# One name of every kind that there is.
KINDS = {
    "known": "usr.XIA190128J61",
    "without a question": "usr.IIA040805DZ4",
    "disabled": "usr.URE180429TM6",
    "invited": "usr.MISC491214B86",
    "nobody": "usr.KICR630120NX3",
}


def add_kinds(house: House, now: datetime) -> None:
    house.add(KINDS["known"], now, question="dish", answer=ANSWER)
    house.add(KINDS["without a question"], now)
    house.add(KINDS["disabled"], now, question="dish", answer=ANSWER)
    house.lifecycle.disable(KINDS["disabled"], now)
    house.lifecycle.create(KINDS["invited"], email="buzon@example.com", now=now)


# -- answering -------------------------------------------------------------------------------------------------------


@pytest.mark.spec("Q-5")
def test_a_right_answer_opens_set_password_for_ten_minutes_once(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now, question="dish", answer=ANSWER)
    permit = open_by_answer(house, now)
    end = now + policy.PERMIT_LIFETIME
    assert (permit.account_id, permit.username, permit.means) == (account_id, NAME, Means.QUESTION)
    house.recovery.check_permit(permit, end - SECOND)
    for door in (house.recovery.check_permit, lambda permit, now: house.recovery.set_password(permit, NEW, now=now)):
        with pytest.raises(PermitGone):
            door(permit, end)
    house.recovery.set_password(permit, NEW, now=end - SECOND)
    with pytest.raises(PermitGone):
        house.recovery.set_password(permit, "Pino;Verde;36", now=end - SECOND)
    house.sign_in(NAME, NEW, end)
    assert house.events().count(Event.QUESTION_SUCCESS) == 1


@pytest.mark.spec("D-53")
@pytest.mark.spec("Q-3")
def test_four_wrong_answers_then_the_right_one_then_the_mailed_link(house: House, now: datetime) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    for _ in range(2):
        with pytest.raises(WrongCredentials):
            house.sign_in(NAME, "wrong", now)
    with pytest.raises(UsernameLocked):
        house.sign_in(NAME, "wrong", now)
    assert [answer(house, NAME, "no fue eso", now) for _ in range(4)] == ["2 left", "1 left", "closed", "closed"]
    assert answer(house, NAME, ANSWER, now) == "closed"
    assert house.recovery.is_closed(parse_username(NAME), now)
    with pytest.raises(UsernameLocked):
        house.sign_in(NAME, PASSWORD, now)
    remind(house, NAME, now)
    code = code_of(house, house.messages()[-1], now)
    house.recovery.set_password(house.recovery.open_link(code, now), NEW, now=now)
    house.sign_in(NAME, NEW, now, captcha=None)
    assert not house.recovery.is_closed(parse_username(NAME), now)
    events = Counter(house.events())
    assert (events[Event.QUESTION_FAILURE], events[Event.QUESTION_CLOSE]) == (3, 1)
    assert (events[Event.QUESTION_REFUSED_CLOSED], events[Event.ACCOUNT_UNLOCK]) == (2, 1)


@pytest.mark.spec("Q-3")
@pytest.mark.parametrize("kind", KINDS)
def test_the_path_closes_and_reopens_alike_for_every_kind_of_name(house: House, now: datetime, kind: str) -> None:
    add_kinds(house, now)
    told = [answer(house, KINDS[kind], "no fue eso", now + n * SECOND) for n in range(5)]
    assert told == ["2 left", "1 left", "closed", "closed", "closed"]
    name = parse_username(KINDS[kind])
    # From the third wrong answer on, not from the last try.
    reopened = now + 2 * SECOND + policy.QUESTION_CLOSED_FOR
    assert house.recovery.is_closed(name, reopened - SECOND)
    assert answer(house, KINDS[kind], ANSWER, reopened - SECOND) == "closed"
    assert not house.recovery.is_closed(name, reopened)
    assert answer(house, KINDS[kind], "no fue eso", reopened) == "2 left"
    assert answer(house, KINDS[kind], ANSWER, reopened) == ("in" if kind == "known" else "1 left")


@pytest.mark.spec("Q-3")
def test_signing_in_and_answering_are_counted_apart(house: House, now: datetime) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    assert [answer(house, NAME, "no fue eso", now) for _ in range(3)][-1] == "closed"
    house.sign_in(NAME, PASSWORD, now, captcha=None)  # no lock, no CAPTCHA
    assert house.recovery.is_closed(parse_username(NAME), now)
    house.add("usr." + NAME, now, question="dish", answer=ANSWER)
    with pytest.raises(WrongCredentials):
        house.sign_in("usr." + NAME, "wrong", now)
    assert answer(house, "usr." + NAME, ANSWER, now) == "in"
    assert house.lockout.has_failed(house.lockout.key_of(parse_username("usr." + NAME)), now)


@pytest.mark.spec("Q-3")
def test_a_right_answer_gives_back_its_own_try_and_no_other(house: House, now: datetime) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    told = [answer(house, NAME, text, now) for text in ("no fue", ANSWER, ANSWER, ANSWER, "eso no", ANSWER, "tampoco")]
    assert told == ["2 left", "in", "in", "in", "1 left", "in", "closed"]


@pytest.mark.spec("D-51")
@pytest.mark.spec("L-9")
def test_the_same_statements_and_one_comparison_whoever_it_is(house: House, now: datetime) -> None:
    add_kinds(house, now)
    statements = watch_statements(house.store)

    def watch(do: Callable[[], Any]) -> tuple[list[str], int]:
        statements.clear()
        before = house.hasher.compared
        do()
        assert statements
        return list(statements), house.hasher.compared - before

    for step in ("first", "second", "third", "fourth"):
        seen = [watch(lambda name=name: answer(house, name, "no fue eso", now)) for name in KINDS.values()]
        assert seen == [seen[0]] * len(KINDS), step
        assert seen[0][1] == (0 if step == "fourth" else 1)
    for door in (remind, lambda house, name, now: house.recovery.question_for(parse_username(name))):
        for _ in range(2):
            seen = [watch(lambda name=name, door=door: door(house, name, now)) for name in KINDS.values()]
            assert seen == [seen[0]] * len(KINDS)


@pytest.mark.spec("S-4")
def test_a_name_that_nobody_has_is_recorded_as_its_key(house: House, now: datetime) -> None:
    answer(house, NOBODY, "no fue eso", now)
    remind(house, NOBODY, now)
    with house.store.read() as connection:
        details = connection.scalars(select(AuditEvent.detail)).all()
        keys = connection.scalars(select(AttemptCounter.key)).all()
    assert details == [{"username_key": keys[0]}] * 2


@pytest.mark.spec("L-7")
def test_wrong_answers_fill_the_throttle_of_the_address_and_right_ones_do_not_empty_it(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "ADDRESS_FAILURES_MAX", 4)
    house.add(NAME, now, question="dish", answer=ANSWER)
    names = [f"usr.KICR6301{day:02}NX3" for day in range(1, 5)]
    for name in names[:3]:
        assert answer(house, name, "no fue eso", now) == "2 left"
    assert [answer(house, NAME, ANSWER, now) for _ in range(5)] == ["in"] * 5
    assert answer(house, names[3], "no fue eso", now) == "2 left"
    compared = house.hasher.compared
    with pytest.raises(AddressThrottled):
        answer(house, NAME, ANSWER, now)
    assert house.hasher.compared == compared
    assert answer(house, NAME, ANSWER, now, Attempt(address="192.0.2.8")) == "in"
    assert answer(house, NAME, ANSWER, now + policy.ADDRESS_WINDOW) == "in"


@pytest.mark.spec("L-10")
def test_without_a_hash_slot_nothing_is_counted(house: House, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)

    def overloaded(*given: object) -> bool:
        raise HashingOverloaded(policy.RETRY_AFTER)

    with monkeypatch.context() as patch:
        patch.setattr(house.hasher, "verify", overloaded)
        for _ in range(4):
            with pytest.raises(HashingOverloaded):
                answer(house, NAME, ANSWER, now)
    assert answer(house, NAME, "no fue eso", now) == "2 left"


@pytest.mark.spec("R-4")
@pytest.mark.parametrize("meanwhile", ["disabled", "another password"])
def test_what_changes_while_the_answer_is_compared_counts(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    permit = open_by_answer(house, now)
    verify = house.hasher.verify

    def slow(password: str, hashed: str | None) -> bool:
        monkeypatch.undo()
        if meanwhile == "disabled":
            house.lifecycle.disable(NAME, now)
        else:
            house.recovery.set_password(permit, NEW, now=now)
        return verify(password, hashed)

    monkeypatch.setattr(house.hasher, "verify", slow)
    assert answer(house, NAME, ANSWER, now) == "2 left"


# -- modes -----------------------------------------------------------------------------------------------------------


def test_then_link_mails_what_alone_would_open(store: Store, now: datetime) -> None:
    house = make_house(store, mode="then_link")
    house.add(NAME, now, question="dish", answer=ANSWER)
    assert answer(house, NAME, "no fue eso", now) == "2 left"
    assert house.messages() == []
    assert answer(house, NAME, ANSWER, now) == "mailed"
    assert answer(house, NAME, ANSWER, now) == "mailed"  # and not a second mail within five minutes
    (message,) = house.messages()
    permit = house.recovery.open_link(code_of(house, message, now), now)
    house.recovery.set_password(permit, NEW, now=now)


def test_off_asks_nobody_and_the_mail_remains(store: Store, now: datetime) -> None:
    house = make_house(store, mode="off")
    house.add(NAME, now, question="dish", answer=ANSWER)
    assert house.recovery.is_closed(parse_username(NAME), now)
    assert answer(house, NAME, ANSWER, now) == "closed"
    assert house.hasher.compared == 0
    remind(house, NAME, now)
    house.recovery.set_password(house.recovery.open_link(code_of(house, house.messages()[0], now), now), NEW, now=now)


# -- what a permit is for --------------------------------------------------------------------------------------------


@pytest.mark.spec("R-1")
def test_recovery_takes_only_its_own_permits(house: House, now: datetime) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    permit = open_by_answer(house, now)
    for means in (Means.EXPIRED, Means.INVITATION, Means.CURRENT):
        with pytest.raises(PermitGone):
            house.recovery.set_password(replace(permit, means=means), NEW, now=now)
    with pytest.raises(PermitGone):
        house.recovery.check_permit(replace(permit, means=Means.INVITATION), now)
    house.recovery.check_permit(permit, now)
    house.recovery.set_password(permit, NEW, now=now)


@pytest.mark.spec("D-56")
def test_a_link_is_dead_once_the_password_was_changed_by_the_question(house: House, now: datetime) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    remind(house, NAME, now)
    code = code_of(house, house.messages()[0], now)
    link = house.recovery.open_link(code, now)
    house.recovery.set_password(open_by_answer(house, now), NEW, now=now)
    with pytest.raises(LinkDead):
        house.recovery.open_link(code, now)
    for door in (house.recovery.check_permit, lambda permit, now: house.recovery.set_password(permit, NEW, now=now)):
        with pytest.raises(PermitGone):
            door(link, now)


@pytest.mark.spec("R-10")
def test_a_finished_reset_signs_nobody_in(house: House, now: datetime) -> None:
    house.add(NAME, now, question="dish", answer=ANSWER)
    house.recovery.set_password(open_by_answer(house, now), NEW, now=now)
    events = house.events()
    assert Event.SIGNIN_SUCCESS not in events
    assert Event.PASSWORD_RESET in events
