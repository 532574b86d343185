"""The forms that set a password by a permit: `/password` for an expired one, `/recover/password` for a forgotten one.

Whose password it is stands in the permit, on the server; nothing in the request can name or change it (R-2).
"""

from typing import Any

from flask import Blueprint, make_response, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import AddressThrottled, AnswerRefused, PasswordRefused, PermitGone, UsernameLocked
from idp.accounts.permits import Means, Permit
from idp.policy import PASSWORD_LIFETIME
from idp.web.attempts import attempt, forget_failures, keep_device
from idp.web.browser import begin_anew, current_browser, replace_cookie, say_once
from idp.web.current import now, services
from idp.web.errors import say_wait, stale_form_text, wait_text
from idp.web.forms import NewPasswordForm, RecoveredPasswordForm
from idp.web.interactions import address_of, after_sign_in_address, kept_waiting, resume_address, see_other, waiting
from idp.web.passwords import answer_problems, password_problems
from idp.web.permits import dead_link_page, drop, held
from idp.web.questions import QUESTION_KEYS, question_text

blueprint = Blueprint("password", __name__)


def _leaves() -> bool:
    # A button of the form, not a link: whoever comes to this machine next must not find the page open.
    if "leave" not in request.form:
        return False
    drop()
    return True


# -- expired: M5, S06 ------------------------------------------------------------------------------------------------


@blueprint.get("/password")
def expired() -> ResponseReturnValue:
    """The change form, for who typed a right but expired password, and for nobody else (PW-6)."""
    permit = held(Means.EXPIRED)
    if permit is None:
        return see_other(address_of("signin.login", waiting()))
    try:
        services().recovery.check_permit(permit, now())
    except PermitGone:
        return _start_again()
    return _expired_page(permit, NewPasswordForm(formdata=None))


@blueprint.post("/password")
def renew() -> ResponseReturnValue:
    """Set it, sign in, and go on to where the person was going."""
    permit, form, found = held(Means.EXPIRED), NewPasswordForm(), waiting()
    if permit is None or _leaves():
        return see_other(address_of("signin.login", found))
    if not form.validate():
        return _expired_page(permit, form), 400
    after, at = session.get("after_sign_in"), now()
    try:
        signed_in = services().sign_in.renew(permit, str(form.new_password.data), attempt=attempt(), now=at)
    except PasswordRefused as refusal:
        form.new_password.errors = password_problems(refusal.broken)
        return _expired_page(permit, form), 400
    except AddressThrottled as refusal:
        page = _expired_page(permit, NewPasswordForm(formdata=None), wait_text(refusal.retry_after))
        return say_wait(make_response(page), refusal)
    except (PermitGone, UsernameLocked):
        return _start_again()
    replace_cookie(signed_in.cookie)
    keep_device(signed_in.device)
    # Shown by the consent page, if there is one on the way, or else by the account's own.
    say_once("changed", expires_at=(at + PASSWORD_LIFETIME).isoformat(), others=True)
    if found is not None:
        return see_other(resume_address(found))
    return see_other(after_sign_in_address(after))


def _start_again() -> ResponseReturnValue:
    # It was open for too long, or the password was changed elsewhere: signing in is the way to another permit.
    drop()
    say_once("stale")
    return see_other(address_of("signin.login", waiting()))


def _expired_page(permit: Permit, form: NewPasswordForm, notice: str | None = None) -> str:
    found = waiting()
    return render_template(
        "recovery/expired.html",
        form=form,
        failed=bool(form.errors),
        username=permit.username,
        days=PASSWORD_LIFETIME.days,
        client_name=found.interaction.client_name if found is not None else None,
        action=address_of(".renew", found),
        notice_text=notice,
    )


# -- forgotten: M8 to M10, M13, S09 ----------------------------------------------------------------------------------


@blueprint.get("/recover/password")
def recovered() -> ResponseReturnValue:
    """The form that a right answer or a mailed link opens (Q-5, R-1)."""
    permit = held(Means.QUESTION, Means.LINK)
    if permit is None:
        return see_other(address_of("recovery.recover", waiting()))
    try:
        services().recovery.check_permit(permit, now())
    except PermitGone:
        drop()
        return dead_link_page()
    return _recovered_page(permit, RecoveredPasswordForm(formdata=None))


@blueprint.post("/recover/password")
def set_password() -> ResponseReturnValue:
    """Set it. This signs nobody in: it ends at the sign-in page, what was pending kept (R-10)."""
    permit, form = held(Means.QUESTION, Means.LINK), RecoveredPasswordForm()
    if permit is not None and _leaves():
        return see_other(address_of("signin.login", kept_waiting()))
    if permit is None:
        return see_other(address_of("recovery.recover", waiting()))
    if not form.validate():
        return _recovered_page(permit, form), 400
    secret: dict[str, Any] = {}
    if form.wants_question:
        secret = {"question": form.question.data, "answer": form.new_answer.data}
    try:
        expires_at = services().recovery.set_password(permit, str(form.new_password.data), now=now(), **secret)
    except PasswordRefused as refusal:
        form.new_password.errors = password_problems(refusal.broken)
        return _recovered_page(permit, form), 400
    except AnswerRefused as refusal:
        form.new_answer.errors = answer_problems(refusal.broken)
        return _recovered_page(permit, form), 400
    except PermitGone:
        drop()
        return dead_link_page()
    found, browser = kept_waiting(), current_browser()
    if browser is not None and browser.account_id == permit.account_id:
        # Their session here has just ended with all the others.
        begin_anew()
    drop()
    forget_failures()
    session.pop("recover", None)
    session["typed"] = permit.username
    say_once("changed", expires_at=expires_at.isoformat(), others=True)
    return see_other(address_of("signin.login", found, again=1))


def _recovered_page(permit: Permit, form: RecoveredPasswordForm, notice: str | None = None) -> str:
    found = kept_waiting()
    return render_template(
        "recovery/password.html",
        form=form,
        failed=bool(form.errors),
        username=permit.username,
        by_link=permit.means is Means.LINK,
        questions=[(key, question_text(key)) for key in QUESTION_KEYS],
        action=address_of(".set_password", found),
        notice_text=notice,
    )


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token, the permit and the pending request kept (ux.md section 4)."""
    if request.endpoint == "password.renew":
        permit = held(Means.EXPIRED)
        if permit is None:
            return see_other(address_of("signin.login", waiting()))
        return _expired_page(permit, NewPasswordForm(formdata=None), stale_form_text()), 400
    permit = held(Means.QUESTION, Means.LINK)
    if permit is None:
        return see_other(address_of("recovery.recover", waiting()))
    return _recovered_page(permit, RecoveredPasswordForm(formdata=None), stale_form_text()), 400
