"""`/recover…` and the mailed link: from the username to leave to set a password (M6, M8, M12, M13).

Nothing here tells whether a username exists: each page, its way and its time are the same for all (L-9).
"""

from flask import Blueprint, Response, make_response, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFError

from idp.accounts.errors import AddressThrottled, LinkDead, MalformedUsername, QuestionClosed, WrongAnswer
from idp.accounts.permits import Means
from idp.accounts.usernames import parse_username
from idp.policy import REMINDER_INTERVAL
from idp.web import permits, recoveries
from idp.web.attempts import attempt, keep_typed
from idp.web.browser import say_once, take_message
from idp.web.current import now, services
from idp.web.errors import say_wait, wait_text
from idp.web.forms import QuestionForm, RecoverForm, ReminderForm
from idp.web.interactions import Waiting, address_of, see_other, waiting
from idp.web.permits import dead_link_page
from idp.web.questions import question_text
from idp.web.recoveries import Recovering
from idp.web.stale_forms import STALE, show_again, stale_form_text, take_stale_text

blueprint = Blueprint("recovery", __name__)

_USERNAME_SHOWN_MAX = 64
_OVER = "recovery_over"


def _asks_question() -> bool:
    return services().recovery.mode != "off"


@blueprint.get("/recover")
def recover() -> ResponseReturnValue:
    """S07: which username."""
    form = RecoverForm(formdata=None)
    if "again" in request.args:
        form.username.data = session.get("typed", "")
    message = take_message(STALE, _OVER)
    return _recover_page(form, None if message is None else _notice_text(message.key))


def _notice_text(key: str) -> str:
    if key == STALE:
        return stale_form_text()
    return str(gettext("Esa recuperación ya no está abierta en este navegador. Escriba de nuevo el usuario."))


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
    recovering = recoveries.begin(username, found)
    if _asks_question():
        return see_other(address_of(".question", found))
    return _send(recovering, found)


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
    recovering = recoveries.shown()
    if recovering is None or not _asks_question():
        return see_other(address_of(".recover", waiting()))
    message, form = take_message("wrong_answer"), QuestionForm(formdata=None)
    if message is not None and message.values["username"] == recovering.username.canonical:
        form.answer.errors = [gettext("La respuesta no es correcta.")]
    return _question_page(recovering, form, take_stale_text())


@blueprint.post("/recover/question")
def answer() -> ResponseReturnValue:
    """A right answer opens "set password" in this browser (Q-5). It is compared with that of the username it shows."""
    recovering, form, found = recoveries.sent(), QuestionForm(), waiting()
    if recovering is None or not _asks_question():
        return _over(found)
    username = recovering.username
    if not form.validate():
        return _question_page(recovering, form), 400
    recoveries.turn_to(recovering)
    try:
        permit = services().recovery.answer(username, str(form.answer.data), attempt=attempt(), now=now())
    except AddressThrottled as refusal:
        page = _question_page(recovering, QuestionForm(formdata=None), wait_text(refusal.retry_after))
        return say_wait(make_response(page), refusal)
    except WrongAnswer:
        say_once("wrong_answer", username=username.canonical)
        return see_other(address_of(".question", found))
    except QuestionClosed:
        return see_other(address_of(".question", found))
    if permit is None:
        recoveries.note_sent(recovering, now())
        return see_other(address_of(".sent", found))
    permits.hold(permit, found)
    return see_other(address_of("password.recovered", found))


def _over(found: Waiting | None) -> ResponseReturnValue:
    # The page was another session's, or its recovery has ended: what it says is compared with nobody's.
    if recoveries.names_one():
        say_once(_OVER)
    return see_other(address_of(".recover", found))


def _question_page(recovering: Recovering, form: QuestionForm, notice: str | None = None) -> str:
    found, door, username = waiting(), services().recovery, recovering.username
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
    recovering = recoveries.shown()
    if recovering is None or recovering.sent_at is None:
        return see_other(address_of(".recover", waiting()))
    return _sent_page(recovering, take_stale_text())


@blueprint.post("/recover/sent")
def send_reminder() -> ResponseReturnValue:
    """*Enviar recordatorio* (M12)."""
    recovering, found = recoveries.sent(), waiting()
    return _over(found) if recovering is None else _send(recovering, found)


def _send(recovering: Recovering, found: Waiting | None) -> ResponseReturnValue:
    try:
        services().recovery.send_reminder(recovering.username, attempt=attempt(), now=now())
    except AddressThrottled as refusal:
        text = wait_text(refusal.retry_after)
        if _asks_question():
            page = _question_page(recovering, QuestionForm(formdata=None), text)
        else:
            page = _recover_page(RecoverForm(formdata=None), text)
        return say_wait(make_response(page), refusal)
    recoveries.note_sent(recovering, now())
    return see_other(address_of(".sent", found))


def _sent_page(recovering: Recovering, notice: str | None = None) -> str:
    found, before = waiting(), recovering.sent_at
    left = 0.0 if before is None else (before + REMINDER_INTERVAL - now()).total_seconds()
    return render_template(
        "recovery/sent.html",
        username=recovering.username.canonical,
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
    held = permits.hold(permit, waiting() or recoveries.waiting_for(permit.username))
    place = "activation.activate" if permit.means is Means.INVITATION else "password.recovered"
    return _without_referrer(make_response(see_other(address_of(place, held.waiting()))))


def _without_referrer(response: Response) -> Response:
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token, everything that was going on kept (ux.md section 4)."""
    found, text = waiting(), stale_form_text()
    recovering = recoveries.sent() if recoveries.names_one() else recoveries.shown()
    if request.endpoint == "recovery.submit" or recovering is None:
        return _recover_again(found, text)
    recoveries.turn_to(recovering)
    if request.endpoint == "recovery.send_reminder" and recovering.sent_at is not None:
        return show_again(_sent_page(recovering, text), address_of(".sent", found))
    if not _asks_question():
        return _recover_again(found, text)
    page = _question_page(recovering, QuestionForm(formdata=None), text)
    return show_again(page, address_of(".question", found))


def _recover_again(found: Waiting | None, text: str) -> ResponseReturnValue:
    form = RecoverForm(formdata=None)
    typed = keep_typed(request.form.get("username", ""))
    form.username.data = typed
    return show_again(_recover_page(form, text), address_of(".recover", found, again=1 if typed else None))
