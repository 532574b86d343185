"""`/oauth/logout`: RP-initiated logout; `/oauth/check_session`: the frame of session management."""

from typing import cast
from urllib.parse import urlencode

from flask import Blueprint, current_app, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError
from werkzeug import Response

from idp.policy import CHECK_SESSION_CACHE_LIFETIME
from idp.protocol.errors import InteractionGone, OAuth2Error
from idp.protocol.logout import EndSession, NeedsConfirmation
from idp.protocol.messages import parse_pairs
from idp.web.browser import BrowserSessions, begin_browser, current_browser
from idp.web.current import now, services
from idp.web.errors import refuse_request
from idp.web.forms import SignOutForm
from idp.web.headers import allow_form_action, allow_framing
from idp.web.messages import protocol_request
from idp.web.signing_out import sign_out, signed_out_page
from idp.web.stale_forms import show_again, stale_form_text, take_stale_text
from idp.wiring import authentication_of

blueprint = Blueprint("end_session", __name__)


@blueprint.get("/oauth/logout")
def logout() -> Response | str:
    """RP-Initiated Logout section 2: at once with a hint of this session, else after the person confirms."""
    try:
        decision = services().protocol.logouts.begin(
            request.query_string.decode("latin-1"),
            authentication=authentication_of(current_browser()),
            browser=lambda: begin_browser().browser,
            now=now(),
        )
    except OAuth2Error as error:
        return refuse_request(error)
    if isinstance(decision, NeedsConfirmation):
        # url_for leaves out what is None.
        ui_locales = request.args.get("ui_locales")
        return redirect(url_for("end_session.ask", logout=decision.logout, ui_locales=ui_locales), 303)
    return _end(decision)


@blueprint.post("/oauth/logout")
def post_logout() -> Response:
    """The same by POST. Sent on as GET, since a form of another site comes without our cookie (SameSite=Lax)."""
    sent = protocol_request()
    try:
        pairs = parse_pairs(sent.query) + parse_pairs(sent.form or b"")
    except OAuth2Error as error:
        return refuse_request(error)
    response = redirect(url_for("end_session.logout"), 303)
    if pairs:
        # What stands in both is given twice, and refused there (P-3). Not through werkzeug, which rewrites what it
        # takes for an IRI.
        response.headers["Location"] += "?" + urlencode(pairs)
    response.autocorrect_location_header = False
    return response


@blueprint.get("/logout/confirm")
def ask() -> Response | str:
    """Ask whether to sign out (S23)."""
    return _confirm_page(request.args.get("logout", ""), take_stale_text())


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> Response:
    """The same page once more with a fresh token, while there is somebody to sign out (ux.md section 4)."""
    handle = request.form.get("logout", "")
    page = _confirm_page(handle, stale_form_text())
    return show_again(page, url_for("end_session.ask", logout=handle)) if isinstance(page, str) else page


def _confirm_page(handle: str, notice_text: str | None) -> Response | str:
    browser = current_browser()
    waiting = None
    if browser is not None:
        waiting = services().protocol.logouts.describe(handle, browser=browser.browser, now=now())
    person = None
    if waiting is not None and browser is not None and browser.account_id is not None:
        person = services().sign_in.find_person(browser.account_id)
    if waiting is None or person is None:
        return redirect(url_for("signin.login"), 303)
    if waiting.return_uri is not None:
        allow_form_action(waiting.return_uri)
    return render_template(
        "logout/confirm.html",
        form=SignOutForm(logout=handle),
        person=person,
        client_name=waiting.client_name,
        action=url_for("end_session.confirm"),
        notice_text=notice_text,
    )


@blueprint.post("/logout/confirm")
def confirm() -> Response | str:
    """The person confirmed."""
    browser = current_browser()
    try:
        decision = services().protocol.logouts.confirm(
            request.form.get("logout", ""), browser=None if browser is None else browser.browser, now=now()
        )
    except InteractionGone:
        return redirect(url_for("signin.login"), 303)
    return _end(decision, everywhere=request.form.get("everywhere") == "1")


@blueprint.get("/oauth/check_session")
def check_session() -> Response:
    """OIDC Session Management section 3.3: asked by a relying party's frame, it says whether anything has changed.

    The same for everybody: what it looks at is the cookie in the browser, by script.
    """
    allow_framing()
    cookie = cast(BrowserSessions, current_app.session_interface).state_cookie_name
    response = make_response(render_template("logout/check_session.html", cookie=cookie))
    response.headers["Cache-Control"] = f"public, max-age={int(CHECK_SESSION_CACHE_LIFETIME.total_seconds())}"
    return response


def _end(decision: EndSession, *, everywhere: bool = False) -> Response | str:
    browser = current_browser()
    nobody = browser is None or browser.account_id is None
    frames = sign_out(everywhere=everywhere)
    if frames or decision.return_uri is None:
        return signed_out_page(frames, return_uri=decision.return_uri, client_name=decision.client_name, nobody=nobody)
    response = redirect(decision.return_uri, 303)
    response.headers["Location"] = decision.return_uri
    response.autocorrect_location_header = False
    return response
