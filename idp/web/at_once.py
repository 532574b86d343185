"""Authorization requests that need no page, straight on WSGI: a person who is signed in and asked nothing.

Most sign-ins end here: another application of the same person. What needs a page, or is answered by one, is Flask's.
"""

from collections.abc import Iterable
from http.client import responses
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from flask import Flask
from werkzeug.http import parse_cookie

from idp import audit
from idp.policy import PARAMETER_COUNT_MAX
from idp.protocol.errors import InteractionGone, OAuth2Error
from idp.web.browser import FOUND, BrowserSessions, is_cookie
from idp.web.current import now
from idp.web.headers import machine_headers, new_origin
from idp.web.machine import answer_by_flask
from idp.web.proxies import GIVEN_ID
from idp.wiring import ProtocolResponse, authentication_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from idp.wiring import Services

_PATH = "/oauth/authorize"
# A request that is pushed, signed or resumed may end in a form_post page, which is known only when it is too late.
_NOT_HERE = ("request", "interaction", "posted", "form_post", "ui_locales")


class _NeedsPage(Exception):
    """Raised before anything is written: the person has to be asked something."""


def _need_page() -> str:
    raise _NeedsPage


class AuthorizationsAtOnce:
    """Answers `GET /oauth/authorize` where the answer is a redirect to the client; hands everything else on."""

    def __init__(self, app: Flask, behind: "WSGIApplication", services: "Services", *, secure: bool) -> None:
        self._app = app
        self._behind = behind
        self._sessions = services.sessions
        self._protocol = services.protocol
        self._headers = {
            **machine_headers(secure=secure),
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": "0",
            # The address holds a code: no page may tell it on.
            "Referrer-Policy": "no-referrer",
            "Vary": "Cookie",
        }

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get("PATH_INFO") != _PATH or environ["REQUEST_METHOD"] != "GET":
            return self._behind(environ, start_response)
        query = environ.get("QUERY_STRING", "")
        if query.count("&") >= PARAMETER_COUNT_MAX:
            return self._behind(environ, start_response)
        # Decoded: a letter may be written `%72` wherever it stands.
        plain = unquote_plus(query)
        if any(each in plain for each in _NOT_HERE):
            return self._behind(environ, start_response)
        interface: Any = self._app.session_interface
        cookies = parse_cookie(environ.get("HTTP_COOKIE"))
        cookie = cookies.get(interface.cookie_name)
        if cookie is None or not is_cookie(cookie):
            return self._behind(environ, start_response)
        origin = new_origin(environ.get("REMOTE_ADDR"), environ.get(GIVEN_ID))
        before = audit.origin.set(origin)
        try:
            answer = self._answer(environ, query, cookie, cookies.get(interface.state_cookie_name), interface)
        except Exception as error:
            return answer_by_flask(self._app, error, environ, start_response)
        finally:
            audit.origin.reset(before)
        if answer is None:
            return self._behind(environ, start_response)
        headers = {**self._headers, "X-Request-Id": origin.request_id or "", "Location": answer.location or ""}
        start_response(f"{answer.status} {responses[answer.status]}", list(headers.items()))
        return [b""]

    def _answer(
        self, environ: "WSGIEnvironment", query: str, cookie: str, state_shown: str | None, interface: BrowserSessions
    ) -> ProtocolResponse | None:
        at = now()
        browser = self._sessions.find(cookie, at)
        # Looked up once for this request: it may say, this once, that the session has just ended for idleness.
        environ[FOUND] = (browser,)
        authentication = authentication_of(browser)
        state = interface.state_of(browser)
        if authentication is None or state != state_shown:
            return None
        try:
            decision = self._protocol.authorizations.begin(
                query, authentication=authentication, browser=_need_page, now=at, browser_state=state
            )
        except (_NeedsPage, OAuth2Error, InteractionGone):
            return None
        # Without a form_post in the query and without a pushed request there is no other answer.
        assert isinstance(decision, ProtocolResponse)  # noqa: S101
        return decision
