"""Browsers that have signed in before: their failures are their own, strangers' are not theirs (L-6)."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import UsernameLocked, WrongCredentials
from idp.accounts.models import KnownDevice
from idp.accounts.usernames import parse_username
from idp.audit import AuditEvent, Event
from idp.db import Store
from tests.accounts.house import PASSWORD, House, make_house

OWNER, OTHER, NOBODY = "EKU9003173C9", "usr.XIA190128J61", "AAA010101AAA"


@pytest.fixture
def owner(house: House, now: datetime) -> str:
    house.add(OWNER, now)
    return OWNER


def id_of(house: House, now: datetime) -> str:
    found = house.directory.find(OWNER, now)
    assert found is not None
    return found.account_id


def enter(house: House, now: datetime, device: str | None = None, username: str = OWNER) -> str:
    """Sign in; the device cookie that the browser has then."""
    value = house.sign_in(username, PASSWORD, now, device=device).device
    assert value is not None
    return value


def shown(house: House, password: str, now: datetime, device: str | None = None, username: str = OWNER) -> str:
    try:
        house.sign_in(username, password, now, device=device)
    except WrongCredentials as refusal:
        return f"{refusal.attempts_left} left"
    except UsernameLocked:
        return "locked"
    return "in"


def lock(house: House, now: datetime, device: str | None = None, username: str = OWNER) -> None:
    assert [shown(house, wrong, now, device, username) for wrong in "abc"] == ["2 left", "1 left", "locked"]


@pytest.mark.spec("L-6", "D-41")
def test_who_is_known_enters_though_strangers_locked_the_name(house: House, owner: str, now: datetime) -> None:
    device = enter(house, now)
    lock(house, now)
    assert shown(house, PASSWORD, now) == "locked"
    assert shown(house, PASSWORD, now, device) == "in"
    # The owner's success lifts nothing for the others (L-8).
    assert shown(house, PASSWORD, now) == "locked"


@pytest.mark.spec("L-6", "D-41")
def test_in_strict_mode_the_lock_is_everybodys(store: Store, now: datetime) -> None:
    house = make_house(store, trusted_devices=False)
    house.add(OWNER, now)
    assert house.sign_in(OWNER, PASSWORD, now).device is None
    # Not even a cookie of before the switch counts.
    with store.write() as tx:
        device = make_house(store).devices.remember(tx, None, id_of(house, now), now)
    lock(house, now)
    assert shown(house, PASSWORD, now, device) == "locked"
    assert shown(make_house(store), PASSWORD, now, device) == "in"


@pytest.mark.spec("L-6", "C-1")
def test_strangers_failures_ask_no_captcha_of_who_is_known(house: House, owner: str, now: datetime) -> None:
    device = enter(house, now)
    assert shown(house, "a", now) == "2 left"
    house.captcha.asked.clear()
    house.sign_in(OWNER, PASSWORD, now, device=device, captcha=None)
    assert house.captcha.asked == []
    # Its own do, and so does a failure of this browser on another name.
    assert shown(house, "a", now, device) == "2 left"
    assert shown(house, PASSWORD, now, device) == "in"
    house.sign_in(OWNER, PASSWORD, now, device=device, captcha_due=True)
    assert len(house.captcha.asked) == 2


@pytest.mark.spec("L-6", "L-11")
def test_three_failures_lock_a_known_browser_and_nobody_else(house: House, owner: str, now: datetime) -> None:
    device = enter(house, now)
    lock(house, now, device)
    assert shown(house, PASSWORD, now, device) == "locked"
    assert not house.lockout.is_locked(house.lockout.key_of(parse_username(OWNER)), now)
    assert house.mails() == [("locked", "buzon@example.com")]
    with house.store.read() as connection:
        details = connection.scalars(select(AuditEvent.detail).where(AuditEvent.event == Event.ACCOUNT_LOCK)).all()
    assert details == [{"known_browser": True}]
    assert shown(house, PASSWORD, now) == "in"  # from elsewhere, where there was no failure


@pytest.mark.spec("L-6", "L-8")
def test_a_success_at_a_known_browser_forgets_its_own_failures_only(house: House, owner: str, now: datetime) -> None:
    device = enter(house, now)
    assert [shown(house, wrong, now) for wrong in "ab"] == ["2 left", "1 left"]
    passwords = ("a", "b", PASSWORD, "c")
    assert [shown(house, each, now, device) for each in passwords] == ["2 left", "1 left", "in", "2 left"]
    assert shown(house, "c", now) == "locked"


@pytest.mark.spec("L-6", "D-42")
@pytest.mark.parametrize(
    "kind", ["of another user", "one bit changed", "of before a password change", "made up", "long"]
)
def test_whose_cookie_is_not_of_this_account_is_a_stranger(house: House, owner: str, now: datetime, kind: str) -> None:
    house.add(OTHER, now)
    mine, device = enter(house, now), enter(house, now, username=OTHER)
    if kind == "one bit changed":
        device = mine[:-2] + chr(ord(mine[-2]) ^ 1) + mine[-1]
    elif kind == "of before a password change":
        device = mine
        with house.store.write() as tx:
            assert house.devices.end_all(tx, id_of(house, now)) == 1
            assert house.devices.end_all(tx, "nobody") == 0
    elif kind != "of another user":
        device = "á" * 43 if kind == "made up" else mine + "A" * 5000
    lock(house, now)
    assert shown(house, PASSWORD, now, device) == "locked"
    assert (shown(house, PASSWORD, now, mine) == "in") is (kind != "of before a password change")


@pytest.mark.spec("L-6", "D-42")
def test_a_browser_is_known_until_its_time_is_over(house: House, owner: str, now: datetime) -> None:
    device = enter(house, now)
    end = now + policy.DEVICE_LIFETIME
    name = parse_username(OWNER)
    assert house.devices.find(device, name, end - timedelta(microseconds=1)) is not None
    assert house.devices.find(device, name, end) is None
    assert house.devices.sweep(end - timedelta(microseconds=1)) == 0
    assert house.devices.sweep(end) == 1


def test_the_time_begins_anew_at_each_sign_in(house: House, owner: str, now: datetime) -> None:
    device = enter(house, now)
    later = now + timedelta(days=29)
    assert enter(house, later, device) == device
    name = parse_username(OWNER)
    assert house.devices.find(device, name, now + policy.DEVICE_LIFETIME + timedelta(days=28)) is not None


@pytest.mark.spec("L-6")
def test_nobody_can_choose_the_value_that_another_will_be_known_by(house: House, owner: str, now: datetime) -> None:
    chosen = "A" * 43
    device = enter(house, now, chosen)
    assert device != chosen
    assert house.devices.find(chosen, parse_username(OWNER), now) is None
    assert house.devices.find(device, parse_username(OWNER), now) is not None


@pytest.mark.spec("L-6", "S-4")
def test_one_cookie_serves_every_account_of_a_browser_and_the_table_has_its_digest(
    house: House, owner: str, now: datetime
) -> None:
    house.add(OTHER, now)
    device = enter(house, now)
    assert enter(house, now, device, OTHER) == device
    known = {name: house.devices.find(device, parse_username(name), now) for name in (OWNER, OTHER, NOBODY)}
    assert known[OWNER]
    assert known[OTHER]
    assert known[NOBODY] is None
    with house.store.read() as connection:
        rows = connection.execute(select(KnownDevice)).all()
    assert len(rows) == 2
    assert device not in repr(rows)


@pytest.mark.spec("L-6", "L-8")
def test_an_operator_unlocks_the_known_browsers_too(house: House, owner: str, now: datetime) -> None:
    device, other = enter(house, now), enter(house, now)
    lock(house, now, device)
    assert house.lifecycle.unlock(OWNER, now) is True
    assert shown(house, PASSWORD, now, device) == "in"
    assert shown(house, "a", now, other) == "2 left"
    assert house.lifecycle.unlock(OWNER, now) is False
    assert shown(house, "a", now, other) == "2 left"


@pytest.mark.spec("L-6")
def test_who_was_forgotten_and_signs_in_again_counts_afresh(house: House, owner: str, now: datetime) -> None:
    """A locked browser that recovered the password, and kept its cookie for another account's sake."""
    house.add(OTHER, now)
    device = enter(house, now, enter(house, now, username=OTHER))
    lock(house, now, device)
    with house.store.write() as tx:
        house.devices.end_all(tx, id_of(house, now))
    later = now + timedelta(minutes=1)
    assert enter(house, later, device) == device
    assert shown(house, "a", later, device) == "2 left"


@pytest.mark.spec("L-6", "L-9")
def test_a_locked_name_costs_who_is_known_nothing_and_strangers_a_pretended_comparison(
    house: House, owner: str, now: datetime
) -> None:
    device = enter(house, now)
    lock(house, now)
    compared = house.hasher.compared
    for _ in range(2):
        assert shown(house, PASSWORD, now) == "locked"
    assert (house.hasher.compared, house.hasher.pretended) == (compared, 2)
    house.signin.sign_in(OWNER, PASSWORD, attempt=Attempt(device=device), now=now)
    assert house.hasher.compared == compared + 1
