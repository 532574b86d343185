"""What is too much, no text or no form, said before any work is done (O-4, PW-2, P-16)."""

from collections.abc import Iterable
from io import BytesIO
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, BinaryIO

from flask import Flask, request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    NotFound,
    RequestEntityTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
)

from idp.places import Places
from idp.policy import BODIES_AWAITED_MAX, FORM_BODY_MAX, PARAMETER_COUNT_MAX, REQUESTS_AT_ONCE, RETRY_AFTER
from idp.web.errors import wants_json

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FORM = "application/x-www-form-urlencoded"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LENGTH_DIGITS_MAX = 20
"""RFC 9110 section 8.6 sets no limit; leading zeros are digits too, and Python reads no more than 4,300 of them."""


class WholeBodies:
    """Lets a request in once its body is there; so many of them work at once, so many more wait for a body.

    The production server gives each request a thread before its body has come, and has no deadline for it: whoever
    sends slowly, or never, would hold what others need to be served (O-6). One that waits here holds nothing else.

    A body of unknown length, as chunks come, is given one. Werkzeug would cut such a body off at the limit and go on
    with what is left of it: no more than may be is read, and what is too long says so from here on, as if it had come
    with its length. What ends before its length is no whole request, and nothing of it is acted on.
    """

    def __init__(self, app: Flask, behind: "WSGIApplication", *, computing: int = REQUESTS_AT_ONCE) -> None:
        self._app = app
        self._behind = behind
        self._at_work = Places(REQUESTS_AT_ONCE, computing)
        self._awaited = _places(BODIES_AWAITED_MAX)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        # Werkzeug takes a method in any case, and reads the body of `post` as it does that of `POST`.
        refusal = self._await_body(environ) if environ["REQUEST_METHOD"].upper() in _BODY_METHODS else None
        with self._at_work:
            if refusal is None:
                return _whole(self._behind(environ, start_response))
            with self._app.request_context(environ):
                response = self._app.make_response(self._app.handle_user_exception(refusal))
                return _whole(self._app.process_response(response)(environ, start_response))

    def _await_body(self, environ: "WSGIEnvironment") -> HTTPException | None:
        length = environ.get("CONTENT_LENGTH")
        if not length:
            # Other servers than ours may not say where such a body ends: then there is none.
            expected = FORM_BODY_MAX + 1 if environ.get("wsgi.input_terminated") else 0
        elif not (length.isascii() and length.isdecimal() and len(length) <= _LENGTH_DIGITS_MAX):
            return BadRequest()
        elif int(length) <= FORM_BODY_MAX:
            expected = int(length)
        else:
            return None  # refused for what it says of itself, unread
        body = b""
        if expected:
            try:
                self._awaited.get_nowait()
            except Empty:
                return ServiceUnavailable(retry_after=int(RETRY_AFTER.total_seconds()))
            try:
                body = _read(environ["wsgi.input"], expected)
            finally:
                self._awaited.put(None)
        if length and len(body) < expected:
            return BadRequest()  # RFC 9112 section 8: incomplete
        environ["wsgi.input"] = BytesIO(body)
        if not length:
            environ["CONTENT_LENGTH"] = str(len(body))
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        return None


def _whole(parts: Iterable[bytes]) -> list[bytes]:
    """An answer in one piece, as all of ours can be: Granian sends a list as it is, and fetches all else bit by bit."""
    if isinstance(parts, list):
        return parts
    try:
        return [b"".join(parts)]
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()


def _places(number: int) -> "SimpleQueue[None]":
    """So many places, to be taken and put back: what a Semaphore does, without Python's own locks around it."""
    places: SimpleQueue[None] = SimpleQueue()
    for _ in range(number):
        places.put(None)
    return places


def _read(stream: BinaryIO, most: int) -> bytes:
    """What comes until the end, or until there is so much of it."""
    body = stream.read(most)
    while len(body) < most and (part := stream.read(most - len(body))):
        body += part
    return body


def install(app: Flask) -> None:
    """Bind to `app`; call it before the form check, which parses the body."""
    app.config["MAX_CONTENT_LENGTH"] = FORM_BODY_MAX
    app.config["MAX_FORM_MEMORY_SIZE"] = FORM_BODY_MAX
    app.config["MAX_FORM_PARTS"] = PARAMETER_COUNT_MAX

    @app.before_request
    def refuse_unreadable() -> None:
        try:
            request.query_string.decode()
        except UnicodeDecodeError as error:
            # Gone before the page that says so looks for a language in it.
            request.query_string = b""
            raise BadRequest from error

    @app.before_request
    def refuse_other_spellings() -> None:
        # Werkzeug takes `//login` and `/%2Flogin` for `/login`; what stands before us, and our own counts, do not.
        if request.environ.get("PATH_INFO", "").startswith("//"):
            raise NotFound

    @app.before_request
    def refuse_excess() -> None:
        # Separators are counted in the text itself; no dictionary of a million names is built first.
        if request.query_string.count(b"&") >= PARAMETER_COUNT_MAX:
            raise RequestEntityTooLarge
        length = request.content_length
        if length is not None and length > FORM_BODY_MAX:
            raise RequestEntityTooLarge
        if request.method not in _BODY_METHODS:
            return
        # Read to its end whatever it is: a server closes the connection of who is answered before that.
        body = request.get_data(cache=True, parse_form_data=False)
        if request.mimetype == FORM:
            if body.count(b"&") >= PARAMETER_COUNT_MAX:
                raise RequestEntityTooLarge
        elif (body or request.mimetype) and request.routing_exception is None and not wants_json():
            # Our forms are sent in one way. In another, a field may be a file, which no field is made for. Machines
            # are told by their endpoints, in their own codes.
            raise UnsupportedMediaType
