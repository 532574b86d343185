"""`/recover…` and the mailed link: from the username to leave to set a password (M6, M8, M12, M13).

Nothing here tells whether a username exists: each page, its way and its time are the same for all (L-9).
"""

from datetime import datetime

from flask import Blueprint, Response, make_response, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import AddressThrottled, LinkDead, MalformedUsername, QuestionClosed, WrongAnswer
from idp.accounts.permits import Means
from idp.accounts.usernames import Username, parse_username
from idp.policy import REMINDER_INTERVAL
from idp.web.attempts import attempt
from idp.web.browser import say_once, take_message
from idp.web.current import now, services
from idp.web.errors import say_wait, stale_form_text, wait_text
from idp.web.forms import QuestionForm, RecoverForm, ReminderForm
from idp.web.interactions import Waiting, address_of, keep_waiting, kept_waiting, see_other, waiting
from idp.web.permits import dead_link_page, hold
from idp.web.questions import question_text

blueprint = Blueprint("recovery", __name__)

_USERNAME_SHOWN_MAX = 64


def _username() -> Username | None:
    # Written by `submit` alone, in the canonical spelling.
    kept = session.get("recover")
    return None if kept is None else parse_username(kept["username"])


def _asks_question() -> bool:
    return services().recovery.mode != "off"


@blueprint.get("/recover")
def recover() -> ResponseReturnValue:
    """S07: which username."""
    form = RecoverForm(formdata=None)
    if "again" in request.args:
        form.username.data = session.get("typed", "")
    return _recover_page(form)


@blueprint.post("/recover")
def submit() -> ResponseReturnValue:
    """On to the question, whoever it is; where the deployment asks none, straight to the reminder."""
    form, found = RecoverForm(), waiting()
    if not form.validate():
        return _recover_page(form), 400
    try:
        username = parse_username(str(form.username.data))
    except MalformedUsername:
        text = gettext("El usuario no tiene un formato válido. Revise que sea su RFC, CT. y el RFC, o usr. y el RFC.")
        form.username.errors = [text]
        return _recover_page(form), 400
    session["recover"] = {"username": username.canonical}
    keep_waiting(found)
    if _asks_question():
        return see_other(address_of(".question", found))
    return _send(username, found)


def _recover_page(form: RecoverForm, notice: str | None = None) -> str:
    found, username = waiting(), form.username.data or ""
    return render_template(
        "recovery/recover.html",
        form=form,
        failed=bool(form.errors),
        username=username if len(username) <= _USERNAME_SHOWN_MAX else "",
        asks_question=_asks_question(),
        action=address_of(".submit", found),
        cancel_href=address_of("signin.login", found),
        notice_text=notice,
    )


@blueprint.get("/recover/question")
def question() -> ResponseReturnValue:
    """S08: the secret question of that username, or the one that stands for it."""
    username = _username()
    if username is None or not _asks_question():
        return see_other(address_of(".recover", waiting()))
    message, form = take_message(), QuestionForm(formdata=None)
    if message is not None and message.key == "wrong_answer":
        form.answer.errors = [gettext("La respuesta no es correcta.")]
    return _question_page(username, form)


@blueprint.post("/recover/question")
def answer() -> ResponseReturnValue:
    """A right answer opens "set password" in this browser (Q-5)."""
    username, form, found = _username(), QuestionForm(), waiting()
    if username is None or not _asks_question():
        return see_other(address_of(".recover", found))
    if not form.validate():
        return _question_page(username, form), 400
    try:
        permit = services().recovery.answer(username, str(form.answer.data), attempt=attempt(), now=now())
    except AddressThrottled as refusal:
        page = _question_page(username, QuestionForm(formdata=None), wait_text(refusal.retry_after))
        return say_wait(make_response(page), refusal)
    except WrongAnswer:
        say_once("wrong_answer")
        return see_other(address_of(".question", found))
    except QuestionClosed:
        return see_other(address_of(".question", found))
    if permit is None:
        _note_sent()
        return see_other(address_of(".sent", found))
    hold(permit)
    return see_other(address_of("password.recovered", found))


def _question_page(username: Username, form: QuestionForm, notice: str | None = None) -> str:
    found, door = waiting(), services().recovery
    links = {
        "username": username.canonical,
        "change_href": address_of(".recover", found),
        "cancel_href": address_of("signin.login", found),
        "reminder_action": address_of(".send_reminder", found),
        "reminder_form": ReminderForm(formdata=None),
        "notice_text": notice,
    }
    if door.is_closed(username, now()):
        return render_template("recovery/question_closed.html", **links)
    return render_template(
        "recovery/question.html",
        form=form,
        failed=bool(form.answer.errors),
        question=question_text(door.question_for(username)),
        action=address_of(".answer", found),
        **links,
    )


@blueprint.get("/recover/sent")
def sent() -> ResponseReturnValue:
    """S10: look into your mail, whoever it is."""
    username = _username()
    if username is None or _sent_at() is None:
        return see_other(address_of(".recover", waiting()))
    return _sent_page()


@blueprint.post("/recover/sent")
def send_reminder() -> ResponseReturnValue:
    """*Enviar recordatorio* (M12)."""
    username, found = _username(), waiting()
    if username is None:
        return see_other(address_of(".recover", found))
    return _send(username, found)


def _send(username: Username, found: Waiting | None) -> ResponseReturnValue:
    try:
        services().recovery.send_reminder(username, attempt=attempt(), now=now())
    except AddressThrottled as refusal:
        text = wait_text(refusal.retry_after)
        if _asks_question():
            page = _question_page(username, QuestionForm(formdata=None), text)
        else:
            page = _recover_page(RecoverForm(formdata=None), text)
        return say_wait(make_response(page), refusal)
    _note_sent()
    return see_other(address_of(".sent", found))


def _note_sent() -> None:
    # What is asked for again too soon is not sent, so the wait goes on from the first.
    before = _sent_at()
    if before is None or now() >= before + REMINDER_INTERVAL:
        session["recover"] = {**session["recover"], "sent_at": now().isoformat()}


def _sent_at() -> datetime | None:
    kept = session.get("recover", {}).get("sent_at")
    return None if kept is None else datetime.fromisoformat(kept)


def _sent_page(notice: str | None = None) -> str:
    found, before = waiting(), _sent_at()
    left = 0.0 if before is None else (before + REMINDER_INTERVAL - now()).total_seconds()
    return render_template(
        "recovery/sent.html",
        minutes_left=max(0, -(-int(left) // 60)),
        reminder_action=address_of(".send_reminder", found),
        reminder_form=ReminderForm(formdata=None),
        change_href=address_of(".recover", found),
        back_href=address_of("signin.login", found),
        notice_text=notice,
    )


@blueprint.get("/request/codedAccess")
def open_link() -> ResponseReturnValue:
    """S11: where the mailed link lands. Spends nothing, and leads to an address without the code (R-3, R-7)."""
    try:
        permit = services().recovery.open_link(request.args.get("code", ""), now())
    except LinkDead:
        return dead_link_page()
    hold(permit)
    place = "activation.activate" if permit.means is Means.INVITATION else "password.recovered"
    return _without_referrer(make_response(see_other(address_of(place, kept_waiting()))))


def _without_referrer(response: Response) -> Response:
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token, everything that was going on kept (ux.md section 4)."""
    username, text = _username(), stale_form_text()
    if request.endpoint == "recovery.submit" or username is None:
        return _recover_page(RecoverForm(formdata=None), text), 400
    if request.endpoint == "recovery.send_reminder" and _sent_at() is not None:
        return _sent_page(text), 400
    if not _asks_question():
        return _recover_page(RecoverForm(formdata=None), text), 400
    return _question_page(username, QuestionForm(formdata=None), text), 400
