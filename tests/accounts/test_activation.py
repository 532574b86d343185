"""An invited person takes the account over: password, question, answer, once."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import (
    AccountProblem,
    AnswerRefused,
    LinkDead,
    PasswordRefused,
    PasswordRule,
    PermitGone,
    UsernameLocked,
    WrongCredentials,
)
from idp.accounts.models import Account, State
from idp.accounts.permits import Permit
from idp.accounts.usernames import parse_username
from idp.audit import Event
from idp.outbox import Message, Template
from tests.accounts.house import PASSWORD, House
from tests.accounts.recovering import ANSWER, NAME, NEW, SECOND, code_of

pytestmark = pytest.mark.spec("M14")


def invite(house: House, now: datetime) -> Message:
    """A new account; the mail that invites its person."""
    house.lifecycle.create(NAME, email="ana@example.com", name="Ana", now=now)
    return house.messages()[-1]


def enter(house: House, now: datetime) -> Permit:
    return house.links.open(code_of(house, invite(house, now), now), now)


def activate(house: House, permit: Permit, now: datetime, password: str = NEW) -> str:
    prepared = house.lifecycle.prepare_activation(permit, password, now)
    return house.lifecycle.activate(permit, prepared, question="dish", answer=ANSWER, now=now).username


def test_the_mail_goes_out_with_the_account(house: House, now: datetime) -> None:
    message = invite(house, now)
    assert (message.template, message.recipient) == (Template.INVITATION, "ana@example.com")
    assert message.parameters["purpose"] == "invite"
    assert (message.parameters["username"], message.parameters["name"]) == ("EKU······3C9", "Ana")
    assert house.events() == [Event.ACCOUNT_CREATE, Event.ACCOUNT_INVITE]
    house.add("usr." + NAME, now)  # ready at once: no mail
    assert len(house.messages()) == 1


def test_from_the_mail_to_the_first_sign_in(house: House, now: datetime) -> None:
    permit = enter(house, now)
    with pytest.raises(WrongCredentials):
        house.sign_in(NAME, NEW, now)
    prepared = house.lifecycle.prepare_activation(permit, NEW, now)
    assert NEW not in prepared
    with pytest.raises(WrongCredentials):  # half-way is nowhere
        house.sign_in(NAME, NEW, now)
    person = house.lifecycle.activate(permit, prepared, question="dish", answer="Mole de Olla", now=now)
    assert (person.username, person.name, person.locale) == (NAME, "Ana", "es-MX")
    signed_in = house.sign_in(NAME, NEW, now + policy.PASSWORD_LIFETIME - SECOND)
    assert signed_in.person == person
    view = house.directory.find(NAME, now)
    assert view is not None
    assert (view.state, view.email_verified, view.question) == (State.ACTIVE, True, "dish")
    assert house.recovery.answer(parse_username(NAME), ANSWER, attempt=Attempt(), now=now) is not None
    assert house.events().count(Event.ACCOUNT_ACTIVATE) == 1


@pytest.mark.spec("R-3")
def test_it_happens_once_and_kills_every_other_invitation(house: House, now: datetime) -> None:
    first = invite(house, now)
    house.lifecycle.invite(NAME, now)
    second = house.messages()[-1]
    assert second.id != first.id
    codes = [code_of(house, each, now) for each in (first, second)]
    permits = [house.links.open(code, now) for code in codes]  # a later one voids no earlier one
    prepared = [house.lifecycle.prepare_activation(permit, NEW, now) for permit in permits]
    house.lifecycle.activate(permits[0], prepared[0], question="dish", answer=ANSWER, now=now)
    for permit, hashed in zip(permits, prepared, strict=True):
        with pytest.raises(PermitGone):
            house.lifecycle.activate(permit, hashed, question="toy", answer=ANSWER, now=now)
        with pytest.raises(PermitGone):
            house.lifecycle.prepare_activation(permit, NEW, now)
        with pytest.raises(PermitGone):
            house.recovery.check_permit(permit, now)
    for code in codes:
        with pytest.raises(LinkDead):
            house.links.open(code, now)
    with pytest.raises(AccountProblem, match="active"):
        house.lifecycle.invite(NAME, now)
    assert house.events().count(Event.ACCOUNT_INVITE) == 2


def test_the_permit_ends_with_the_invitation(house: House, now: datetime) -> None:
    permit = enter(house, now)
    end = now + policy.INVITATION_LIFETIME
    prepared = house.lifecycle.prepare_activation(permit, NEW, end - SECOND)
    house.recovery.check_permit(permit, end - SECOND)
    with pytest.raises(PermitGone):
        house.lifecycle.prepare_activation(permit, NEW, end)
    with pytest.raises(PermitGone):
        house.lifecycle.activate(permit, prepared, question="dish", answer=ANSWER, now=end)
    house.lifecycle.activate(permit, prepared, question="dish", answer=ANSWER, now=end - SECOND)


@pytest.mark.spec("R-4")
def test_disabling_ends_it_and_enabling_takes_a_new_invitation(house: House, now: datetime) -> None:
    permit = enter(house, now)
    prepared = house.lifecycle.prepare_activation(permit, NEW, now)
    house.lifecycle.disable(NAME, now)
    with pytest.raises(AccountProblem, match="disabled"):
        house.lifecycle.invite(NAME, now)
    house.lifecycle.enable(NAME, now)
    with pytest.raises(PermitGone):
        house.lifecycle.prepare_activation(permit, NEW, now)
    with pytest.raises(PermitGone):
        house.lifecycle.activate(permit, prepared, question="dish", answer=ANSWER, now=now)
    house.lifecycle.invite(NAME, now)
    code = code_of(house, house.messages()[-1], now)
    assert activate(house, house.links.open(code, now), now) == NAME


@pytest.mark.spec("PW-4")
@pytest.mark.spec("Q-4")
def test_the_rules_hold_here_too(house: House, now: datetime) -> None:
    permit = enter(house, now)
    with pytest.raises(PasswordRefused) as refusal:
        house.lifecycle.prepare_activation(permit, "Efactura-2026", now)
    assert refusal.value.broken == (PasswordRule.COMMON,)
    prepared = house.lifecycle.prepare_activation(permit, NEW, now)
    for question, given in (("dish", "pizza"), ("own words", ANSWER), ("dish", "")):
        with pytest.raises(AnswerRefused):
            house.lifecycle.activate(permit, prepared, question=question, answer=given, now=now)
    assert house.lifecycle.activate(permit, prepared, question="dish", answer=ANSWER, now=now).username == NAME


@pytest.mark.spec("D-57")
def test_what_was_prepared_for_one_account_activates_no_other(house: House, now: datetime) -> None:
    mine = enter(house, now)
    other_id = house.lifecycle.create("usr." + NAME, email="otra@example.com", now=now).account_id
    prepared = house.lifecycle.prepare_activation(mine, NEW, now)
    with pytest.raises(PermitGone):
        house.lifecycle.activate(
            replace(mine, account_id=other_id, username="usr." + NAME),
            prepared,
            question="dish",
            answer=ANSWER,
            now=now,
        )
    assert house.lifecycle.activate(mine, prepared, question="dish", answer=ANSWER, now=now).username == NAME


@pytest.mark.spec("R-1")
def test_an_invitation_renews_no_password(house: House, now: datetime) -> None:
    permit = enter(house, now)
    with pytest.raises(PermitGone):
        house.recovery.set_password(permit, NEW, now=now)
    with pytest.raises(PermitGone):
        house.renewal.renew(permit, NEW, now=now, event=Event.PASSWORD_RESET)
    activate(house, permit, now)


@pytest.mark.spec("L-8")
def test_a_lock_that_strangers_caused_before_is_lifted(house: House, now: datetime) -> None:
    permit = enter(house, now)
    for _ in range(2):
        with pytest.raises(WrongCredentials):
            house.sign_in(NAME, PASSWORD, now)
    with pytest.raises(UsernameLocked):
        house.sign_in(NAME, PASSWORD, now)
    activate(house, permit, now)
    house.sign_in(NAME, NEW, now, captcha=None)
    assert house.events().count(Event.ACCOUNT_UNLOCK) == 1


@pytest.mark.spec("S-4")
def test_no_password_and_no_answer_are_kept_as_they_are(house: House, now: datetime) -> None:
    activate(house, enter(house, now), now)
    with house.store.read() as connection:
        row = connection.execute(select(Account.__table__)).one()
    assert row.password_hash.startswith("quick$")
    assert row.answer_hash.startswith("quick$")
    assert row.epoch == 2


def test_reminders_come_again_after_their_time(house: House, now: datetime) -> None:
    invite(house, now)
    for minutes in (0, 6):
        house.recovery.send_reminder(parse_username(NAME), attempt=Attempt(), now=now + timedelta(minutes=minutes))
    purposes = [message.parameters["purpose"] for message in house.messages()]
    assert purposes == ["invite"] * 3
