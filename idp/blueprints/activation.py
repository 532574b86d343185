"""`/activate…`: from the mail of an invitation to an account with a password and a secret question (M14, S14)."""

from typing import Any

from flask import Blueprint, make_response, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import AnswerRefused, LinkDead, PasswordRefused, PermitGone
from idp.accounts.permits import Means
from idp.web import permits, recoveries
from idp.web.attempts import forget_failures
from idp.web.browser import say_once
from idp.web.current import now, services
from idp.web.forms import NewPasswordForm, SecretQuestionForm
from idp.web.interactions import address_of, see_other, waiting
from idp.web.passwords import answer_problems, password_problems
from idp.web.permits import Held, dead_link_page
from idp.web.questions import QUESTION_KEYS, question_text
from idp.web.stale_forms import show_again, stale_form_text, take_stale_text

blueprint = Blueprint("activation", __name__)


@blueprint.get("/activate/<code>")
def open_link(code: str) -> ResponseReturnValue:
    """Where the invitation's link lands. Spends nothing, and leads to an address without the code (R-3, R-7)."""
    try:
        permit = services().recovery.open_link(code, now())
    except LinkDead:
        return dead_link_page(invitation=True)
    held = permits.hold(permit, waiting() or recoveries.waiting_for(permit.username))
    place = ".activate" if permit.means is Means.INVITATION else "password.recovered"
    page = make_response(see_other(address_of(place, held.waiting())))
    page.headers["Referrer-Policy"] = "no-referrer"
    return page


@blueprint.get("/activate")
def activate() -> ResponseReturnValue:
    """The step that is due: the password, then the secret question."""
    held = permits.shown(Means.INVITATION)
    if held is None:
        return see_other(address_of("signin.login", waiting()))
    try:
        services().recovery.check_permit(held.permit, now())
    except PermitGone:
        return _gone(held)
    if held.prepared is not None and "password" not in request.args:
        return _question_page(held, SecretQuestionForm(formdata=None), take_stale_text())
    return _password_page(held, NewPasswordForm(formdata=None), take_stale_text())


@blueprint.post("/activate")
def submit() -> ResponseReturnValue:
    """Take one step. Both forms have the same id; which one it is, its fields tell."""
    held = permits.sent(Means.INVITATION)
    if held is None:
        return _without_permit()
    try:
        if held.prepared is None or _is_first_step():
            return _take_password(held)
        return _take_question(held, held.prepared)
    except PermitGone:
        return _gone(held)


def _is_first_step() -> bool:
    return "new_password" in request.form


def _take_password(held: Held) -> ResponseReturnValue:
    form = NewPasswordForm()
    if not form.validate():
        return _password_page(held, form), 400
    try:
        prepared = services().lifecycle.prepare_activation(held.permit, str(form.new_password.data), now())
    except PasswordRefused as refusal:
        form.new_password.errors = password_problems(refusal.broken)
        return _password_page(held, form), 400
    permits.keep_prepared(held, prepared)
    return see_other(held.address_of(".activate"))


def _take_question(held: Held, prepared: str) -> ResponseReturnValue:
    form = SecretQuestionForm()
    if not form.validate():
        return _question_page(held, form), 400
    try:
        person = services().lifecycle.activate(
            held.permit, prepared, question=form.question.data, answer=form.new_answer.data, now=now()
        )
    except AnswerRefused as refusal:
        form.new_answer.errors = answer_problems(refusal.broken)
        return _question_page(held, form), 400
    found = held.waiting()
    permits.drop(held)
    recoveries.end(person.username)
    forget_failures()
    session["typed"] = person.username
    say_once("activated")
    return see_other(address_of("signin.login", found, again=1))


def _gone(held: Held) -> ResponseReturnValue:
    permits.drop(held)
    return dead_link_page(invitation=True)


def _without_permit() -> ResponseReturnValue:
    # A page of ours had one that this browser holds no longer; who names none comes from no page of ours.
    if permits.names_one():
        return dead_link_page(invitation=True)
    return see_other(address_of("signin.login", waiting()))


def _password_page(held: Held, form: NewPasswordForm, notice: str | None = None) -> str:
    return _page("activation/password.html", held, form, notice_text=notice)


def _question_page(held: Held, form: SecretQuestionForm, notice: str | None = None) -> str:
    return _page(
        "activation/question.html",
        held,
        form,
        questions=[(key, question_text(key)) for key in QUESTION_KEYS],
        back_href=held.address_of(".activate", password=1),
        notice_text=notice,
    )


def _page(template: str, held: Held, form: Any, **values: Any) -> str:
    return render_template(
        template,
        form=form,
        failed=bool(form.errors),
        held=held,
        username=held.permit.username,
        action=address_of(".submit", held.waiting()),
        **values,
    )


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same step once more with a fresh token; what was chosen before is kept (ux.md section 4)."""
    held = permits.sent(Means.INVITATION) if permits.names_one() else permits.shown(Means.INVITATION)
    if held is None:
        return _without_permit()
    if held.prepared is None or _is_first_step():
        page = _password_page(held, NewPasswordForm(formdata=None), stale_form_text())
        return show_again(page, held.address_of(".activate", password=1))
    page = _question_page(held, SecretQuestionForm(formdata=None), stale_form_text())
    return show_again(page, held.address_of(".activate"))
