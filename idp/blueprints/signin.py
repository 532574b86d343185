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
from idp.policy import LOCKOUT_ATTEMPTS, LOCKOUT_DURATION
from idp.web.attempts import attempt, keep_device, note_failure, note_image, shows_image
from idp.web.browser import Message, current_browser, replace_cookie, say_once, take_message
from idp.web.captcha import challenge, fresh_challenge, problem_text
from idp.web.current import now, services
from idp.web.errors import say_wait, stale_form_text, wait_text
from idp.web.forms import SignInForm, SignOutForm
from idp.web.headers import allow_form_action
from idp.web.interactions import Waiting, address_of, after_sign_in_address, resume_address, see_other, waiting
from idp.web.passwords import changed_text
from idp.web.permits import hold
from idp.web.signing_out import sign_out as sign_out_here
from idp.web.signing_out import signed_out_page

if TYPE_CHECKING:
    from idp.accounts.credentials import Person
    from idp.protocol.authorize import Interaction

blueprint = Blueprint("signin", __name__)

_USERNAME_SHOWN_MAX = 64


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
    if (message is None or message.key == "changed") and "other" not in request.args:
        person = _person()
        if person is not None and found is None:
            return see_other("/account")
        if person is not None and found is not None and not found.interaction.needs_sign_in:
            return see_other(resume_address(found))
    if message is not None and message.key == "locked":
        return render_template(
            "signin/locked.html",
            attempts=LOCKOUT_ATTEMPTS,
            lock_duration=LOCKOUT_DURATION,
            recover_href=address_of("recovery.recover", found, again=1),
            back=address_of(".login", found),
        )
    return _login_page(found, SignInForm(formdata=None), message)


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
        _keep_typed(typed)
        say_once("captcha", problem=refusal.problem.value)
    except WrongCredentials as refusal:
        note_failure()
        _keep_typed(typed)
        say_once("alert", attempts_left=refusal.attempts_left)
    except UsernameLocked:
        note_failure()
        _keep_typed(typed)
        say_once("locked")
    except PasswordExpired as refusal:
        hold(refusal.permit)
        return see_other(address_of("password.expired", found))
    else:
        replace_cookie(signed_in.cookie)
        keep_device(signed_in.device)
        if found is not None:
            return see_other(resume_address(found))
        return see_other(after_sign_in_address(after))
    return see_other(address_of(".login", found, other=_other()))


def _keep_typed(typed: str) -> None:
    # Only what is shaped like a username comes this far: a password typed into the wrong field is not kept.
    session["typed"] = typed.strip()[:_USERNAME_SHOWN_MAX]


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token, the pending request kept (ux.md section 4)."""
    if request.endpoint == "signin.sign_out":
        page = _confirm_page("stale") or signed_out_page()
        return page, 400
    return _login_page(waiting(), SignInForm(formdata=None), Message("stale")), 400


def _other() -> int | None:
    return 1 if "other" in request.args else None


def _login_page(found: Waiting | None, form: SignInForm, message: Message | None = None) -> str:
    interaction = found.interaction if found else None
    # Who is to prove it again is known; who would rather be somebody else says so.
    person = _person() if interaction is not None and not _other() else None
    if interaction is not None:
        allow_form_action(interaction.redirect_uri)
    key = message.key if message is not None else None
    values: dict[str, Any] = message.values if message is not None else {}
    typed = session.get("typed")
    again = None
    if key in {"alert", "captcha"} and typed and person is None:
        again = {"username": typed, "href": address_of(".login", found, other=_other(), again=1)}
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
        action=address_of(".login", found, other=_other()),
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
    if message.key == "stale":
        return stale_form_text()
    if message.key == "wait":
        return str(message.values["text"])
    if message.key == "changed":
        return changed_text(message)
    if message.key == "activated":
        return str(gettext("Su cuenta está lista. Entre con su usuario y la contraseña que eligió."))
    return None


def _username_shown(form: SignInForm, interaction: "Interaction | None", typed: str | None) -> str:
    hint = interaction.login_hint if interaction is not None else None
    shown = form.username.data or typed or hint or ""
    return shown if len(shown) <= _USERNAME_SHOWN_MAX else ""


@blueprint.get("/logout")
def sign_out_page() -> ResponseReturnValue:
    """Ask; a GET signs nobody out. Who is not signed in has nothing to end, and is told so."""
    return _confirm_page() or signed_out_page()


@blueprint.post("/logout")
def sign_out() -> ResponseReturnValue:
    """End this browser's session on the server too, and, where it is asked for, those of the other devices."""
    frames = sign_out_here(everywhere=request.form.get("everywhere") == "1")
    return signed_out_page(frames) if frames else see_other(url_for(".sign_out_page"))


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


@blueprint.get("/recover/username")
def recover_username() -> ResponseReturnValue:
    """M11: whom to ask."""
    phone = "".join(each for each in services().settings.support_phone if each.isdigit() or each == "+")
    return render_template("signin/support.html", phone_digits=phone)
