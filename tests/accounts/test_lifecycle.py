"""Operators create, disable, enable and unlock; support looks up."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from idp import policy
from idp.accounts.errors import (
    AccountProblem,
    AnswerRefused,
    AnswerRule,
    MalformedUsername,
    PasswordExpired,
    PasswordRefused,
    PasswordRule,
    Refusal,
    WrongCredentials,
)
from idp.accounts.models import Account, Kind, Organization, State
from idp.audit import AuditEvent, Event
from tests.accounts.house import PASSWORD, House
from tests.conftest import NOW

LATER = timedelta(hours=1)


def create(house: House, username: str, now: datetime, **more: Any) -> str:
    return house.lifecycle.create(username, **{"email": "buzon@example.com", "now": now, **more}).account_id


def test_each_kind_of_account(house: House, now: datetime) -> None:
    create(house, "eku-900317-3c9", now, password=PASSWORD)
    create(house, "CT.KICR630120NX3", now, organization_rfc="EKU9003173C9")
    create(house, "usr.XIA190128J61", now)
    create(house, "adm.demo", now, role="support")
    views = {view.username: view for view in house.directory.list(now)}
    assert [(name, view.kind, view.state, view.role, view.organization_rfc) for name, view in views.items()] == [
        ("CT.KICR630120NX3", Kind.EMPLOYEE, State.INVITED, None, "EKU9003173C9"),
        ("EKU9003173C9", Kind.CLIENT, State.ACTIVE, None, "EKU9003173C9"),
        ("adm.demo", Kind.STAFF, State.INVITED, "support", None),
        ("usr.XIA190128J61", Kind.FREE, State.INVITED, None, None),
    ]
    assert views["EKU9003173C9"].password_changed_at == now
    assert views["adm.demo"].password_changed_at is None
    events = house.events()
    assert (events.count(Event.ACCOUNT_CREATE), events.count(Event.ACCOUNT_INVITE), len(events)) == (4, 3, 7)


@pytest.mark.parametrize(
    ("username", "more", "words"),
    [
        ("XAXX010101000", {}, "generic"),
        ("usr.XEXX010101000", {}, "generic"),
        ("EKU9003173C9", {"organization_rfc": "XIA190128J61"}, "founds its own"),
        ("EKU9003173C9", {"role": "admin"}, "only staff"),
        ("CT.KICR630120NX3", {}, "needs the RFC of its organisation"),
        ("CT.KICR630120NX3", {"organization_rfc": "XIA190128J61"}, "no client account"),
        ("usr.XIA190128J61", {"organization_rfc": "XIA190128J61"}, "only client and employee"),
        ("adm.demo", {}, "needs a role"),
        ("adm.demo", {"role": "root"}, "needs a role"),
        ("EKU9003173C9", {"email": "buzon"}, "mail address"),
        ("EKU9003173C9", {"email": "a@b\r\nBcc: c@d"}, "mail address"),
        ("EKU9003173C9", {"email": "x" * 250 + "@b.mx"}, "mail address"),
        ("EKU9003173C9", {"name": "A\nB"}, "one line"),
        ("EKU9003173C9", {"locale": "fr"}, "unknown language"),
        ("EKU9003173C9", {"claims": {"sub": "1"}}, "'sub'"),
        ("EKU9003173C9", {"claims": {"phone_number_verified": "yes"}}, "another kind"),
        ("EKU9003173C9", {"claims": {"address": {"planet": "Earth"}}}, "5.1.1"),
        ("EKU9003173C9", {"question": "teacher"}, "together"),
        ("EKU9003173C9", {"question": "pet", "answer": "Firulais"}, "catalogue"),
        ("EKU9003173C9", {"password_changed_at": NOW}, "said of a password"),
        ("EKU9003173C9", {"password": PASSWORD, "password_changed_at": NOW + LATER}, "in the past"),
    ],
)
def test_what_cannot_be_created_says_why_and_changes_nothing(
    house: House, now: datetime, username: str, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(AccountProblem, match=words):
        create(house, username, now, **more)
    with house.store.read() as connection:
        for table in (Account, Organization, AuditEvent):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_a_username_belongs_to_one_account(house: House, now: datetime) -> None:
    create(house, "EKU9003173C9", now)
    with pytest.raises(AccountProblem, match="exists already"):
        create(house, "eku 900317 3c9", now)
    assert house.events() == [Event.ACCOUNT_CREATE, Event.ACCOUNT_INVITE]
    create(house, "usr.EKU9003173C9", now)  # one address, one RFC: another user all the same


def test_a_malformed_name_is_refused_everywhere(house: House, now: datetime) -> None:
    for door in (house.lifecycle.disable, house.lifecycle.enable, house.lifecycle.unlock, house.directory.find):
        with pytest.raises(MalformedUsername):
            door("EKU", now)
    with pytest.raises(MalformedUsername):
        create(house, "EKU", now)


@pytest.mark.spec("Q-4")
def test_a_secret_answer_obeys_the_rules(house: House, now: datetime) -> None:
    with pytest.raises(AnswerRefused) as refusal:
        create(house, "EKU9003173C9", now, password=PASSWORD, question="toy", answer=" ¡sí! ")
    assert refusal.value.broken == (AnswerRule.SHORT,)
    assert house.directory.find("EKU9003173C9", now) is None
    create(house, "EKU9003173C9", now, password=PASSWORD, question="toy", answer=" ¡sí, sí! ")


@pytest.mark.spec("PW-6")
def test_a_password_brought_along_keeps_its_age(house: House, now: datetime) -> None:
    changed_at = now - policy.PASSWORD_LIFETIME + LATER
    create(house, "EKU9003173C9", now, password=PASSWORD, password_changed_at=changed_at)
    assert house.sign_in("EKU9003173C9", PASSWORD, now + LATER - timedelta(seconds=1)).person.username
    with pytest.raises(PasswordExpired):
        house.sign_in("EKU9003173C9", PASSWORD, now + LATER)


@pytest.mark.spec("PW-1")
def test_a_new_password_obeys_the_rules(house: House, now: datetime) -> None:
    with pytest.raises(PasswordRefused) as refusal:
        create(house, "EKU9003173C9", now, password="eku9003173c9")
    assert refusal.value.broken == (PasswordRule.UPPER, PasswordRule.PUNCT, PasswordRule.NOT_RFC)
    assert house.directory.find("EKU9003173C9", now) is None


def test_claims_are_kept_and_email_verified_has_its_own_place(house: House, now: datetime) -> None:
    claims = {"given_name": "Raquel", "email_verified": True, "address": {"country": "MX"}}
    account_id = create(house, "EKU9003173C9", now, password=PASSWORD, claims=claims, name="Raquel Kim")
    row = house.directory.find_subject_row(account_id)
    assert row is not None
    assert row.claims == {"given_name": "Raquel", "address": {"country": "MX"}}
    assert row.email_verified is True
    assert (row.sub, row.name, row.email, row.locale) == (account_id, "Raquel Kim", "buzon@example.com", "es-MX")
    assert claims["email_verified"] is True


def test_disabling_and_enabling(house: House, now: datetime) -> None:
    account_id = create(house, "EKU9003173C9", now, password=PASSWORD)
    invited = create(house, "usr.XIA190128J61", now)
    for _ in range(2):  # the second time changes nothing and is not recorded
        house.lifecycle.disable("EKU9003173C9", now + LATER)
    house.lifecycle.disable("usr.XIA190128J61", now)
    assert house.disabled == [account_id, invited]
    with pytest.raises(WrongCredentials):
        house.sign_in("EKU9003173C9", PASSWORD, now)
    for name in ("EKU9003173C9", "EKU9003173C9", "usr.XIA190128J61"):
        house.lifecycle.enable(name, now + LATER)
    states = [view.state for view in house.directory.list(now)]
    assert states == [State.ACTIVE, State.INVITED]
    person = house.sign_in("EKU9003173C9", PASSWORD, now).person
    assert person.account_id == account_id
    events = house.events()
    assert (events.count(Event.ACCOUNT_DISABLE), events.count(Event.ACCOUNT_ENABLE)) == (2, 2)


@pytest.mark.spec("L-5")
def test_what_hangs_on_disabling_fails_with_it(house: House, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id = create(house, "EKU9003173C9", now, password=PASSWORD)
    cookie = house.sign_in("EKU9003173C9", PASSWORD, now).cookie

    def break_off(tx: object, account_id: str, now: datetime) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(house.lifecycle, "_on_disable", break_off)
    with pytest.raises(RuntimeError):
        house.lifecycle.disable("EKU9003173C9", now)
    assert house.directory.find_subject_row(account_id) is not None
    assert house.sessions.find(cookie, now) is not None


def test_nobody_can_be_disabled_enabled_or_unlocked(house: House, now: datetime) -> None:
    for door in (house.lifecycle.disable, house.lifecycle.enable, house.lifecycle.unlock):
        with pytest.raises(AccountProblem, match="no account"):
            door("EKU9003173C9", now)
    assert house.events() == []


def test_support_sees_the_lock_and_no_hash(house: House, now: datetime) -> None:
    create(house, "EKU9003173C9", now, password=PASSWORD, question="dish", answer="pozole verde")
    create(house, "usr.XIA190128J61", now, password=PASSWORD)
    for _ in range(3):
        with pytest.raises(Refusal):
            house.sign_in("EKU9003173C9", "wrong", now)
    view = house.directory.find("eku9003173c9", now)
    assert view is not None
    assert (view.locked, view.question) == (True, "dish")
    assert [each.locked for each in house.directory.list(now)] == [True, False]
    assert "quick$" not in repr(view)
    assert house.directory.find("AAA010101AAA", now) is None


def test_the_list_goes_on_and_is_bounded(house: House, now: datetime) -> None:
    for day in range(10, 15):
        create(house, f"usr.AAA0101{day}AAA", now, password=PASSWORD if day % 2 else None)
    first = house.directory.list(now, limit=2)
    rest = house.directory.list(now, after=first[-1].username)
    assert [view.username[-5:-3] for view in (*first, *rest)] == ["10", "11", "12", "13", "14"]
    assert len(house.directory.list(now, state=State.INVITED)) == 3


def test_a_subject_comes_in_one_query(house: House, now: datetime) -> None:
    create(house, "EKU9003173C9", now)
    account_id = create(house, "CT.KICR630120NX3", now, organization_rfc="EKU9003173C9", password=PASSWORD)
    with house.store.write() as tx:
        tx.execute(update(Organization).values(retention_days=120))
    statements: list[str] = []
    house.store.engine.dispose()
    event.listen(house.store.engine, "connect", lambda driver, _: driver.set_trace_callback(statements.append))
    row = house.directory.find_subject_row(account_id)
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 1
    assert row is not None
    assert (row.kind, row.rfc, row.organization_rfc) == (Kind.EMPLOYEE, "KICR630120NX3", "EKU9003173C9")
    assert (row.organization_retention_days, row.password_changed_at) == (120, now)


def test_retention_of_an_organisation(house: House, now: datetime) -> None:
    create(house, "EKU9003173C9", now)
    assert house.directory.find_organization_retention("EKU9003173C9") is None
    assert house.directory.find_organization_retention("XIA190128J61") is None
    with house.store.write() as tx:
        tx.execute(update(Organization).values(retention_days=120))
    assert house.directory.find_organization_retention("EKU9003173C9") == 120


def test_who_may_have_no_tokens_is_no_subject(house: House, now: datetime) -> None:
    assert house.directory.find_subject_row(create(house, "EKU9003173C9", now)) is None
    assert house.directory.find_subject_row("nobody") is None
