"""The authorization request that waits while its person signs in or recovers access, and the ways back to it."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import redirect, request, url_for
from werkzeug import Response

from idp.web.browser import current_browser
from idp.web.current import now, services
from idp.wiring import authentication_of

if TYPE_CHECKING:
    from idp.protocol.authorize import Interaction

_HANDLE = re.compile(r"[A-Za-z0-9_-]{1,64}")

_AFTER_SIGN_IN = frozenset(
    {
        "/account",
        "/account/password",
        "/account/question",
        "/account/profile",
        "/account/sessions",
        "/account/applications",
        "/account/activity",
        "/device/confirm",
    }
)
"""Pages of our own to which a person may have been going; none is taken from a request (D-49)."""


class Waiting(NamedTuple):
    """An authorization request of this browser that waits for its person."""

    handle: str
    interaction: "Interaction"


def waiting() -> Waiting | None:
    """The one that the address names. A handle of another browser is as good as none (W-6)."""
    return find_waiting(request.args.get("interaction", ""))


def find_waiting(handle: str) -> Waiting | None:
    """The one of this handle, as it was kept for pages whose address cannot name it, such as that of a mailed link."""
    browser = current_browser() if _HANDLE.fullmatch(handle) else None
    if browser is None:
        return None
    interaction = services().protocol.describe_interaction(
        handle, browser=browser.browser, now=now(), authentication=authentication_of(browser)
    )
    return None if interaction is None else Waiting(handle, interaction)


def see_other(address: str) -> Response:
    """RFC 9700 section 4.12: 303, so that no browser sends the form on (P-13)."""
    return redirect(address, code=303)


def address_of(endpoint: str, found: Waiting | None, **more: Any) -> str:
    """The address of a page of ours with the waiting request named in it. What is None is left out."""
    return url_for(endpoint, interaction=None if found is None else found.handle, **more)


def resume_address(found: Waiting) -> str:
    """Where the request goes on."""
    return "/oauth/authorize?interaction=" + found.handle


def after_sign_in_address(kept: object) -> str:
    """Where a person goes who came without an application: the page of ours that was kept for them, or the account."""
    return kept if isinstance(kept, str) and kept in _AFTER_SIGN_IN else "/account"
