"""The catalogue, the decoys and the rules of answers."""

from collections import Counter
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idp import policy
from idp.accounts.errors import (
    AnswerRefused,
)
from idp.accounts.passwords import normalise_answer, normalise_password
from idp.accounts.questions import QUESTIONS, check_answer, pick_decoy
from idp.accounts.usernames import parse_username
from idp.db import Store
from tests.accounts.house import DECOY_KEY, House, make_house
from tests.accounts.recovering import (
    ANSWER,
    NAME,
    NOBODY,
    answer,
)


@pytest.mark.spec("D-52")
@pytest.mark.spec("Q-2")
def test_a_name_nobody_has_is_asked_one_question_for_ever(house: House, store: Store, now: datetime) -> None:
    name = parse_username(NOBODY)
    shown = {house.recovery.question_for(name) for _ in range(10)}
    shown |= {make_house(store).recovery.question_for(name)}  # restarted
    shown |= {house.recovery.question_for(parse_username("kicr 630120-nx3"))}
    assert len(shown) == 1
    assert shown.issubset(QUESTIONS)
    # An account that never chose one is asked the same as before it was there.
    house.add(NOBODY, now)
    assert {house.recovery.question_for(name)} == shown


@pytest.mark.spec("Q-2")
def test_decoys_depend_on_the_key_and_are_drawn_as_people_choose() -> None:
    names = [f"EKU90031{number:05}" for number in range(4000)]
    decoys = [pick_decoy(name, DECOY_KEY) for name in names]
    drawn = Counter(decoys)
    assert set(drawn) == set(QUESTIONS)
    assert drawn.most_common(1)[0][0] == "teacher"
    assert 0.16 < drawn["teacher"] / len(names) < 0.22
    assert drawn["hideout"] / len(names) < 0.04
    others = [pick_decoy(name, b"another key") for name in names]
    assert sum(one == other for one, other in zip(decoys, others, strict=True)) < len(names) / 4


@pytest.mark.spec("Q-1")
def test_the_own_question_is_asked_whatever_the_state(house: House, now: datetime) -> None:
    name = parse_username(NAME)
    chosen = next(each for each in QUESTIONS if each != house.recovery.question_for(name))
    house.add(NAME, now, question=chosen, answer=ANSWER)
    assert house.recovery.question_for(name) == chosen
    house.lifecycle.disable(NAME, now)
    assert house.recovery.question_for(name) == chosen


@pytest.mark.spec("D-65")
@pytest.mark.parametrize("typed", ["jose nunez", "JOSÉ NÚÑEZ", " josé-núñez ", "Jose   Nunez.", "José Núñez!"])
def test_an_answer_is_the_same_however_it_is_typed(house: House, now: datetime, typed: str) -> None:
    house.add(NAME, now, question="neighbor", answer="José  Núñez!")
    assert answer(house, NAME, "josenunez", now) == "2 left"
    assert answer(house, NAME, typed, now) == "in"


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_what_the_rules_let_through_can_be_hashed(text: str) -> None:
    try:
        normal = check_answer(text, "toy", parse_username(NAME))
    except AnswerRefused:
        return
    assert policy.SECRET_ANSWER_LENGTH_MIN <= len(normal) <= policy.PASSWORD_LENGTH_MAX
    assert normalise_answer(normal) == normal
    assert normalise_password(normal) == normal
