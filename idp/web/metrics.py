"""The metrics that Prometheus reads: what is measured, by families, and how it is written out.

No family has a label that names a person, a client or an address. Nothing here is on the way of a request unless
metrics are on; importing this module costs memory, so it is imported then only.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from idp.audit import Event
from idp.db import StoreUnavailable
from idp.meters import Counted, Timed
from idp.wiring import KeyProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from idp.wiring import Services

_SIGN_INS = {
    Event.SIGNIN_SUCCESS.value: "success",
    Event.REAUTHENTICATION_SUCCESS.value: "success",
    Event.SIGNIN_FAILURE.value: "failure",
    Event.SIGNIN_REFUSED_LOCKED.value: "locked",
    Event.SIGNIN_REFUSED_EXPIRED.value: "expired",
}
_LOCKS = {Event.ACCOUNT_LOCK.value: "set", Event.ACCOUNT_UNLOCK.value: "lifted"}

# Seconds. A machine's answer is a few milliseconds, a page with a password hash a few hundred.
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_WAIT_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_JOB_BUCKETS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)


class Metrics:
    """The families, in one registry. Told of what happens as a `meters.Listener`, and of requests by `request`."""

    def __init__(self) -> None:
        # A series more of each family, which one process tells and several do not, and nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no hints
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "llavero_requests",
            "Requests answered, by kind of address and status",
            ("endpoint", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "llavero_request_seconds",
            "Time to answer, by kind of address",
            ("endpoint",),
            registry=registry,
            buckets=_REQUEST_BUCKETS,
        )
        self._events = Counter("llavero_events", "Audit events, by tag", ("event",), registry=registry)
        self._sign_ins = Counter("llavero_signins", "Passwords judged, by outcome", ("outcome",), registry=registry)
        self._locks = Counter("llavero_locks", "Usernames locked and unlocked", ("change",), registry=registry)
        self._tokens = Counter("llavero_tokens", "Token answers, by grant type", ("grant_type",), registry=registry)
        self._captchas = Counter("llavero_captchas", "CAPTCHAs issued and answered", ("outcome",), registry=registry)
        self._mails = Counter("llavero_mails", "Mails, by what became of them", ("outcome",), registry=registry)
        self._job_failures = Counter("llavero_job_failures", "Turns that failed, by job", ("job",), registry=registry)
        self._commit_seconds = Histogram(
            "llavero_commit_seconds", "Time of a database commit", registry=registry, buckets=_COMMIT_BUCKETS
        )
        self._hash_wait_seconds = Histogram(
            "llavero_hash_wait_seconds",
            "Wait for a free slot before a password is hashed",
            registry=registry,
            buckets=_WAIT_BUCKETS,
        )
        self._job_seconds = Histogram(
            "llavero_job_seconds",
            "Time of one turn of a job of the worker",
            ("job",),
            registry=registry,
            buckets=_JOB_BUCKETS,
        )
        # Found again by a plain look: labels() takes a lock and builds a tuple each time.
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._counters: dict[tuple[Counted, str], tuple[Counter, ...]] = {}

    def request(self, endpoint: str, status: str, seconds: float) -> None:
        """Note an answered request. `status` is the three digits."""
        found = self._known.get((endpoint, status))
        if found is None:
            found = self._requests.labels(endpoint, status), self._request_seconds.labels(endpoint)
            self._known[endpoint, status] = found
        found[0].inc()
        found[1].observe(seconds)

    # -- meters.Listener ---------------------------------------------------------------------------------------------

    def count(self, what: Counted, label: str, number: int) -> None:
        counters = self._counters.get((what, label))
        if counters is None:
            counters = self._counters[what, label] = tuple(self._find(what, label))
        for counter in counters:
            counter.inc(number)

    def _find(self, what: Counted, label: str) -> Iterator[Counter]:
        if what is Counted.EVENT:
            yield self._events.labels(label)
            if label in _SIGN_INS:
                yield self._sign_ins.labels(_SIGN_INS[label])
            elif label in _LOCKS:
                yield self._locks.labels(_LOCKS[label])
        elif what is Counted.TOKENS:
            yield self._tokens.labels(label)
        elif what is Counted.CAPTCHA:
            yield self._captchas.labels(label)
        elif what is Counted.MAIL:
            yield self._mails.labels(label)
        else:
            yield self._job_failures.labels(label)

    def time(self, what: Timed, label: str, seconds: float) -> None:
        if what is Timed.COMMIT:
            self._commit_seconds.observe(seconds)
        elif what is Timed.HASH_WAIT:
            self._hash_wait_seconds.observe(seconds)
        else:
            self._job_seconds.labels(label).observe(seconds)

    # -- write out ---------------------------------------------------------------------------------------------------

    def text(self, services: "Services", now: datetime, *, shared: str | None = None) -> bytes:
        """All of it in Prometheus' text format, with what is looked up at this moment.

        `shared` is the folder in which all processes of this server keep their numbers (PROMETHEUS_MULTIPROC_DIR);
        without it, this process' own.
        """
        registry = CollectorRegistry()
        if shared is not None:
            MultiProcessCollector(registry, path=shared)  # type: ignore[no-untyped-call]
        registry.register(_Looked(services, now))
        return (b"" if shared is not None else generate_latest(self._registry)) + generate_latest(registry)


class _Looked:
    """What no process counts, since it stands in the database or the keys folder."""

    def __init__(self, services: "Services", now: datetime) -> None:
        self._services = services
        self._now = now

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: a registry that asks would look it all up once more."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("llavero_up", "Whether a part can be read", labels=("part",))
        parts: tuple[tuple[str, Callable[[], list[GaugeMetricFamily]]], ...] = (
            ("store", self._outbox),
            ("keys", self._keys),
        )
        for name, look in parts:
            try:
                yield from look()
            except (StoreUnavailable, KeyProblem):
                up.add_metric([name], 0)
            else:
                up.add_metric([name], 1)
        yield up

    def _outbox(self) -> list[GaugeMetricFamily]:
        status = self._services.outbox.status(self._now)
        depth = GaugeMetricFamily("llavero_outbox_messages", "Mails that have not been sent", labels=("state",))
        depth.add_metric(["queued"], status.queued)
        depth.add_metric(["due"], status.due)
        depth.add_metric(["failed"], status.failed)
        age = 0.0 if status.oldest is None else max(0.0, (self._now - status.oldest).total_seconds())
        return [depth, GaugeMetricFamily("llavero_outbox_oldest_seconds", "Age of the oldest waiting mail", value=age)]

    def _keys(self) -> list[GaugeMetricFamily]:
        age = GaugeMetricFamily("llavero_key_age_seconds", "Since when the key that signs has signed", labels=("alg",))
        for key in self._services.keys.describe(self._now):
            if key.state == "current":
                age.add_metric([key.alg], (self._now - key.signs_from).total_seconds())
        return [age]
