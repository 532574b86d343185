"""Discovery, JWKS, health."""

import json

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug import Response as AnyResponse

from idp.db import StoreUnavailable
from idp.web.current import now, services
from idp.web.machine import metadata_answer
from idp.web.messages import flask_response
from idp.wiring import KeyProblem

blueprint = Blueprint("wellknown", __name__)


@blueprint.get("/.well-known/openid-configuration")
@blueprint.get("/.well-known/oauth-authorization-server", endpoint="authorization_server")
def metadata() -> Response:
    """OIDC Discovery section 4, RFC 8414 section 3. An ordinary GET never comes here (`web/machine.py`)."""
    return _public(flask_response(metadata_answer(services())))


@blueprint.get("/oauth/jwks")
def jwks() -> Response:
    return _public(flask_response(services().protocol.jwks(now())))


@blueprint.get("/.well-known/change-password")
def change_password() -> AnyResponse:
    """Where password managers send people (W3C, A Well-Known URL for Changing Passwords)."""
    return redirect(url_for("account.password"), code=302)


@blueprint.get("/health/live")
def live() -> Response:
    """The process answers."""
    return _health("ok", 200)


@blueprint.get("/health/ready")
def ready() -> Response:
    """The store takes writes and the keys sign; 503 while they do not (O-3)."""
    try:
        services().check_ready(now())
    except (StoreUnavailable, KeyProblem):
        return _health("unavailable", 503)
    return _health("ok", 200)


def _public(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.add_etag()
    response.make_conditional(request)
    return response


def _health(status: str, code: int) -> Response:
    response = Response(json.dumps({"status": status}), code, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
