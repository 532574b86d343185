"""The verbs, on every store."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from idp.db import Store
from idp.ephemeral import Ephemeral, Found, Hits
from idp.volatile import Volatile

TTL = timedelta(seconds=60)
KINDS = frozenset({"code", "jti", "rate"})


@pytest.fixture
def ephemeral(store: Store, volatile: Volatile | None) -> Ephemeral:
    """Each verb of each test, on each of the four."""
    return Ephemeral(store, volatile, KINDS)


@pytest.fixture
def joining(store: Store) -> Ephemeral:
    """Where the verbs join transactions: in the database."""
    return Ephemeral(store)


@pytest.mark.spec("S-3")
def test_one_kind_is_never_taken_for_another(ephemeral: Ephemeral, now: datetime) -> None:
    ephemeral.put("code", "k", {"a": 1}, TTL, now=now)
    assert ephemeral.get("code", "k", now=now) == {"a": 1}
    assert ephemeral.get("link", "k", now=now) is None
    assert ephemeral.take("link", "k", now=now).found is Found.MISSING


def test_a_value_is_gone_at_its_end(ephemeral: Ephemeral, now: datetime) -> None:
    ephemeral.put("code", "k", 1, TTL, now=now)
    assert ephemeral.get("code", "k", now=now + TTL - timedelta(seconds=1)) == 1
    assert ephemeral.get("code", "k", now=now + TTL) is None
    assert ephemeral.take("code", "k", now=now + TTL).found is Found.MISSING


@pytest.mark.spec("S-2")
def test_spent_and_missing_are_told_apart(ephemeral: Ephemeral, now: datetime) -> None:
    ephemeral.put("code", "k", 1, TTL, now=now, remember=TTL)
    assert ephemeral.take("code", "k", now=now).found is Found.TAKEN
    again = ephemeral.take("code", "k", now=now + TTL)
    assert (again.found, again.value) == (Found.SPENT, 1)


def test_a_spent_mark_is_swept_at_its_end(joining: Ephemeral, now: datetime) -> None:
    joining.put("code", "k", 1, TTL, now=now, remember=TTL)
    assert joining.take("code", "k", now=now).found is Found.TAKEN
    assert joining.sweep(now=now + TTL) == 0
    assert joining.sweep(now=now + 2 * TTL) == 1
    assert joining.take("code", "k", now=now).found is Found.MISSING


@pytest.mark.spec("S-2", "P-7")
def test_twenty_at_once_take_it_once(ephemeral: Ephemeral, now: datetime) -> None:
    ephemeral.put("code", "k", 1, TTL, now=now)
    ready = threading.Barrier(20)

    def take(_number: int) -> Found:
        ready.wait()
        return ephemeral.take("code", "k", now=now).found

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(take, range(20)))
    assert (found.count(Found.TAKEN), found.count(Found.SPENT)) == (1, 19)


def test_the_first_caller_claims(ephemeral: Ephemeral, now: datetime) -> None:
    assert ephemeral.claim("jti", "k", TTL, now=now)
    assert not ephemeral.claim("jti", "k", TTL, now=now + TTL - timedelta(seconds=1))
    assert ephemeral.claim("jti", "k", TTL, now=now + TTL)


def test_hits_are_counted_within_a_window(ephemeral: Ephemeral, now: datetime) -> None:
    assert [ephemeral.hit("rate", "k", TTL, now=now) for _ in range(3)] == [1, 2, 3]
    assert ephemeral.hit("rate", "k", TTL, now=now + TTL) == 1


def test_hits_are_taken_back_while_their_window_is_open_and_never_below_zero(
    ephemeral: Ephemeral, now: datetime
) -> None:
    assert ephemeral.hit("rate", "k", TTL, now=now, step=-1) == 0
    assert ephemeral.hits("rate", "k", now=now) is None
    ephemeral.hit("rate", "k", TTL, now=now, step=2)
    assert ephemeral.hits("rate", "k", now=now) == Hits(2, now + TTL)
    assert [ephemeral.hit("rate", "k", TTL, now=now, step=-1) for _ in range(3)] == [1, 0, 0]
    assert ephemeral.hit("rate", "k", TTL, now=now) == 1
    assert ephemeral.hit("rate", "k", TTL, now=now + TTL, step=-1) == 0
    assert ephemeral.hits("rate", "k", now=now + TTL) is None
    assert ephemeral.hits("rate", "k", now=now) == Hits(1, now + TTL)


def test_a_hit_joins_the_callers_transaction(joining: Ephemeral, store: Store, now: datetime) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as tx:  # noqa: PT012  # the block is what rolls back
        joining.hit("rate", "k", TTL, now=now, tx=tx)
        raise ZeroDivisionError
    assert joining.hits("rate", "k", now=now) is None
    with store.write() as tx:
        joining.hit("rate", "k", TTL, now=now, tx=tx)
    assert joining.hits("rate", "k", now=now) == Hits(1, now + TTL)


@pytest.mark.spec("S-3", "S-4")
def test_no_key_stands_in_the_table(joining: Ephemeral, store: Store, now: datetime) -> None:
    joining.put("code", "a-secret-code", 1, TTL, now=now)
    with store.read() as connection:
        rows = connection.execute(text("SELECT * FROM ephemeral")).all()
    assert len(rows) == 1
    assert "a-secret-code" not in repr(rows)


def test_a_value_joins_the_callers_transaction(joining: Ephemeral, store: Store, now: datetime) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as tx:  # noqa: PT012  # the block is what rolls back
        joining.put("code", "k", 1, TTL, now=now, tx=tx)
        raise ZeroDivisionError
    assert joining.get("code", "k", now=now) is None
