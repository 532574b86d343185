"""Links in mails: derived when sending, alive from the hand-over, and worth nothing to who reads the database."""

import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, select, update
from sqlalchemy.pool import StaticPool

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import LinkDead
from idp.accounts.links import Links
from idp.accounts.models import Account, MailedLink
from idp.accounts.permits import Means
from idp.accounts.usernames import parse_username
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.outbox import Message, Template
from tests.accounts.house import ISSUER, LINK_KEY, House
from tests.conftest import NOW
from tests.tables import make_tables

NAME = "EKU9003173C9"
SECOND = timedelta(seconds=1)
# RFCs of people who read one accountant's mailbox.
NAMES = [f"KICR6301{day:02}NX3" for day in range(1, 16)]


def ask(house: House, now: datetime, username: str = NAME) -> Message:
    """The message of a reminder that was asked for."""
    known = {each.id for each in house.messages()}
    house.recovery.send_reminder(parse_username(username), attempt=Attempt(), now=now)
    (new,) = [each for each in house.messages() if each.id not in known]
    return new


def code_of(address: str | None) -> str:
    assert address is not None
    return address.rpartition("=")[2] if "=" in address else address.rpartition("/")[2]


@pytest.mark.spec("R-8")
@pytest.mark.parametrize("issuer", [ISSUER, "https://acceso.un-proveedor-autorizado.example.mx"])
def test_the_address_is_the_issuers_and_short(house: House, store: Store, now: datetime, issuer: str) -> None:
    house.add(NAME, now)
    links = Links(store, Ephemeral(store), LINK_KEY, issuer=issuer)
    address = links.address_for(ask(house, now), now)
    assert address is not None
    assert address.startswith(issuer + "/request/codedAccess?code=")
    assert len(address) < 120
    assert urlsplit(address).query.removeprefix("code=").replace("-", "").replace("_", "").isalnum()


@pytest.mark.spec("R-6")
def test_every_try_of_a_message_carries_the_same_link_and_each_message_another(house: House, now: datetime) -> None:
    house.add(NAME, now)
    message = ask(house, now)
    later = ask(house, now + policy.REMINDER_INTERVAL)
    addresses = [house.links.address_for(each, now + policy.REMINDER_INTERVAL) for each in (message, message, later)]
    assert addresses[0] == addresses[1] != addresses[2]


@pytest.mark.spec("R-6")
def test_the_database_holds_no_link_and_nothing_to_make_one_of(house: House, tmp_path: Path, now: datetime) -> None:
    house.add(NAME, now)
    message = ask(house, now)
    code = code_of(house.hand_over(message, now))
    with sqlite3.connect(tmp_path / "accounts.db") as database:
        dump = "\n".join(database.iterdump())
    assert message.id in dump
    assert code not in dump
    assert code[-20:] not in dump
    # The same row under another key is another link: without the key of the settings there is nothing to try.
    other = Links(house.store, Ephemeral(house.store), b"another key", issuer=ISSUER)
    with pytest.raises(LinkDead):
        other.open(code, now)
    assert house.links.open(code, now).means is Means.LINK


@pytest.mark.spec("R-5")
def test_thirty_minutes_count_from_the_hand_over(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    message = ask(house, now)
    handed_over = now + timedelta(hours=1)  # the mail server was away
    code = code_of(house.hand_over(message, handed_over))
    end = handed_over + policy.RECOVERY_LINK_LIFETIME
    permit = house.links.open(code, end - SECOND)
    assert (permit.account_id, permit.username, permit.expires_at) == (account_id, NAME, end)
    with pytest.raises(LinkDead):
        house.links.open(code, end)


@pytest.mark.spec("R-5")
def test_noting_the_hand_over_again_does_not_lengthen_it(house: House, now: datetime) -> None:
    house.add(NAME, now)
    message = ask(house, now)
    code = code_of(house.hand_over(message, now))
    house.hand_over(message, now + timedelta(minutes=20))
    with pytest.raises(LinkDead):
        house.links.open(code, now + policy.RECOVERY_LINK_LIFETIME)


@pytest.mark.spec("R-5")
def test_a_link_whose_hand_over_was_not_noted_lives_until_the_message_is_given_up(house: House, now: datetime) -> None:
    house.add(NAME, now)
    code = code_of(house.links.address_for(ask(house, now), now))
    end = now + policy.MAIL_GIVE_UP
    assert house.links.open(code, now).expires_at == now + policy.RECOVERY_LINK_LIFETIME
    assert house.links.open(code, end - SECOND).expires_at == end
    with pytest.raises(LinkDead):
        house.links.open(code, end)


@pytest.mark.spec("D-55")
def test_opening_spends_nothing(house: House, now: datetime) -> None:
    house.add(NAME, now)
    code = code_of(house.hand_over(ask(house, now), now))
    assert len({house.links.open(code, now) for _ in range(6)}) == 1
    house.recovery.set_password(house.links.open(code, now), "Otra-Clara-58", now=now)
    with pytest.raises(LinkDead):
        house.links.open(code, now)


@pytest.mark.parametrize(
    "mangle",
    [
        "{}",
        "{}.",
        "{}%0A",
        "{}%0d%0a",
        " {} ",
        "{}\r\n",
        "<{}>",
        "{}).",
        "{}»",
        "{[:20]}\n{[20:]}",
        "{[:20]}%0A {[20:]}",
    ],
)
def test_what_mail_programs_do_to_a_link_is_forgiven(house: House, now: datetime, mangle: str) -> None:
    house.add(NAME, now)
    code = code_of(house.hand_over(ask(house, now), now))
    mangled = mangle.replace("{[:20]}", code[:20]).replace("{[20:]}", code[20:]).replace("{}", code)
    assert house.links.open(mangled, now).username == NAME


@pytest.mark.spec("R-6")
def test_one_letter_changed_is_no_link(house: House, now: datetime) -> None:
    house.add(NAME, now)
    code = code_of(house.hand_over(ask(house, now), now))
    for place in range(len(code)):
        other = "A" if code[place] != "A" else "B"
        with pytest.raises(LinkDead):
            house.links.open(code[:place] + other + code[place + 1 :], now)
    for wrong in (code[:-1], code + "A", "", code + code):
        with pytest.raises(LinkDead):
            house.links.open(wrong, now)


@pytest.fixture(scope="module")
def nothing() -> Iterator[Links]:
    """Links over a database in which there is none."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    store = Store(engine)
    make_tables(engine)
    yield Links(store, Ephemeral(store), LINK_KEY, issuer=ISSUER)
    engine.dispose()


@given(code=st.text(max_size=300) | st.from_regex("[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_text_opens_anything_or_breaks(nothing: Links, code: str) -> None:
    with pytest.raises(LinkDead):
        nothing.open(code, NOW)


@pytest.mark.spec("R-4")
def test_an_epoch_that_moved_kills_the_link_before_and_after_it_was_sent(house: House, now: datetime) -> None:
    house.add(NAME, now)
    sent, unsent = ask(house, now), ask(house, now + policy.REMINDER_INTERVAL)
    code = code_of(house.hand_over(sent, now))
    assert house.links.open(code, now)
    with house.store.write() as tx:
        tx.execute(update(Account).values(epoch=Account.epoch + 1))
    with pytest.raises(LinkDead):
        house.links.open(code, now)
    assert house.links.address_for(unsent, now) is None
    assert house.links.address_for(sent, now) is None


@pytest.mark.spec("R-4")
def test_disabling_kills_the_link_and_enabling_does_not_bring_it_back(house: House, now: datetime) -> None:
    house.add(NAME, now)
    code = code_of(house.hand_over(ask(house, now), now))
    house.lifecycle.disable(NAME, now)
    with pytest.raises(LinkDead):
        house.links.open(code, now)
    house.lifecycle.enable(NAME, now)
    with pytest.raises(LinkDead):
        house.links.open(code, now)


@pytest.mark.spec("R-9")
def test_ten_reminders_an_hour_for_each_mailbox_however_many_names_it_serves(house: House, now: datetime) -> None:
    for name in NAMES:
        house.add(name, now, email="contador@example.com")
    house.add(NAME, now, email="otra@example.com")
    messages = [ask(house, now, name) for name in NAMES]
    addresses = [house.links.address_for(each, now) for each in messages]
    assert [address is not None for address in addresses] == [True] * 10 + [False] * 5
    # Capitals make no other mailbox; another mailbox does, and so do tries of what was counted, and the next hour.
    assert house.links.address_for(replace(messages[10], recipient="Contador@Example.com"), now) is None
    assert house.links.address_for(ask(house, now), now) is not None
    assert [house.links.address_for(each, now) for each in messages[:10]] == addresses[:10]
    assert house.links.address_for(messages[14], now + policy.MAILBOX_WINDOW) is not None


@pytest.mark.spec("R-9")
def test_an_operators_invitations_are_not_counted(house: House, now: datetime) -> None:
    for name in NAMES:
        house.lifecycle.create(name, email="contador@example.com", now=now)
    addresses = [house.links.address_for(each, now) for each in house.messages()]
    assert len(addresses) == len(NAMES)
    assert all(address is not None and address.startswith(ISSUER + "/activate/") for address in addresses)


@pytest.mark.spec("M14")
def test_an_invitation_lives_three_days_from_the_hand_over(house: House, now: datetime) -> None:
    house.lifecycle.create(NAME, email="buzon@example.com", now=now)
    (message,) = house.messages()
    assert message.template is Template.INVITATION
    code = code_of(house.hand_over(message, now))
    end = now + policy.INVITATION_LIFETIME
    permit = house.links.open(code, end - SECOND)
    assert (permit.means, permit.username, permit.expires_at) == (Means.INVITATION, NAME, end)
    with pytest.raises(LinkDead):
        house.links.open(code, end)


def test_a_message_for_an_account_that_is_gone_is_not_sent(house: House, now: datetime) -> None:
    house.add(NAME, now)
    message = ask(house, now)
    gone = replace(message, parameters={**message.parameters, "account_id": str(uuid.uuid4())})
    assert house.links.address_for(gone, now) is None
    assert house.links.address_for(message, now) is not None


def test_what_cannot_be_alive_is_swept(house: House, now: datetime) -> None:
    house.add(NAME, now)
    house.hand_over(ask(house, now), now)
    later = now + policy.REMINDER_INTERVAL
    house.links.address_for(ask(house, later), later)

    def left(at: datetime) -> int:
        house.links.sweep(at)
        with house.store.read() as connection:
            return len(connection.execute(select(MailedLink.id)).all())

    assert left(now + policy.INVITATION_LIFETIME - SECOND) == 2
    assert left(now + policy.INVITATION_LIFETIME) == 1
    assert left(later + policy.MAIL_GIVE_UP + policy.INVITATION_LIFETIME) == 0
