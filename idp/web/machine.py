"""The token endpoint straight on WSGI, past Flask's request: it is called most, and needs nothing of a page."""

import json
from collections.abc import Iterable
from http.client import responses
from io import BytesIO
from typing import TYPE_CHECKING

from flask import Flask

from idp import audit
from idp.policy import FORM_BODY_MAX, PARAMETER_COUNT_MAX
from idp.web.current import now
from idp.web.headers import machine_headers, new_origin
from idp.web.limits import FORM
from idp.web.proxies import GIVEN_ID
from idp.wiring import ProtocolRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from idp.wiring import Services

_PATH = "/oauth/token"


class TokenEndpoint:
    """Answers `POST /oauth/token` where it is a form of an ordinary size; hands everything else on.

    What it does not take, and every error, is answered by the Flask application behind it: one place decides what a
    refusal looks like.
    """

    def __init__(self, app: Flask, behind: "WSGIApplication", services: "Services", *, secure: bool) -> None:
        self._app = app
        self._behind = behind
        self._protocol = services.protocol
        self._headers = {
            **machine_headers(secure=secure),
            "Content-Type": "application/json",
            # Any origin may call with a code or a secret in hand, none with credentials (P-14).
            "Access-Control-Allow-Origin": "*",
        }

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" or environ.get("PATH_INFO") != _PATH:
            return self._behind(environ, start_response)
        length, query = environ.get("CONTENT_LENGTH", ""), environ.get("QUERY_STRING", "")
        mimetype = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if mimetype != FORM or not (length.isascii() and length.isdecimal()) or int(length) > FORM_BODY_MAX:
            return self._behind(environ, start_response)
        form = environ["wsgi.input"].read(int(length))
        if max(form.count(b"&"), query.count("&")) >= PARAMETER_COUNT_MAX:
            environ["wsgi.input"] = BytesIO(form)
            return self._behind(environ, start_response)
        origin = new_origin(environ.get("REMOTE_ADDR"), environ.get(GIVEN_ID))
        before = audit.origin.set(origin)
        try:
            request = ProtocolRequest("POST", query, form, environ.get("HTTP_AUTHORIZATION"))
            answer = self._protocol.token(request, now())
        except Exception as error:
            with self._app.request_context(environ):
                refusal = self._app.make_response(self._app.handle_user_exception(error))
                return self._app.process_response(refusal)(environ, start_response)
        finally:
            audit.origin.reset(before)
        body = json.dumps(answer.body, separators=(",", ":"), ensure_ascii=False).encode()
        headers = {**self._headers, **answer.headers, "X-Request-Id": origin.request_id or ""}
        headers["Content-Length"] = str(len(body))
        start_response(f"{answer.status} {responses[answer.status]}", list(headers.items()))
        return (body,)
