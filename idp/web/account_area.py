"""The way into the account area, and what every page of it shows."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from flask import g, render_template, request, session, url_for
from werkzeug import Response

from idp.policy import EXPIRY_WARNINGS, PASSWORD_LIFETIME, SESSION_IDLE_LIFETIME, SESSION_IDLE_WARNING
from idp.web.browser import Message, current_browser, forget_browser, take_message
from idp.web.current import now, services
from idp.web.interactions import see_other
from idp.web.passwords import changed_text
from idp.web.stale_forms import stale_form_text

if TYPE_CHECKING:
    from idp.accounts.own_account import Overview
    from idp.accounts.sessions import Browser

SECTIONS = ("home", "profile", "password", "question", "sessions", "applications", "activity")
"""The pages of the area, in the order of its menu. What comes later, passkeys and the like, joins here."""


def enter() -> Response | None:
    """Before every page: who is signed in, and their account; None lets the page go on.

    Nobody signed in, or a password that has ended meanwhile (PW-6): the sign-in page, and from there back here.
    """
    browser = current_browser()
    if browser is None or browser.account_id is None:
        return _to_sign_in()
    at = now()
    is_known = services().sign_in.find_person(browser.account_id) is not None
    found = services().own_account.overview(browser.account_id, at) if is_known else None
    if found is None or found.password_expires_at <= at:
        services().sign_in.sign_out(browser, at)
        forget_browser()
        return _to_sign_in()
    g.account_overview = found
    return None


def _to_sign_in() -> Response:
    # By name, from our own pages: no address that a request carries is ever kept (D-49).
    name = (request.endpoint or "").removeprefix("account.")
    if request.method == "GET" and name in SECTIONS:
        session["after_sign_in"] = url_for(f"account.{name}")
    return see_other(url_for("signin.login"))


def overview() -> "Overview":
    """The account of this request's person."""
    return cast("Overview", g.account_overview)


def account_id() -> str:
    """Its id."""
    return overview().person.account_id


def browser() -> "Browser":
    """The browser they are signed in at."""
    found = current_browser()
    if found is None or found.account_id is None:
        raise RuntimeError("the account area was not entered")
    return found


def page(section: str, *, notice: Message | None = None, **values: Any) -> str:
    """A page of the area: `account/<section>.html` in its frame."""
    account, message = overview(), notice or take_message()
    expiring = account.days_left <= max(EXPIRY_WARNINGS)
    shown: str = render_template(
        f"account/{section}.html",
        **{
            "section": section,
            "account": account,
            "initials": initials(account.person.name or account.person.username),
            "is_expiring": expiring,
            "lifetime_days": PASSWORD_LIFETIME.days,
            "warnings": EXPIRY_WARNINGS,
            "message": message,
            "changed_text": changed_text(message) if message is not None and message.key == "changed" else None,
            "stale_text": stale_form_text(),
            "idle": _seconds(SESSION_IDLE_LIFETIME),
            "idle_warning": _seconds(SESSION_IDLE_LIFETIME - SESSION_IDLE_WARNING),
            "idle_minutes": _seconds(SESSION_IDLE_WARNING) // 60,
            **values,
        },
    )
    return shown


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())


def initials(name: str) -> str:
    """Two letters for a person or a company: the first of the first and of the last word of a name."""
    words = [word for word in name.split() if word[0].isalnum()] or [name]
    return (words[0][:1] + (words[-1][:1] if len(words) > 1 else "")).upper()
