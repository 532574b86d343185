"""Sessions of browsers: cookies, limits, ends."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.models import SignInSession
from idp.accounts.sessions import Browser
from idp.audit import Event
from tests.accounts.house import PASSWORD, House, watch_statements

SECOND = timedelta(seconds=1)


def sign_in(house: House, now: datetime, browser: Browser | None = None, username: str = "EKU9003173C9") -> str:
    return house.sign_in(username, PASSWORD, now, browser=browser, address="127.0.0.1").cookie


def find(house: House, cookie: str, now: datetime) -> Browser:
    browser = house.sessions.find(cookie, now)
    assert browser is not None
    return browser


@pytest.mark.spec("W-1")
def test_a_cookie_is_256_random_bits_and_finds_its_session(house: House, now: datetime) -> None:
    cookie, browser = house.sessions.begin(now, data={"csrf": "seed"})
    assert len(cookie) == 43
    assert house.sessions.find(cookie, now) == browser
    assert browser.data == {"csrf": "seed"}
    assert browser.account_id is None
    other, another = house.sessions.begin(now)
    assert (other, another.browser) != (cookie, browser.browser)


@pytest.mark.parametrize("cookie", ["", "x", "ñ" * 43, "A" * 43, "A" * 5000, "\0" * 43])
def test_other_cookies_find_nothing(house: House, now: datetime, cookie: str) -> None:
    house.sessions.begin(now)
    assert house.sessions.find(cookie, now) is None


@pytest.mark.spec("W-1")
def test_the_digest_is_no_cookie(house: House, now: datetime) -> None:
    _, browser = house.sessions.begin(now)
    assert house.sessions.find(browser.digest, now) is None


@pytest.mark.spec("W-2")
def test_signing_in_changes_the_cookie_and_kills_the_old_one(house: House, now: datetime) -> None:
    account_id = house.add("EKU9003173C9", now)
    old, anonymous = house.sessions.begin(now, data={"csrf": "seed"})
    cookie = sign_in(house, now, anonymous)
    assert house.sessions.find(old, now) is None
    signed_in = find(house, cookie, now)
    assert cookie != old
    assert signed_in.browser == anonymous.browser
    assert signed_in.data == {}
    assert (signed_in.account_id, signed_in.auth_time) == (account_id, now)
    assert (signed_in.amr, signed_in.acr) == (("pwd",), "1")
    assert signed_in.sid


@pytest.mark.spec("W-2")
def test_signing_in_again(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    house.add("usr.XIA190128J61", now)
    first_cookie = sign_in(house, now)
    first = find(house, first_cookie, now)
    again_cookie = sign_in(house, now + SECOND, first)
    again = find(house, again_cookie, now + SECOND)
    assert house.sessions.find(first_cookie, now) is None
    assert again.auth_time == now + SECOND
    assert again.sid == first.sid  # the same person: tokens given before belong to this session still
    someone = find(house, sign_in(house, now + SECOND, again, "usr.XIA190128J61"), now + SECOND)
    assert someone.browser == first.browser
    assert someone.sid != first.sid
    assert house.sessions.find(again_cookie, now + SECOND) is None
    assert house.signed_out == [first.sid]
    assert house.events().count(Event.SIGNOUT) == 1


@pytest.mark.spec("W-3")
def test_an_idle_session_comes_back_signed_out(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    cookie = sign_in(house, now)
    signed_in = find(house, cookie, now)
    house.sessions.save(signed_in, {"csrf": "seed"})
    assert find(house, cookie, now + timedelta(minutes=10) - SECOND).account_id is not None
    late = now + timedelta(minutes=20)
    ended = find(house, cookie, late)
    assert (ended.account_id, ended.sid, ended.auth_time, ended.amr, ended.acr) == (None, None, None, (), None)
    assert ended.ended_idle
    assert ended.data == {"csrf": "seed"}
    assert ended.browser == signed_in.browser
    after = find(house, cookie, late + SECOND)
    assert (after.account_id, after.ended_idle) == (None, False)


@pytest.mark.spec("W-3")
def test_exactly_ten_idle_minutes_are_too_many(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    cookie = sign_in(house, now)
    assert find(house, cookie, now + timedelta(minutes=10)).ended_idle


@pytest.mark.spec("W-3")
def test_a_session_in_use_lives_until_its_absolute_end(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    cookie = sign_in(house, now)
    moment, end = now, now + timedelta(hours=12)
    while moment < end:
        assert find(house, cookie, moment).account_id is not None
        moment += timedelta(minutes=9)
    assert find(house, cookie, end - SECOND).account_id is not None
    assert house.sessions.find(cookie, end) is None


def test_noting_a_visit_costs_a_write_once_a_minute(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    cookie = sign_in(house, now)
    asked = watch_statements(house.store)
    for seconds in range(0, 120, 5):
        find(house, cookie, now + timedelta(seconds=seconds))
    assert len([each for each in asked if each.startswith("UPDATE")]) == 1


def test_a_browser_that_comes_back_keeps_its_anonymous_session(house: House, now: datetime) -> None:
    cookie, _ = house.sessions.begin(now)
    almost = now + policy.ANONYMOUS_SESSION_LIFETIME - SECOND
    assert find(house, cookie, almost).account_id is None
    assert house.sessions.find(cookie, almost + policy.ANONYMOUS_SESSION_LIFETIME - SECOND) is not None
    assert house.sessions.find(cookie, almost + 3 * policy.ANONYMOUS_SESSION_LIFETIME) is None


@pytest.mark.spec("W-6")
def test_a_browser_whose_session_ended_here_goes_on_under_its_name(house: House, now: datetime) -> None:
    _, before = house.sessions.begin(now)
    cookie, after = house.sessions.begin(now, after=before)
    assert (after.browser, after.account_id) == (before.browser, None)
    assert after.digest != before.digest
    assert house.sessions.find(cookie, now) == after
    assert house.sessions.begin(now)[1].browser != before.browser


@pytest.mark.spec("W-3")
def test_signing_out_kills_the_session_and_is_recorded_once(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    cookie, other = sign_in(house, now), sign_in(house, now)
    browser = find(house, cookie, now)
    house.signin.sign_out(browser, now)
    house.signin.sign_out(browser, now)
    assert house.sessions.find(cookie, now) is None
    assert find(house, other, now).account_id is not None
    assert house.events().count(Event.SIGNOUT) == 1
    assert set(house.signed_out) == {browser.sid}
    house.sessions.save(browser, {"csrf": "seed"})  # a late response brings nothing back
    assert house.sessions.find(cookie, now) is None


def test_an_anonymous_session_ends_without_a_record(house: House, now: datetime) -> None:
    cookie, browser = house.sessions.begin(now)
    house.signin.sign_out(browser, now)
    assert house.sessions.find(cookie, now) is None
    assert house.events() == []


@pytest.mark.spec("L-5")
def test_disabling_ends_every_session_at_once(house: House, now: datetime) -> None:
    account_id = house.add("EKU9003173C9", now)
    house.add("usr.XIA190128J61", now)
    mine = [sign_in(house, now) for _ in range(3)]
    other = sign_in(house, now, username="usr.XIA190128J61")
    assert house.signin.find_person(account_id) is not None
    house.lifecycle.disable("EKU9003173C9", now)
    assert [house.sessions.find(cookie, now) for cookie in mine] == [None] * 3
    assert find(house, other, now).account_id is not None
    assert house.signin.find_person(account_id) is None
    assert house.directory.find_subject_row(account_id) is None


def test_sweeping_takes_what_has_ended(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    house.sessions.begin(now)
    cookie = sign_in(house, now)
    assert house.sessions.sweep(now) == 0
    assert house.sessions.sweep(now + policy.ANONYMOUS_SESSION_LIFETIME) == 1
    assert find(house, cookie, now).account_id is not None
    assert house.sessions.sweep(now + policy.SESSION_ABSOLUTE_LIFETIME) == 1


def test_what_a_browser_says_of_itself_is_clipped(house: House, now: datetime) -> None:
    house.sessions.begin(now, address="::1", user_agent="Mozilla\0" + "x" * 500)
    with house.store.read() as connection:
        row = connection.execute(select(SignInSession.address, SignInSession.user_agent)).one()
    assert row.address == "::1"
    assert row.user_agent == "Mozilla" + "x" * 193
