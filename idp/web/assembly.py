"""Puts the web layer together: binds its parts to an application, in the order they need."""

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from flask import Flask

from idp import policy
from idp.accounts.errors import MalformedUsername
from idp.accounts.passwords import names_in_passwords
from idp.accounts.usernames import parse_username
from idp.web import assets, branding, errors, fragments, headers, i18n, limits
from idp.web.at_once import AuthorizationsAtOnce
from idp.web.browser import BrowserSessions
from idp.web.current import EXTENSION, now
from idp.web.extensions import csrf
from idp.web.machine import MachineEndpoints
from idp.web.moments import calendar_days, moment_text
from idp.web.proxies import TrustedProxies

if TYPE_CHECKING:
    from idp.wiring import Services


def install(app: Flask, services: "Services") -> None:
    """Make `app` the hosted pages' application. Call it before blueprints are registered, and once."""
    settings = services.settings
    app.extensions[EXTENSION] = services
    # Each use of the secret has a key of its own: none is a hint for another.
    app.config["WTF_CSRF_SECRET_KEY"] = _derived(settings.secret_key, b"csrf")
    # A form lives as long as the session that its token is bound to.
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    app.config["WTF_CSRF_SSL_STRICT"] = False
    # Each rule of a form says it in our own words. WTForms' are read from the disk for every form that is made.
    app.config["WTF_I18N_ENABLED"] = False
    # Werkzeug would build these redirects from the caller's Host header.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.jinja_environment = fragments.PageTemplates
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.session_interface = BrowserSessions(
        secure=settings.is_secure, state_key=_derived(settings.secret_key, b"browser-state").encode()
    )
    app.wsgi_app = MachineEndpoints(  # type: ignore[method-assign]
        app, app.wsgi_app, services, secure=settings.is_secure
    )
    app.wsgi_app = AuthorizationsAtOnce(  # type: ignore[method-assign]
        app, app.wsgi_app, services, secure=settings.is_secure
    )
    # Over PostgreSQL requests mostly wait for it, and are many for that; over SQLite they compute.
    computes = settings.database_url.startswith("sqlite")
    computing = policy.COMPUTING_AT_ONCE if computes else policy.REQUESTS_AT_ONCE
    app.wsgi_app = limits.WholeBodies(app, app.wsgi_app, computing=computing)  # type: ignore[method-assign]
    if settings.trusted_proxies:
        app.wsgi_app = TrustedProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]

    headers.install(app, secure=settings.is_secure)
    limits.install(app)
    i18n.install(app, secure=settings.is_secure)
    csrf.init_app(app)
    assets.install(app)
    brand = branding.install(app, settings)
    errors.install(app)
    fragments.install(app.jinja_env)
    app.jinja_env.filters["names_in_passwords"] = _names_in_passwords
    app.jinja_env.filters["calendar_days"] = calendar_days
    app.jinja_env.filters["moment"] = moment_text

    @app.context_processor
    def page_context() -> dict[str, Any]:
        return {
            "settings": settings,
            "brand": brand,
            "language": i18n.current_language(),
            "languages": i18n.language_links(),
            "year": now().year,
        }


def _names_in_passwords(username: str) -> tuple[str, ...]:
    try:
        return names_in_passwords(parse_username(username))
    except MalformedUsername:
        return ()


def _derived(secret: str, purpose: bytes) -> str:
    return hmac.new(secret.encode(), purpose, hashlib.sha256).hexdigest()
