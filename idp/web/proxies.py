"""Whom to believe about where a request came from (L-7)."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network


_KNOWN_MAX = 1024
FROM_PROXY = "llavero.from_proxy"
"""Set in the environment of a request that a trusted proxy handed on; no caller can set it."""
GIVEN_ID = "llavero.request_id"
"""The id that such a proxy gave it, if it is well-formed."""
# What fits the audit trail and is harmless in a log. A UUID goes without its hyphens.
_REQUEST_ID = re.compile("[A-Za-z0-9_-]{8,32}")
_UUID = re.compile("[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class TrustedProxies:
    """Reads `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Request-Id`, but only from the networks named.

    The list is read from its end, where our own proxies wrote; the first address that is none of them is the caller.
    Everything before it is the caller's own claim.
    """

    def __init__(self, application: "WSGIApplication", networks: Sequence[str]) -> None:
        self._application = application
        self._networks: list[Network] = [ipaddress.ip_network(each) for each in networks]
        # The same few addresses come again and again, and to read one takes as long as a query.
        self._is_trusted = lru_cache(_KNOWN_MAX)(self._look_up)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if self._is_trusted(environ.get("REMOTE_ADDR", "")):
            forwarded = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
            for address in (_address(part) for part in reversed(forwarded)):
                if address is None:
                    break
                environ["REMOTE_ADDR"] = address
                if not self._is_trusted(address):
                    break
            scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").split(",")[-1].strip().lower()
            if scheme in {"http", "https"}:
                environ["wsgi.url_scheme"] = scheme
            environ[FROM_PROXY] = True
            given = environ.get("HTTP_X_REQUEST_ID", "")
            if _UUID.fullmatch(given):
                environ[GIVEN_ID] = given.replace("-", "")
            elif _REQUEST_ID.fullmatch(given):
                environ[GIVEN_ID] = given
        return self._application(environ, start_response)

    def _look_up(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


@lru_cache(_KNOWN_MAX)
def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return None
