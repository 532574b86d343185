"""The CAPTCHA of a page: which challenge this browser is shown, what it typed, what is said of a refusal.

The session names the present challenge by its handle; the page, the image's address and the form carry the same
handle, and nothing else (security.md C-2).
"""

from typing import Any

from flask import request, session, url_for
from flask_babel import gettext

from idp.accounts.attempts import CaptchaAnswer
from idp.accounts.errors import CaptchaProblem
from idp.policy import CAPTCHA_DIGITS, CAPTCHA_LENGTH
from idp.web.browser import begin_browser, current_browser
from idp.web.current import now, services

PAGES = {"signin": "signin.login", "password": "account.password", "question": "account.question"}
"""The pages that may show a challenge, and so the only ones to which "another image" leads back (D-49)."""

_KEPT = "captcha"
_INTERACTION_LENGTH_MAX = 64


def fresh_challenge(page: str = "signin") -> dict[str, Any]:
    """A new challenge for this browser, shown on `page` of `PAGES`; for the macros of `captcha.html`.

    Refuses `AddressThrottled`; `MethodNotAllowed` for HEAD, which may change nothing.
    """
    browser = begin_browser()
    handle = services().captcha.issue(browser.browser, now(), address=request.remote_addr)
    session[_KEPT] = handle
    return _described(handle, page)


def challenge(page: str = "signin") -> dict[str, Any] | None:
    """The challenge that this browser is shown, while it is open; otherwise None."""
    handle, browser = session.get(_KEPT), current_browser()
    if handle is None or browser is None or not services().captcha.is_open(browser.browser, handle, now()):
        return None
    return _described(handle, page)


def forget_challenge() -> None:
    """The next page shows another one, or none."""
    session.pop(_KEPT, None)


def typed_answer() -> CaptchaAnswer | None:
    """What the form of this request says; None where it has no CAPTCHA in it."""
    handle, text = request.form.get("captcha_handle"), request.form.get("captcha")
    return None if handle is None or text is None else CaptchaAnswer(handle, text)


def problem_text(problem: CaptchaProblem) -> str:
    """What stands at the field."""
    texts = {
        CaptchaProblem.REQUIRED: gettext("Escriba los caracteres de la imagen."),
        CaptchaProblem.WRONG: gettext("Los caracteres no coinciden. Escriba los de la imagen nueva."),
        CaptchaProblem.EXPIRED: gettext("La imagen venció. Escriba los caracteres de la imagen nueva."),
    }
    return str(texts[problem])


def return_values() -> dict[str, Any]:
    """What of this request's query belongs to the page it came from: its pending request, and "another account"."""
    interaction = request.args.get("interaction", "")
    is_handle = interaction.replace("-", "").replace("_", "").isalnum() and interaction.isascii()
    return {
        "interaction": interaction if is_handle and len(interaction) <= _INTERACTION_LENGTH_MAX else None,
        "other": 1 if "other" in request.args else None,
    }


def addresses(handle: str) -> dict[str, str]:
    """A challenge by its handle, and where its image and its sound are."""
    return {
        "handle": handle,
        "image": url_for("captcha.image", handle=handle),
        "audio": url_for("captcha.sound", handle=handle),
    }


def _described(handle: str, page: str) -> dict[str, Any]:
    if page not in PAGES:
        raise ValueError(f"no page of the CAPTCHA: {page}")
    return {
        **addresses(handle),
        "refresh": url_for("captcha.refresh", page=page, **return_values()),
        "length": CAPTCHA_LENGTH,
        "digits": CAPTCHA_DIGITS,
    }
