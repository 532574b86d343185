"""Puts a server under observation: its log, metrics if wanted, traces if wanted. Commands and tests go without."""

import logging
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

from flask import Flask

from idp import meters
from idp.web import logs, tracing
from idp.web.current import now
from idp.web.observed import Observed, note_nothing

if TYPE_CHECKING:
    from idp.web.metrics import Metrics
    from idp.wiring import Services

_log = logging.getLogger(__name__)

LISTEN = "LLAVERO_METRICS_LISTEN"
"""Where this process answers Prometheus, as host:port; `idp serve --metrics` sets it for its workers."""
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The folder where the processes of one server keep their numbers together (prometheus-client's own name)."""
_CALLER_WAIT = 5.0  # seconds for a caller of the metrics to say what it wants


def configure_log(services: "Services") -> None:
    """Write this process' log in the form that the settings name."""
    settings = services.settings
    logs.configure(settings.log_format, shows_texts=not settings.is_production)


def install(app: Flask, services: "Services") -> None:
    """Observe `app`; call it last, in the process that serves."""
    configure_log(services)
    settings = services.settings
    metrics = start_metrics(services)
    if metrics is not None or settings.log_requests:
        app.wsgi_app = Observed(  # type: ignore[method-assign]
            app.wsgi_app,
            note_nothing if metrics is None else metrics.request,
            logs_requests=settings.log_requests,
        )
    tracer = start_tracing()
    if tracer is not None:
        app.wsgi_app = tracing.Traced(app.wsgi_app, tracer)  # type: ignore[method-assign]


def start_metrics(services: "Services") -> "Metrics | None":
    """Measure this process and answer Prometheus, where the environment says so."""
    if not (os.environ.get(LISTEN) or os.environ.get(SHARED)):
        return None
    from idp.web.metrics import Metrics

    metrics = Metrics()
    meters.listen(metrics)
    address = os.environ.get(LISTEN)
    if address:
        try:
            listen(address, metrics, services)
        except OSError as error:
            _log.error("metrics: %s cannot be listened on: %s", address, error.strerror)
    return metrics


def start_tracing() -> Any | None:
    """A tracer that is told what this process waits for, where the environment asks for traces."""
    tracer = tracing.make_tracer() if tracing.is_wanted(os.environ) else None
    if tracer is not None:
        meters.listen(tracing.Waits(tracer))
    return tracer


def listen(address: str, metrics: "Metrics", services: "Services") -> HTTPServer:
    """Answer `GET /metrics` at `address`, a host:port that is no one's but the operators'. In a thread of its own.

    Every process of one server may listen on the same address: whichever is asked tells of all. Raises `OSError`.
    """
    host, _, port = address.rpartition(":")

    class Answer(BaseHTTPRequestHandler):
        timeout = _CALLER_WAIT

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            body = metrics.text(services, now(), shared=os.environ.get(SHARED))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def version_string(self) -> str:
            return "llavero"

        def log_message(self, _format: str, *_values: Any) -> None:
            """Nobody wants to read that Prometheus was here."""

    class Listener(HTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def server_bind(self) -> None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            super().server_bind()

        def handle_error(self, _request: Any, _address: Any) -> None:
            _log.warning("metrics: a caller was not answered", exc_info=True)

    server = Listener((host.strip("[]"), int(port)), Answer)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
