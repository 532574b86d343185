"""The door of the sign-in page: what it asks before a password is compared, and what begins and ends with it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.errors import (
    CaptchaRefused,
    HashingOverloaded,
    PasswordExpired,
    PermitGone,
    UsernameLocked,
    WrongCredentials,
)
from idp.accounts.models import AttemptCounter, SignInSession
from idp.accounts.permits import Means, Permit
from idp.accounts.usernames import parse_username
from idp.audit import AuditEvent, Event
from idp.outbox import OutboxMessage, Template
from tests.accounts.house import PASSWORD, House, watch_statements

OWNER, OTHER, NOBODY = "EKU9003173C9", "usr.XIA190128J61", "AAA010101AAA"
NEW = "Granizo.Fino8"


def try_to(house: House, username: str, password: str, now: datetime, **more: object) -> str:
    """What a browser is told that answers no CAPTCHA unless `more` says so."""
    try:
        house.sign_in(username, password, now, **{"captcha": None, **more})
    except CaptchaRefused as refusal:
        return f"captcha {refusal.problem}"
    except WrongCredentials as refusal:
        return f"{refusal.attempts_left} left"
    except (UsernameLocked, HashingOverloaded) as refusal:
        return type(refusal).__name__
    return "in"


def counters(house: House) -> dict[str, tuple[int, int]]:
    with house.store.read() as connection:
        rows = connection.execute(select(AttemptCounter.key, AttemptCounter.failures, AttemptCounter.failed))
        return {row.key: (row.failures, row.failed) for row in rows}


def answer(text: str) -> CaptchaAnswer:
    return CaptchaAnswer("handle", text)


# -- CAPTCHA ---------------------------------------------------------------------------------------------------------


@pytest.mark.spec("C-1", "D-78")
@pytest.mark.parametrize("name", [OWNER, NOBODY])
def test_when_a_captcha_is_due(house: House, now: datetime, name: str) -> None:
    house.add(OWNER, now)
    assert try_to(house, name, "a", now) == "2 left"
    assert house.captcha.asked == []
    assert try_to(house, name, "b", now) == "captcha required"
    # This browser has failed on another name, and says so; another browser has not.
    assert try_to(house, OTHER, "a", now, captcha_due=True) == "captcha required"
    assert try_to(house, OTHER, "a", now) == "2 left"


@pytest.mark.spec("C-4", "D-44")
@pytest.mark.parametrize("captcha", [None, answer("wrong")])
@pytest.mark.parametrize("name", [OWNER, NOBODY])
def test_what_no_right_answer_comes_with_is_not_compared_and_not_counted(
    house: House, now: datetime, name: str, captcha: CaptchaAnswer | None
) -> None:
    house.add(OWNER, now)
    try_to(house, name, "a", now)
    before, compared = counters(house), house.hasher.compared
    events = house.events()
    told = [try_to(house, name, password, now, captcha=captcha) for password in ("b", PASSWORD, "c", "d")]
    assert set(told) == {"captcha required" if captcha is None else "captcha wrong"}
    assert counters(house) == before
    assert (house.hasher.compared, house.hasher.pretended) == (compared, 0)
    assert house.events() == events
    assert try_to(house, name, "b", now, captcha=answer("right")) == "1 left"


@pytest.mark.spec("C-1", "L-1", "D-39")
def test_a_locked_name_is_told_at_once_where_nothing_was_answered(house: House, now: datetime) -> None:
    house.add(OWNER, now)
    for wrong in "abc":
        try_to(house, OWNER, wrong, now, captcha=answer("right"))
    asked = len(house.captcha.asked)
    assert try_to(house, OWNER, PASSWORD, now) == "UsernameLocked"
    assert len(house.captcha.asked) == asked
    # An answer that comes along is spent, and a wrong one is refused: nobody tells more by leaving it unread.
    assert try_to(house, OWNER, PASSWORD, now, captcha=answer("wrong")) == "captcha wrong"
    assert try_to(house, OWNER, PASSWORD, now, captcha=answer("right")) == "UsernameLocked"
    assert try_to(house, OWNER, PASSWORD, now, captcha_due=True) == "captcha required"


# -- the same whoever it is ------------------------------------------------------------------------------------------


@pytest.mark.spec("L-3", "L-9", "D-40")
def test_the_same_work_and_words_for_known_unknown_disabled_and_invited(house: House, now: datetime) -> None:
    house.add(OWNER, now)
    house.add("XIA190128J61", now)
    house.lifecycle.disable("XIA190128J61", now)
    house.add("KICR630120NX3", now, password=None)
    seen = {}
    for name in (OWNER, "XIA190128J61", "KICR630120NX3", NOBODY):
        compared, pretended, asked = house.hasher.compared, house.hasher.pretended, len(house.captcha.asked)
        told = [try_to(house, name, wrong, now, captcha=answer("right")) for wrong in "abcde"]
        told.append(try_to(house, name, "f", now))
        work = (
            house.hasher.compared - compared,
            house.hasher.pretended - pretended,
            len(house.captcha.asked) - asked,
        )
        seen[name] = (told, work)
    assert len({repr(each) for each in seen.values()}) == 1
    assert seen[NOBODY] == (["2 left", "1 left", *["UsernameLocked"] * 4], (3, 3, 4))


@pytest.mark.spec("L-9")
def test_the_database_is_asked_the_same_whoever_it_is(house: House, now: datetime) -> None:
    house.add(OWNER, now)
    house.add("XIA190128J61", now)
    house.lifecycle.disable("XIA190128J61", now)
    house.add("KICR630120NX3", now, password=None)
    statements = watch_statements(house.store)
    asked = {}
    for name in (OWNER, "XIA190128J61", "KICR630120NX3", NOBODY):
        each = []
        for number in range(5):
            statements.clear()
            try_to(house, name, "a", now, captcha=answer("right"), address="203.0.113.7", device="A" * 43)
            # A lock is mailed to who can be locked out; nothing else may differ.
            each.append([text for text in statements if number != 2 or "INSERT INTO outbox_message" not in text])
        asked[name] = each
    assert all("attempt_counter" in "".join(each) and "known_device" in "".join(each) for each in asked[NOBODY])
    assert [name for name, each in asked.items() if each != asked[NOBODY]] == []


@pytest.mark.spec("L-9", "L-10")
def test_a_locked_refusal_that_finds_no_hash_slot_is_overload_like_any_other(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in "abc":
        try_to(house, NOBODY, wrong, now, captcha=answer("right"))

    def refuse() -> None:
        raise HashingOverloaded(policy.RETRY_AFTER)

    monkeypatch.setattr(house.hasher, "pretend", refuse)
    assert try_to(house, NOBODY, "d", now) == "HashingOverloaded"


@pytest.mark.spec("L-11", "W-10")
def test_a_lock_sends_one_mail_however_long_it_is_tried_and_only_to_who_can_be_locked_out(
    house: House, now: datetime
) -> None:
    house.add(OWNER, now, locale="en", email="duena@example.com")
    house.add("XIA190128J61", now)
    house.lifecycle.disable("XIA190128J61", now)
    for name in (OWNER, "XIA190128J61", NOBODY):
        for _ in range(10):
            try_to(house, name, "a", now, captcha=answer("right"))
    with house.store.read() as connection:
        (mail,) = connection.execute(select(OutboxMessage)).all()
    assert (mail.template, mail.recipient, mail.locale) == (Template.LOCKED, "duena@example.com", "en")
    assert mail.parameters == {"username": parse_username(OWNER).masked, "at": "2026-11-24T18:00:00+00:00"}
    assert house.events().count(Event.ACCOUNT_LOCK) == 3
    house.lifecycle.unlock(OWNER, now)
    for _ in range(4):
        try_to(house, OWNER, "a", now, captcha=answer("right"))
    assert len(house.mails()) == 2


def test_success_is_recorded_as_what_it_was_for(house: House, now: datetime) -> None:
    house.add(OWNER, now)
    asked = Event.REAUTHENTICATION_SUCCESS
    house.credentials.check(parse_username(OWNER), PASSWORD, now, attempt=Attempt(), event=asked)
    assert house.events()[-1] == asked


# -- after an expired password ---------------------------------------------------------------------------------------


@pytest.fixture
def expired(house: House, now: datetime) -> Callable[[datetime], Permit]:
    """An account whose password has ended, and its permit of this instant."""
    house.add(OWNER, now - policy.PASSWORD_LIFETIME)

    def get(at: datetime) -> Permit:
        with pytest.raises(PasswordExpired) as refusal:
            house.sign_in(OWNER, PASSWORD, at)
        return refusal.value.permit

    return get


@pytest.mark.spec("PW-6", "W-2")
def test_a_new_password_in_place_of_an_expired_one_signs_in(
    house: House, now: datetime, expired: Callable[[datetime], Permit]
) -> None:
    _, browser = house.sessions.begin(now)
    permit = expired(now)
    signed_in = house.signin.renew(permit, NEW, attempt=Attempt(browser, "203.0.113.7"), now=now)
    assert signed_in.person.username == OWNER
    found = house.sessions.find(signed_in.cookie, now)
    assert found is not None
    assert (found.account_id, found.browser, found.auth_time) == (permit.account_id, browser.browser, now)
    assert house.devices.find(signed_in.device, parse_username(OWNER), now) is not None
    assert house.events()[-2:] == [Event.PASSWORD_CHANGE, Event.SIGNIN_SUCCESS]
    assert house.sign_in(OWNER, NEW, now)


@pytest.mark.spec("R-1", "R-4")
def test_a_permit_that_is_spent_over_or_of_another_kind_renews_nothing(
    house: House, now: datetime, expired: Callable[[datetime], Permit]
) -> None:
    permit = expired(now)
    other = Permit(permit.account_id, OWNER, permit.epoch, Means.QUESTION, permit.expires_at)
    for wrong, at in ((other, now), (permit, now + policy.PERMIT_LIFETIME)):
        with pytest.raises(PermitGone):
            house.signin.renew(wrong, NEW, attempt=Attempt(), now=at)
    assert house.signin.renew(permit, NEW, attempt=Attempt(), now=now)
    with pytest.raises(PermitGone):
        house.signin.renew(permit, "Otra.Nieve8", attempt=Attempt(), now=now)
    with house.store.read() as connection:
        assert len(connection.execute(select(SignInSession.id)).all()) == 1


@pytest.mark.spec("PW-6")
def test_renewing_at_a_browser_where_somebody_else_is_signed_in_signs_them_out(
    house: House, now: datetime, expired: Callable[[datetime], Permit]
) -> None:
    house.add(OTHER, now)
    cookie = house.sign_in(OTHER, PASSWORD, now).cookie
    other = house.sessions.find(cookie, now)
    assert other is not None
    house.signin.renew(expired(now), NEW, attempt=Attempt(other), now=now)
    assert house.signed_out == [other.sid]
    assert house.sessions.find(cookie, now) is None


# -- signing out -----------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-3")
@pytest.mark.parametrize("everywhere", [True, False])
def test_signing_out_here_and_everywhere(house: House, now: datetime, everywhere: bool) -> None:
    house.add(OWNER, now)
    house.add(OTHER, now)
    cookies = [house.sign_in(OWNER, PASSWORD, now).cookie for _ in range(3)]
    someone = house.sign_in(OTHER, PASSWORD, now).cookie
    found = [house.sessions.find(cookie, now) for cookie in cookies]
    sids = [each.sid for each in found if each is not None]
    assert found[0] is not None
    house.signin.sign_out(found[0], now, everywhere=everywhere)
    left = [house.sessions.find(cookie, now) is not None for cookie in cookies]
    assert left == ([False] * 3 if everywhere else [False, True, True])
    assert set(house.signed_out) == set(sids if everywhere else sids[:1])
    assert house.events().count(Event.SIGNOUT) == (3 if everywhere else 1)
    assert house.sessions.find(someone, now) is not None


def test_signing_out_everywhere_where_nobody_is_signed_in_ends_nobodys_session(house: House, now: datetime) -> None:
    house.add(OWNER, now)
    cookie = house.sign_in(OWNER, PASSWORD, now).cookie
    _, browser = house.sessions.begin(now)
    house.signin.sign_out(browser, now, everywhere=True)
    assert house.sessions.find(cookie, now) is not None
    assert house.signed_out == []


@pytest.mark.spec("L-11")
def test_a_success_after_failures_says_how_many(house: House, now: datetime) -> None:
    house.add(OWNER, now)
    for password in (PASSWORD, "a", "b", PASSWORD, PASSWORD):
        try_to(house, OWNER, password, now + timedelta(seconds=1), captcha=answer("right"))
    with house.store.read() as connection:
        wanted = select(AuditEvent.detail).where(AuditEvent.event == Event.SIGNIN_SUCCESS).order_by(AuditEvent.id)
        assert connection.scalars(wanted).all() == [None, {"failures_before": 2}, None]
