"""The routes of the example mailbox: sign in, see and download what the token's window allows, sign out."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flask import Flask, g, jsonify, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from idp_kit import (
    AccessToken,
    AccessTokenVerifier,
    Decision,
    InvalidRetention,
    InvalidToken,
    JwksCache,
    KeySource,
    LogoutTokenVerifier,
    visible_from,
)
from requests.adapters import BaseAdapter
from sqlalchemy import text
from werkzeug.exceptions import NotFound

from invoice_mailbox.access import Mailbox, get_browser
from invoice_mailbox.api import PAGE_SIZE, add_api, get_page, xml_response
from invoice_mailbox.backchannel import add_backchannel_logout
from invoice_mailbox.config import Config
from invoice_mailbox.database import get_secret, open_database
from invoice_mailbox.frame import add_errors, add_frame
from invoice_mailbox.signin import Provider, ProviderUnavailable, SignInRefused
from invoice_mailbox.store import QUERY_LENGTH_MAX, Invoice
from invoice_mailbox.window import remaining, weeks

log = logging.getLogger(__name__)

SIGN_INS_PENDING_MAX = 5
INVOICE_PATH = re.compile(r"/invoices/([0-9a-f]{32})(/download)?\Z", re.ASCII)
CENTRAL_MEXICO = ZoneInfo("America/Mexico_City")


def create_app(
    config: Config,
    *,
    keys: KeySource | None = None,
    adapter: BaseAdapter | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    scan_interval: float = 3.0,
) -> Flask:
    """The mailbox. `keys`, `adapter` (how the provider is reached) and `clock` are for those who test it."""
    app = Flask(__name__)
    engine = open_database(config.instance)
    app.config.update(
        SECRET_KEY=get_secret(engine, "csrf"),
        MAX_CONTENT_LENGTH=64 * 1024,
        MAX_FORM_PARTS=20,
        # The token is bound to the server's session; that is what ends it.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    keys = keys or JwksCache(config.issuer)
    verifier = AccessTokenVerifier(config.issuer, config.audience, keys)
    provider = Provider(
        issuer=config.issuer,
        client_id=config.client_id,
        client_secret=config.client_secret,
        audience=config.audience,
        adapter=adapter,
    )
    provider.init_app(app)
    mailbox = Mailbox(config, engine, verifier, provider, clock, scan_interval)
    app.session_interface = mailbox.sessions
    mailbox.store.refresh(clock())
    add_frame(app, mailbox)
    # After the frame, so that its refusal is a page in the reader's language.
    csrf = CSRFProtect(app)
    _add_pages(app, mailbox)
    _add_sign_in(app, mailbox)
    # The provider calls it, with a token and without a cookie.
    csrf.exempt(add_backchannel_logout(app, mailbox, LogoutTokenVerifier(config.issuer, config.client_id, keys)))
    add_api(app, mailbox)
    add_errors(app)
    return app


def _add_pages(app: Flask, mailbox: Mailbox) -> None:
    store, clock = mailbox.store, mailbox.clock

    def find(key: str, action: str) -> tuple[AccessToken, datetime, Invoice | None, ResponseReturnValue]:
        """The invoice if the person may see it; otherwise what to answer instead."""
        access, now = mailbox.get_access(), clock()
        access.check_scopes(action)
        store.refresh(now)
        decision, invoice = store.find(access.get_mailbox(), key, now)
        if invoice is None:
            raise NotFound
        if decision is Decision.SAFEKEEPING:
            # Its owner is told, and shown nothing of it.
            return access, now, None, (render_template("gone.html", days=access.get_mailbox().retention_days), 410)
        return access, now, invoice, ""

    @app.get("/")
    def index() -> ResponseReturnValue:
        if get_browser().tokens is None:
            return render_template("landing.html")
        access, now = mailbox.get_access(), clock()
        access.check_scopes("mailbox:read")
        claim = access.get_mailbox()
        store.refresh(now)
        query = " ".join(request.args.get("q", "").replace("\0", " ").split())[:QUERY_LENGTH_MAX]
        stamps = store.stamps(claim, now)
        order = "closing" if request.args.get("order") == "closing" else "newest"
        listing = store.search(
            claim,
            now,
            query=query,
            closing_first=order == "closing",
            offset=(get_page() - 1) * PAGE_SIZE,
            limit=PAGE_SIZE,
        )
        left = [remaining(claim, stamped, now) for stamped in stamps]
        return render_template(
            "invoices.html",
            claim=claim,
            person=session.get("name", ""),
            query=query,
            order=order,
            listing=listing,
            rows=[(invoice, remaining(claim, invoice.cfdi.stamped, now)) for invoice in listing.invoices],
            page=get_page(),
            pages=max(1, -(-listing.count // PAGE_SIZE)),
            available=len(stamps),
            closing=sum(1 for each in left if each is not None and each.is_closing),
            weeks=weeks(claim, stamps, now),
            since=None if claim.archive else visible_from(claim, now),
            safekeeping=store.count_safekeeping(claim, now),
            may_download="mailbox:download" in access.scopes,
        )

    @app.get("/invoices/<key>")
    def invoice(key: str) -> ResponseReturnValue:
        access, now, found, instead = find(key, "mailbox:read")
        if found is None:
            return instead
        return render_template(
            "invoice.html",
            invoice=found,
            cfdi=found.cfdi,
            received=found.received.astimezone(CENTRAL_MEXICO),
            left=remaining(access.get_mailbox(), found.cfdi.stamped, now),
            may_download="mailbox:download" in access.scopes,
        )

    @app.get("/invoices/<key>/download")
    def download(key: str) -> ResponseReturnValue:
        _access, _now, found, instead = find(key, "mailbox:download")
        if found is None:
            return instead
        return xml_response(store, found)

    @app.get("/health")
    def health() -> ResponseReturnValue:
        with mailbox.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return jsonify(status="ok")


def _add_sign_in(app: Flask, mailbox: Mailbox) -> None:
    provider, config = mailbox.provider, mailbox.config

    @app.get("/login")
    def login() -> ResponseReturnValue:
        browser = get_browser()
        # Only an invoice of ours is a place to go on to; no address of anybody else's making.
        wanted = INVOICE_PATH.match(request.args.get("next", ""))
        browser["next"] = wanted[1] if wanted else ""
        pending = [name for name in browser if name.startswith("_state_")]
        for name in pending[: 1 - SIGN_INS_PENDING_MAX]:
            browser.pop(name)
        return provider.begin(f"{config.url}/callback", ui_locales=g.words.tag)

    @app.get("/callback")
    def callback() -> ResponseReturnValue:
        browser = get_browser()
        tokens, person = provider.finish()
        key = browser.get("next", "")
        try:
            mailbox.verifier.verify(tokens["access_token"], mailbox.clock())
        except InvalidToken as error:
            raise SignInRefused("unusable_access_token") from error
        except InvalidRetention:
            # A user without a mailbox; the pages will say so.
            log.info("signed in without a mailbox claim")
        sid = person.get("sid")
        browser.start(tokens, provider_session=(person["sub"], sid if isinstance(sid, str) else None))
        name = person.get("name")
        browser["name"] = name[:80] if isinstance(name, str) else ""
        return redirect(url_for("invoice", key=key) if key else url_for("index"), 303)

    @app.post("/logout")
    def logout() -> ResponseReturnValue:
        browser = get_browser()
        tokens = browser.tokens
        if tokens is None:
            return redirect(url_for("signed_out"), 303)
        browser.start(None)
        provider.revoke(tokens)
        try:
            url = provider.sign_out_url(tokens, return_to=f"{config.url}/signed-out")
        except ProviderUnavailable:
            return redirect(url_for("signed_out", half=1), 303)
        return redirect(url, 303)

    @app.get("/signed-out")
    def signed_out() -> ResponseReturnValue:
        return render_template("signed_out.html", half="half" in request.args)
