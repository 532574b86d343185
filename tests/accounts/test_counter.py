"""The counter itself: slots, failures, locks, and what time makes of them."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import create_engine, select
from sqlalchemy.pool import StaticPool

from idp import policy
from idp.accounts.errors import CaptchaProblem, CaptchaRefused, HashingOverloaded, UsernameLocked
from idp.accounts.lockout import Failure, Lockout
from idp.accounts.models import AttemptCounter
from idp.accounts.usernames import parse_username
from idp.db import Store
from tests.accounts.house import LOCKOUT_KEY
from tests.tables import make_tables

MICROSECOND = timedelta(microseconds=1)
PENDING = policy.ATTEMPT_PENDING_MAX
KEY = "a-key"


@pytest.fixture
def lockout(store: Store) -> Lockout:
    return Lockout(store, LOCKOUT_KEY)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds every slot taken gives up soon."""
    monkeypatch.setattr(policy, "PASSWORD_HASH_WAIT", timedelta(milliseconds=60))


def take(lockout: Lockout, now: datetime, *, answered: bool = True, times: int = 1) -> None:
    for _ in range(times):
        lockout.count_attempt(KEY, now, answered=answered)


def fail(store: Store, lockout: Lockout, now: datetime, times: int = 1) -> Failure:
    for _ in range(times):
        take(lockout, now)
        with store.write() as tx:
            failure = lockout.fail(tx, KEY, now)
    return failure


def row(store: Store) -> tuple[int, int] | None:
    with store.read() as connection:
        found = connection.execute(select(AttemptCounter.failures, AttemptCounter.failed)).first()
    return None if found is None else (found.failures, found.failed)


@pytest.mark.spec("L-2")
def test_what_is_only_being_compared_locks_nobody_and_lets_no_fourth_in(
    lockout: Lockout, now: datetime, hurry: None
) -> None:
    take(lockout, now, answered=False, times=3)
    with pytest.raises(HashingOverloaded) as refusal:
        take(lockout, now)
    assert refusal.value.retry_after == policy.RETRY_AFTER
    assert not lockout.is_locked(KEY, now)
    assert not lockout.has_failed(KEY, now)


@pytest.mark.spec("L-2")
@pytest.mark.parametrize("answered", [True, False])
def test_who_waits_gets_the_slot_that_comes_free(
    store: Store, lockout: Lockout, now: datetime, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    take(lockout, now, times=3)

    def end_one(_seconds: float) -> None:
        with store.write() as tx:
            assert lockout.succeed(tx, KEY, now)

    monkeypatch.setattr("idp.accounts.lockout.time.sleep", end_one)
    take(lockout, now, answered=answered)
    assert row(store) == (3, 0)


@pytest.mark.spec("L-2", "C-1")
def test_who_waits_without_a_captcha_is_asked_for_it_once_another_has_failed(
    store: Store, lockout: Lockout, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(lockout, now, times=3)

    def fail_one(_seconds: float) -> None:
        with store.write() as tx:
            lockout.fail(tx, KEY, now)

    monkeypatch.setattr("idp.accounts.lockout.time.sleep", fail_one)
    with pytest.raises(CaptchaRefused) as refusal:
        take(lockout, now, answered=False)
    assert refusal.value.problem is CaptchaProblem.REQUIRED
    with pytest.raises(UsernameLocked):
        take(lockout, now, answered=True)


@pytest.mark.spec("C-1", "C-4")
def test_after_one_failure_a_slot_needs_an_answered_captcha(store: Store, lockout: Lockout, now: datetime) -> None:
    take(lockout, now, answered=False)
    with store.write() as tx:
        lockout.fail(tx, KEY, now)
    with pytest.raises(CaptchaRefused):
        take(lockout, now, answered=False)
    assert row(store) == (1, 1)
    take(lockout, now, answered=True)
    assert row(store) == (2, 1)


@pytest.mark.spec("L-1")
def test_the_third_failure_sets_the_lock_once(store: Store, lockout: Lockout, now: datetime) -> None:
    assert [fail(store, lockout, now) for _ in range(3)] == [Failure(2, False), Failure(1, False), Failure(0, True)]
    with store.write() as tx:
        assert lockout.fail(tx, KEY, now) == Failure(0, False)  # a straggler, taken for dead before
    with pytest.raises(UsernameLocked):
        take(lockout, now, answered=False)


@pytest.mark.spec("L-2")
def test_a_success_keeps_the_slots_of_the_others(store: Store, lockout: Lockout, now: datetime) -> None:
    fail(store, lockout, now)
    take(lockout, now, times=2)
    with store.write() as tx:
        assert lockout.succeed(tx, KEY, now)
    assert row(store) == (1, 0)
    with store.write() as tx:
        assert lockout.succeed(tx, KEY, now)
    assert row(store) is None


def test_what_is_given_back_was_no_attempt_and_forgives_none(store: Store, lockout: Lockout, now: datetime) -> None:
    fail(store, lockout, now)
    take(lockout, now)
    for _ in range(2):  # the second time there is nothing to give back
        with store.write() as tx:
            assert lockout.give_back(tx, KEY, now)
        assert row(store) == (1, 1)


@pytest.mark.spec("L-8")
@pytest.mark.parametrize("settle", [Lockout.succeed, Lockout.give_back])
def test_neither_a_success_nor_giving_back_opens_a_lock_and_an_operator_does(
    store: Store, lockout: Lockout, now: datetime, settle: Callable[..., bool]
) -> None:
    fail(store, lockout, now, times=3)
    with store.write() as tx:
        assert settle(lockout, tx, KEY, now) is False
    assert lockout.is_locked(KEY, now)
    with store.write() as tx:
        lockout.clear(tx, KEY)
        assert settle(lockout, tx, KEY, now) is True
    take(lockout, now, answered=False)


@pytest.mark.spec("L-2")
def test_attempts_whose_process_died_count_as_failed(
    store: Store, lockout: Lockout, now: datetime, hurry: None
) -> None:
    take(lockout, now, times=3)
    with pytest.raises(HashingOverloaded):
        take(lockout, now + PENDING - MICROSECOND)
    with pytest.raises(UsernameLocked):
        take(lockout, now + PENDING)
    assert lockout.is_locked(KEY, now + PENDING)
    told = []
    for _ in range(2):
        with store.write() as tx:
            told.append(lockout.note_lock(tx, KEY, now + PENDING))
    assert told == [True, False]


@pytest.mark.spec("L-2", "C-1")
def test_one_dead_attempt_asks_for_a_captcha_and_leaves_two(store: Store, lockout: Lockout, now: datetime) -> None:
    take(lockout, now)
    assert not lockout.has_failed(KEY, now + PENDING - MICROSECOND)
    assert lockout.has_failed(KEY, now + PENDING)
    later = now + PENDING
    take(lockout, later)
    assert row(store) == (2, 1)
    with store.write() as tx:
        assert lockout.fail(tx, KEY, later) == Failure(1, False)
        assert lockout.note_lock(tx, KEY, later) is False


@pytest.mark.spec("L-8")
def test_a_time_limit_that_policy_sets_is_counted_from_the_lock(store: Store, now: datetime) -> None:
    limit = timedelta(minutes=15)
    lockout = Lockout(store, LOCKOUT_KEY, duration=limit)
    fail(store, lockout, now, times=3)
    with pytest.raises(UsernameLocked):
        take(lockout, now + limit - MICROSECOND)
    assert lockout.is_locked(KEY, now + limit - MICROSECOND)
    assert not lockout.is_locked(KEY, now + limit)
    take(lockout, now + limit, answered=False)
    assert row(store) == (1, 0)


@pytest.mark.spec("Q-3")
def test_failures_that_led_to_no_lock_are_over_with_the_time_limit(store: Store, now: datetime) -> None:
    closed_for = policy.QUESTION_CLOSED_FOR
    questions = Lockout(store, LOCKOUT_KEY, attempts=3, duration=closed_for, purpose="question_counter")
    fail(store, questions, now, times=2)
    assert questions.count_failed(KEY, now + closed_for - MICROSECOND) == 2
    assert questions.count_failed(KEY, now + closed_for) == 0
    assert fail(store, questions, now + closed_for) == Failure(2, False)


@pytest.mark.spec("L-3", "L-6", "Q-3")
def test_each_purpose_name_and_browser_has_a_counter_of_its_own(store: Store, lockout: Lockout) -> None:
    name, other = parse_username("EKU9003173C9"), parse_username("usr.EKU9003173C9")
    questions = Lockout(store, LOCKOUT_KEY, purpose="question_counter")
    keys = [
        lockout.key_of(name),
        lockout.key_of(other),
        lockout.key_of(name, "device"),
        lockout.key_of(name, "device2"),
        questions.key_of(name),
        Lockout(store, b"another key").key_of(name),
    ]
    assert len(set(keys)) == len(keys)
    assert lockout.key_of(parse_username("eku-900317-3c9")) == keys[0]


class CounterMachine(RuleBasedStateMachine):
    """Attempts that begin and end in any order, against a model of who is under way and who has failed."""

    @initialize()
    def open(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        self.store = Store(self.engine)
        make_tables(self.engine)
        self.lockout = Lockout(self.store, LOCKOUT_KEY)
        self.now = datetime.fromisoformat("2026-11-24T18:00:00+00:00")
        self.pending = 0
        self.failed = 0

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()

    @rule(answered=st.booleans())
    def begin(self, answered: bool) -> None:
        expected: type[Exception] | None = None
        if self.failed == 3:
            expected = UsernameLocked
        elif self.failed and not answered:
            expected = CaptchaRefused
        elif self.failed + self.pending == 3:
            expected = HashingOverloaded
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(policy, "PASSWORD_HASH_WAIT", timedelta(0))
                self.lockout.count_attempt(KEY, self.now, answered=answered)
        except (UsernameLocked, CaptchaRefused, HashingOverloaded) as refusal:
            assert type(refusal) is expected
        else:
            assert expected is None
            self.pending += 1

    @precondition(lambda self: self.pending)
    @rule()
    def fail(self) -> None:
        self.pending -= 1
        self.failed += 1
        with self.store.write() as tx:
            failure = self.lockout.fail(tx, KEY, self.now)
        assert failure == Failure(3 - self.failed, self.failed == 3)

    @precondition(lambda self: self.pending)
    @rule()
    def succeed(self) -> None:
        self.pending -= 1
        self.failed = 0
        with self.store.write() as tx:
            assert self.lockout.succeed(tx, KEY, self.now) is True

    @precondition(lambda self: self.pending)
    @rule()
    def give_back(self) -> None:
        self.pending -= 1
        with self.store.write() as tx:
            assert self.lockout.give_back(tx, KEY, self.now) is True

    @precondition(lambda self: not self.pending)
    @rule()
    def clear(self) -> None:
        self.failed = 0
        with self.store.write() as tx:
            self.lockout.clear(tx, KEY)

    @precondition(lambda self: self.pending)
    @rule()
    def die(self) -> None:
        """The processes of all that are under way end without a word, and it is noticed."""
        self.now += PENDING
        self.failed += self.pending
        self.pending = 0
        with self.store.write() as tx:
            assert self.lockout.note_lock(tx, KEY, self.now) is (self.failed == 3)
        if self.failed < 3:
            self.begin(answered=True)

    @invariant()
    def the_counter_is_that_of_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.failed + self.pending <= 3
        assert (row(self.store) or (0, 0)) == (self.failed + self.pending, self.failed)
        assert self.lockout.is_locked(KEY, self.now) is (self.failed == 3)
        assert self.lockout.has_failed(KEY, self.now) is (self.failed > 0)


TestCounterMachine = pytest.mark.spec("L-2")(CounterMachine.TestCase)
TestCounterMachine.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
