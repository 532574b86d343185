"""What of the present request goes along with a password or a secret answer; what is kept of how it ended."""

from flask import Response, after_this_request, request, session

from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.errors import MalformedUsername
from idp.accounts.usernames import parse_username
from idp.policy import DEVICE_LIFETIME
from idp.web.browser import current_browser
from idp.web.current import services, user_agent

_FAILED = "failed"
_IMAGE_SHOWN = "image"
"""The name typed here has failed elsewhere, so the page shows an image though this browser has not."""
_DEVICE_LENGTH_MAX = 256
_HANDLE_LENGTH_MAX = 64
_CAPTCHA_LENGTH_MAX = 64
USERNAME_SHOWN_MAX = 64


def attempt() -> Attempt:
    """The circumstances of the form that is being sent. Nothing in it has been checked."""
    device = request.cookies.get(_device_cookie_name(), "")
    return Attempt(
        browser=current_browser(),
        address=request.remote_addr,
        user_agent=user_agent(),
        device=device if 0 < len(device) <= _DEVICE_LENGTH_MAX else None,
        captcha=_captcha_answer(),
        captcha_due=has_failed(),
    )


def _captcha_answer() -> CaptchaAnswer | None:
    handle, text = request.form.get("captcha_handle", ""), request.form.get("captcha", "").strip()
    if not text or not 0 < len(handle) <= _HANDLE_LENGTH_MAX:
        return None
    # What is longer than any answer is a wrong one, however it goes on.
    return CaptchaAnswer(handle, text[:_CAPTCHA_LENGTH_MAX])


def has_failed() -> bool:
    """Whether this browser has failed before, on whatever username (C-1)."""
    return bool(session.get(_FAILED))


def note_failure() -> None:
    """From now on this browser answers a CAPTCHA, whatever the username."""
    session[_FAILED] = True


def note_image() -> None:
    """This browser was asked for a CAPTCHA because of a username; the page goes on to show one."""
    session[_IMAGE_SHOWN] = True


def shows_image() -> bool:
    """Whether the sign-in page has an image: this browser has failed, or it was asked for one."""
    return has_failed() or bool(session.get(_IMAGE_SHOWN))


def forget_failures() -> None:
    """A finished reset: this browser starts afresh, and no image waits at the end (C-6)."""
    session.pop(_FAILED, None)
    session.pop(_IMAGE_SHOWN, None)


def keep_typed(text: str) -> str | None:
    """Let a page of ours offer this username again: what was typed, or None where it is no username.

    Only what is shaped like one is kept: a password typed into the wrong field is not.
    """
    typed = text.strip()
    try:
        parse_username(typed)
    except MalformedUsername:
        return None
    if len(typed) > USERNAME_SHOWN_MAX:
        return None
    session["typed"] = typed
    return typed


def keep_device(value: str | None) -> None:
    """Let this browser be known as one of the account's own (L-6); None: it is none, or knows already."""
    if value is None:
        return
    secure = services().settings.is_secure

    @after_this_request
    def set_cookie(response: Response) -> Response:
        response.set_cookie(
            _device_cookie_name(),
            value,
            max_age=DEVICE_LIFETIME,
            path="/",
            secure=secure,
            httponly=True,
            samesite="Lax",
        )
        return response


def _device_cookie_name() -> str:
    # Over http, which is loopback only, browsers accept neither the prefix nor `Secure`.
    return "__Host-device" if services().settings.is_secure else "device"
