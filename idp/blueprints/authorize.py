"""`/oauth/authorize` and `/consent`."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError
from markupsafe import Markup, escape
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import MethodNotAllowed

from idp.protocol.authorize import Decision, FormPost, NeedsConsent, NeedsSignIn, Posted
from idp.protocol.errors import InteractionGone, OAuth2Error
from idp.web.browser import begin_browser, browser_state, current_browser, take_message
from idp.web.current import now, services
from idp.web.errors import refuse_request, render_error
from idp.web.forms import ConsentForm
from idp.web.headers import allow_form_action
from idp.web.messages import flask_response, protocol_request
from idp.web.passwords import changed_text
from idp.web.scopes import describe_claims, describe_scopes
from idp.web.stale_forms import STALE, show_again, stale_form_text
from idp.wiring import authentication_of

if TYPE_CHECKING:
    from idp.protocol.authorize import Interaction

blueprint = Blueprint("authorize", __name__)


@blueprint.get("/oauth/authorize")
def authorize() -> AnyResponse:
    """The authorization endpoint (RFC 6749 section 3.1), and where a person comes back to it after signing in."""
    door = services().protocol.authorizations
    browser = current_browser()
    authentication = authentication_of(browser)
    handle, posted = request.args.get("interaction"), request.args.get("posted")
    try:
        if handle is not None:
            decision = door.resume(
                handle,
                authentication=authentication,
                browser=None if browser is None else browser.browser,
                now=now(),
                browser_state=browser_state(),
            )
        elif posted is not None:
            if request.method == "HEAD":
                raise MethodNotAllowed(valid_methods=["GET", "POST"])  # it would spend the handle
            decision = door.begin_posted(
                posted,
                authentication=authentication,
                browser=lambda: begin_browser().browser,
                now=now(),
                browser_state=browser_state(),
            )
        else:
            decision = door.begin(
                request.query_string.decode("latin-1"),
                authentication=authentication,
                browser=lambda: begin_browser().browser,
                now=now(),
                browser_state=browser_state(),
            )
    except OAuth2Error as error:
        return refuse_request(error)
    except InteractionGone:
        return render_error("gone", 400)
    return _answer(decision)


@blueprint.post("/oauth/authorize")
def post_authorize() -> AnyResponse:
    """The same by POST. Sent on as GET, since a form of another site comes without our cookie (SameSite=Lax)."""
    sent = protocol_request()
    try:
        received = services().protocol.authorizations.receive(sent.query, sent.form, now())
    except OAuth2Error as error:
        return refuse_request(error)
    if isinstance(received, Posted):
        return redirect(url_for("authorize.authorize", posted=received.handle), 303)
    return _answer(received)


@blueprint.get("/consent")
def consent() -> AnyResponse | str:
    """Ask the person (S15)."""
    return _consent_page()


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> AnyResponse:
    """The same page once more with a fresh token, the pending request kept (ux.md section 4)."""
    page = _consent_page(STALE)
    if not isinstance(page, str):
        return page
    return show_again(page, url_for("authorize.consent", interaction=request.args.get("interaction", "")))


def _consent_page(notice: str | None = None) -> AnyResponse | str:
    handle = request.args.get("interaction", "")
    browser = current_browser()
    interaction = services().protocol.authorizations.describe(
        handle,
        authentication=authentication_of(browser),
        browser=None if browser is None else browser.browser,
        now=now(),
    )
    if interaction is None:
        return render_error("gone", 400)
    person = None
    if not interaction.needs_sign_in and browser is not None and browser.account_id is not None:
        person = services().sign_in.find_person(browser.account_id)
    if person is None:
        return redirect(url_for("signin.login", interaction=handle), 303)
    message = take_message()
    allow_form_action(interaction.redirect_uri)
    page: dict[str, Any] = {
        "interaction": interaction,
        "redirect_host": urlsplit(interaction.redirect_uri).netloc or interaction.redirect_uri.partition(":")[0],
        "person": person,
        "account": services().own_account.overview(person.account_id, now()),
        "changed": changed_text(message) if message is not None and message.key == "changed" else None,
        "notice": notice or (STALE if message is not None and message.key == STALE else None),
        "stale_text": stale_form_text(),
        **_asked(interaction),
        "retention_days": interaction.retention_days,
        "form": ConsentForm(interaction=handle),
    }
    return render_template("authorize/consent.html", **page)


def _asked(interaction: "Interaction") -> dict[str, Any]:
    """What the person is asked for: what they have not allowed yet, or everything once more."""
    scopes, claims = interaction.new_scopes, interaction.new_claims
    is_new = bool(scopes or claims)
    if not is_new:
        scopes, claims = interaction.scopes, interaction.extra_claims
    lines = describe_scopes(scopes, interaction.claims, retention_days=interaction.retention_days, now=now())
    every = (*interaction.scopes, *interaction.extra_claims)
    return {
        "scopes": [*lines, *describe_claims(claims, interaction.claims)],
        "new_only": is_new and len(scopes) + len(claims) < len(every),
    }


@blueprint.post("/consent")
def decide() -> AnyResponse:
    """Take the answer."""
    browser = current_browser()
    try:
        decision = services().protocol.authorizations.decide(
            request.form.get("interaction", ""),
            allow=request.form.get("decision") == "allow",
            authentication=authentication_of(browser),
            browser=None if browser is None else browser.browser,
            now=now(),
            browser_state=browser_state(),
        )
    except InteractionGone:
        return render_error("gone", 400)
    return _answer(decision)


def _answer(decision: Decision) -> AnyResponse:
    if isinstance(decision, NeedsSignIn):
        # url_for leaves out what is None.
        place = url_for("signin.login", interaction=decision.interaction, ui_locales=decision.ui_locales)
        return redirect(place, 303)
    if isinstance(decision, NeedsConsent):
        return redirect(url_for("authorize.consent", interaction=decision.interaction), 303)
    response = _form_post(decision) if isinstance(decision, FormPost) else flask_response(decision)
    # Address or page holds a code: no cache may keep it, no page may tell it on.
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _form_post(answer: FormPost) -> Response:
    """The page that brings the answer to the client; it sends itself where there is JavaScript."""
    allow_form_action(answer.redirect_uri)
    fields = [(name, _exact(value)) for name, value in answer.parameters.items()]
    return make_response(render_template("authorize/form_post.html", action=answer.redirect_uri, fields=fields))


def _exact(value: str) -> Markup:
    # A parser of HTML makes a line feed of every carriage return that is not written as a reference.
    return escape(value).replace("\r", Markup("&#13;")).replace("\n", Markup("&#10;"))
