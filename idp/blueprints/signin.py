"""`/login` and `/logout`: the hosted sign-in page, the way out, and whom to ask for a forgotten username."""

from typing import TYPE_CHECKING, Any

from flask import Blueprint, make_response, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import (
    AddressThrottled,
    CaptchaProblem,
    CaptchaRefused,
    MalformedUsername,
    PasswordExpired,
    UsernameLocked,
    WrongCredentials,
)
from idp.accounts.usernames import parse_username
from idp.policy import LOCKOUT_ATTEMPTS, LOCKOUT_DURATION
from idp.web.attempts import (
    USERNAME_SHOWN_MAX,
    attempt,
    keep_device,
    keep_typed,
    note_failure,
    note_image,
    shows_image,
)
from idp.web.browser import Message, current_browser, replace_cookie, say_once, take_message
from idp.web.captcha import challenge, fresh_challenge, problem_text
from idp.web.current import now, services
from idp.web.errors import say_wait, wait_text
from idp.web.forms import SignInForm, SignOutForm
from idp.web.headers import allow_form_action
from idp.web.interactions import Waiting, address_of, after_sign_in_address, resume_address, see_other, waiting
from idp.web.passwords import changed_text
from idp.web.permits import hold, holds_any
from idp.web.signing_out import sign_out as sign_out_here
from idp.web.signing_out import signed_out_page
from idp.web.stale_forms import STALE, show_again, stale_form_text, take_stale_text

if TYPE_CHECKING:
    from idp.accounts.credentials import Person
    from idp.protocol.authorize import Interaction

blueprint = Blueprint("signin", __name__)

_ALREADY = "already"
"""The message that somebody has signed in here, in another tab, as `username`."""


def _person() -> "Person | None":
    browser = current_browser()
    if browser is None or browser.account_id is None:
        return None
    return services().sign_in.find_person(browser.account_id)


@blueprint.get("/")
def front() -> ResponseReturnValue:
    """There is no page here but the way in."""
    return see_other(url_for(".login"))


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """The sign-in page; or, for who is signed in already, the way on."""
    found, message = waiting(), take_message()
    if (message is None or message.key in {"changed", STALE}) and "other" not in request.args:
        on = _way_on(found)
        if on is not None:
            if message is not None and message.key == STALE:
                say_once(STALE)  # for the page at which it ends
            return see_other(on)
    if message is not None and message.key == "locked":
        return render_template(
            "signin/locked.html",
            attempts=LOCKOUT_ATTEMPTS,
            lock_duration=LOCKOUT_DURATION,
            recover_href=address_of("recovery.recover", found, again=1),
            back=address_of(".login", found),
        )
    return _login_page(found, SignInForm(formdata=None), message)


def _way_on(found: Waiting | None) -> str | None:
    # Of who is signed in already and need not prove it again.
    if _person() is None:
        return None
    if found is None:
        return "/account"
    return None if found.interaction.needs_sign_in else resume_address(found)


@blueprint.post("/login")
def submit() -> ResponseReturnValue:
    """Try to sign in. Every answer but that to a form that cannot be one is a redirect, so that reload repeats none."""
    found, form = waiting(), SignInForm()
    if not form.validate():
        return _login_page(found, form), 400
    typed, after = str(form.username.data), session.get("after_sign_in")
    try:
        signed_in = services().sign_in.sign_in(typed, str(form.password.data), attempt=attempt(), now=now())
    except MalformedUsername:
        text = gettext("El usuario no tiene un formato válido. Revise que sea su RFC, CT. y el RFC, o usr. y el RFC.")
        form.username.errors = [text]
        return _login_page(found, form), 400
    except AddressThrottled as refusal:
        page = _login_page(found, SignInForm(formdata=None), Message("wait", {"text": wait_text(refusal.retry_after)}))
        return say_wait(make_response(page), refusal)
    except CaptchaRefused as refusal:
        note_image()
        keep_typed(typed)
        say_once("captcha", problem=refusal.problem.value)
    except WrongCredentials as refusal:
        note_failure()
        keep_typed(typed)
        say_once("alert", attempts_left=refusal.attempts_left)
    except UsernameLocked:
        note_failure()
        keep_typed(typed)
        say_once("locked")
    except PasswordExpired as refusal:
        hold(refusal.permit, found)
        return see_other(address_of("password.expired", found))
    else:
        replace_cookie(signed_in.cookie)
        keep_device(signed_in.device)
        if found is not None:
            return see_other(resume_address(found))
        return see_other(after_sign_in_address(after))
    return see_other(address_of(".login", found, other=_other()))


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token, the pending request kept (ux.md section 4)."""
    if request.endpoint == "signin.sign_out":
        page, address = _confirm_page(stale_form_text()), url_for(".sign_out_page")
        return (
            show_again(signed_out_page(nobody=True), address, message=None)
            if page is None
            else show_again(page, address)
        )
    found, form, person = waiting(), SignInForm(formdata=None), _person()
    typed = form.username.data = keep_typed(request.form.get("username", ""))
    again = 1 if typed else None
    if person is None:
        page = _login_page(found, form, Message(STALE))
        return show_again(page, address_of(".login", found, other=_other(), again=again))
    return _already_in(found, form, person)


def _already_in(found: Waiting | None, form: SignInForm, person: "Person") -> ResponseReturnValue:
    """Of a form that was open in another tab while somebody signed in here: that, and the way on."""
    typed, message = form.username.data, Message(_ALREADY, {"username": person.username})
    page = _login_page(found, form, message, other=True)
    if typed is not None and parse_username(typed).canonical == person.username:
        # They are who they were about to be. Where the request asks for the password once more, its page does so.
        asks = found is not None and found.interaction.needs_sign_in
        return show_again(page, address_of(".login", found), message=STALE if asks else None)
    address = address_of(".login", found, other=1, again=1 if typed else None)
    return show_again(page, address, message=_ALREADY, username=person.username)


def _other() -> int | None:
    return 1 if "other" in request.args else None


def _login_page(found: Waiting | None, form: SignInForm, message: Message | None = None, *, other: bool = False) -> str:
    interaction = found.interaction if found else None
    other_kept = 1 if other else _other()
    # Who is to prove it again is known; who would rather be somebody else says so.
    person = _person() if interaction is not None and not other_kept else None
    if interaction is not None:
        allow_form_action(interaction.redirect_uri)
    key = message.key if message is not None else None
    values: dict[str, Any] = message.values if message is not None else {}
    typed = session.get("typed")
    again = None
    if key in {"alert", "captcha"} and typed and person is None:
        again = {"username": typed, "href": address_of(".login", found, other=other_kept, again=1)}
    return render_template(
        "signin/login.html",
        form=form,
        failed=key in {"alert", "captcha", "wait"} or bool(form.errors),
        client_name=interaction.client_name if interaction is not None else None,
        about=interaction,
        known=person.username if person is not None else None,
        invited_only=interaction is not None and interaction.asks_for_account,
        notice=key,
        notice_text=_notice_text(message),
        attempts_left=values.get("attempts_left") if key == "alert" else None,
        challenge=_challenge() if shows_image() else None,
        captcha_error=problem_text(CaptchaProblem(values["problem"])) if key == "captcha" else None,
        username=_username_shown(form, interaction, typed if "again" in request.args else None),
        again=again,
        action=address_of(".login", found, other=other_kept),
        stay=_stay(found) if key == _ALREADY else None,
        recover_href=address_of("recovery.recover", found),
        other_href=address_of(".login", found, other=1) if person is not None else None,
    )


def _challenge() -> dict[str, Any]:
    # Where a form comes back without having been looked at, its image is still good.
    return (challenge() if request.method == "POST" else None) or fresh_challenge()


def _notice_text(message: Message | None) -> str | None:
    if message is None:
        return None
    if message.key == "idle":
        return str(gettext("Su sesión se cerró por inactividad. Entre de nuevo para continuar."))
    if message.key == STALE:
        return stale_form_text()
    if message.key == _ALREADY:
        return str(gettext("Ya entró en este navegador como %(username)s.", **message.values))
    if message.key == "wait":
        return str(message.values["text"])
    if message.key == "changed":
        return changed_text(message)
    if message.key == "activated":
        return str(gettext("Su cuenta está lista. Entre con su usuario y la contraseña que eligió."))
    return None


def _stay(found: Waiting | None) -> dict[str, Any] | None:
    # The sign-in page leads on whoever is signed in.
    person = _person()
    return None if person is None else {"username": person.username, "href": address_of(".login", found)}


def _username_shown(form: SignInForm, interaction: "Interaction | None", typed: str | None) -> str:
    hint = interaction.login_hint if interaction is not None else None
    shown = form.username.data or typed or hint or ""
    return shown if len(shown) <= USERNAME_SHOWN_MAX else ""


@blueprint.get("/logout")
def sign_out_page() -> ResponseReturnValue:
    """Ask; a GET signs nobody out. Who is not signed in, with no form left open, has nothing to end, and is told so.

    With `done` it says that the session has ended, as it has where this browser comes from there: nothing of it is left
    that could remember that.
    """
    return _confirm_page(take_stale_text()) or signed_out_page(nobody="done" not in request.args)


@blueprint.post("/logout")
def sign_out() -> ResponseReturnValue:
    """End this browser's session on the server too, and, where it is asked for, those of the other devices.

    With the session go the permits that it holds, whoever is signed in or nobody.
    """
    done = None if _person() is None else 1
    frames = sign_out_here(everywhere=request.form.get("everywhere") == "1")
    return signed_out_page(frames) if frames else see_other(url_for(".sign_out_page", done=done))


def _confirm_page(notice_text: str | None = None) -> str | None:
    person = _person()
    if person is None and not holds_any(now()):
        return None
    return render_template(
        "logout/confirm.html",
        form=SignOutForm(formdata=None),
        person=person,
        action=url_for(".sign_out"),
        notice_text=notice_text,
    )


@blueprint.get("/recover/username")
def recover_username() -> ResponseReturnValue:
    """M11: whom to ask."""
    phone = "".join(each for each in services().settings.support_phone if each.isdigit() or each == "+")
    return render_template("signin/support.html", phone_digits=phone)
