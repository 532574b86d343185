"""Three attempts for each name, through the doors."""

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import create_engine, select
from sqlalchemy.pool import StaticPool

from idp import policy
from idp.accounts.errors import MalformedUsername, Refusal, UsernameLocked, WrongCredentials
from idp.accounts.lockout import Lockout
from idp.accounts.models import AttemptCounter
from idp.accounts.usernames import parse_username
from idp.audit import AuditEvent, Event
from idp.db import Store
from tests.accounts.house import PASSWORD, House, make_house
from tests.tables import make_tables

NOBODY = "AAA010101AAA"


def attempt(house: House, username: str, password: str, now: datetime) -> str:
    """What the sign-in page would show."""
    try:
        house.sign_in(username, password, now)
    except WrongCredentials as refusal:
        return f"{refusal.attempts_left} left"
    except UsernameLocked:
        return "locked"
    return "in"


@pytest.mark.spec("L-1")
def test_the_third_failure_locks_and_says_so(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    shown = [attempt(house, "EKU9003173C9", password, now) for password in ("a", "b", "c", PASSWORD)]
    assert shown == ["2 left", "1 left", "locked", "locked"]
    assert house.hasher.compared == 3


@pytest.mark.spec("L-1")
def test_the_right_password_in_time_forgets_the_failures(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    shown = [attempt(house, "EKU9003173C9", password, now) for password in ("a", "b", PASSWORD, "c", "d", PASSWORD)]
    assert shown == ["2 left", "1 left", "in", "2 left", "1 left", "in"]


@pytest.mark.spec("L-3")
def test_a_name_that_nobody_has_behaves_the_same(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    known, unknown = (
        [attempt(house, name, password, now) for password in ("a", "b", "c", "d")] for name in ("EKU9003173C9", NOBODY)
    )
    assert known == unknown
    locked = [
        house.lockout.is_locked(house.lockout.key_of(parse_username(name)), now) for name in ("EKU9003173C9", NOBODY)
    ]
    assert locked == [True, True]


@pytest.mark.spec("L-3")
def test_every_spelling_has_the_same_counter_and_every_prefix_its_own(house: House, now: datetime) -> None:
    spellings = ("xia190128j61", "XIA-190128-J61", " XIA 190128 J61")
    assert [attempt(house, each, "a", now) for each in spellings] == ["2 left", "1 left", "locked"]
    assert attempt(house, "usr.XIA190128J61", "a", now) == "2 left"
    assert attempt(house, "CT.XIA190128J61", "a", now) == "2 left"


@pytest.mark.spec("L-3")
def test_no_table_tells_which_names_were_tried(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    for name in ("EKU9003173C9", NOBODY):
        for _ in range(4):
            attempt(house, name, "a", now)
    with house.store.read() as connection:
        keys = connection.scalars(select(AttemptCounter.key)).all()
        rows = connection.execute(select(AuditEvent)).all()
    other = Lockout(house.store, b"another key")
    assert set(keys) == {house.lockout.key_of(parse_username(each)) for each in ("EKU9003173C9", NOBODY)}
    assert other.key_of(parse_username(NOBODY)) not in keys
    assert NOBODY not in repr(rows)
    assert keys[0] in repr(rows) or keys[1] in repr(rows)


@pytest.mark.spec("L-5")
@pytest.mark.parametrize("state", ["disabled", "invited"])
def test_who_may_not_sign_in_fails_like_anyone_with_the_right_password_too(
    house: House, now: datetime, state: str
) -> None:
    if state == "disabled":
        house.add("EKU9003173C9", now)
        house.lifecycle.disable("EKU9003173C9", now)
    else:
        house.add("EKU9003173C9", now, password=None)
    shown = [attempt(house, "EKU9003173C9", PASSWORD, now) for _ in range(4)]
    assert shown == ["2 left", "1 left", "locked", "locked"]


def test_a_format_error_is_no_attempt(house: House, now: datetime) -> None:
    for _ in range(5):
        with pytest.raises(MalformedUsername):
            attempt(house, "EKU9003173C", "a", now)
    assert house.hasher.compared == 0
    assert house.events() == []


@pytest.mark.spec("L-8")
def test_time_alone_lifts_no_lock_and_an_operator_does(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    for _ in range(3):
        attempt(house, "EKU9003173C9", "a", now)
    assert attempt(house, "EKU9003173C9", PASSWORD, now + timedelta(days=20)) == "locked"
    assert house.lifecycle.unlock("EKU9003173C9", now) is True
    assert attempt(house, "EKU9003173C9", PASSWORD, now) == "in"
    assert house.lifecycle.unlock("EKU9003173C9", now) is False


@pytest.mark.spec("L-11")
def test_each_event_leaves_one_row(house: House, now: datetime) -> None:
    account_id = house.add("EKU9003173C9", now)
    for password in ("a", "b", PASSWORD, "c", "d", "e", "f", "g"):
        attempt(house, "EKU9003173C9", password, now)
    house.lifecycle.unlock("EKU9003173C9", now)
    assert house.events() == [
        Event.ACCOUNT_CREATE,
        *[Event.SIGNIN_FAILURE] * 2,
        Event.SIGNIN_SUCCESS,
        *[Event.SIGNIN_FAILURE] * 3,
        Event.ACCOUNT_LOCK,
        *[Event.SIGNIN_REFUSED_LOCKED] * 2,
        Event.ACCOUNT_UNLOCK,
    ]
    with house.store.read() as connection:
        rows = connection.execute(select(AuditEvent)).all()
        success = connection.scalar(select(AuditEvent.detail).where(AuditEvent.event == Event.SIGNIN_SUCCESS))
    assert {row.account_id for row in rows} == {account_id}
    assert success == {"failures_before": 2}


@pytest.mark.spec("L-1")
def test_a_lock_that_somebody_was_told_of_stays_though_an_earlier_attempt_was_right(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third attempt is right, and so slow that it counted as failed when the fourth came."""
    house.add("EKU9003173C9", now)
    attempt(house, "EKU9003173C9", "a", now)
    attempt(house, "EKU9003173C9", "b", now)
    verify = house.hasher.verify
    told = []

    def slow(password: str, hashed: str | None) -> bool:
        told.append(attempt(house, "EKU9003173C9", "c", now + policy.ATTEMPT_PENDING_MAX))
        return verify(password, hashed)

    monkeypatch.setattr(house.hasher, "verify", slow)
    assert attempt(house, "EKU9003173C9", PASSWORD, now) == "locked"
    assert told == ["locked"]
    assert attempt(house, "EKU9003173C9", PASSWORD, now) == "locked"
    assert house.events().count(Event.ACCOUNT_LOCK) == 1
    assert house.mails() == [("locked", "buzon@example.com")]


@pytest.mark.parametrize("right", [PASSWORD, "d"], ids=["right", "wrong"])
def test_a_right_password_at_the_same_time_begins_the_count_afresh(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch, right: str
) -> None:
    """The second attempt fails, slowly; the third, begun after it, ends first: if it is right, it forgets the first."""
    house.add("EKU9003173C9", now)
    attempt(house, "EKU9003173C9", "a", now)
    verify = house.hasher.verify
    shown = []

    def slow(password: str, hashed: str | None) -> bool:
        if password == "c":
            shown.append(attempt(house, "EKU9003173C9", right, now))
        return verify(password, hashed)

    monkeypatch.setattr(house.hasher, "verify", slow)
    shown.append(attempt(house, "EKU9003173C9", "c", now))
    assert shown == (["in", "2 left"] if right == PASSWORD else ["1 left", "locked"])


NAMES = ("EKU9003173C9", "CT.KICR630120NX3", "usr.XIA190128J61", "CT.XIA190128J61", NOBODY)


class LockoutMachine(RuleBasedStateMachine):
    """Any order of sign-ins and operators' commands, against counters in a dictionary."""

    @initialize()
    def open(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        store = Store(self.engine)
        make_tables(self.engine)
        self.house = make_house(store)
        self.now = datetime.fromisoformat("2026-11-24T18:00:00+00:00")
        self.house.add("EKU9003173C9", self.now)
        self.house.add("CT.KICR630120NX3", self.now, organization_rfc="EKU9003173C9")
        self.house.add("usr.XIA190128J61", self.now)
        self.usable = {"EKU9003173C9", "CT.KICR630120NX3", "usr.XIA190128J61"}
        self.existing = frozenset(self.usable)
        self.failures = dict.fromkeys(NAMES, 0)
        self.compared = 0

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()

    @rule(name=st.sampled_from(NAMES), password=st.sampled_from(["wrong", PASSWORD]), later=st.integers(0, 7200))
    def sign_in(self, name: str, password: str, later: int) -> None:
        self.now += timedelta(seconds=later)
        if self.failures[name] == 3:
            expected = "locked"
        else:
            self.compared += 1
            if password == PASSWORD and name in self.usable:
                self.failures[name] = 0
                expected = "in"
            else:
                self.failures[name] += 1
                expected = "locked" if self.failures[name] == 3 else f"{3 - self.failures[name]} left"
        assert attempt(self.house, name, password, self.now) == expected

    @rule(name=st.sampled_from(NAMES))
    def unlock(self, name: str) -> None:
        try:
            self.house.lifecycle.unlock(name, self.now)
        except Refusal:
            assert name not in self.existing
        else:
            self.failures[name] = 0

    @rule(name=st.sampled_from(NAMES[:3]))
    def disable(self, name: str) -> None:
        self.house.lifecycle.disable(name, self.now)
        self.usable.discard(name)

    @rule(name=st.sampled_from(NAMES[:3]))
    def enable(self, name: str) -> None:
        self.house.lifecycle.enable(name, self.now)
        self.usable.add(name)

    @invariant()
    def locks_are_those_of_the_model(self) -> None:
        if not hasattr(self, "house"):
            return
        locked = self.house.lockout.find_locked([parse_username(name) for name in NAMES], self.now)
        assert {each.canonical for each in locked} == {name for name in NAMES if self.failures[name] == 3}
        assert self.house.hasher.compared == self.compared


TestLockoutMachine = pytest.mark.spec("L-1")(LockoutMachine.TestCase)
TestLockoutMachine.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
