"""What Prometheus is told: requests by kind of address, events by kind, and nobody's name."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from idp import meters
from idp.app import create_app
from idp.audit import Event
from idp.db import StoreUnavailable
from idp.meters import Counted, Timed
from idp.outbox import Status
from idp.settings import Settings
from idp.web.metrics import Metrics
from idp.web.observed import OTHER, Observed, endpoint_of
from tests.web.conftest import SECRET

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"
NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


class Doors:
    """A store and keys, in one of two states."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.outbox, self.keys = self, self

    def status(self, _now: datetime) -> Status:
        if not self.answers:
            raise StoreUnavailable("away")
        return Status(5, 3, NOW - timedelta(seconds=90), None, 2, ())

    def describe(self, now: datetime) -> list[Any]:
        return [
            SimpleNamespace(alg="ES256", state="current", signs_from=now - timedelta(days=2)),
            SimpleNamespace(alg="ES256", state="next", signs_from=now),
        ]


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics()
    meters.listen(made)
    yield made
    meters.stop_listening(made)


def test_the_page_for_operators_names_each_family_and_no_other(metrics: Metrics) -> None:
    named = set(re.findall(r"`(llavero_[a-z_]+)", PAGE.read_text()))
    text = metrics.text(Doors(), NOW).decode()  # type: ignore[arg-type]  # doors in memory
    assert set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) == named


def test_each_alarm_asks_for_series_that_there_are(metrics: Metrics) -> None:
    metrics.request("token", "503", 0.1)
    metrics.request("signin", "200", 0.1)
    for event in Event:
        metrics.count(Counted.EVENT, event.value, 1)
    for what, label in ((Counted.TOKENS, "any"), (Counted.CAPTCHA, "issued"), (Counted.CAPTCHA, "right")):
        metrics.count(what, label, 1)
    for what, label in ((Counted.MAIL, "sent"), (Counted.JOB_FAILURE, "mail")):
        metrics.count(what, label, 1)
    for timed in Timed:
        metrics.time(timed, "mail", 0.1)
    samples = text_string_to_metric_families(metrics.text(Doors(), NOW).decode())  # type: ignore[arg-type]
    found = [(each.name, each.labels) for family in samples for each in family.samples]
    rules = yaml.safe_load((ROOT / "deploy/prometheus/llavero.rules.yaml").read_text())["groups"][0]["rules"]
    asked = [each for rule in rules for each in re.findall(r"(llavero_\w+)(?:\{([^}]*)\})?", rule["expr"])]
    assert len(asked) > 20
    for name, selectors in asked:
        # Prometheus' own `job` takes the name of ours.
        wanted = re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selectors.replace("exported_job", "job"))
        matching = [
            labels
            for known, labels in found
            if known == name
            and all(
                label in labels and (re.fullmatch(value, labels[label]) is not None) is (how != "!=")
                for label, how, value in wanted
            )
        ]
        assert matching, (name, selectors)
    # And each figure of the table that has an alarm has it here.
    table = re.findall(r"^\| (`llavero.*?) \|.*?\| (.*?) \|$", PAGE.read_text(), re.MULTILINE)
    alarming = {name for first, alarm in table if alarm.strip() for name in re.findall(r"`(llavero_\w+)", first)}
    assert {name for name in alarming if not any(each.startswith(name) for each, _ in asked)} == set()


def read(metrics: Metrics, doors: Doors | None = None) -> dict[tuple[str, str], float]:
    """Each sample by its name and its labels, as `name` and `a=b`."""
    services: Any = doors or Doors()
    text = metrics.text(services, NOW).decode()
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_kind_and_status_and_timed(metrics: Metrics) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("404 NOT FOUND" if environ["PATH_INFO"].endswith("x") else "200 OK", [])
        return [b""]

    observed = Observed(application, metrics.request)
    for path in ("/oauth/token", "/oauth/token", "/login", "/request/codedAccess", "/secreto/x"):
        observed({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda *_: lambda _body: None)
    found = read(metrics)
    assert found["llavero_requests_total", "endpoint=token,status=200"] == 2
    assert found["llavero_requests_total", "endpoint=signin,status=200"] == 1
    assert found["llavero_requests_total", "endpoint=recovery,status=200"] == 1
    assert found["llavero_requests_total", "endpoint=other,status=404"] == 1
    assert found["llavero_request_seconds_count", "endpoint=token"] == 2
    assert not any("secreto" in labels for _, labels in found)


def test_an_exception_that_reaches_the_server_counts_as_500(metrics: Metrics) -> None:
    def application(_environ: Any, _start_response: Any) -> list[bytes]:
        raise OSError

    with pytest.raises(OSError):  # it passes through, whatever it is
        Observed(application, metrics.request)({"PATH_INFO": "/login", "REQUEST_METHOD": "GET"}, lambda *_: print)
    assert read(metrics)["llavero_requests_total", "endpoint=signin,status=500"] == 1


@pytest.mark.parametrize(
    ("event", "sample"),
    [
        (Event.SIGNIN_SUCCESS, ("llavero_signins_total", "outcome=success")),
        (Event.SIGNIN_FAILURE, ("llavero_signins_total", "outcome=failure")),
        (Event.SIGNIN_REFUSED_LOCKED, ("llavero_signins_total", "outcome=locked")),
        (Event.ACCOUNT_LOCK, ("llavero_locks_total", "change=set")),
        (Event.ACCOUNT_UNLOCK, ("llavero_locks_total", "change=lifted")),
        (Event.TOKEN_REUSE, ("llavero_events_total", "event=client:token:reuse")),
    ],
)
def test_events_are_counted(metrics: Metrics, event: Event, sample: tuple[str, str]) -> None:
    assert sample not in read(metrics)
    meters.count(Counted.EVENT, event.value)
    assert read(metrics)[sample] == 1


def test_what_is_waited_for_is_timed(metrics: Metrics) -> None:
    meters.time(Timed.HASH_WAIT, 0.2)
    meters.time(Timed.COMMIT, 0.004)
    meters.time(Timed.JOB, 2.0, "mail")
    found = read(metrics)
    assert found["llavero_hash_wait_seconds_sum", ""] == pytest.approx(0.2)
    assert found["llavero_commit_seconds_bucket", "le=0.005"] == 1
    assert found["llavero_commit_seconds_bucket", "le=0.0025"] == 0
    assert found["llavero_job_seconds_count", "job=mail"] == 1


def test_outbox_and_keys_are_looked_up(metrics: Metrics) -> None:
    found = read(metrics)
    assert found["llavero_outbox_messages", "state=due"] == 3
    assert found["llavero_outbox_messages", "state=failed"] == 2
    assert found["llavero_outbox_oldest_seconds", ""] == 90
    assert found["llavero_key_age_seconds", "alg=ES256"] == timedelta(days=2).total_seconds()
    assert found["llavero_up", "part=store"] == 1


def test_a_store_that_is_away_is_told_of_and_stops_nothing_else(metrics: Metrics) -> None:
    found = read(metrics, Doors(answers=False))
    assert found["llavero_up", "part=store"] == 0
    assert found["llavero_up", "part=keys"] == 1
    assert ("llavero_outbox_messages", "state=due") not in found


def test_who_stops_listening_hears_nothing_more() -> None:
    made = Metrics()
    meters.listen(made)
    meters.count(Counted.MAIL, "sent")
    meters.stop_listening(made)
    meters.count(Counted.MAIL, "sent")
    assert read(made)["llavero_mails_total", "outcome=sent"] == 1


def test_every_address_of_ours_has_a_kind(tmp_path: Path) -> None:
    app = create_app(Settings(secret_key=SECRET, database_url=f"sqlite:///{tmp_path}/idp.db", keys_dir=tmp_path))
    rules = {rule.rule for rule in app.url_map.iter_rules()} - {"/"}
    assert len(rules) > 30
    assert sorted(rule for rule in rules if endpoint_of(rule) == OTHER) == []


@pytest.mark.parametrize("path", ["", "/", "/EKU9003173C9", "/oauth/EKU9003173C9", "//login", "/oauth"])
def test_what_is_not_ours_has_one_kind(path: str) -> None:
    assert endpoint_of(path) == OTHER


def test_no_label_names_a_person(metrics: Metrics) -> None:
    for event in Event:
        meters.count(Counted.EVENT, event.value)
    meters.count(Counted.TOKENS, "refresh_token")
    names = set(re.findall(r"[{,](\w+)=", metrics.text(Doors(), NOW).decode()))  # type: ignore[arg-type]
    assert names <= {
        "endpoint",
        "status",
        "event",
        "outcome",
        "change",
        "grant_type",
        "job",
        "le",
        "state",
        "alg",
        "part",
    }
