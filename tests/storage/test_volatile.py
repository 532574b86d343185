"""Redis that is away, hangs, is emptied or comes back with an old memory: refused meanwhile, and nobody gets in."""

import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from idp import policy
from idp.accounts.errors import AddressThrottled
from idp.accounts.throttle import AddressThrottle
from idp.db import Store, StoreUnavailable
from idp.ephemeral import VOLATILE, Ephemeral, Found
from idp.volatile import Volatile
from tests.clusters import RedisServer, redis_server

pytestmark = pytest.mark.xdist_group("redis")

TTL = timedelta(minutes=1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


@pytest.fixture
def memory(server: RedisServer) -> Iterator[Volatile]:
    found = Volatile(server.url)
    yield found
    found.close()


def _answers_again(memory: Volatile) -> float:
    """Seconds until it does, by itself."""
    began = time.monotonic()
    while time.monotonic() < began + 20:
        try:
            memory.check()
        except StoreUnavailable:
            time.sleep(0.05)
        else:
            return time.monotonic() - began
    raise AssertionError("it never answers again")


@pytest.mark.spec("F-9", "O-5")
def test_away_it_refuses_and_comes_back_by_itself(server: RedisServer, memory: Volatile, now: datetime) -> None:
    assert memory.hit("rate", "k", TTL, now=now) == 1
    server.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            memory.hit("rate", "k", TTL, now=now)
        with pytest.raises(StoreUnavailable):
            memory.claim("jti", "k", TTL, now=now)
    server.start()
    assert _answers_again(memory) < 10


@pytest.mark.spec("F-9", "O-5")
def test_hung_it_is_waited_for_once_and_not_by_everybody(server: RedisServer, memory: Volatile, now: datetime) -> None:
    memory.check()
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        memory.get("captcha", "k", now=now)
    waited = time.monotonic() - began
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        memory.get("captcha", "k", now=now)
    at_once = time.monotonic() - began
    server.signal(signal.SIGCONT)
    assert policy.REDIS_TIMEOUT.total_seconds() * 0.9 <= waited < 10
    assert at_once < policy.REDIS_TIMEOUT.total_seconds() / 2
    assert _answers_again(memory) < 10


@pytest.mark.spec("F-9", "P-10", "S-2")
@pytest.mark.parametrize("loss", ["FLUSHALL", "restart"])
def test_what_lost_its_memory_vouches_for_nothing_of_before(
    server: RedisServer, memory: Volatile, now: datetime, loss: str
) -> None:
    memory.put("pushed-request", "spent", 1, TTL, now=now, remember=TTL)
    assert memory.take("pushed-request", "spent", now=now).found is Found.TAKEN
    memory.put("pushed-request", "kept", 1, TTL, now=now)
    assert memory.claim("client-assertion", "jti", TTL, now=now, known_since=now)
    if loss == "FLUSHALL":
        server.call("FLUSHALL")
    else:
        server.kill()
        server.start()  # with what it wrote down of before, and without the last second
        _answers_again(memory)
    later = now + timedelta(seconds=10)
    assert memory.take("pushed-request", "spent", now=later).found is Found.MISSING
    assert memory.get("pushed-request", "kept", now=later) is None
    with pytest.raises(StoreUnavailable):  # it may be a replay, and nobody remembers
        memory.claim("client-assertion", "jti", TTL, now=later, known_since=now)
    # What was made since cannot have been here before.
    assert memory.claim("client-assertion", "new", TTL, now=later, known_since=later)
    assert not memory.claim("client-assertion", "new", TTL, now=later, known_since=later)


@pytest.mark.spec("F-9")
def test_a_second_node_joins_the_memory_that_is_there(server: RedisServer, memory: Volatile, now: datetime) -> None:
    memory.put("captcha", "k", 1, TTL, now=now)
    other = Volatile(server.url)
    assert other.get("captcha", "k", now=now) == 1
    assert [memory.hit("rate", "k", TTL, now=now), other.hit("rate", "k", TTL, now=now)] == [1, 2]
    other.close()


@pytest.mark.spec("F-9", "O-5")
def test_a_full_memory_takes_nothing_and_forgets_nothing(server: RedisServer, memory: Volatile, now: datetime) -> None:
    """A script that begins by deleting may write past `maxmemory`, until the machine has no memory left."""
    assert memory.claim("client-assertion", "jti", TTL, now=now)
    memory.hit("address_failures", "a", TTL, now=now, step=7)
    server.call("CONFIG SET maxmemory-policy noeviction")
    server.call("CONFIG SET maxmemory 4mb")

    def fill() -> None:
        for number in range(1000):
            memory.put("captcha", str(number), "x" * 60_000, TTL, now=now)

    with pytest.raises(StoreUnavailable):
        fill()
    server.call("CONFIG SET maxmemory 0")
    _answers_again(memory)
    assert not memory.claim("client-assertion", "jti", TTL, now=now)
    assert memory.hit("address_failures", "a", TTL, now=now) == 8
    memory.put("captcha", "again", 1, TTL, now=now)
    assert memory.take("captcha", "again", now=now).found is Found.TAKEN
    memory.put("captcha", "again", 2, TTL, now=now)
    assert memory.take("captcha", "again", now=now).found is Found.TAKEN


@pytest.mark.spec("S-4")
def test_no_key_stands_in_redis(server: RedisServer, memory: Volatile, now: datetime) -> None:
    memory.claim("client-assertion", "a-secret-jti", TTL, now=now)
    memory.put("pushed-request", "urn:a-secret-handle", {"a": 1}, TTL, now=now)
    until = time.monotonic() + 10
    written = b""
    while b"pushed-request" not in written:  # it is written once a second, later where the disk is busy
        assert time.monotonic() < until
        time.sleep(0.1)
        written = b"".join(path.read_bytes() for path in server.folder.rglob("*.aof"))
    assert b"a-secret" not in written


def test_everything_in_redis_ends_by_itself(server: RedisServer, memory: Volatile, now: datetime) -> None:
    memory.put("a", "k", 1, TTL, now=now)
    memory.claim("b", "k", TTL, now=now)
    memory.hit("c", "k", TTL, now=now)
    keys = server.lines("KEYS llavero:*")
    assert len(keys) == 3
    longest = (TTL + policy.REDIS_KEPT_LONGER).total_seconds()
    assert all(0 < int(server.lines(f"TTL {key}")[0].lstrip(":")) <= longest for key in keys)


@pytest.mark.spec("L-7")
@pytest.mark.parametrize("joined", [False, True])
def test_a_refused_attempt_is_not_counted_there_either(
    store: Store, memory: Volatile, now: datetime, monkeypatch: pytest.MonkeyPatch, joined: bool
) -> None:
    monkeypatch.setattr(policy, "ADDRESS_FAILURES_MAX", 2)
    ephemeral = Ephemeral(store, memory)
    throttle = AddressThrottle(ephemeral)

    def count() -> None:
        if joined:
            with store.write() as tx:
                throttle.check_and_count("192.0.2.7", now, tx=tx)
        else:
            throttle.check_and_count("192.0.2.7", now)

    count()
    count()
    for _ in range(3):
        with pytest.raises(AddressThrottled):
            count()
    throttle.give_back("192.0.2.7", now)
    count()  # one is free again: the refused ones took no place


def test_only_kinds_that_somebody_uses_are_kept_apart() -> None:
    source = "".join(path.read_text() for path in (ROOT / "idp").rglob("*.py") if path.name != "ephemeral.py")
    assert [kind for kind in sorted(VOLATILE) if f'"{kind}"' not in source] == []
    # Locks, codes, links and refresh tokens are no matter of memory (product.md section 2; security.md P-7, T-8).
    # Nor what a caller fills: anybody could fill Redis.
    assert not VOLATILE & {"pushed-request", "posted-request"}
    assert not VOLATILE & {"authorization-code", "interaction", "revoked-jti", "device-code", "user-code"}
