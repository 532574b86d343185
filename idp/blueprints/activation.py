"""`/activate…`: from the mail of an invitation to an account with a password and a secret question (M14, S14)."""

from typing import Any

from flask import Blueprint, make_response, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import AnswerRefused, LinkDead, PasswordRefused, PermitGone
from idp.accounts.permits import Means, Permit
from idp.web.attempts import forget_failures
from idp.web.browser import say_once
from idp.web.current import now, services
from idp.web.errors import stale_form_text
from idp.web.forms import NewPasswordForm, SecretQuestionForm
from idp.web.interactions import address_of, kept_waiting, see_other
from idp.web.passwords import answer_problems, password_problems
from idp.web.permits import dead_link_page, drop, held, hold
from idp.web.questions import QUESTION_KEYS, question_text

blueprint = Blueprint("activation", __name__)

_PREPARED = "prepared"
"""In the session on the server: the hash of the password chosen in the first step, until the second one is done."""


@blueprint.get("/activate/<code>")
def open_link(code: str) -> ResponseReturnValue:
    """Where the invitation's link lands. Spends nothing, and leads to an address without the code (R-3, R-7)."""
    try:
        permit = services().recovery.open_link(code, now())
    except LinkDead:
        return dead_link_page(invitation=True)
    hold(permit)
    session.pop(_PREPARED, None)
    place = ".activate" if permit.means is Means.INVITATION else "password.recovered"
    page = make_response(see_other(address_of(place, kept_waiting())))
    page.headers["Referrer-Policy"] = "no-referrer"
    return page


@blueprint.get("/activate")
def activate() -> ResponseReturnValue:
    """The step that is due: the password, then the secret question."""
    permit = held(Means.INVITATION)
    if permit is None:
        return see_other(address_of("signin.login", kept_waiting()))
    try:
        services().recovery.check_permit(permit, now())
    except PermitGone:
        return _gone()
    if _PREPARED in session and "password" not in request.args:
        return _question_page(SecretQuestionForm(formdata=None))
    return _password_page(permit, NewPasswordForm(formdata=None))


@blueprint.post("/activate")
def submit() -> ResponseReturnValue:
    """Take one step. Both forms have the same id; which one it is, its fields tell."""
    permit = held(Means.INVITATION)
    if permit is None:
        return see_other(address_of("signin.login", kept_waiting()))
    try:
        if "new_password" in request.form or _PREPARED not in session:
            return _take_password(permit)
        return _take_question(permit)
    except PermitGone:
        return _gone()


def _take_password(permit: Permit) -> ResponseReturnValue:
    form = NewPasswordForm()
    if not form.validate():
        return _password_page(permit, form), 400
    try:
        prepared = services().lifecycle.prepare_activation(permit, str(form.new_password.data), now())
    except PasswordRefused as refusal:
        form.new_password.errors = password_problems(refusal.broken)
        return _password_page(permit, form), 400
    session[_PREPARED] = prepared
    return see_other(address_of(".activate", kept_waiting()))


def _take_question(permit: Permit) -> ResponseReturnValue:
    form = SecretQuestionForm()
    if not form.validate():
        return _question_page(form), 400
    try:
        person = services().lifecycle.activate(
            permit, session[_PREPARED], question=form.question.data, answer=form.new_answer.data, now=now()
        )
    except AnswerRefused as refusal:
        form.new_answer.errors = answer_problems(refusal.broken)
        return _question_page(form), 400
    _forget()
    forget_failures()
    session["typed"] = person.username
    say_once("activated")
    return see_other(address_of("signin.login", kept_waiting(), again=1))


def _forget() -> None:
    drop()
    session.pop(_PREPARED, None)


def _gone() -> ResponseReturnValue:
    _forget()
    return dead_link_page(invitation=True)


def _password_page(permit: Permit, form: NewPasswordForm, notice: str | None = None) -> str:
    return _page("activation/password.html", form, username=permit.username, notice_text=notice)


def _question_page(form: SecretQuestionForm, notice: str | None = None) -> str:
    found = kept_waiting()
    return _page(
        "activation/question.html",
        form,
        questions=[(key, question_text(key)) for key in QUESTION_KEYS],
        back_href=address_of(".activate", found, password=1),
        notice_text=notice,
    )


def _page(template: str, form: Any, **values: Any) -> str:
    action = address_of(".submit", kept_waiting())
    return render_template(template, form=form, failed=bool(form.errors), action=action, **values)


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same step once more with a fresh token; what was chosen before is kept (ux.md section 4)."""
    permit = held(Means.INVITATION)
    if permit is None:
        return see_other(address_of("signin.login", kept_waiting()))
    if "new_password" in request.form or _PREPARED not in session:
        return _password_page(permit, NewPasswordForm(formdata=None), stale_form_text()), 400
    return _question_page(SecretQuestionForm(formdata=None), stale_form_text()), 400
