"""`/account…`: what a person sees and changes of their own account (S17 to S22)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Blueprint, abort, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import (
    AccountProblem,
    AnswerRefused,
    CaptchaRefused,
    PasswordExpired,
    PasswordRefused,
    PermitGone,
    Refusal,
    UsernameLocked,
    WrongCredentials,
)
from idp.policy import ACTIVITY_CHART_MAX, ACTIVITY_PAGE
from idp.web import account_area as area
from idp.web.account_forms import ChangePasswordForm, ChangeQuestionForm, ProfileForm
from idp.web.activity import chart, describe
from idp.web.agents import agent_text, cut_address, is_handheld, mask_email
from idp.web.attempts import attempt, has_failed, keep_device, note_failure
from idp.web.browser import Message, forget_browser, replace_cookie, say_once
from idp.web.captcha import fresh_challenge, problem_text
from idp.web.current import now, services
from idp.web.i18n import LANGUAGES
from idp.web.interactions import see_other
from idp.web.passwords import answer_problems, password_problems
from idp.web.questions import QUESTION_KEYS, question_text
from idp.web.scopes import describe_scopes
from idp.web.stale_forms import STALE, show_again

if TYPE_CHECKING:
    from idp.accounts.own_account import ActivityRow
    from idp.protocol.consents import Application

blueprint = Blueprint("account", __name__)
blueprint.before_request(area.enter)
blueprint.app_template_filter("agent")(agent_text)
blueprint.app_template_filter("cut_address")(cut_address)
blueprint.app_template_filter("mask_email")(mask_email)
blueprint.app_template_test("handheld")(is_handheld)

_HOME_ROWS = 4
_ACTIVITY_ID_MAX = 2**63 - 1

_Secret = ChangePasswordForm | ChangeQuestionForm


@blueprint.get("/account")
def home() -> str:
    """Is it safe, what expires, who is in, what happened (S17)."""
    at, me = now(), area.account_id()
    rows = services().own_account.activity(me, before=None, limit=ACTIVITY_CHART_MAX)
    complete_from = rows[-1].at if len(rows) >= ACTIVITY_CHART_MAX else None
    return area.page(
        "home",
        sessions=services().own_account.sessions(me, area.browser(), at)[:_HOME_ROWS],
        applications=_applications()[:_HOME_ROWS],
        rows=[(row, describe(row.event)) for row in rows[:_HOME_ROWS]],
        chart=chart([(row.at, row.event) for row in rows], at, complete_from=complete_from),
        names=_client_names(),
        now=at,
    )


# -- password and question: nothing without the current password (Q-6) -----------------------------------------------


@blueprint.get("/account/password")
def password() -> str:
    """The form of a new password (S19)."""
    return _secret_page("password", ChangePasswordForm(formdata=None))


@blueprint.post("/account/password")
def change_password() -> ResponseReturnValue:
    """Change it. All other sessions end before the answer is sent; this browser goes on under a new cookie (W-4)."""
    form = ChangePasswordForm()

    def change() -> None:
        signed_in = services().own_account.change_password(
            area.account_id(),
            str(form.current_password.data),
            str(form.new_password.data),
            attempt=attempt(),
            now=now(),
        )
        replace_cookie(signed_in.cookie)
        keep_device(signed_in.device)
        ends = services().own_account.overview(area.account_id(), now()).password_expires_at
        say_once("changed", expires_at=ends.isoformat(), others=True)

    return _change_secret("password", form, change)


@blueprint.get("/account/question")
def question() -> str:
    """The form of a new secret question (S20). The answer is never shown, ours least of all."""
    return _secret_page("question", ChangeQuestionForm(formdata=None))


@blueprint.post("/account/question")
def change_question() -> ResponseReturnValue:
    """Change question and answer."""
    form = ChangeQuestionForm()

    def change() -> None:
        services().own_account.change_question(
            area.account_id(),
            str(form.current_password.data),
            str(form.question.data),
            str(form.new_answer.data),
            attempt=attempt(),
            now=now(),
        )
        say_once("question_changed")

    return _change_secret("question", form, change)


def _change_secret(section: str, form: _Secret, change: Callable[[], None]) -> ResponseReturnValue:
    """Do what `form` asks, or say on its page why not. Nothing typed is shown again but the question."""
    if not form.validate():
        return _secret_page(section, form), 400
    try:
        change()
    except WrongCredentials as refusal:
        note_failure()
        form.current_password.errors = [_wrong_text(refusal.attempts_left)]
    except UsernameLocked:
        note_failure()
        return _secret_page(section, form, locked=True), 403
    except CaptchaRefused as refusal:
        return _secret_page(section, form, captcha_error=problem_text(refusal.problem)), 400
    except PasswordRefused as refusal:
        form.new_password.errors = [password_problems(refusal.broken)]
    except AnswerRefused as refusal:
        form.new_answer.errors = [answer_problems(refusal.broken)]
    else:
        return see_other(url_for(".home"))
    return _secret_page(section, form), 400


def _wrong_text(attempts_left: int) -> str:
    left = ngettext(
        "Le queda %(num)s intento antes de que el usuario se bloquee.",
        "Le quedan %(num)s intentos antes de que el usuario se bloquee.",
        attempts_left,
    )
    return f"{gettext('La contraseña actual no es correcta.')} {left}"


def _secret_page(
    section: str,
    form: _Secret,
    *,
    notice: Message | None = None,
    captcha_error: str | None = None,
    locked: bool = False,
) -> str:
    is_due = has_failed() or captcha_error is not None
    kept = area.overview().question
    return area.page(
        section,
        notice=notice,
        form=form,
        failed=bool(form.errors) or captcha_error is not None or locked,
        captcha=fresh_challenge(section) if is_due and not locked else None,
        captcha_error=captcha_error,
        locked=locked,
        questions=[(key, question_text(key)) for key in QUESTION_KEYS],
        present_question=question_text(kept) if kept in QUESTION_KEYS else None,
    )


# -- name and language -----------------------------------------------------------------------------------------------


@blueprint.get("/account/profile")
def profile() -> str:
    """Name and language to change; what only support changes beside them (S18)."""
    return _profile_page(ProfileForm(formdata=None))


@blueprint.post("/account/profile")
def change_profile() -> ResponseReturnValue:
    """Change name and language, and nothing else that a form may hold (D-70)."""
    form = ProfileForm()
    if not form.validate():
        return _profile_page(form), 400
    locale = str(form.locale.data)
    try:
        services().own_account.change_profile(
            area.account_id(), name=str(form.name.data).strip(), locale=locale, now=now()
        )
    except AccountProblem:
        form.name.errors = [gettext("Escriba el nombre de otra manera.")]
        return _profile_page(form), 400
    say_once("profile_changed")
    # The page that says so speaks the new language, and so does the next one.
    return see_other(url_for(".profile", ui_locales=locale))


def _profile_page(form: ProfileForm, notice: Message | None = None) -> str:
    person = area.overview().person
    typed = form.is_submitted() and notice is None
    return area.page(
        "profile",
        notice=notice,
        form=form,
        failed=bool(form.errors),
        name=form.name.data if typed else person.name,
        locale=form.locale.data if typed else person.locale,
        choices=LANGUAGES,
    )


# -- sessions --------------------------------------------------------------------------------------------------------


@blueprint.get("/account/sessions")
def sessions() -> str:
    """Where one is signed in (S22)."""
    return _sessions_page()


@blueprint.post("/account/sessions")
def end_session() -> ResponseReturnValue:
    """End one of them: this browser's own is a sign-out. What is not one's own is not there (W-9)."""
    sid = request.form.get("sid", "")
    if not services().own_account.end_session(area.account_id(), sid, now()):
        abort(404)
    if sid == area.browser().sid:
        forget_browser()
        return see_other(url_for("signin.login"))
    say_once("sessions_ended", count=1)
    return see_other(url_for(".sessions"))


@blueprint.post("/account/sessions/others")
def end_other_sessions() -> ResponseReturnValue:
    """End all but this browser's."""
    count = services().own_account.end_other_sessions(area.account_id(), area.browser(), now())
    say_once("sessions_ended", count=count)
    return see_other(url_for(".sessions"))


@blueprint.post("/account/extend")
def extend() -> ResponseReturnValue:
    """Stay signed in: that this was asked is the use that counts (WCAG 2.2.1). Without a script, back to the page."""
    if request.accept_mimetypes.best == "application/json":
        return "", 204
    return see_other(url_for(".home"))


def _sessions_page(notice: Message | None = None) -> str:
    at = now()
    found = services().own_account.sessions(area.account_id(), area.browser(), at)
    return area.page("sessions", notice=notice, sessions=found, now=at)


# -- applications ----------------------------------------------------------------------------------------------------


@blueprint.get("/account/applications")
def applications() -> str:
    """Who was given access to what (S22)."""
    return _applications_page()


def _applications_page(notice: Message | None = None) -> str:
    return area.page("applications", notice=notice, applications=_applications())


@blueprint.get("/account/applications/<client_id>")
def application(client_id: str) -> str:
    """Ask before access is taken back."""
    return _removal_page(client_id)


@blueprint.post("/account/applications/<client_id>")
def remove_application(client_id: str) -> ResponseReturnValue:
    """Take it back: consent and grants end together."""
    name = _find_application(client_id).client_name
    if not services().protocol.consents.revoke(area.account_id(), client_id, now()):
        abort(404)
    say_once("application_removed", name=name)
    return see_other(url_for(".applications"))


def _removal_page(client_id: str, notice: Message | None = None) -> str:
    found = _find_application(client_id)
    return area.page("application", notice=notice, application=found, scopes=describe_scopes(found.scopes, {}))


def _applications() -> "list[tuple[Application, list[str]]]":
    found = services().protocol.consents.list_for(area.account_id())
    return [(each, [line.title for line in describe_scopes(each.scopes, {})]) for each in found]


def _find_application(client_id: str) -> "Application":
    found = _application_if_any(client_id)
    if found is None:
        abort(404)
    return found


def _application_if_any(client_id: str) -> "Application | None":
    return next((each for each, _scopes in _applications() if each.client_id == client_id), None)


def _client_names() -> dict[str, str]:
    return {each.client_id: each.client_name for each, _scopes in _applications()}


# -- activity --------------------------------------------------------------------------------------------------------


@blueprint.get("/account/activity")
def activity() -> str:
    """What happened, newest first, page by page (S22)."""
    before = request.args.get("before", type=int)
    if before is not None and not 0 < before <= _ACTIVITY_ID_MAX:
        abort(404)
    # One more than is shown tells whether there is another page.
    rows: tuple[ActivityRow, ...] = services().own_account.activity(
        area.account_id(), before=before, limit=ACTIVITY_PAGE + 1
    )
    shown = rows[:ACTIVITY_PAGE]
    return area.page(
        "activity",
        rows=[(row, describe(row.event)) for row in shown],
        names=_client_names(),
        newest_href=url_for(".activity") if before is not None else None,
        older_href=url_for(".activity", before=shown[-1].id) if len(rows) > ACTIVITY_PAGE else None,
    )


# -- what came between, and a form that was open for too long ----------------------------------------------------------


@blueprint.errorhandler(PermitGone)
@blueprint.errorhandler(PasswordExpired)
def begin_again(_error: Refusal) -> ResponseReturnValue:
    """The account has changed while this was being judged: in another tab, by a second press, or by an operator.

    Nothing came of it. The first page knows whether the person is still signed in, and has what the other one says.
    """
    return see_other(url_for(".home"))


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token (ux.md section 4)."""
    elsewhere = area.enter()
    if elsewhere is not None:
        return elsewhere
    stale = Message(STALE)
    client_id = (request.view_args or {}).get("client_id", "")
    if request.endpoint == "account.change_password":
        page = _secret_page("password", ChangePasswordForm(formdata=None), notice=stale)
        return show_again(page, url_for(".password"))
    if request.endpoint == "account.change_question":
        page = _secret_page("question", ChangeQuestionForm(formdata=None), notice=stale)
        return show_again(page, url_for(".question"))
    if request.endpoint == "account.change_profile":
        return show_again(_profile_page(ProfileForm(formdata=None), stale), url_for(".profile"))
    if request.endpoint == "account.remove_application":
        if _application_if_any(client_id) is None:  # taken back in another tab; no error may be raised from in here
            return show_again(_applications_page(stale), url_for(".applications"))
        return show_again(_removal_page(client_id, stale), url_for(".application", client_id=client_id))
    # Staying signed in is asked for by a script, which shows no page.
    return show_again(
        _sessions_page(stale),
        url_for(".sessions"),
        message=None if request.endpoint == "account.extend" else STALE,
    )
