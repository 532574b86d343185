"""What is too much, no text or no form, said before any work is done (O-4, PW-2, P-16)."""

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from idp.policy import FORM_BODY_MAX, PARAMETER_COUNT_MAX
from idp.web.errors import wants_json

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FORM = "application/x-www-form-urlencoded"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class MeasuredBody:
    """Gives a body of unknown length, as chunks come, a length; reads no more of it than may be.

    Werkzeug would cut such a body off at the limit and go on with what is left of it. What is too long says so from
    here on, as if it had come with its length, and is refused as such.
    """

    def __init__(self, behind: "WSGIApplication") -> None:
        self._behind = behind

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and environ["REQUEST_METHOD"] in _BODY_METHODS:
            # Other servers than ours may not say where such a body ends: then there is none.
            body = _read(environ["wsgi.input"]) if environ.get("wsgi.input_terminated") else b""
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        return self._behind(environ, start_response)


def _read(stream: BinaryIO) -> bytes:
    """The body, or one byte more than it may have."""
    body = bytearray()
    while len(body) <= FORM_BODY_MAX and (part := stream.read(FORM_BODY_MAX + 1 - len(body))):
        body += part
    return bytes(body)


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
