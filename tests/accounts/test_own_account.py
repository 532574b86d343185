"""What a person who is signed in sees and changes, of the own account and of no other."""

import inspect
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from idp import audit, policy
from idp.accounts.attempts import Attempt
from idp.accounts.credentials import SignedIn
from idp.accounts.errors import (
    AccountProblem,
    AnswerRefused,
    CaptchaRefused,
    PasswordExpired,
    PasswordRefused,
    PermitGone,
    UsernameLocked,
    WrongCredentials,
)
from idp.accounts.models import Account
from idp.accounts.own_account import SHOWN_EVENTS, OwnAccount
from idp.accounts.sessions import Browser
from idp.accounts.usernames import parse_username
from idp.audit import Event
from idp.outbox import Template
from tests.accounts.house import PASSWORD, RIGHT, House
from tests.accounts.recovering import ANSWER, NAME, NEW, SECOND

OTHER = "usr.XIA190128J61"
DAY = timedelta(days=1)


def browse(house: House, signed_in: SignedIn, now: datetime) -> Browser:
    browser = house.sessions.find(signed_in.cookie, now)
    assert browser is not None
    return browser


def attempt(browser: Browser | None = None, **more: Any) -> Attempt:
    return Attempt(**{"browser": browser, "captcha": RIGHT, "address": "192.0.2.7", "user_agent": "Navegador", **more})


def row_of(house: House, account_id: str) -> dict[str, Any]:
    with house.store.read() as connection:
        return dict(connection.execute(select(Account.__table__).where(Account.id == account_id)).one()._mapping)


# -- overview --------------------------------------------------------------------------------------------------------


def test_the_overview_says_what_there_is(house: House, now: datetime) -> None:
    house.add(NAME, now)
    account_id = house.add(
        "CT.KICR630120NX3", now, organization_rfc=NAME, question="dish", answer=ANSWER, name="Raquel"
    )
    found = house.own_account.overview(account_id, now)
    assert (found.person.name, found.email, found.email_verified) == ("Raquel", "buzon@example.com", False)
    assert (found.kind, found.rfc, found.organization_rfc) == ("employee", "KICR630120NX3", NAME)
    assert (found.question, found.password_expires_at) == ("dish", now + policy.PASSWORD_LIFETIME)


@pytest.mark.spec("M5")
@pytest.mark.parametrize(
    ("before_the_end", "days"),
    [(30 * DAY, 30), (7 * DAY, 7), (7 * DAY - SECOND, 7), (6 * DAY, 6), (DAY, 1), (SECOND, 1), (-SECOND, 0)],
)
def test_the_days_left_count_the_one_that_has_begun(
    house: House, now: datetime, before_the_end: timedelta, days: int
) -> None:
    account_id = house.add(NAME, now)
    assert house.own_account.overview(account_id, now + policy.PASSWORD_LIFETIME - before_the_end).days_left == days


def test_an_account_that_is_not_active_has_no_own_page(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    invited = house.lifecycle.create(OTHER, email="buzon@example.com", now=now).account_id
    house.own_account.overview(account_id, now)
    house.lifecycle.disable(NAME, now)
    for each in (account_id, invited, "nobody"):
        with pytest.raises(PermitGone):
            house.own_account.overview(each, now)
    for change in (
        lambda: house.own_account.change_profile(account_id, name="Otra", locale="en", now=now),
        lambda: house.own_account.change_password(account_id, PASSWORD, NEW, attempt=attempt(), now=now),
        lambda: house.own_account.change_question(account_id, PASSWORD, "dish", ANSWER, attempt=attempt(), now=now),
    ):
        with pytest.raises(PermitGone):
            change()


# -- password --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-2")
@pytest.mark.spec("D-58")
def test_a_new_password_keeps_this_browser_under_a_new_cookie_and_ends_all_else(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    here, there = house.sign_in(NAME, PASSWORD, now), house.sign_in(NAME, PASSWORD, now)
    browser = browse(house, here, now)
    changed = house.own_account.change_password(
        account_id, PASSWORD, NEW, attempt=attempt(browser, device=here.device), now=now
    )
    assert [house.sessions.find(each.cookie, now) for each in (here, there)] == [None, None]
    found = browse(house, changed, now)
    assert (found.account_id, found.browser, found.amr) == (account_id, browser.browser, ("pwd",))
    assert changed.person.username == NAME
    name = parse_username(NAME)
    assert house.devices.find(changed.device, name, now) is not None
    for old in (here, there):
        assert house.devices.find(old.device, name, now) is None
    assert house.changed == [account_id]  # the grants
    assert [mail.template for mail in house.messages()] == [Template.PASSWORD_CHANGED]
    assert house.events()[-2:] == [Event.REAUTHENTICATION_SUCCESS, Event.PASSWORD_CHANGE]
    house.sign_in(NAME, NEW, now)


@pytest.mark.spec("L-4")
def test_the_current_password_is_counted_with_those_of_signing_in(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    browser = browse(house, house.sign_in(NAME, PASSWORD, now), now)

    def change(current: str, **more: Any) -> SignedIn:
        return house.own_account.change_password(account_id, current, NEW, attempt=attempt(browser, **more), now=now)

    with pytest.raises(WrongCredentials) as refusal:
        change("wrong")
    assert refusal.value.attempts_left == 2
    with pytest.raises(CaptchaRefused):
        change(PASSWORD, captcha=None)
    with pytest.raises(WrongCredentials):
        house.sign_in(NAME, "wrong", now)
    with pytest.raises(UsernameLocked):
        change("wrong")
    with pytest.raises(UsernameLocked):
        change(PASSWORD)
    assert house.messages()[-1].template is Template.LOCKED
    house.lifecycle.unlock(NAME, now)
    change(PASSWORD)


@pytest.mark.spec("PW-5")
def test_the_new_one_is_not_the_old_one_with_other_digits(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    signed_in = house.sign_in(NAME, PASSWORD, now)
    for new in (PASSWORD, "Nieve.Tibia39", "corta"):
        with pytest.raises(PasswordRefused):
            house.own_account.change_password(account_id, PASSWORD, new, attempt=attempt(), now=now)
    assert house.sessions.find(signed_in.cookie, now) is not None
    assert house.messages() == []
    house.own_account.change_password(account_id, PASSWORD, NEW, attempt=attempt(), now=now)


@pytest.mark.spec("PW-6")
def test_a_password_that_expired_meanwhile_leads_to_its_form_only(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    end = now + policy.PASSWORD_LIFETIME
    with pytest.raises(PasswordExpired) as refusal:
        house.own_account.change_password(account_id, PASSWORD, NEW, attempt=attempt(), now=end)
    house.signin.renew(refusal.value.permit, NEW, attempt=attempt(), now=end)


@pytest.mark.spec("M5")
def test_an_expired_password_is_renewed_into_a_session(house: House, now: datetime) -> None:
    house.add(NAME, now)
    end = now + policy.PASSWORD_LIFETIME
    with pytest.raises(PasswordExpired) as refusal:
        house.sign_in(NAME, PASSWORD, end)
    permit = refusal.value.permit
    for new in (PASSWORD, "Nieve.Tibia8"):
        with pytest.raises(PasswordRefused):
            house.signin.renew(permit, new, attempt=attempt(), now=end)
    signed_in = house.signin.renew(permit, NEW, attempt=attempt(), now=end)
    assert browse(house, signed_in, end).account_id == permit.account_id
    with pytest.raises(PermitGone):
        house.signin.renew(permit, "Pino;Verde;36", attempt=attempt(), now=end)


# -- question --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("D-80")
@pytest.mark.spec("Q-6")
def test_without_the_current_password_the_question_stays(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now, question="toy", answer="trompo azul")
    before = row_of(house, account_id)
    for current in ("", "wrong"):
        with pytest.raises(WrongCredentials):
            house.own_account.change_question(account_id, current, "dish", ANSWER, attempt=attempt(), now=now)
    assert row_of(house, account_id) == before
    assert house.messages() == []
    house.own_account.change_question(account_id, PASSWORD, "dish", ANSWER, attempt=attempt(), now=now)
    (notice,) = house.messages()
    assert (notice.template, notice.recipient) == (Template.QUESTION_CHANGED, "buzon@example.com")
    assert notice.parameters == {"username": "EKU······3C9", "at": now.isoformat()}
    name = parse_username(NAME)
    assert house.recovery.question_for(name) == "dish"
    assert house.recovery.answer(name, ANSWER, attempt=Attempt(), now=now) is not None
    assert house.events().count(Event.QUESTION_CHANGE) == 1


@pytest.mark.spec("Q-4")
def test_an_answer_that_breaks_a_rule_is_refused_before_the_password_counts(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    compared = house.hasher.compared
    for question, answer in (("dish", "pizza"), ("mine", ANSWER)):
        with pytest.raises(AnswerRefused):
            house.own_account.change_question(account_id, "wrong", question, answer, attempt=attempt(), now=now)
    assert house.hasher.compared == compared
    house.own_account.change_question(account_id, PASSWORD, "dish", ANSWER, attempt=attempt(), now=now)


@pytest.mark.spec("R-4")
def test_who_had_the_old_answer_has_nothing_open_any_more(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now, question="toy", answer="trompo azul")
    name = parse_username(NAME)
    permit = house.recovery.answer(name, "trompo azul", attempt=Attempt(), now=now)
    assert permit is not None
    house.recovery.check_permit(permit, now)
    house.own_account.change_question(account_id, PASSWORD, "dish", ANSWER, attempt=attempt(), now=now)
    with pytest.raises(PermitGone):
        house.recovery.check_permit(permit, now)


# -- profile ---------------------------------------------------------------------------------------------------------


@pytest.mark.spec("D-70")
def test_name_and_language_change_and_nothing_else_can(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now, name="Ana")
    other_id = house.add(OTHER, now)
    before, other = row_of(house, account_id), row_of(house, other_id)
    later = now + SECOND
    house.own_account.change_profile(account_id, name="  Ana  María ", locale="en", now=later)
    assert row_of(house, account_id) == {**before, "name": "Ana María", "locale": "en", "updated_at": later}
    assert row_of(house, other_id) == other
    with house.store.read() as connection:
        wanted = select(audit.AuditEvent.detail).where(audit.AuditEvent.event == Event.PROFILE_CHANGE)
        assert connection.scalars(wanted).all() == [{"fields": ["locale", "name"]}]
    house.own_account.change_profile(account_id, name="Ana María", locale="en", now=later)  # nothing to record
    assert house.events().count(Event.PROFILE_CHANGE) == 1


@pytest.mark.parametrize(
    ("name", "locale"),
    [("", "en"), ("  ", "en"), ("Ana\r\nBcc: x", "en"), ("x" * 201, "en"), ("Ana", "fr"), ("Ana", "")],
)
def test_an_odd_name_or_language_changes_nothing(house: House, now: datetime, name: str, locale: str) -> None:
    account_id = house.add(NAME, now)
    before = row_of(house, account_id)
    with pytest.raises(AccountProblem):
        house.own_account.change_profile(account_id, name=name, locale=locale, now=now)
    assert row_of(house, account_id) == before


@pytest.mark.spec("D-70")
def test_no_door_takes_more_than_its_form_has(house: House) -> None:
    privileged = {"email", "email_verified", "role", "kind", "state", "rfc", "sub", "changed_at", "is_admin", "claims"}
    for name, door in inspect.getmembers(OwnAccount, inspect.isfunction):
        if not name.startswith("_"):
            parameters = inspect.signature(door).parameters
            assert privileged.isdisjoint(parameters), name
            assert all(each.kind not in {each.VAR_KEYWORD, each.VAR_POSITIONAL} for each in parameters.values()), name


# -- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-9")
def test_the_own_sessions_are_seen_and_those_that_ended_are_not(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    house.add(OTHER, now)
    house.sign_in(OTHER, PASSWORD, now)
    house.sign_in(NAME, PASSWORD, now - policy.SESSION_IDLE_LIFETIME)
    there = house.sign_in(NAME, PASSWORD, now - SECOND, address="192.0.2.1", user_agent="Teléfono")
    here = house.sign_in(NAME, PASSWORD, now, address="192.0.2.2", user_agent="Oficina")
    seen = house.own_account.sessions(account_id, browse(house, here, now), now)
    assert [(each.address, each.user_agent, each.is_current) for each in seen] == [
        ("192.0.2.2", "Oficina", True),
        ("192.0.2.1", "Teléfono", False),
    ]
    assert [each.sid for each in seen] == [browse(house, each, now).sid for each in (here, there)]
    assert all(here.cookie not in repr(each) for each in seen)
    later = now + policy.SESSION_ABSOLUTE_LIFETIME
    assert house.own_account.sessions(account_id, browse(house, here, now), later) == ()


@pytest.mark.spec("D-60")
@pytest.mark.spec("W-9")
def test_only_an_own_session_can_be_ended_and_what_hangs_on_it_ends(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    house.add(OTHER, now)
    mine, theirs = house.sign_in(NAME, PASSWORD, now), house.sign_in(OTHER, PASSWORD, now)
    sid, foreign = browse(house, mine, now).sid, browse(house, theirs, now).sid
    assert sid is not None
    assert foreign is not None
    for wrong in (foreign, str(uuid.uuid4()), "", "x\0", "ñ" * 36, "' or 1=1--"):
        assert house.own_account.end_session(account_id, wrong, now) is False
    assert house.signed_out == []
    assert house.own_account.end_session(account_id, sid, now) is True
    assert house.signed_out == [sid]
    assert house.sessions.find(mine.cookie, now) is None
    assert house.sessions.find(theirs.cookie, now) is not None
    assert house.own_account.end_session(account_id, sid, now) is False
    assert house.events().count(Event.SIGNOUT) == 1


@pytest.mark.spec("W-9")
def test_all_but_this_one(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    other_id = house.add(OTHER, now)
    theirs = house.sign_in(OTHER, PASSWORD, now)
    others = [house.sign_in(NAME, PASSWORD, now) for _ in range(3)]
    here = house.sign_in(NAME, PASSWORD, now)
    browser = browse(house, here, now)
    assert house.own_account.end_other_sessions(other_id, browser, now) == 0  # not that account's browser
    assert house.own_account.end_other_sessions(account_id, browser, now) == 3
    assert len(set(house.signed_out)) == 3
    assert browser.sid not in house.signed_out
    assert [house.sessions.find(each.cookie, now) for each in others] == [None] * 3
    for alive in (here, theirs):
        assert house.sessions.find(alive.cookie, now) is not None
    assert house.own_account.end_other_sessions(account_id, browser, now) == 0


# -- activity --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-9")
def test_activity_is_the_own_newest_first_page_by_page(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    other_id = house.add(OTHER, now)
    with house.store.write() as tx:
        for number in range(7):
            audit.record(tx, Event.SIGNIN_SUCCESS, now=now + number * SECOND, account_id=account_id, client_id="app")
            audit.record(tx, Event.TOKEN_ISSUE, now=now, account_id=account_id)  # machinery: not shown
            audit.record(tx, Event.SIGNIN_FAILURE, now=now, account_id=other_id)
            audit.record(tx, Event.SIGNIN_FAILURE, now=now)
    first = house.own_account.activity(account_id, limit=4)
    rest = house.own_account.activity(account_id, before=first[-1].id, limit=4)
    assert [row.at - now for row in (*first, *rest)] == [n * SECOND for n in range(6, -1, -1)]
    assert {(row.event, row.client_id) for row in (*first, *rest)} == {(Event.SIGNIN_SUCCESS, "app")}
    assert house.own_account.activity(account_id, before=rest[-1].id, limit=4) == ()
    assert house.own_account.activity("nobody", limit=4) == ()
    for odd in (0, -1, 2**63, 10**30):
        assert house.own_account.activity(account_id, before=odd, limit=4) == ()
    assert len(house.own_account.activity(account_id, limit=10**9)) == 7
    assert Event.TOKEN_ISSUE not in SHOWN_EVENTS
