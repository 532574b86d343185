"""Asking for the link by mail."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import (
    AddressThrottled,
)
from idp.accounts.permits import Means
from idp.audit import Event
from idp.outbox import OutboxMessage, Template
from tests.accounts.house import House
from tests.accounts.recovering import NAME, NEW, NOBODY, SECOND, code_of, remind


@pytest.mark.spec("R-9")
def test_one_mail_for_each_name_in_five_minutes(house: House, now: datetime) -> None:
    house.add(NAME, now)
    moments = [timedelta(0), SECOND, policy.REMINDER_INTERVAL - SECOND, policy.REMINDER_INTERVAL]
    for moment in moments:
        remind(house, NAME, now + moment)
    assert [message.created_at - now for message in house.messages()] == [moments[0], moments[3]]
    with house.store.read() as connection:
        assert len(connection.scalars(select(OutboxMessage.id)).all()) == 4
    assert house.events().count(Event.REMINDER_REQUEST) == 4


@pytest.mark.spec("R-9")
def test_a_strangers_request_does_not_kill_the_link_in_a_mailbox(house: House, now: datetime) -> None:
    house.add(NAME, now)
    remind(house, NAME, now)
    code = code_of(house, house.messages()[0], now)
    for n in range(1, 4):
        remind(house, NAME, now + n * policy.REMINDER_INTERVAL, Attempt(address="198.51.100.9"))
    assert len(house.messages()) == 4
    house.recovery.set_password(house.recovery.open_link(code, now + 3 * policy.REMINDER_INTERVAL), NEW, now=now)


@pytest.mark.spec("M12")
def test_a_reminder_goes_to_the_registered_address_in_the_persons_language(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now, email="ana@example.com", locale="en", name="Ana")
    remind(house, "eku-900317-3c9", now)
    (message,) = house.messages()
    assert (message.template, message.recipient, message.locale) == (Template.REMINDER, "ana@example.com", "en")
    assert message.parameters == {
        "account_id": account_id,
        "epoch": 1,
        "username": "EKU······3C9",
        "purpose": "recover",
        "name": "Ana",
    }


@pytest.mark.spec("M14")
def test_who_never_activated_gets_the_invitation_again(house: House, now: datetime) -> None:
    house.lifecycle.create(NAME, email="buzon@example.com", now=now)
    remind(house, NAME, now)
    message = house.messages()[-1]
    assert (message.template, message.parameters["purpose"]) == (Template.REMINDER, "invite")
    assert "/activate/" in (house.links.address_for(message, now) or "")
    assert house.recovery.open_link(code_of(house, message, now), now).means is Means.INVITATION


def test_who_is_disabled_or_nobody_gets_none(house: House, now: datetime) -> None:
    house.add(NAME, now)
    house.lifecycle.disable(NAME, now)
    for name in (NAME, NOBODY):
        remind(house, name, now)
    assert house.messages() == []
    house.lifecycle.enable(NAME, now)
    remind(house, NAME, now + policy.REMINDER_INTERVAL)
    assert len(house.messages()) == 1


@pytest.mark.spec("L-7")
def test_an_address_asks_for_so_many_reminders_and_no_more(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "ADDRESS_REMINDERS_MAX", 2)
    for name in (NAME, NOBODY):
        remind(house, name, now)
    with pytest.raises(AddressThrottled):
        remind(house, "usr." + NAME, now)
    remind(house, "usr." + NAME, now, Attempt(address="192.0.2.8"))
