"""A span for each request, with what it waited for inside; off, it is not there at all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from idp import meters
from idp.web import tracing
from idp.web.proxies import TrustedProxies

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[Any]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    found = provider.get_tracer("test")
    waits = tracing.Waits(found)
    meters.listen(waits)
    yield found
    meters.stop_listening(waits)


def application(environ: Any, start_response: Any) -> list[bytes]:
    meters.time(meters.Timed.COMMIT, 0.25)
    broken = environ["PATH_INFO"] == "/login"
    start_response("503 SERVICE UNAVAILABLE" if broken else "200 OK", [("X-Request-Id", "abcdef0123456789")])
    return [b""]


def call(traced: Any, path: str = "/oauth/token", address: str = "192.0.2.1") -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "REMOTE_ADDR": address, "HTTP_TRACEPARENT": TRACEPARENT}
    traced(environ, lambda *_: None)


def test_a_request_is_a_span_with_its_waits_inside(tracer: Any, exporter: InMemorySpanExporter) -> None:
    call(tracing.Traced(application, tracer))
    wait, request = exporter.get_finished_spans()
    assert (wait.name, request.name) == ("commit", "POST token")
    assert wait.parent is not None
    assert wait.parent.span_id == request.context.span_id
    assert wait.end_time - wait.start_time == pytest.approx(0.25e9, rel=0.01)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["llavero.request_id"] == "abcdef0123456789"
    assert request.status.is_ok
    call(tracing.Traced(application, tracer), "/login")
    assert not exporter.get_finished_spans()[-1].status.is_ok


@pytest.mark.spec("O-2")
def test_a_span_holds_nothing_that_was_typed(tracer: Any, exporter: InMemorySpanExporter) -> None:
    def failing(_environ: Any, _start_response: Any) -> list[bytes]:
        raise ValueError("Sello.Digital.2026")

    with pytest.raises(ValueError, match="Sello"):
        call(tracing.Traced(failing, tracer), "/activate/codigo-del-enlace")
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["POST activation"]
    assert "codigo" not in spans[0].to_json()
    assert "Sello" not in spans[0].to_json()


@pytest.mark.spec("L-7")
def test_only_a_trusted_proxy_hands_on_a_trace(tracer: Any, exporter: InMemorySpanExporter) -> None:
    served = TrustedProxies(tracing.Traced(application, tracer), ("10.0.0.0/8",))
    call(served, address="10.1.2.3")
    call(served, address="192.0.2.1")
    trusted, stranger = (span for span in exporter.get_finished_spans() if span.name == "POST token")
    assert f"{trusted.context.trace_id:032x}" == TRACE
    assert f"{stranger.context.trace_id:032x}" != TRACE


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "llavero"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_environment_asks_for_it(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environment) is wanted


def test_off_it_is_not_even_loaded() -> None:
    # Neither is all else that a server does not do, or not before it is asked to: it would take memory, and time at
    # the start.
    code = (
        "import sys; from idp.cli.main import cli; cli.get_command(None, 'serve');"
        " print([each for each in sys.modules if any((each + '.').startswith(part + '.') for part in %r)])"
    )
    parts = (
        *("opentelemetry", "prometheus_client", "alembic", "flask_migrate", "flask_mail", "smtplib", "tarfile"),
        *("psycopg", "redis", "idp.jobs", "idp.snapshot", "idp.web.mailing", "idp.web.metrics"),
        *("idp.cli.accounts", "idp.cli.archive", "idp.cli.backup", "idp.cli.captcha_socket", "idp.cli.clients"),
        *("idp.cli.doctor", "idp.cli.keys", "idp.cli.mail"),
    )
    done = subprocess.run(
        [sys.executable, "-c", code % (parts,)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
