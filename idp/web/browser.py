"""The browser of this request: its session cookie, what is kept for it, a message to show once.

Flask's `session` is backed by the row that the cookie's digest finds. Nothing is read before somebody looks into it,
so machine endpoints, which never do, cost no query. A HEAD request is nobody's, and so is a form that another site
sent without it: they may change nothing (W-5).
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Request, Response, current_app, request, session
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import MethodNotAllowed

from idp.web.current import now, services, user_agent
from idp.web.origins import is_foreign

if TYPE_CHECKING:
    from idp.accounts.sessions import Browser

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_MESSAGE = "message"
FOUND = "llavero.browser"
"""In the WSGI environment: a tuple of one, the row of this request's cookie, or None, where it was looked up before."""


def is_cookie(value: str) -> bool:
    """Whether a session cookie of ours looks like this."""
    return _COOKIE.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Message:
    """Said by one page and shown by the next, once."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)


class BrowserSession(SessionMixin):
    """What is kept for this browser, found when first looked at and saved when changed."""

    modified = False

    def __init__(self, cookie: str | None, found: "tuple[Browser | None] | None" = None) -> None:
        self._cookie = cookie
        self._found = found
        self._browser: Browser | None = None
        self._data: dict[str, Any] | None = None
        self.issued: str | None = None
        self.forgotten = False

    @property
    def is_touched(self) -> bool:
        """Whether anybody looked: then the response depends on the cookie."""
        return self._data is not None or self.issued is not None or self.forgotten

    @property
    def known(self) -> "tuple[Browser | None] | None":
        """The row of this browser, if it has one, where anybody has looked; None where nobody knows."""
        return None if self._data is None else (self._browser,)

    @property
    def browser(self) -> "Browser | None":
        """The row of this browser, or None where it has none yet."""
        self._load()
        return self._browser

    def _load(self) -> dict[str, Any]:
        if self._data is None:
            if self._cookie is not None and is_cookie(self._cookie):
                looked = self._found or (services().sessions.find(self._cookie, now()),)
                self._browser = looked[0]
            self._data = {} if self._browser is None else dict(self._browser.data)
            if self._browser is not None and self._browser.ended_idle:
                self[_MESSAGE] = {"key": "idle"}
        return self._data

    def begin(self) -> "Browser":
        """Make the row, holding what was kept so far. The cookie goes out with the response."""
        data = self._load()
        self.issued, self._browser = services().sessions.begin(
            now(), data=data, address=request.remote_addr, user_agent=user_agent()
        )
        self.modified = False
        return self._browser

    def replace(self, cookie: str) -> None:
        """Go on under another cookie, the old one being dead (W-2)."""
        self._cookie = self.issued = cookie
        self._browser = self._data = self._found = None
        self.modified = False

    def begin_anew(self) -> None:
        """Go on as nobody: the session has just ended on the server, and what this browser began goes on."""
        before, self._data = self.browser, {}
        self.issued, self._browser = services().sessions.begin(
            now(), data={}, address=request.remote_addr, user_agent=user_agent(), after=before
        )
        self.modified = False

    def forget(self) -> None:
        """Go on as nobody."""
        self._cookie = self.issued = self._browser = None
        self._data = {}
        self.modified = False
        self.forgotten = True

    def save(self) -> None:
        """Write what changed."""
        if not self.modified or self._data is None:
            return
        # Before the write: the page that says the store is away must not try again.
        self.modified = False
        if self._browser is not None:
            services().sessions.save(self._browser, self._data)
        elif self._data:
            self.begin()

    def __getitem__(self, key: str) -> Any:
        return self._load()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._load()[key] = value
        self.modified = True

    def __delitem__(self, key: str) -> None:
        del self._load()[key]
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


class BrowserSessions(SessionInterface):
    """Hands each request its `BrowserSession` and sets the cookie (W-1).

    Beside it stands the *browser state* of OIDC Session Management section 3.2: another value for each sign-in session
    and none without one, so that the check-session frame sees when it changes. It is made from the `sid` under a key,
    readable by script, and opens nothing.
    """

    def __init__(self, *, secure: bool, state_key: bytes) -> None:
        self._secure = secure
        self._state_key = state_key
        # Over http, which is loopback only, browsers accept neither the prefix nor `Secure`.
        self.cookie_name = "__Host-session" if secure else "session"
        self.state_cookie_name = "__Host-browser-state" if secure else "browser-state"

    def state_of(self, browser: "Browser | None") -> str | None:
        """The browser state where somebody is signed in, or None."""
        if browser is None or browser.sid is None:
            return None
        return urlsafe_b64encode(hmac.digest(self._state_key, browser.sid.encode(), hashlib.sha256)[:24]).decode()

    def open_session(self, app: Flask, request: Request) -> BrowserSession:  # noqa: ARG002 - Flask's signature
        if _is_nobodys(request, self.cookie_name):
            return BrowserSession(None)
        return BrowserSession(request.cookies.get(self.cookie_name), request.environ.get(FOUND))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002 - as above
        kept = cast(BrowserSession, session)
        if not kept.is_touched:
            return
        response.vary.add("Cookie")
        if _is_nobodys(request, self.cookie_name):
            return
        kept.save()
        attributes: dict[str, Any] = {"path": "/", "secure": self._secure, "httponly": True, "samesite": "Lax"}
        if kept.issued is not None:
            response.set_cookie(self.cookie_name, kept.issued, **attributes)
        elif kept.forgotten:
            response.delete_cookie(self.cookie_name, **attributes)
        self._show_state(kept, response)

    def _show_state(self, kept: BrowserSession, response: Response) -> None:
        if kept.known is None:
            return  # somebody has just signed in, and the next page tells
        state, shown = self.state_of(*kept.known), request.cookies.get(self.state_cookie_name)
        # The frame is a third party's: only SameSite=None reaches it, which browsers take with Secure alone.
        attributes: dict[str, Any] = {"path": "/", "secure": self._secure, "samesite": "None" if self._secure else None}
        if state is not None and state != shown:
            response.set_cookie(self.state_cookie_name, state, httponly=False, **attributes)
        elif state is None and shown is not None:
            response.delete_cookie(self.state_cookie_name, httponly=False, **attributes)


def _is_nobodys(request: Request, cookie_name: str) -> bool:
    # A form of another site comes without our cookie (SameSite=Lax). The page that refuses it must not put a new one
    # over that of whoever is signed in here: any site could sign them out.
    return request.method == "HEAD" or (
        request.method == "POST" and cookie_name not in request.cookies and is_foreign()
    )


def _kept() -> BrowserSession:
    return cast(BrowserSession, session._get_current_object())  # type: ignore[attr-defined]  # a LocalProxy


def current_browser() -> "Browser | None":
    """The browser of this request, signed in or not; None where it has no session of ours."""
    return _kept().browser


def browser_state() -> str | None:
    """The browser state that goes into `session_state`; None where nobody is signed in at this browser."""
    return cast(BrowserSessions, current_app.session_interface).state_of(current_browser())


def begin_browser() -> "Browser":
    """The browser of this request, made known to us if it was not. Refuses HEAD, which may change nothing."""
    browser = current_browser()
    if browser is not None:
        return browser
    if request.method == "HEAD":
        raise MethodNotAllowed(valid_methods=["GET", "POST"])
    return _kept().begin()


def replace_cookie(cookie: str) -> None:
    """After a sign-in: the new cookie goes out with the response."""
    _kept().replace(cookie)


def begin_anew() -> None:
    """After the session of this very browser ended with others: it goes on signed out, its pending request kept."""
    _kept().begin_anew()


def forget_browser() -> None:
    """After a sign-out: the cookie is taken back."""
    _kept().forget()


def say_once(key: str, **values: Any) -> None:
    """Leave a message for the next page of this browser. `values` are what JSON holds, and no secret."""
    session[_MESSAGE] = {"key": key, **values}


def take_message(*keys: str) -> Message | None:
    """The message that was left, which is gone then; where keys are named, only one of these."""
    found = session.get(_MESSAGE)
    if found is None or (keys and found["key"] not in keys):
        return None
    del session[_MESSAGE]
    values = dict(found)
    return Message(values.pop("key"), values)
