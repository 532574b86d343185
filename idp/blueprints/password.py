"""The forms that set a password by a permit: `/password` for an expired one, `/recover/password` for a forgotten one.

Whose password it is stands in the permit, on the server, and which permit a form uses is the one whose page it came
from; nothing else in the request can name or change it (R-2).
"""

from typing import Any

from flask import Blueprint, make_response, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import AddressThrottled, AnswerRefused, PasswordRefused, PermitGone, UsernameLocked
from idp.accounts.permits import Means
from idp.policy import PASSWORD_LIFETIME
from idp.web import permits, recoveries
from idp.web.attempts import attempt, forget_failures, keep_device
from idp.web.browser import begin_anew, current_browser, replace_cookie, say_once
from idp.web.current import now, services
from idp.web.errors import say_wait, wait_text
from idp.web.forms import NewPasswordForm, RecoveredPasswordForm
from idp.web.interactions import address_of, after_sign_in_address, resume_address, see_other, waiting
from idp.web.passwords import answer_problems, password_problems
from idp.web.permits import Held, dead_link_page
from idp.web.questions import QUESTION_KEYS, question_text
from idp.web.stale_forms import STALE, show_again, stale_form_text, take_stale_text

blueprint = Blueprint("password", __name__)

_FORGOTTEN = (Means.QUESTION, Means.LINK)


def _leaves(held: Held) -> bool:
    # A button of the form, not a link: whoever comes to this machine next must not find the page open.
    if "leave" not in request.form:
        return False
    permits.drop(held)
    return True


# -- expired: M5, S06 ------------------------------------------------------------------------------------------------


@blueprint.get("/password")
def expired() -> ResponseReturnValue:
    """The change form, for who typed a right but expired password, and for nobody else (PW-6)."""
    held = permits.shown(Means.EXPIRED)
    if held is None:
        return see_other(address_of("signin.login", waiting()))
    try:
        services().recovery.check_permit(held.permit, now())
    except PermitGone:
        return _start_again(held)
    return _expired_page(held, NewPasswordForm(formdata=None), take_stale_text())


@blueprint.post("/password")
def renew() -> ResponseReturnValue:
    """Set it, sign in, and go on to where the person was going."""
    held, form = permits.sent(Means.EXPIRED), NewPasswordForm()
    if held is None:
        return _start_again() if permits.names_one() else see_other(address_of("signin.login", waiting()))
    found = held.waiting()
    if _leaves(held):
        return see_other(address_of("signin.login", found))
    if not form.validate():
        return _expired_page(held, form), 400
    after, at = session.get("after_sign_in"), now()
    try:
        signed_in = services().sign_in.renew(held.permit, str(form.new_password.data), attempt=attempt(), now=at)
    except PasswordRefused as refusal:
        form.new_password.errors = password_problems(refusal.broken)
        return _expired_page(held, form), 400
    except AddressThrottled as refusal:
        page = _expired_page(held, NewPasswordForm(formdata=None), wait_text(refusal.retry_after))
        return say_wait(make_response(page), refusal)
    except PermitGone:
        return _start_again(held)
    except UsernameLocked:
        # Locked by others while the form was open (L-5): the sign-in page says so, and the way to recover.
        permits.drop(held)
        session["typed"] = held.permit.username
        say_once("locked")
        return see_other(address_of("signin.login", found))
    replace_cookie(signed_in.cookie)
    keep_device(signed_in.device)
    # Shown by the consent page, if there is one on the way, or else by the account's own.
    say_once("changed", expires_at=(at + PASSWORD_LIFETIME).isoformat(), others=True)
    if found is not None:
        return see_other(resume_address(found))
    return see_other(after_sign_in_address(after))


def _start_again(held: Held | None = None) -> ResponseReturnValue:
    # It was open for too long, or the password was changed elsewhere: signing in is the way to another permit.
    found = waiting()
    if held is not None:
        found = held.waiting()
        permits.drop(held)
    say_once(STALE)
    return see_other(address_of("signin.login", found))


def _expired_page(held: Held, form: NewPasswordForm, notice: str | None = None) -> str:
    found = held.waiting()
    return render_template(
        "recovery/expired.html",
        form=form,
        failed=bool(form.errors),
        held=held,
        username=held.permit.username,
        days=PASSWORD_LIFETIME.days,
        client_name=found.interaction.client_name if found is not None else None,
        action=address_of(".renew", found),
        notice_text=notice,
    )


# -- forgotten: M8 to M10, M13, S09 ----------------------------------------------------------------------------------


@blueprint.get("/recover/password")
def recovered() -> ResponseReturnValue:
    """The form that a right answer or a mailed link opens (Q-5, R-1)."""
    held = permits.shown(*_FORGOTTEN)
    if held is None:
        return see_other(address_of("recovery.recover", waiting()))
    try:
        services().recovery.check_permit(held.permit, now())
    except PermitGone:
        permits.drop(held)
        return dead_link_page()
    return _recovered_page(held, RecoveredPasswordForm(formdata=None), take_stale_text())


@blueprint.post("/recover/password")
def set_password() -> ResponseReturnValue:
    """Set it. This signs nobody in: it ends at the sign-in page, what was pending kept (R-10)."""
    held, form = permits.sent(*_FORGOTTEN), RecoveredPasswordForm()
    if held is None:
        return dead_link_page() if permits.names_one() else see_other(address_of("recovery.recover", waiting()))
    permit, found = held.permit, held.waiting()
    if _leaves(held):
        return see_other(address_of("signin.login", found))
    if not form.validate():
        return _recovered_page(held, form), 400
    secret: dict[str, Any] = {}
    if form.wants_question:
        secret = {"question": form.question.data, "answer": form.new_answer.data}
    try:
        expires_at = services().recovery.set_password(permit, str(form.new_password.data), now=now(), **secret)
    except PasswordRefused as refusal:
        form.new_password.errors = password_problems(refusal.broken)
        return _recovered_page(held, form), 400
    except AnswerRefused as refusal:
        form.new_answer.errors = answer_problems(refusal.broken)
        return _recovered_page(held, form), 400
    except PermitGone:
        permits.drop(held)
        return dead_link_page()
    browser = current_browser()
    if browser is not None and browser.account_id == permit.account_id:
        # Their session here has just ended with all the others.
        begin_anew()
    permits.drop(held)
    recoveries.end(permit.username)
    forget_failures()
    session["typed"] = permit.username
    say_once("changed", expires_at=expires_at.isoformat(), others=True)
    return see_other(address_of("signin.login", found, again=1))


def _recovered_page(held: Held, form: RecoveredPasswordForm, notice: str | None = None) -> str:
    return render_template(
        "recovery/password.html",
        form=form,
        failed=bool(form.errors),
        held=held,
        username=held.permit.username,
        by_link=held.permit.means is Means.LINK,
        questions=[(key, question_text(key)) for key in QUESTION_KEYS],
        action=address_of(".set_password", held.waiting()),
        notice_text=notice,
    )


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token, its permit and the pending request kept (ux.md section 4)."""
    is_renewal = request.endpoint == "password.renew"
    means = (Means.EXPIRED,) if is_renewal else _FORGOTTEN
    held = permits.sent(*means) if permits.names_one() else permits.shown(*means)
    if is_renewal:
        if held is None:
            return _start_again() if permits.names_one() else see_other(address_of("signin.login", waiting()))
        page = _expired_page(held, NewPasswordForm(formdata=None), stale_form_text())
        return show_again(page, held.address_of(".expired"))
    if held is None:
        return dead_link_page() if permits.names_one() else see_other(address_of("recovery.recover", waiting()))
    page = _recovered_page(held, RecoveredPasswordForm(formdata=None), stale_form_text())
    return show_again(page, held.address_of(".recovered"))
