"""Whether this node is alive and ready, and who may hear what is missing (O-3)."""

import ipaddress
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from flask import Response, current_app, request

from idp import policy
from idp.web.current import now, services

if TYPE_CHECKING:
    from idp.wiring import Services

_log = logging.getLogger(__name__)

DRAINING = "draining"
RUN_FOLDER = "LLAVERO_RUN_DIR"
"""A folder that the processes of one server share while it runs; `idp serve` makes it."""
_EXTENSION = "llavero.readiness"
_FORWARDED = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP")


def is_draining() -> bool:
    """Whether the server that this process belongs to has been told to end."""
    folder = os.environ.get(RUN_FOLDER)
    return folder is not None and (Path(folder) / DRAINING).exists()


class Readiness:
    """What was missing at the last look, which is believed for `READY_KEPT`; a change is logged once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._missing: tuple[str, ...] = ()
        self._looked_at: float | None = None

    def missing(self, of: "Services") -> tuple[str, ...]:
        """What keeps this node from serving; nothing: it is ready."""
        if is_draining():
            return (DRAINING,)
        # While one probe waits for a store that hangs, the others must not take every thread: they get the last answer.
        if not self._lock.acquire(blocking=self._looked_at is None):
            return self._missing
        try:
            if self._looked_at is None or monotonic() - self._looked_at >= policy.READY_KEPT.total_seconds():
                found = of.missing(now())
                if found != self._missing:
                    _say(found)
                self._missing, self._looked_at = found, monotonic()
            return self._missing
        finally:
            self._lock.release()


def live() -> Response:
    """The process answers."""
    return _health("ok", 200)


def ready() -> Response:
    """Store, migrations and keys are as they must be, and the server is not ending; 503 while that is not so."""
    missing = _readiness().missing(services())
    if not missing:
        return _health("ok", 200)
    return _health("unavailable", 503, {"missing": list(missing)} if _is_own(request.environ) else {})


def _readiness() -> Readiness:
    found: Readiness = current_app.extensions.setdefault(_EXTENSION, Readiness())
    return found


def _say(missing: tuple[str, ...]) -> None:
    if missing:
        _log.warning("ready: no, missing: %s; see: idp doctor", ", ".join(missing))
    else:
        _log.warning("ready: yes again")


def _is_own(environ: Mapping[str, Any]) -> bool:
    # Everybody comes from loopback where a proxy on this machine is not among the trusted ones, hence the headers.
    if any(name in environ for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(environ.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _health(status: str, code: int, more: Mapping[str, Any] | None = None) -> Response:
    response = Response(json.dumps({"status": status, **(more or {})}), code, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
