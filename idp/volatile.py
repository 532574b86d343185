"""The store of short-lived values in Redis: what many nodes count and remember together, and may forget.

A Redis that is emptied, restarted or replaced by its replica may have lost the last seconds, or bring back what was
spent in them. So its memory has a name, and values live under that name: a connection that meets another run of the
server, and a script that finds no name, give a new one. Then nothing of before is found any more, whatever Redis has
kept: values are missing, counters begin anew, and replay marks say how far back they can be trusted. Each verb is one
script, so that of any number of callers on any number of nodes one is the first (security.md S-2, F-9).
"""

import hashlib
import json
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from idp import policy
from idp.db import StoreUnavailable
from idp.places import aside


class Found(Enum):
    """What `take` met."""

    TAKEN = "taken"
    SPENT = "spent"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer of `take`: the value comes with `TAKEN` and, so that its offspring can be revoked, with `SPENT`."""

    found: Found
    value: Any = None


@dataclass(frozen=True, slots=True)
class Hits:
    """A window of `hit` that is open."""

    count: int
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Server:
    """A Redis, as `idp doctor` judges it."""

    version: str
    eviction: str
    """Its `maxmemory-policy`."""
    memory: int
    memory_max: int
    """Bytes; 0: as much as the machine has."""


def digest(key: str) -> str:
    """The form in which a key is stored: base64url of its SHA-256, without padding."""
    return urlsafe_b64encode(hashlib.sha256(key.encode()).digest()).rstrip(b"=").decode("ascii")


_ROOT = "llavero"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta.resolution

# ARGV[1] is a fresh name, [2] now, [3] the run of the server as this process knows it, [4] kind and digest. All
# instants are the caller's, in microseconds (O-7), 0 from who has none; Redis's own clock only clears away
# what has ended.
_PRELUDE = """
local now, memory = tonumber(ARGV[2]), redis.call('HMGET', KEYS[1], 'name', 'since')
local name, since = memory[1], tonumber(memory[2] or '')
if not name then
  name = ARGV[1]
  redis.call('HSET', KEYS[1], 'name', name, 'run', ARGV[3])
end
if not since and now > 0 then
  since = now
  redis.call('HSET', KEYS[1], 'since', ARGV[2])
end
local key = KEYS[1] .. ':' .. name .. ':' .. ARGV[4]
"""
_GREET = """
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'name', ARGV[1], 'run', ARGV[2])
end
"""
_PUT = """
redis.call('HSET', key, 'value', ARGV[5], 'ends', ARGV[6])
redis.call('HDEL', key, 'spent')
redis.call('PEXPIRE', key, ARGV[7])
"""
_GET = """
local row = redis.call('HMGET', key, 'value', 'ends', 'spent')
if row[1] and not row[3] and tonumber(row[2]) > now then return row[1] end
return false
"""
_TAKE = """
local row = redis.call('HMGET', key, 'value', 'ends', 'spent')
if not row[1] then return {'missing', 'null'} end
if row[3] then return {'spent', row[1]} end
if tonumber(row[2]) <= now then return {'missing', 'null'} end
redis.call('HSET', key, 'spent', ARGV[2])
return {'taken', row[1]}
"""
_CLAIM = """
if ARGV[7] ~= '' and since > tonumber(ARGV[7]) then return -1 end
local ends = tonumber(redis.call('HGET', key, 'ends') or '0')
if ends > now then return 0 end
redis.call('HSET', key, 'ends', ARGV[5])
redis.call('PEXPIRE', key, ARGV[6])
return 1
"""
_HIT = """
local step = tonumber(ARGV[5])
if tonumber(redis.call('HGET', key, 'ends') or '0') <= now then
  if step < 0 then return 0 end
  redis.call('HSET', key, 'hits', 0, 'ends', ARGV[6])
  redis.call('PEXPIRE', key, ARGV[7])
end
local hits = redis.call('HINCRBY', key, 'hits', step)
if hits < 0 then
  redis.call('HSET', key, 'hits', 0)
  return 0
end
return hits
"""
_HITS = """
local row = redis.call('HMGET', key, 'hits', 'ends')
if row[1] and tonumber(row[2]) > now then return row end
return false
"""
_DROP = "redis.call('DEL', key)"


class Volatile:
    """The verbs of `Ephemeral` over Redis. Opens nothing until it is used.

    Every method raises `StoreUnavailable` where Redis does not answer in time: what limits or remembers is never
    taken for granted. For a moment after that everyone is refused without being made to wait; then it is tried again.
    """

    def __init__(self, url: str) -> None:
        # Here, since it is large, brings OpenTelemetry along where that is installed, and most have no Redis.
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        seconds = policy.REDIS_TIMEOUT.total_seconds()
        self._away = (RedisError, OSError)
        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            # A call that was made twice would count twice.
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._greet,
        )
        self._run = ""
        self._away_until = 0.0
        self._scripts: dict[str, Any] = {
            text: self._redis.register_script(_PRELUDE + text)
            for text in (_PUT, _GET, _TAKE, _CLAIM, _HIT, _HITS, _DROP)
        }

    def check(self) -> None:
        """Return if Redis answers."""
        self._call(_GET, "check", "", now=_EPOCH)

    def describe(self) -> Server:
        """What the server says of itself."""
        try:
            facts: dict[str, Any] = self._redis.info()
        except self._away as error:
            raise StoreUnavailable(type(error).__name__) from error
        return Server(
            version=str(facts["redis_version"]),
            eviction=str(facts.get("maxmemory_policy", "unknown")),
            memory=int(facts.get("used_memory", 0)),
            memory_max=int(facts.get("maxmemory", 0)),
        )

    def put(
        self, kind: str, key: str, value: Any, ttl: timedelta, *, now: datetime, remember: timedelta | None = None
    ) -> None:
        """Keep `value` for `ttl`, and the mark that it was spent for `remember` longer."""
        kept = ttl if remember is None else ttl + remember
        self._call(_PUT, kind, key, json.dumps(value), _stamp(now + ttl), _kept(kept), now=now)

    def get(self, kind: str, key: str, *, now: datetime) -> Any | None:
        """The live value, or None. Nothing changes."""
        found = self._call(_GET, kind, key, now=now)
        return None if found is None else json.loads(found)

    def take(self, kind: str, key: str, *, now: datetime) -> Taken:
        """Spend the value: of any number of callers at once, one gets `TAKEN` (security.md S-2)."""
        found, value = self._call(_TAKE, kind, key, now=now)
        return Taken(Found(found.decode()), json.loads(value))

    def claim(self, kind: str, key: str, ttl: timedelta, *, now: datetime, known_since: datetime | None = None) -> bool:
        """True for the first caller within `ttl`.

        `StoreUnavailable` also where this memory began after `known_since`: somebody may have been here before.
        """
        since = "" if known_since is None else _stamp(known_since)
        claimed = self._call(_CLAIM, kind, key, _stamp(now + ttl), _kept(ttl), since, now=now)
        if claimed < 0:
            raise StoreUnavailable("replay marks were lost a while ago")
        return bool(claimed)

    def hit(self, kind: str, key: str, window: timedelta, *, now: datetime, step: int = 1) -> int:
        """Count `step` more within the fixed window that the first hit opened; the count, these included."""
        return int(self._call(_HIT, kind, key, step, _stamp(now + window), _kept(window), now=now))

    def hits(self, kind: str, key: str, *, now: datetime) -> Hits | None:
        """How far the window has come, or None where none is open. Nothing changes."""
        row = self._call(_HITS, kind, key, now=now)
        return None if row is None else Hits(int(row[0]), _EPOCH + int(row[1]) * _MICROSECOND)

    def drop(self, kind: str, key: str) -> None:
        """Forget the value, if there is one."""
        self._call(_DROP, kind, key, now=_EPOCH)

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _call(self, script: str, kind: str, key: str, *arguments: str | int, now: datetime) -> Any:
        if time.monotonic() < self._away_until:
            raise StoreUnavailable("redis")
        given = [_fresh_name(), _stamp(now), self._run, f"{kind}:{digest(key)}", *arguments]
        try:
            with aside():
                return self._scripts[script](keys=[_ROOT], args=given)
        except self._away as error:
            # The error's text may hold an argument: it goes to the chained cause only.
            self._away_until = time.monotonic() + policy.REDIS_PAUSE.total_seconds()
            raise StoreUnavailable(type(error).__name__) from error

    def _greet(self, connection: Any) -> None:
        """On each new connection: another run of the server than the one that made this memory ends the memory."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        lines = _text(connection.read_response()).splitlines()
        run = next(line.partition(":")[2].strip() for line in lines if line.startswith("run_id:"))
        connection.send_command("EVAL", _GREET, 1, _ROOT, _fresh_name(), run)
        connection.read_response()
        self._run = run


def _fresh_name() -> str:
    return secrets.token_hex(8)


def _stamp(instant: datetime) -> str:
    return str((instant - _EPOCH) // _MICROSECOND)


def _kept(span: timedelta) -> int:
    """Milliseconds that Redis keeps a row: longer than it lives, as our clock may run behind Redis's (F-10)."""
    return int((span + policy.REDIS_KEPT_LONGER).total_seconds() * 1000)


def _text(answer: Any) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


__all__ = ["Found", "Hits", "Taken", "Volatile", "digest"]
