"""The machine endpoints straight on WSGI, past Flask's request: they are called most, and need nothing of a page."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from http.client import responses
from io import BytesIO
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.http import generate_etag, quote_etag

from idp import audit
from idp.policy import FORM_BODY_MAX, PARAMETER_COUNT_MAX
from idp.web.current import now
from idp.web.headers import machine_headers, new_origin
from idp.web.limits import FORM
from idp.web.proxies import GIVEN_ID
from idp.wiring import ProtocolRequest, ProtocolResponse

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from idp.wiring import Services

# RFC 9110 section 13.1 and 14.2: a request that sets conditions is weighed by Flask.
_CONDITIONS = (
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_RANGE",
)

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

Door = Callable[[ProtocolRequest, datetime], ProtocolResponse]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """How one address is answered, for one method."""

    door: Door
    headers: dict[str, str]
    is_document: bool = False
    """The same for everybody and for a while: it gets an `ETag`."""


class MachineEndpoints:
    """Answers the machine endpoints where they are asked as they mostly are; hands everything else on.

    What it does not take, and every error, is answered by the Flask application behind it: one place decides what a
    refusal looks like. The blueprints serve the same doors, and give the same answers.
    """

    def __init__(self, app: Flask, behind: "WSGIApplication", services: "Services", *, secure: bool) -> None:
        self._app = app
        self._behind = behind
        protocol = services.protocol
        private = machine_headers(secure=secure)
        # Any origin may call with a code, a token or a secret in hand, none with credentials (P-14). Introspection is
        # for servers alone.
        public = {**private, "Access-Control-Allow-Origin": "*"}
        described = cache(partial(metadata_answer, services))
        metadata = _Endpoint(lambda _request, _now: described(), public, is_document=True)
        self._endpoints = {
            ("POST", "/oauth/token"): _Endpoint(lambda request, at: protocol.token(request, at), public),
            ("POST", "/oauth/introspect"): _Endpoint(lambda request, at: protocol.introspect(request, at), private),
            ("POST", "/oauth/revoke"): _Endpoint(lambda request, at: protocol.revoke(request, at), public),
            ("GET", "/oauth/userinfo"): _Endpoint(lambda request, at: protocol.userinfo(request, at), public),
            ("GET", "/oauth/jwks"): _Endpoint(lambda _request, at: protocol.jwks(at), public, is_document=True),
            ("GET", "/.well-known/openid-configuration"): metadata,
            ("GET", "/.well-known/oauth-authorization-server"): metadata,
        }
        self._encoded: dict[int, tuple[object, bytes, str]] = {}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        endpoint = self._endpoints.get((environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")))
        if endpoint is None:
            return self._behind(environ, start_response)
        request = _read(environ)
        if request is None or (endpoint.is_document and any(name in environ for name in _CONDITIONS)):
            return self._behind(environ, start_response)
        origin = new_origin(environ.get("REMOTE_ADDR"), environ.get(GIVEN_ID))
        before = audit.origin.set(origin)
        try:
            answer = endpoint.door(request, now())
        except Exception as error:
            return answer_by_flask(self._app, error, environ, start_response)
        finally:
            audit.origin.reset(before)
        headers = {**endpoint.headers, **answer.headers, "X-Request-Id": origin.request_id or ""}
        if answer.jwt is not None:
            body, headers["Content-Type"] = answer.jwt.encode("ascii"), "application/jwt"
        elif endpoint.is_document:
            body, headers["ETag"] = self._encode(endpoint, answer)
            headers["Content-Type"] = "application/json"
        else:
            body, headers["Content-Type"] = encode(answer), "application/json"
        headers["Content-Length"] = str(len(body))
        start_response(f"{answer.status} {responses[answer.status]}", list(headers.items()))
        return [body]

    def _encode(self, endpoint: _Endpoint, answer: ProtocolResponse) -> tuple[bytes, str]:
        """Body and `ETag`, made once for as long as the door gives the very same document."""
        known = self._encoded.get(id(endpoint))
        if known is None or known[0] is not answer.body:
            body = encode(answer)
            known = self._encoded[id(endpoint)] = (answer.body, body, quote_etag(generate_etag(body)))
        return known[1], known[2]


def answer_by_flask(
    app: Flask, error: Exception, environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes]:
    """Any error, as Flask's handlers and hooks would have answered it."""
    with app.request_context(environ):
        refusal = app.make_response(app.handle_user_exception(error))
        return app.process_response(refusal)(environ, start_response)


def metadata_answer(services: "Services") -> ProtocolResponse:
    """OIDC Discovery section 4, RFC 8414 section 3."""
    return ProtocolResponse(200, services.protocol.metadata(), {"Cache-Control": "public, max-age=300"})


def encode(answer: ProtocolResponse) -> bytes:
    """The JSON of an answer, as it is sent."""
    return _ENCODER.encode(answer.body).encode()


def _read(environ: "WSGIEnvironment") -> ProtocolRequest | None:
    """The request, or None for one that Flask should look at: too large, another kind of body."""
    query, form = environ.get("QUERY_STRING", ""), None
    if query.count("&") >= PARAMETER_COUNT_MAX:
        return None
    length = environ.get("CONTENT_LENGTH") or ""
    if environ["REQUEST_METHOD"] == "POST":
        mimetype = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if mimetype != FORM or not (length.isascii() and length.isdecimal()) or int(length) > FORM_BODY_MAX:
            return None
        form = environ["wsgi.input"].read(int(length))
        if form.count(b"&") >= PARAMETER_COUNT_MAX:
            environ["wsgi.input"] = BytesIO(form)
            return None
    elif length not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in environ:
        return None
    return ProtocolRequest(environ["REQUEST_METHOD"], query, form, environ.get("HTTP_AUTHORIZATION"))
