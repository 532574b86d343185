"""What is too much or no text at all, said before any work is done (O-4, PW-2)."""

from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from idp.policy import FORM_BODY_MAX, PARAMETER_COUNT_MAX


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
        is_form = request.mimetype == "application/x-www-form-urlencoded"
        if is_form and request.get_data(cache=True, parse_form_data=False).count(b"&") >= PARAMETER_COUNT_MAX:
            raise RequestEntityTooLarge
