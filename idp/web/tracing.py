"""OpenTelemetry traces, where the environment asks for them: a span for each request, others for what it waits for.

Configured by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, …).
Without them nothing is imported and nothing runs. The packages are an extra: requirements/tracing.txt.
"""

import logging
from collections.abc import Iterable, Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any

from idp.meters import Counted, Timed
from idp.web.observed import endpoint_of
from idp.web.proxies import FROM_PROXY

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger(__name__)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a collector and does not switch OpenTelemetry off."""
    is_off = (
        environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        or environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none"
    )
    return not is_off and any(environment.get(name) for name in _ENDPOINTS)


def make_tracer() -> Any | None:
    """A tracer that sends to the collector, from a thread of its own; None, and a warning, without the packages.

    Call it in the process that serves: the thread does not survive a fork.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("tracing: a collector is configured, the packages are missing; see docs/operations.md")
        return None
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before this name.
    named = Resource({SERVICE_NAME: "llavero"}).merge(Resource.create())
    found = named.attributes.get(SERVICE_NAME, "")
    resource = (
        named if not str(found).startswith("unknown_service") else named.merge(Resource({SERVICE_NAME: "llavero"}))
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("llavero")


class Traced:
    """A span for each request, the child of the caller's where a trusted proxy handed one on (W3C Trace Context)."""

    def __init__(self, application: "WSGIApplication", tracer: Any) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._application = application
        self._tracer = tracer
        self._kind = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        method, endpoint = environ["REQUEST_METHOD"], endpoint_of(environ.get("PATH_INFO", ""))
        parent = None
        # A stranger's header would let it choose what is sampled, and into whose trace we write.
        if environ.get(FROM_PROXY) and "HTTP_TRACEPARENT" in environ:
            parent = self._propagator.extract({"traceparent": environ["HTTP_TRACEPARENT"]})
        # No path and no query: they may hold a link's code.
        attributes = {"http.request.method": method, "http.route": endpoint}
        with self._tracer.start_as_current_span(
            f"{method} {endpoint}",
            context=parent,
            kind=self._kind,
            attributes=attributes,
            # The text of an exception may repeat what somebody typed (O-2).
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def noted(line: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                span.set_attribute("http.response.status_code", int(line[:3]))
                for name, value in headers:
                    if name == "X-Request-Id":
                        span.set_attribute("llavero.request_id", value)
                if line[0] == "5":
                    span.set_status(self._failed)
                return start_response(line, headers, *more)

            return self._application(environ, noted)


class Waits:
    """A `meters.Listener` that makes a span of each wait, inside the request that waited."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def count(self, what: Counted, label: str, number: int) -> None:
        """Counts are for metrics."""

    def time(self, what: Timed, label: str, seconds: float) -> None:
        end = time_ns()
        name = f"{what} {label}".rstrip()
        self._tracer.start_span(name, start_time=end - int(seconds * 1e9)).end(end_time=end)
