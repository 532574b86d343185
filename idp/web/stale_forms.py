"""What is answered to a form whose token is no good, so that nobody is left on a page that only repeats the refusal."""

from flask import Response, make_response
from flask_babel import gettext

from idp.web.browser import say_once, take_message

STALE = "stale"
"""The message that the next page of this browser shows."""


def stale_form_text() -> str:
    """What is said of a form whose token is missing, foreign or old."""
    return str(gettext("La página estuvo abierta demasiado tiempo. Vuelva a cargarla e inténtelo de nuevo."))


def show_again(page: str, address: str, *, message: str | None = STALE, **values: str) -> Response:
    """`page` with status 400, from where the browser goes on by itself to `address` and the same page there.

    Reloading what answered a form sends the form again, its old token too: the page at `address`, which shows
    `message` once, can be reloaded. Whoever stays on this one finds a form with a fresh token on it.
    """
    if message is not None:
        say_once(message, **values)
    response = make_response(page, 400)
    response.headers["Refresh"] = f"0; url={address}"
    return response


def take_stale_text() -> str | None:
    """For the page at that address: the notice, the one time."""
    return None if take_message(STALE) is None else stale_form_text()
