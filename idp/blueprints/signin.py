"""`/login` and `/logout`: the hosted sign-in page, and until recovery is built, what its links lead to."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFError

from idp.accounts.attempts import Attempt
from idp.accounts.errors import MalformedUsername, PasswordExpired, UsernameLocked, WrongCredentials
from idp.policy import LOCKOUT_ATTEMPTS, PASSWORD_LIFETIME
from idp.web.browser import Message, current_browser, forget_browser, replace_cookie, say_once, take_message
from idp.web.current import now, services, user_agent
from idp.web.errors import stale_form_text
from idp.web.forms import SignInForm, SignOutForm
from idp.web.headers import allow_form_action
from idp.wiring import authentication_of

if TYPE_CHECKING:
    from idp.accounts.credentials import Person
    from idp.protocol.authorize import Interaction

blueprint = Blueprint("signin", __name__)

_HANDLE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_USERNAME_SHOWN_MAX = 64


class _Waiting(NamedTuple):
    """An authorization request of this browser that waits for its person."""

    handle: str
    interaction: "Interaction"


def _waiting() -> _Waiting | None:
    # A handle of another browser is as good as none (W-6).
    handle = request.args.get("interaction", "")
    browser = current_browser() if _HANDLE.fullmatch(handle) else None
    if browser is None:
        return None
    interaction = services().protocol.describe_interaction(
        handle, browser=browser.browser, now=now(), authentication=authentication_of(browser)
    )
    return None if interaction is None else _Waiting(handle, interaction)


def _person() -> "Person | None":
    browser = current_browser()
    if browser is None or browser.account_id is None:
        return None
    return services().sign_in.find_person(browser.account_id)


def _see_other(address: str) -> ResponseReturnValue:
    # RFC 9700 section 4.12: 303, so that no browser sends the form on (P-13).
    return redirect(address, code=303)


def _login_address(waiting: _Waiting | None, **more: Any) -> str:
    return url_for(".login", interaction=waiting.handle if waiting else None, **more)


@blueprint.get("/")
def front() -> ResponseReturnValue:
    """There is no page here but the way in."""
    return _see_other(url_for(".login"))


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """The sign-in page; or, for who is signed in already, the way on."""
    waiting, message = _waiting(), take_message()
    if message is None and "other" not in request.args:
        person = _person()
        if person is not None and waiting is None:
            return render_template("signin/signed_in.html", person=person, other_href=url_for(".login", other=1))
        if person is not None and waiting is not None and not waiting.interaction.needs_sign_in:
            return _see_other("/oauth/authorize?interaction=" + waiting.handle)
    if message is not None and message.key == "locked":
        return render_template("signin/locked.html", attempts=LOCKOUT_ATTEMPTS, back=_login_address(waiting))
    if message is not None and message.key == "expired":
        return render_template("signin/expired.html", days=PASSWORD_LIFETIME.days, back=_login_address(waiting))
    return _login_page(waiting, SignInForm(formdata=None), message)


@blueprint.post("/login")
def submit() -> ResponseReturnValue:
    """Try to sign in. Every answer but that to a form that cannot be one is a redirect, so that reload repeats none."""
    waiting, form = _waiting(), SignInForm()
    if not form.validate():
        return _login_page(waiting, form), 400
    typed = str(form.username.data)
    try:
        attempt = Attempt(current_browser(), request.remote_addr, user_agent())
        cookie = services().sign_in.sign_in(typed, str(form.password.data), attempt=attempt, now=now()).cookie
    except MalformedUsername:
        text = gettext("El usuario no tiene un formato válido. Revise que sea su RFC, CT. y el RFC, o usr. y el RFC.")
        form.username.errors = [text]
        return _login_page(waiting, form), 400
    except WrongCredentials as refusal:
        # Only what is shaped like a username comes this far: a password typed into the wrong field is not kept.
        session["typed"] = typed.strip()[:_USERNAME_SHOWN_MAX]
        say_once("alert", attempts_left=refusal.attempts_left)
    except UsernameLocked:
        say_once("locked")
    except PasswordExpired:
        say_once("expired")
    else:
        replace_cookie(cookie)
        return _see_other("/oauth/authorize?interaction=" + waiting.handle if waiting else url_for(".login"))
    return _see_other(_login_address(waiting, other=_other()))


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token, the pending request kept (ux.md section 4)."""
    if request.endpoint == "signin.sign_out":
        page = _confirm_page("stale") or render_template("logout/signed_out.html")
        return page, 400
    return _login_page(_waiting(), SignInForm(formdata=None), Message("stale")), 400


def _other() -> int | None:
    return 1 if "other" in request.args else None


def _login_page(waiting: _Waiting | None, form: SignInForm, message: Message | None = None) -> str:
    interaction = waiting.interaction if waiting else None
    # Who is to prove it again is known; who would rather be somebody else says so.
    person = _person() if interaction is not None and not _other() else None
    alert = message if message is not None and message.key == "alert" else None
    typed = session.get("typed")
    again = None
    if alert is not None and typed and person is None:
        again = {"username": typed, "href": _login_address(waiting, other=_other(), again=1)}
    if interaction is not None:
        allow_form_action(interaction.redirect_uri)
    return render_template(
        "signin/login.html",
        form=form,
        failed=alert is not None or bool(form.errors),
        client_name=interaction.client_name if interaction is not None else None,
        known=person.username if person is not None else None,
        notice=message.key if message is not None else None,
        stale_text=stale_form_text(),
        attempts_left=alert.values["attempts_left"] if alert is not None else None,
        username=_username_shown(form, interaction, typed if "again" in request.args else None),
        again=again,
        action=_login_address(waiting, other=_other()),
        other_href=_login_address(waiting, other=1) if person is not None else None,
    )


def _username_shown(form: SignInForm, interaction: "Interaction | None", typed: str | None) -> str:
    hint = interaction.login_hint if interaction is not None else None
    shown = form.username.data or typed or hint or ""
    return shown if len(shown) <= _USERNAME_SHOWN_MAX else ""


@blueprint.get("/logout")
def sign_out_page() -> ResponseReturnValue:
    """Ask; a GET signs nobody out. Who is not signed in has nothing to end, and is told so."""
    return _confirm_page() or render_template("logout/signed_out.html")


@blueprint.post("/logout")
def sign_out() -> ResponseReturnValue:
    """End this browser's session, on the server too."""
    browser = current_browser()
    if browser is not None:
        services().sign_in.sign_out(browser, now())
        forget_browser()
    return _see_other(url_for(".sign_out_page"))


def _confirm_page(notice: str | None = None) -> str | None:
    person = _person()
    if person is None:
        return None
    return render_template(
        "logout/confirm.html",
        form=SignOutForm(formdata=None),
        person=person,
        action=url_for(".sign_out"),
        notice=notice,
        stale_text=stale_form_text(),
    )


@blueprint.get("/recover")
def recover() -> ResponseReturnValue:
    """The way back in, which for now is support."""
    return _see_other(url_for(".recover_username"))


@blueprint.get("/recover/username")
def recover_username() -> ResponseReturnValue:
    """M11: whom to ask."""
    phone = "".join(each for each in services().settings.support_phone if each.isdigit() or each == "+")
    return render_template("signin/support.html", phone_digits=phone)


@blueprint.get("/.well-known/change-password")
def change_password() -> ResponseReturnValue:
    """Where password managers send people (W3C, A Well-Known URL for Changing Passwords)."""
    return redirect(url_for(".recover_username"), code=302)
