"""What was enqueued is handed over once: by any number of workers, over crashes and a store that is away."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, select

from idp import policy
from idp.db import Store, StoreUnavailable
from idp.delivery import Deliver, Delivered, NotTaken, deliver_due
from idp.outbox import Message, Outbox, OutboxMessage, Template


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return Outbox(store)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait a second for what a worker may wait for."""
    monkeypatch.setattr(policy, "MAIL_POLL_INTERVAL", timedelta(seconds=0.02))


class Door:
    """A mail server of the test's: notes what it is given and does what it is told."""

    def __init__(self, act: Callable[[Message], object] = lambda message: None) -> None:
        self.act = act
        self.given: list[str] = []

    def __call__(self, message: Message, now: datetime) -> bool:
        self.given.append(message.id)
        return self.act(message) is not False


def refuse(reason: str, *, permanent: bool = False) -> Callable[[Message], object]:
    def act(message: Message) -> None:
        raise NotTaken(reason, permanent=permanent)

    return act


def put(
    outbox: Outbox, store: Store, now: datetime, count: int = 1, recipient: str | None = "buzon@example.com"
) -> list[str]:
    parameters = {"username": "EKU·······3C9", "at": now.isoformat()}
    with store.write() as tx:
        return [
            outbox.enqueue(tx, Template.LOCKED, recipient=recipient, locale="es-MX", parameters=parameters, now=now)
            for _ in range(count)
        ]


def deliver(outbox: Outbox, door: Deliver, now: datetime, **more: object) -> Delivered:
    return deliver_due(outbox, door, lambda tx, message, moment: None, now=now, **more)  # type: ignore[arg-type]


def row_of(store: Store, message_id: str) -> OutboxMessage:
    with store.read() as connection:
        found: OutboxMessage = connection.execute(  # type: ignore[assignment]  # a row has the attributes of the table
            select(*OutboxMessage.__table__.c).where(OutboxMessage.id == message_id)
        ).one()
        return found


@pytest.mark.spec("M12")
def test_a_mail_is_handed_over_once(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    door = Door()
    assert deliver(outbox, door, now) == Delivered(sent=1)
    assert deliver(outbox, door, now + policy.MAIL_GIVE_UP) == Delivered()
    assert door.given == [message_id]


@pytest.mark.spec("M12")
def test_a_mail_of_what_did_not_happen_is_never_sent(outbox: Outbox, store: Store, now: datetime) -> None:
    def lock_out() -> None:
        with store.write() as tx:
            outbox.enqueue(tx, Template.LOCKED, recipient="a@example.com", locale="en", parameters={}, now=now)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lock_out()
    assert outbox.status(now).queued == 0


@pytest.mark.spec("F-4", "S-2")
def test_two_workers_send_no_twin(outbox: Outbox, store: Store, now: datetime) -> None:
    ids = put(outbox, store, now, 60)
    door = Door(lambda message: time.sleep(0.002))
    others = [Outbox(store), Outbox(store)]
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda each: deliver(each, door, now), others))
    assert sum(count.sent for count in counts) == 60
    assert Counter(door.given) == Counter(ids)


@pytest.mark.spec("L-9")
def test_a_mail_for_nobody_is_dropped_without_work(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now, recipient=None)
    real = put(outbox, store, now)
    door = Door()
    assert deliver(outbox, door, now) == Delivered(sent=1, dropped=1)
    assert door.given == real
    assert row_of(store, message_id).outcome == "dropped"


def test_a_mail_without_reason_is_dropped(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    assert deliver(outbox, Door(lambda message: False), now) == Delivered(dropped=1)
    assert row_of(store, message_id).outcome == "dropped"


@pytest.mark.spec("F-5")
def test_what_is_not_taken_waits_longer_each_time(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    door = Door(refuse("RCPT 451 4.3.0"))
    waits = [*policy.MAIL_RETRIES, policy.MAIL_RETRIES[-1], policy.MAIL_RETRIES[-1]]
    moment = now
    for tries, wait in enumerate(waits, 1):
        done = deliver(outbox, door, moment)
        assert (done.deferred, done.trouble) == (1, "RCPT 451 4.3.0")
        row = row_of(store, message_id)
        assert (row.attempts, row.error, row.ended_at) == (tries, "RCPT 451 4.3.0", None)
        # The moment is the end of the try, a few milliseconds after its begin.
        assert wait <= row.due_at - moment < wait + timedelta(seconds=10)
        assert deliver(outbox, door, row.due_at - timedelta(seconds=1)) == Delivered()
        moment = row.due_at
    assert deliver(outbox, Door(), moment) == Delivered(sent=1)
    assert set(door.given) == {message_id}


@pytest.mark.spec("F-5")
def test_what_is_refused_for_good_is_the_operators(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    assert deliver(outbox, Door(refuse("RCPT 550 5.1.1", permanent=True)), now) == Delivered(failed=1)
    assert deliver(outbox, Door(), now + policy.MAIL_GIVE_UP) == Delivered()
    status = outbox.status(now)
    assert (status.queued, status.failed) == (0, 1)
    assert [(each.id, each.error) for each in status.failures] == [(message_id, "RCPT 550 5.1.1")]
    with store.write() as tx:
        assert outbox.retry(tx, now) == 1
    assert outbox.status(now).failed == 0
    assert deliver(outbox, Door(), now) == Delivered(sent=1)


@pytest.mark.spec("F-5")
def test_a_mail_that_nobody_takes_is_given_up_by_age_and_tries(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    late = now + policy.MAIL_GIVE_UP
    door = Door(refuse("no connection"))
    for number in range(len(policy.MAIL_RETRIES)):
        # Old, but not yet tried as often as every message is: no worker ran for two days.
        assert deliver(outbox, door, late + number * policy.MAIL_LEASE * 4) == Delivered(
            deferred=1, trouble="no connection"
        )
    assert deliver(outbox, door, late + policy.MAIL_GIVE_UP) == Delivered(failed=1)
    assert row_of(store, message_id).error == "no connection"


def test_an_operator_need_not_wait_for_the_next_try(outbox: Outbox, store: Store, now: datetime) -> None:
    put(outbox, store, now)
    deliver(outbox, Door(refuse("no connection")), now)
    assert deliver(outbox, Door(), now + timedelta(seconds=1)) == Delivered()
    with store.write() as tx:
        assert outbox.retry(tx, now + timedelta(seconds=1)) == 1
    assert deliver(outbox, Door(), now + timedelta(seconds=1)) == Delivered(sent=1)


@pytest.mark.spec("R-5")
def test_whoever_waits_for_the_hand_over_is_told_its_moment(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    told: list[tuple[str, datetime]] = []

    def on_sent(tx: Connection, message: Message, moment: datetime) -> None:
        # In the transaction that marks it: its own connection sees the mark, nobody else does yet.
        assert tx.execute(select(OutboxMessage.outcome).where(OutboxMessage.id == message.id)).scalar() == "sent"
        told.append((message.id, moment))

    later = now + timedelta(hours=1)
    deliver_due(outbox, Door(refuse("no connection")), on_sent, now=now)
    assert told == []
    deliver_due(outbox, Door(lambda message: time.sleep(0.2)), on_sent, now=later)
    assert [each for each, _ in told] == [message_id]
    # After the mail server's answer, not before the question.
    assert timedelta(seconds=0.2) <= told[0][1] - later < timedelta(seconds=10)
    assert row_of(store, message_id).ended_at == told[0][1]


@pytest.mark.spec("F-4", "F-5")
def test_a_worker_that_died_has_its_mail_for_the_lease_only(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    (taken,), _ = outbox.take(now, 5)  # and nothing after it
    assert taken.id == message_id
    door = Door()
    assert deliver(outbox, door, now + policy.MAIL_LEASE - timedelta(seconds=1)) == Delivered()
    assert deliver(outbox, door, now + policy.MAIL_LEASE) == Delivered(sent=1)
    # What the first one says long afterwards changes nothing.
    outbox.defer(taken, now + policy.MAIL_LEASE, "no answer in time")
    assert row_of(store, message_id).outcome == "sent"


@pytest.mark.spec("F-10")
@pytest.mark.parametrize("is_held", [False, True], ids=["deferred", "leased"])
def test_a_clock_that_ran_ahead_and_was_put_right_holds_no_mail_back(
    outbox: Outbox, store: Store, now: datetime, is_held: bool
) -> None:
    (message_id,) = put(outbox, store, now)
    ahead = now + timedelta(hours=1)
    (taken,), _ = outbox.take(ahead, 5)
    if not is_held:
        outbox.defer(taken, ahead, "no connection")
    door = Door()
    assert deliver(outbox, door, now) == Delivered(sent=1)
    assert (door.given, row_of(store, message_id).outcome) == ([message_id], "sent")


@pytest.mark.spec("F-10")
@pytest.mark.parametrize("attempts", [1, len(policy.MAIL_RETRIES)])
def test_a_node_two_minutes_behind_leaves_leases_and_waits_alone(
    outbox: Outbox, store: Store, now: datetime, attempts: int
) -> None:
    (message_id,) = put(outbox, store, now)
    moment = now
    for _ in range(attempts - 1):
        deliver(outbox, Door(refuse("no connection")), moment)
        moment = row_of(store, message_id).due_at
    (taken,), _ = outbox.take(moment, 5)
    behind = moment - timedelta(minutes=4)
    assert deliver(outbox, Door(), behind) == Delivered()
    outbox.defer(taken, moment, "no connection")
    assert deliver(outbox, Door(), behind) == Delivered()


def test_a_lease_that_was_lost_is_not_given_back(outbox: Outbox, store: Store, now: datetime) -> None:
    (message_id,) = put(outbox, store, now)
    (first,), _ = outbox.take(now, 5)
    (second,), _ = outbox.take(now + policy.MAIL_LEASE, 5)
    outbox.defer(first, now + policy.MAIL_LEASE, "no answer in time")
    assert row_of(store, message_id).leased_until == now + 2 * policy.MAIL_LEASE
    outbox.defer(second, now + policy.MAIL_LEASE, "no answer in time")
    assert row_of(store, message_id).leased_until is None


@pytest.mark.spec("F-5")
def test_a_store_that_is_away_while_it_is_marked_costs_no_twin(outbox: Outbox, store: Store, now: datetime) -> None:
    put(outbox, store, now)
    away = [StoreUnavailable("OperationalError")] * 2

    def on_sent(tx: Connection, message: Message, moment: datetime) -> None:
        if away:
            raise away.pop()

    door = Door()
    assert deliver_due(outbox, door, on_sent, now=now) == Delivered(sent=1)
    assert away == []
    assert deliver(outbox, door, now + policy.MAIL_GIVE_UP) == Delivered()
    assert len(door.given) == 1


def test_an_error_in_the_hook_does_not_send_the_mail_for_ever(outbox: Outbox, store: Store, now: datetime) -> None:
    put(outbox, store, now)

    def on_sent(tx: Connection, message: Message, moment: datetime) -> None:
        raise ZeroDivisionError

    door = Door()
    assert deliver_due(outbox, door, on_sent, now=now) == Delivered(sent=1)
    assert deliver(outbox, door, now + policy.MAIL_GIVE_UP) == Delivered()
    assert len(door.given) == 1


@pytest.mark.spec("O-2")
def test_an_error_of_our_own_is_kept_without_its_words(
    outbox: Outbox, store: Store, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    (message_id,) = put(outbox, store, now)

    def act(message: Message) -> None:
        raise RuntimeError("buzon@example.com https://llave.example/request/codedAccess?code=secret")

    assert deliver(outbox, Door(act), now).deferred == 1
    assert row_of(store, message_id).error == "our own error: RuntimeError"
    assert "RuntimeError at test_outbox.py" in caplog.text
    assert "secret" not in caplog.text
    assert "buzon@" not in caplog.text


@pytest.mark.spec("F-4")
def test_no_storm(outbox: Outbox, store: Store, now: datetime) -> None:
    put(outbox, store, now, 40)
    lock = threading.Lock()
    present, most = 0, 0

    def act(message: Message) -> None:
        nonlocal present, most
        with lock:
            present += 1
            most = max(most, present)
        time.sleep(0.02)
        with lock:
            present -= 1

    assert deliver(outbox, Door(act), now).sent == 40
    assert 1 < most <= policy.MAIL_PARALLEL_MAX


def test_a_slow_mail_holds_no_other_up(outbox: Outbox, store: Store, now: datetime) -> None:
    (slow,) = put(outbox, store, now)
    quick_went = threading.Event()

    def act(message: Message) -> None:
        if message.id == slow:
            put(outbox, store, now)
            assert quick_went.wait(10)
        else:
            quick_went.set()

    assert deliver(outbox, Door(act), now).sent == 2


def test_a_turn_has_an_end(outbox: Outbox, store: Store, now: datetime) -> None:
    put(outbox, store, now, 30)
    assert deliver(outbox, Door(), now, limit=12).sent == 12
    assert outbox.status(now).queued == 18


def test_a_worker_that_is_told_to_stop_begins_nothing_more(outbox: Outbox, store: Store, now: datetime) -> None:
    put(outbox, store, now, 30)
    stop = threading.Event()

    def act(message: Message) -> None:
        stop.set()
        time.sleep(0.05)

    done = deliver(outbox, Door(act), now, stop=stop)
    assert 0 < done.sent <= policy.MAIL_PARALLEL_MAX
    assert outbox.status(now).queued == 30 - done.sent


def test_a_worker_that_is_told_to_stop_does_not_wait_for_a_silent_server(
    outbox: Outbox, store: Store, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "MAIL_STOP_WAIT", timedelta(seconds=0.1))
    (message_id,) = put(outbox, store, now)
    stop, silence = threading.Event(), threading.Event()

    def act(message: Message) -> None:
        stop.set()
        silence.wait(10)

    began = time.monotonic()
    assert deliver(outbox, Door(act), now, stop=stop) == Delivered()
    assert time.monotonic() - began < 5
    row = row_of(store, message_id)
    assert row.ended_at is None
    assert row.leased_until is not None
    silence.set()
    # The thread is still there, and what the server says in the end is noted.
    until = time.monotonic() + 10
    while row_of(store, message_id).outcome != "sent":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_waits_can_be_seen(outbox: Outbox, store: Store, now: datetime) -> None:
    assert outbox.status(now).oldest is None
    put(outbox, store, now)
    put(outbox, store, now + timedelta(minutes=1))
    deliver(outbox, Door(refuse("no connection")), now)
    status = outbox.status(now)
    assert (status.queued, status.due, status.oldest, status.trouble) == (2, 0, now, "no connection")
    assert outbox.status(now + timedelta(minutes=1)).due == 2


def test_ended_mails_are_forgotten_after_a_while_and_waiting_ones_never(
    outbox: Outbox, store: Store, now: datetime
) -> None:
    put(outbox, store, now)
    deliver(outbox, Door(), now)
    put(outbox, store, now)
    assert outbox.sweep(now + policy.MAIL_KEPT - timedelta(minutes=1)) == 0
    assert outbox.sweep(now + policy.MAIL_KEPT + timedelta(minutes=1)) == 1
    assert outbox.status(now).queued == 1
