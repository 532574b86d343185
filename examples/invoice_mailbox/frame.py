"""What is round every answer: language, headers, and the pages for what goes wrong."""

import logging
import secrets
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, g, jsonify, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from idp_kit import InsufficientScope, InvalidRetention, KeysUnavailable
from werkzeug.exceptions import HTTPException

from invoice_mailbox.access import Mailbox, NeedsSignIn, get_browser
from invoice_mailbox.signin import ProviderUnavailable, SignInRefused
from invoice_mailbox.words import LANGUAGES, Words, choose_language

log = logging.getLogger(__name__)


def add_frame(app: Flask, mailbox: Mailbox) -> None:
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        # Chromium holds the redirect after the sign-out form to this too.
        f"form-action 'self' {mailbox.provider.origin}"
    )

    @app.before_request
    def prepare() -> None:
        accepted = request.accept_languages.best_match([*LANGUAGES.values(), *LANGUAGES])
        language = choose_language(
            request.args.get("lang"), request.cookies.get("mailbox_lang"), accepted and accepted[:2]
        )
        g.words = Words(language)

    @app.after_request
    def send_headers(response: Response) -> Response:
        headers = response.headers
        headers["Content-Security-Policy"] = policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        if mailbox.config.is_secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        if request.endpoint != "static":
            # The way back after sign-out must find nothing, and a window closes at midnight.
            headers["Cache-Control"] = "no-store"
            headers["Content-Language"] = g.words.tag
            response.vary.update(("Accept-Language", "Cookie"))
            if request.args.get("lang") in LANGUAGES:
                response.set_cookie(
                    "mailbox_lang",
                    g.words.language,
                    max_age=31536000,
                    httponly=True,
                    samesite="Lax",
                    secure=mailbox.config.is_secure,
                )
        return response

    @app.context_processor
    def give() -> dict[str, Any]:
        def language_url(language: str) -> str:
            arguments = [(key, value) for key, value in request.args.items(multi=True) if key in {"q", "order", "page"}]
            return "?" + urlencode([*arguments, ("lang", language)])

        return {
            "t": g.words,
            "company": mailbox.config.company,
            "language_url": language_url,
            "signed_in": get_browser().tokens is not None,
        }


def add_errors(app: Flask) -> None:
    def page(status: int, kind: str, *, title: str = "err.title", folio: str = "", again: bool = False) -> Response:
        response = make_response(
            render_template("message.html", title=title, kind=kind, folio=folio, again=again), status
        )
        if status == 503:
            response.headers["Retry-After"] = "5"
        return response

    def is_api() -> bool:
        return request.path.startswith("/api/") or request.path == "/health"

    def refuse(status: int, error: str, description: str) -> Response:
        response = jsonify(error=error, error_description=description)
        response.status_code = status
        return response

    @app.errorhandler(NeedsSignIn)
    def needs_sign_in(_: NeedsSignIn) -> ResponseReturnValue:
        # Only from a GET page: sign-out asks for no token.
        return redirect(url_for("login", next=request.path), 303)

    @app.errorhandler(ProviderUnavailable)
    @app.errorhandler(KeysUnavailable)
    def provider_unavailable(_: Exception) -> ResponseReturnValue:
        return page(503, "err.provider", title="err.provider.title")

    @app.errorhandler(SignInRefused)
    def sign_in_refused(refusal: SignInRefused) -> ResponseReturnValue:
        log.info("a sign-in was refused: %r", refusal.code)
        denied = refusal.code == "access_denied"
        kind = "err.denied" if denied else "err.sign_in"
        return page(403 if denied else 400, kind, title=f"{kind}.title", again=True)

    @app.errorhandler(InvalidRetention)
    @app.errorhandler(InsufficientScope)
    def no_mailbox(_: Exception) -> ResponseReturnValue:
        if request.endpoint == "download":
            return page(403, "err.download")
        return page(403, "err.no_mailbox", title="err.no_mailbox.title")

    @app.errorhandler(CSRFError)
    def csrf(_: CSRFError) -> ResponseReturnValue:
        return page(400, "err.csrf")

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> ResponseReturnValue:
        status = error.code or 500
        if status < 400:
            return error.get_response()
        if is_api():
            return refuse(status, "not_found" if status == 404 else "invalid_request", "There is no such thing here.")
        if status == 404:
            invoice = request.endpoint in {"invoice", "download"}
            return page(404, "err.invoice" if invoice else "err.404", title="err.404.title")
        response = page(status, "err.request")
        if status == 405:
            response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return response

    @app.errorhandler(Exception)
    def failure(error: Exception) -> ResponseReturnValue:
        folio = secrets.token_hex(4).upper()
        log.error("failure %s", folio, exc_info=error)
        if is_api():
            return refuse(500, "server_error", f"Reference {folio}.")
        return page(500, "err.500", folio=folio)
