"""Who has a password that is about to end is told at each step once, by whichever worker comes first."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from idp import policy
from idp.accounts.expiry import ExpiryWarnings
from idp.accounts.models import Account, State
from idp.db import Store
from idp.outbox import Message, Outbox, OutboxMessage, Template
from tests.accounts.house import House, make_house

DAY = timedelta(days=1)


@pytest.fixture
def house(store: Store) -> House:
    return make_house(store)


@pytest.fixture
def warnings(store: Store) -> ExpiryWarnings:
    return ExpiryWarnings(store, Outbox(store))


def mails(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(*OutboxMessage.__table__.c).order_by(OutboxMessage.created_at)))


@pytest.mark.spec("M5")
def test_each_step_is_told_once_to_the_second(house: House, warnings: ExpiryWarnings, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    ends_at = now + policy.PASSWORD_LIFETIME
    told = []
    for step in (7, 3, 1):
        begins = ends_at - step * DAY
        assert warnings.enqueue_due(begins - timedelta(seconds=1)) == 0
        assert warnings.enqueue_due(begins) == 1
        assert warnings.enqueue_due(begins + timedelta(seconds=1)) == 0
        told.append(step)
    assert warnings.enqueue_due(ends_at) == 0
    rows = mails(house.store)
    assert [row.parameters["days"] for row in rows] == told
    assert {row.template for row in rows} == {"password-expires"}
    assert {row.recipient for row in rows} == {"buzon@example.com"}
    assert {row.parameters["username"] for row in rows} == {"EKU······3C9"}
    assert {datetime.fromisoformat(row.parameters["expires_at"]) for row in rows} == {ends_at}


@pytest.mark.spec("M5")
def test_after_days_without_a_worker_the_nearest_step_alone_is_told(
    house: House, warnings: ExpiryWarnings, now: datetime
) -> None:
    house.add("EKU9003173C9", now)
    moment = now + policy.PASSWORD_LIFETIME - 2 * DAY
    assert warnings.enqueue_due(moment) == 1
    assert warnings.enqueue_due(moment + DAY) == 1
    assert [row.parameters["days"] for row in mails(house.store)] == [3, 1]


@pytest.mark.spec("M5", "S-2")
def test_two_workers_tell_nobody_twice(house: House, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "EXPIRY_WARNING_BATCH", 7)
    for number in range(40):
        house.add(f"EKU9003{number % 28 + 1:02d}{number // 28}C9", now)
    workers = [ExpiryWarnings(house.store, Outbox(house.store)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(lambda each: each.enqueue_due(now + 29 * DAY), workers))
    assert sum(counts) == 40
    assert len({row.parameters["account_id"] for row in mails(house.store)}) == 40


@pytest.mark.spec("M5", "F-6")
def test_many_are_told_by_and_by_the_most_urgent_first(
    house: House, warnings: ExpiryWarnings, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "EXPIRY_WARNINGS_AT_ONCE", 5)
    monkeypatch.setattr(policy, "EXPIRY_WARNING_BATCH", 2)
    for number in range(8):
        house.add(f"EKU9003{number + 1:02d}3C9", now if number % 2 else now - 2 * DAY)
    assert warnings.enqueue_due(now + 27 * DAY) == 5
    assert sorted(row.parameters["days"] for row in mails(house.store)) == [1, 1, 1, 1, 3]
    assert warnings.enqueue_due(now + 27 * DAY) == 3
    assert warnings.enqueue_due(now + 27 * DAY) == 0
    assert len({row.parameters["account_id"] for row in mails(house.store)}) == 8


@pytest.mark.parametrize("state", [State.INVITED, State.DISABLED])
def test_only_active_accounts_are_told(house: House, warnings: ExpiryWarnings, now: datetime, state: State) -> None:
    house.add("EKU9003173C9", now)
    house.add("XIA190128J61", now)
    with house.store.write() as tx:
        tx.execute(update(Account).where(Account.username == "XIA190128J61").values(state=state))
    assert warnings.enqueue_due(now + 29 * DAY) == 1


def _message(house: House) -> Message:
    row = mails(house.store)[-1]
    return Message(row.id, Template(row.template), row.recipient, row.locale, row.parameters, row.created_at, 1)


@pytest.mark.spec("M5")
def test_a_warning_that_a_new_password_has_overtaken_is_not_true(
    house: House, warnings: ExpiryWarnings, now: datetime
) -> None:
    house.add("EKU9003173C9", now)
    moment = now + 29 * DAY
    warnings.enqueue_due(moment)
    message = _message(house)
    assert warnings.is_true(message, moment)
    assert not warnings.is_true(message, now + policy.PASSWORD_LIFETIME)
    with house.store.write() as tx:
        tx.execute(update(Account).values(password_changed_at=moment, expiry_warned=None))
    assert not warnings.is_true(message, moment)
    # And the count begins anew.
    assert warnings.enqueue_due(moment + 23 * DAY) == 1
