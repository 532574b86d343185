"""`/device`: enter the code that a device shows, and let it in (S25, RFC 8628 section 3.3)."""

from flask import Blueprint, make_response, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFError
from werkzeug import Response

from idp.policy import DEVICE_TYPED_MAX
from idp.protocol.device import DeviceAuthorizations, read_user_code, show_user_code
from idp.protocol.errors import AccessDenied, DeviceCodeUnknown, TooManyCodes
from idp.web.browser import begin_browser, current_browser, say_once, take_message
from idp.web.current import now, services
from idp.web.errors import wait_text
from idp.web.forms import DeviceForm
from idp.web.interactions import see_other
from idp.web.scopes import describe_scopes
from idp.web.stale_forms import STALE, show_again, stale_form_text, take_stale_text
from idp.wiring import authentication_of

blueprint = Blueprint("device", __name__, url_prefix="/device")


def _door() -> DeviceAuthorizations:
    return services().protocol.devices


@blueprint.get("")
def enter() -> ResponseReturnValue:
    """Step 1. A code in the address is filled in, and still has to be sent by hand (section 5.4)."""
    message, form = take_message(), DeviceForm(formdata=None)
    if message is not None and message.key == "unknown":
        form.user_code.errors = [_unknown_text()]
    form.user_code.data = _shown(request.args.get("user_code", ""))
    return _enter_page(form, stale_form_text() if message is not None and message.key == STALE else None)


@blueprint.post("")
def submit() -> ResponseReturnValue:
    """On to the page that asks, over the sign-in where nobody is signed in. A wrong code is counted."""
    form = DeviceForm()
    if not form.validate():
        return _enter_page(form), 400
    typed = str(form.user_code.data)
    form.user_code.data = _shown(typed)
    try:
        _door().enter(typed, browser=begin_browser().browser, address=request.remote_addr, now=now())
    except TooManyCodes as refusal:
        page = make_response(_enter_page(form, wait_text(refusal.retry_after)), 429)
        page.headers["Retry-After"] = str(max(1, int(refusal.retry_after.total_seconds())))
        return page
    except DeviceCodeUnknown:
        form.user_code.errors = [_unknown_text()]
        return _enter_page(form), 400
    return see_other(url_for(".confirm"))


@blueprint.get("/confirm")
def confirm() -> ResponseReturnValue:
    """Step 2: who asks for what, from where, under which code; always asked, whatever was consented to before."""
    return _confirm_page(take_stale_text())


@blueprint.post("/confirm")
def decide() -> ResponseReturnValue:
    """Take the answer."""
    browser, allow = current_browser(), request.form.get("decision") == "allow"
    if browser is None:
        return see_other(url_for(".enter"))
    try:
        answered = _door().decide(
            request.form.get("user_code", ""),
            allow=allow,
            browser=browser.browser,
            authentication=authentication_of(browser),
            now=now(),
        )
    except DeviceCodeUnknown:
        return _start_again()
    except AccessDenied:
        return _to_sign_in()
    say_once("device", allowed=allow, client=answered.client_name)
    return see_other(url_for(".done"))


@blueprint.get("/done")
def done() -> ResponseReturnValue:
    """Step 3: back to the device."""
    message = take_message()
    if message is None or message.key != "device":
        return see_other(url_for(".enter"))
    return render_template("device/done.html", allowed=message.values["allowed"], client_name=message.values["client"])


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The same page once more with a fresh token (ux.md section 4)."""
    if request.endpoint == "device.decide":
        page = _confirm_page(stale_form_text())
        return show_again(page, url_for(".confirm")) if isinstance(page, str) else page
    form = DeviceForm(formdata=None)
    form.user_code.data = _shown(request.form.get("user_code", ""))
    return show_again(_enter_page(form, stale_form_text()), url_for(".enter", user_code=form.user_code.data or None))


def _enter_page(form: DeviceForm, notice: str | None = None) -> str:
    return render_template("device/enter.html", form=form, notice_text=notice)


def _confirm_page(notice: str | None = None) -> Response | str:
    browser = current_browser()
    asked = None if browser is None else _door().find_entered(browser.browser, now())
    if browser is None or asked is None:
        return _start_again()
    approval = _door().describe(asked, authentication=authentication_of(browser), now=now())
    person = None if browser.account_id is None else services().sign_in.find_person(browser.account_id)
    if approval is None or person is None:
        return _to_sign_in()
    form = DeviceForm(formdata=None)
    form.user_code.data = asked.user_code
    # Whoever would rather be somebody else comes back here.
    session["after_sign_in"] = url_for(".confirm")
    return render_template(
        "device/confirm.html",
        form=form,
        asked=asked,
        person=person,
        notice_text=notice,
        scopes=describe_scopes(approval.scopes, approval.claims, retention_days=approval.retention_days, now=now()),
    )


def _start_again() -> Response:
    say_once("unknown")
    return see_other(url_for(".enter"))


def _to_sign_in() -> Response:
    session["after_sign_in"] = url_for(".confirm")
    return see_other(url_for("signin.login"))


def _shown(typed: str) -> str:
    code = read_user_code(typed)
    return typed[:DEVICE_TYPED_MAX] if code is None else show_user_code(code)


def _unknown_text() -> str:
    return str(gettext("El código no es correcto, ya se usó o ya no es válido. Revise el que muestra su equipo."))
