"""Discovery, JWKS, health."""

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug import Response as AnyResponse

from idp.web import health
from idp.web.current import now, services
from idp.web.machine import metadata_answer
from idp.web.messages import flask_response

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


blueprint.add_url_rule("/health/live", "live", health.live)
blueprint.add_url_rule("/health/ready", "ready", health.ready)


def _public(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.add_etag()
    response.make_conditional(request)
    return response
