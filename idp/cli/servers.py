"""What `idp doctor` asks the servers that nodes share: PostgreSQL and Redis."""

from datetime import timedelta

from idp import installation, policy, schema
from idp.cli.findings import FAIL, OK, WARN, Finding, Findings
from idp.cli.terminal import now
from idp.db import StoreUnavailable
from idp.installation import Server
from idp.wiring import Services

_POOL = 16  # connections of one process at most; see `db.engine_options`
_NEARLY_FULL = 0.9


def check_store(services: Services) -> Findings:
    name = services.store.engine.dialect.name
    try:
        present = schema.find_present(services.store)
    except StoreUnavailable as error:
        yield Finding(FAIL, "store", f"{name} does not answer: {error}", "is it up, and IDP_DATABASE_URL right?")
        return
    if not schema.is_current(present):
        has = "none" if present is None else present
        yield Finding(FAIL, "store", f"migrations: has {has}, needs {schema.newest()}", "idp init")
        return
    later = "" if present == schema.newest() else ", of a later release"
    try:
        installation.prove_writable(services.store, now())
    except StoreUnavailable as error:
        yield Finding(FAIL, "store", f"{name} takes no writes: {error}", "disk full, read-only, or a standby?")
        return
    yield Finding(OK, "store", f"{name} reads and writes; migrations at {present}{later}")
    server = installation.find_server(services.store)
    if server is not None:
        left = server.connections_max - server.connections
        text = f"PostgreSQL {server.version}: {server.connections} of {server.connections_max} connections"
        if left < _POOL:
            yield Finding(WARN, "store", text, f"one process of ours takes up to {_POOL}: raise max_connections")
        else:
            yield Finding(OK, "store", text)
        yield _judge_commits(server)


def _judge_commits(server: Server) -> Finding:
    """Whether what was acknowledged is kept (F-7): a code that was spent must not come back."""
    how, standbys = server.synchronous_commit, server.synchronous_standby_names
    if server.fsync == "off":
        return Finding(FAIL, "commits", "fsync is off: a power cut damages the database", "fsync = on")
    if how == "off":
        remedy = "synchronous_commit = on, for the server, the database and the role"
        return Finding(
            FAIL, "commits", "are acknowledged before they are on the disk: synchronous_commit is off", remedy
        )
    if standbys and how in {"local", "remote_write"}:
        remedy = "synchronous_commit = on or remote_apply"
        text = f"may be lost with the primary: synchronous_commit is {how}, in spite of the standbys {standbys}"
        return Finding(WARN, "commits", text, remedy)
    where = f"the disks here and of the standbys {standbys}" if standbys else "the disk; no synchronous standby"
    return Finding(OK, "commits", f"wait for {where}")


def check_clock(services: Services) -> Findings:
    before = now()
    server = installation.find_server(services.store)
    after = now()
    if server is None:
        yield Finding(OK, "clock", f"{after:%Y-%m-%d %H:%M:%S} UTC; the database has no other")
        return
    # What lies between asking and hearing is nobody's fault.
    skew = max(before - server.clock, server.clock - after, timedelta())
    text = f"differs from the database's by {skew.total_seconds():.1f} s"
    if skew > policy.CLOCK_SKEW:
        yield Finding(FAIL, "clock", text, "set both by NTP: tokens of the future are refused beyond 30 s")
    elif skew > policy.READY_KEPT:
        yield Finding(WARN, "clock", text, "is NTP running on both?")
    else:
        yield Finding(OK, "clock", text)


def check_redis(services: Services) -> Findings:
    if services.volatile is None:
        return
    try:
        services.volatile.check()
        # A window of its own: what is full or a replica still reads.
        services.volatile.hit("doctor", "looked", policy.READY_KEPT, now=now())
        found = services.volatile.describe()
    except StoreUnavailable as error:
        remedy = "is it up, not full, not a replica, and IDP_REDIS_URL right?"
        yield Finding(FAIL, "redis", f"takes nothing: {error}", remedy)
        return
    # Whether it writes to a disk does not matter: nothing is trusted of what a restart brings back (decision 0014).
    yield Finding(OK, "redis", f"Redis {found.version} answers and takes writes")
    if found.eviction != "noeviction":
        # Without a limit nothing is evicted, until somebody sets one.
        yield Finding(
            FAIL if found.memory_max else WARN,
            "redis",
            f"maxmemory-policy is {found.eviction}: a replay mark that is evicted is a replay that is let in",
            "maxmemory-policy noeviction",
        )
    if found.memory_max and found.memory > _NEARLY_FULL * found.memory_max:
        text = f"{found.memory >> 20} of {found.memory_max >> 20} MiB are taken; when it is full, nobody signs in"
        yield Finding(WARN, "redis", text, "raise maxmemory")
