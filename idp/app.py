"""`create_app()`: settings, services, web layer, blueprints."""

import os
from pathlib import Path

from dotenv import dotenv_values
from flask import Flask

from idp.blueprints import (
    account,
    activation,
    authorize,
    captcha,
    device,
    logout,
    par,
    password,
    recovery,
    registration,
    signin,
    styleguide,
    token,
    wellknown,
)
from idp.db import engine_options
from idp.settings import Settings
from idp.sqlite import make_private
from idp.web import assembly, observing
from idp.web.current import EXTENSION
from idp.web.extensions import csrf, db
from idp.wiring import build_services

MACHINE_BLUEPRINTS = (token.blueprint, par.blueprint, registration.blueprint, wellknown.blueprint)
"""Called with a token or a secret in hand, never by a form of ours: no CSRF token, no session."""
PAGE_BLUEPRINTS = (
    signin.blueprint,
    captcha.blueprint,
    account.blueprint,
    styleguide.blueprint,
    recovery.blueprint,
    password.blueprint,
    activation.blueprint,
    authorize.blueprint,
    logout.blueprint,
    device.blueprint,
)


def load_settings() -> Settings:
    """The settings of this process: `.env` of the working folder, under the environment."""
    folder = Path.cwd()
    written = {name: value for name, value in dotenv_values(folder / ".env").items() if value is not None}
    return Settings.from_environment({**written, **os.environ}, folder=folder)


def create_server() -> Flask:
    """The provider as a server runs it: observed, with a log of its own (`web.observing`). For WSGI servers."""
    return observe(create_app())


def observe(app: Flask) -> Flask:
    """Put `app` under observation; call it in the process that serves, which may not be the one that made `app`."""
    observing.install(app, app.extensions[EXTENSION])
    return app


def create_app(settings: Settings | None = None) -> Flask:
    """The whole provider as a WSGI application. Raises `SettingsError` for settings it will not start with."""
    settings = settings or load_settings()
    app = Flask(__name__, static_folder="static", template_folder="templates")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings.database_url),
    )
    make_private(settings.database_url)
    db.init_app(app)
    with app.app_context():
        services = build_services(settings, db.engine)
    assembly.install(app, services)
    for blueprint in (*MACHINE_BLUEPRINTS, *PAGE_BLUEPRINTS):
        app.register_blueprint(blueprint)
    for blueprint in MACHINE_BLUEPRINTS:
        csrf.exempt(blueprint)
    csrf.exempt(logout.post_logout)
    csrf.exempt(authorize.post_authorize)
    return app
