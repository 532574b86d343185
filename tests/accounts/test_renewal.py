"""A new password: what may not come back, and what ends with the old one."""

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, update

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import (
    AnswerRefused,
    AnswerRule,
    HashingOverloaded,
    PasswordRefused,
    PasswordRule,
    PermitGone,
    UsernameLocked,
    WrongCredentials,
)
from idp.accounts.models import Account, PasswordRecord
from idp.accounts.passwords import Hasher, find_neighbours, only_digits_differ
from idp.accounts.permits import Means, Permit
from idp.accounts.usernames import parse_username
from idp.audit import Event
from idp.db import Store
from idp.outbox import Template
from tests.accounts.house import PASSWORD, RIGHT, House, make_house

NAME = "EKU9003173C9"
NEW = "Otra-Clara-58"
SECOND = timedelta(seconds=1)


def leave(house: House, now: datetime, means: Means = Means.LINK) -> Permit:
    """A permit as of the account's present epoch."""
    with house.store.read() as connection:
        account_id, epoch = connection.execute(select(Account.id, Account.epoch).where(Account.username == NAME)).one()
    return Permit(account_id, NAME, epoch, means, now + policy.PERMIT_LIFETIME)


def renew(house: House, password: str, now: datetime, **more: Any) -> datetime:
    values = {"event": Event.PASSWORD_RESET, "permit": leave(house, now), **more}
    return house.renewal.renew(values.pop("permit"), password, now=now, **values)


def broken(house: House, password: str, now: datetime, **more: Any) -> tuple[PasswordRule, ...]:
    with pytest.raises(PasswordRefused) as refusal:
        renew(house, password, now, **more)
    return refusal.value.broken


@pytest.mark.spec("PW-6")
def test_the_new_password_holds_for_thirty_days(house: House, now: datetime) -> None:
    house.add(NAME, now)
    later = now + timedelta(days=29)
    assert renew(house, NEW, later) == later + policy.PASSWORD_LIFETIME
    house.sign_in(NAME, NEW, later + policy.PASSWORD_LIFETIME - SECOND)
    with pytest.raises(WrongCredentials):
        house.sign_in(NAME, PASSWORD, later)


@pytest.mark.spec("W-4")
@pytest.mark.spec("D-58")
def test_everything_that_the_old_one_had_opened_ends(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now, email="antes@example.com")
    other = house.add("usr." + NAME, now)
    cookies = [house.sign_in(NAME, PASSWORD, now) for _ in range(2)]
    neighbour = house.sign_in("usr." + NAME, PASSWORD, now)
    renew(house, NEW, now)
    assert [house.sessions.find(each.cookie, now) for each in cookies] == [None, None]
    assert house.sessions.find(neighbour.cookie, now) is not None
    name, others = parse_username(NAME), parse_username("usr." + NAME)
    assert house.devices.find(cookies[0].device, name, now) is None
    assert house.devices.find(neighbour.device, others, now) is not None
    assert house.changed == [account_id] != [other]
    (mail,) = house.messages()
    assert (mail.template, mail.recipient) == (Template.PASSWORD_CHANGED, "antes@example.com")
    assert mail.parameters == {"username": "EKU······3C9", "at": now.isoformat()}
    assert house.events().count(Event.PASSWORD_RESET) == 1


@pytest.mark.spec("L-8")
def test_the_lock_and_the_closed_question_are_lifted(house: House, now: datetime) -> None:
    house.add(NAME, now)
    for _ in range(2):
        with pytest.raises(WrongCredentials):
            house.sign_in(NAME, "wrong", now)
    with pytest.raises(UsernameLocked):
        house.sign_in(NAME, "wrong", now)
    key = house.question_lockout.key_of(parse_username(NAME))
    with house.store.write() as tx:
        for _ in range(policy.QUESTION_ATTEMPTS):
            house.question_lockout.fail(tx, key, now)
    assert house.question_lockout.is_locked(key, now)
    renew(house, NEW, now)
    assert not house.question_lockout.is_locked(key, now)
    # No CAPTCHA either (C-6): this browser answers none.
    house.sign_in(NAME, NEW, now, captcha=None)
    assert house.events().count(Event.ACCOUNT_UNLOCK) == 1


@pytest.mark.spec("R-3")
@pytest.mark.spec("R-4")
def test_a_permit_works_once_and_every_other_dies_with_it(house: House, now: datetime) -> None:
    house.add(NAME, now)
    permits = [leave(house, now, means) for means in (Means.LINK, Means.QUESTION, Means.EXPIRED)]
    renew(house, NEW, now, permit=permits[0])
    for permit in permits:
        with pytest.raises(PermitGone):
            renew(house, "Pino;Verde;36", now, permit=permit)
    renew(house, "Pino;Verde;36", now)


def test_a_permit_ends_with_its_time_its_epoch_and_the_account(house: House, now: datetime) -> None:
    house.add(NAME, now)
    good = leave(house, now)
    over = now + policy.PERMIT_LIFETIME
    for permit, at in (
        (good, over),
        (replace(good, epoch=good.epoch + 1), now),
        (replace(good, epoch=good.epoch - 1), now),
        (replace(good, account_id="nobody"), now),
    ):
        with pytest.raises(PermitGone):
            renew(house, NEW, at, permit=permit)
    house.lifecycle.disable(NAME, now)
    with pytest.raises(PermitGone):
        renew(house, NEW, now)
    house.lifecycle.enable(NAME, now)
    with pytest.raises(PermitGone):
        renew(house, NEW, now, permit=good)
    renew(house, NEW, over - SECOND, permit=replace(leave(house, now), expires_at=over))


def test_what_joins_and_fails_takes_everything_back(house: House, now: datetime) -> None:
    house.add(NAME, now)
    signed_in = house.sign_in(NAME, PASSWORD, now)

    def break_off(tx: Connection) -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        renew(house, NEW, now, then=break_off)
    assert house.messages() == []
    assert house.sessions.find(signed_in.cookie, now) is not None
    house.sign_in(NAME, PASSWORD, now)
    joined: list[Connection] = []
    renew(house, NEW, now, then=joined.append)
    assert len(joined) == 1


def test_the_next_warning_is_of_the_new_password(house: House, now: datetime) -> None:
    house.add(NAME, now)
    with house.store.write() as tx:
        tx.execute(update(Account).values(expiry_warned=1))
    renew(house, NEW, now)
    with house.store.read() as connection:
        assert connection.scalar(select(Account.expiry_warned)) is None


# -- question and answer along with it -------------------------------------------------------------------------------


@pytest.mark.spec("M10")
def test_question_and_answer_change_with_it_and_are_told(house: House, now: datetime) -> None:
    house.add(NAME, now, question="toy", answer="trompo azul")
    renew(house, NEW, now, question="dish", answer="  Mole de Olla ")
    assert [mail.template for mail in house.messages()] == [Template.PASSWORD_CHANGED, Template.QUESTION_CHANGED]
    assert house.events().count(Event.QUESTION_CHANGE) == 1
    name = parse_username(NAME)
    assert house.recovery.question_for(name) == "dish"
    assert house.recovery.answer(name, "mole de olla", attempt=Attempt(), now=now) is not None


@pytest.mark.spec("Q-4")
@pytest.mark.parametrize(
    ("question", "answer", "rules"),
    [
        ("dish", None, (AnswerRule.SHORT,)),
        ("dish", "", (AnswerRule.SHORT,)),
        ("dish", "¡¿?!...a", (AnswerRule.SHORT, AnswerRule.COMMON)),
        ("dish", "x" * 129, (AnswerRule.TOO_LONG,)),
        ("dish", "ﷺ" * 20, (AnswerRule.TOO_LONG,)),
        ("dish", "EKU-900317-3C9", (AnswerRule.USERNAME,)),
        ("dish", "Platillo", (AnswerRule.QUESTION,)),
        ("toy", "mi juguete favorito", (AnswerRule.QUESTION,)),
        ("dish", "PÍZZA", (AnswerRule.COMMON,)),
        ("dish", "zzzz", (AnswerRule.COMMON,)),
        ("own words", "mole de olla", (AnswerRule.QUESTION,)),
        (None, "mole de olla", (AnswerRule.QUESTION,)),
    ],
)
def test_an_answer_that_breaks_a_rule_changes_nothing(
    house: House, now: datetime, question: str | None, answer: str | None, rules: tuple[AnswerRule, ...]
) -> None:
    house.add(NAME, now)
    with pytest.raises(AnswerRefused) as refusal:
        renew(house, NEW, now, question=question, answer=answer)
    assert refusal.value.broken == rules
    house.sign_in(NAME, PASSWORD, now)
    renew(house, NEW, now, question="dish", answer="mole de olla")


# -- history ---------------------------------------------------------------------------------------------------------

PASSWORDS = [f"Pino;Verde;{word}7" for word in "abcdefghijklmn"]


@pytest.mark.spec("PW-5")
def test_the_last_twelve_may_not_come_back_and_the_thirteenth_may(house: House, now: datetime) -> None:
    house.add(NAME, now, password=PASSWORDS[0])
    for number, password in enumerate(PASSWORDS[1:12], 1):
        renew(house, password, now + number * SECOND)
    later = now + timedelta(minutes=1)
    for password in PASSWORDS[:12]:
        assert broken(house, password, later) == (PasswordRule.NOT_OLD,)
    renew(house, PASSWORDS[12], later)
    renew(house, PASSWORDS[0], later + SECOND)
    assert broken(house, PASSWORDS[2], later + 2 * SECOND) == (PasswordRule.NOT_OLD,)
    with house.store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(PasswordRecord)) == policy.PASSWORD_HISTORY - 1
        hashes = connection.scalars(select(PasswordRecord.password_hash)).all()
    assert all(value.startswith("quick$") for value in hashes)


@pytest.mark.spec("PW-5")
def test_the_histories_of_two_people_have_nothing_to_do_with_each_other(house: House, now: datetime) -> None:
    house.add(NAME, now)
    house.add("usr." + NAME, now, password=NEW)
    renew(house, NEW, now)  # the other one's, and never this one's
    assert broken(house, NEW, now + SECOND) == (PasswordRule.NOT_OLD,)


@pytest.mark.spec("PW-5")
@pytest.mark.parametrize("new", ["Nieve.Tibia8", "Nieve.Tibia6", "Nieve.Tibia08"])
def test_the_next_number_is_the_old_password(house: House, now: datetime, new: str) -> None:
    house.add(NAME, now, password="Nieve.Tibia07" if new.endswith("08") else PASSWORD)
    assert broken(house, new, now) == (PasswordRule.NOT_OLD,)
    renew(house, "Nieve.Tibia39", now)  # nobody typed the old one, so only its neighbours can be known


@pytest.mark.spec("PW-5")
@pytest.mark.spec("D-59")
@pytest.mark.parametrize("new", ["Nieve.Tibia39", "Nieve.Tibia٣", "1Nie2ve.Tib3ia4", PASSWORD])
def test_with_the_old_one_typed_other_digits_are_the_old_password(house: House, now: datetime, new: str) -> None:
    house.add(NAME, now)
    assert broken(house, new, now, current=PASSWORD) == (PasswordRule.NOT_OLD,)
    renew(house, "Nieve.Fresca39", now, current=PASSWORD)


@pytest.mark.spec("D-59")
@pytest.mark.parametrize(
    ("new", "rules"),
    [
        ("corta1.", (PasswordRule.LENGTH, PasswordRule.UPPER)),
        ("Eku9003173c9.Segura", (PasswordRule.NOT_RFC,)),
        ("Enero2027.", (PasswordRule.COMMON,)),
        ("Llavero-Efactura-1", (PasswordRule.COMMON,)),
        (PASSWORD, (PasswordRule.NOT_OLD,)),
    ],
)
def test_each_refusal_says_why_and_leaves_the_permit_open(
    house: House, now: datetime, new: str, rules: tuple[PasswordRule, ...]
) -> None:
    house.add(NAME, now)
    permit = leave(house, now)
    assert broken(house, new, now, permit=permit) == rules
    renew(house, NEW, now, permit=permit)


@given(
    before=st.text(st.sampled_from("aB.-ñ"), max_size=6),
    number=st.integers(0, 10**6),
    width=st.integers(1, 6),
    after=st.text(st.sampled_from("aB.-ñ"), max_size=6),
)
def test_a_number_bumped_either_way_is_found(before: str, number: int, width: int, after: str) -> None:
    def write(value: int) -> str:
        return before + str(value).zfill(width) + after

    assert write(number) in find_neighbours(write(number + 1))
    assert write(number + 1) in find_neighbours(write(number))
    assert write(number) not in find_neighbours(write(number))
    assert only_digits_differ(write(number), write(number + 1))


@given(st.text(st.sampled_from("aB.-ñ"), max_size=12))
def test_without_a_number_there_are_no_neighbours(text: str) -> None:
    assert find_neighbours(text) == ()
    assert not only_digits_differ(text + "x1", text + "y1")


@pytest.mark.spec("PW-5")
@pytest.mark.spec("L-10")
def test_checking_a_whole_history_takes_less_than_two_seconds(store: Store, now: datetime) -> None:
    house = make_house(store, Hasher(1))
    house.add(NAME, now)
    old = house.hasher.hash("Otra;Cosa;Distinta;5")
    with house.store.write() as tx:
        account_id = leave_id(tx)
        for number in range(policy.PASSWORD_HISTORY - 1):
            tx.execute(
                PasswordRecord.__table__.insert(),
                {"account_id": account_id, "password_hash": old, "replaced_at": now - number * SECOND},
            )
    began, spent = time.monotonic(), time.process_time()
    renew(house, NEW, now)
    assert time.monotonic() - began < 10  # this machine may be busy with other things
    assert time.process_time() - spent < 2


def leave_id(tx: Connection) -> str:
    return str(tx.scalar(select(Account.id)))


@pytest.mark.spec("L-10")
def test_without_a_hash_slot_nothing_changes(house: House, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    house.add(NAME, now)
    permit = leave(house, now)

    def overloaded(*given: object) -> bool:
        raise HashingOverloaded(policy.RETRY_AFTER)

    with monkeypatch.context() as patch:
        patch.setattr(house.hasher, "verify", overloaded)
        with pytest.raises(HashingOverloaded):
            renew(house, NEW, now, permit=permit)
    house.sign_in(NAME, PASSWORD, now, captcha=RIGHT)
    renew(house, NEW, now, permit=permit)
