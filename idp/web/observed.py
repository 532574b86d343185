"""The outermost layer of a server: each request is counted, timed and, where wanted, written to the log."""

import logging
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger("idp.request")

OTHER = "other"
_BY_FIRST = {
    "login": "signin",
    "logout": "signout",
    "captcha": "captcha",
    "recover": "recovery",
    "request": "recovery",
    "activate": "activation",
    "password": "password",
    "consent": "consent",
    "device": "device",
    "account": "account",
    "admin": "admin",
    "support": "support",
    "static": "static",
    "brand": "static",
    "brand.css": "static",
    "style.css": "static",
    "script.js": "static",
    "styleguide": "styleguide",
    "health": "health",
    ".well-known": "discovery",
}
_UNDER_OAUTH = frozenset(
    (
        *("authorize", "token", "userinfo", "jwks", "introspect", "revoke", "par", "device_authorization"),
        *("register", "logout", "backchannel", "check_session", "logo"),
    )
)

Note = Callable[[str, str, float], None]
"""Told of each answered request: its kind of address, the three digits of its status, its seconds."""


def endpoint_of(path: str) -> str:
    """The kind of an address: one of few words, whatever is asked for. Never a part of what a person typed."""
    first, _, rest = path[1:].partition("/")
    if first == "oauth":
        second = rest.partition("/")[0]
        return second if second in _UNDER_OAUTH else OTHER
    return _BY_FIRST.get(first, OTHER)


class Observed:
    """Tells `note` of each request, and the log if `logs_requests`."""

    def __init__(self, application: "WSGIApplication", note: Note, *, logs_requests: bool = False) -> None:
        self._application = application
        self._note = note
        self._logs_requests = logs_requests

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        began = perf_counter()
        answered: list[Any] = ["500", ()]  # what the server in front makes of an exception

        def noted(line: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            answered[:] = line[:3], headers
            return start_response(line, headers, *more)

        endpoint = endpoint_of(environ.get("PATH_INFO", ""))
        try:
            return self._application(environ, noted)
        finally:
            status, seconds = answered[0], perf_counter() - began
            self._note(endpoint, status, seconds)
            if self._logs_requests:
                _log.info(
                    "%s %s %s",
                    environ["REQUEST_METHOD"],
                    endpoint,
                    status,
                    extra={
                        "request_id": next((value for name, value in answered[1] if name == "X-Request-Id"), ""),
                        "fields": {"endpoint": endpoint, "status": int(status), "ms": round(seconds * 1000, 1)},
                    },
                )


def note_nothing(_endpoint: str, _status: str, _seconds: float) -> None:
    """Where requests are logged and not measured."""
