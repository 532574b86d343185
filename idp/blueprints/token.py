"""The machine endpoints under `/oauth/`: token, device_authorization, introspect, revoke, userinfo."""

from flask import Blueprint, Response, request

from idp.web.current import now, services
from idp.web.messages import flask_response, protocol_request

blueprint = Blueprint("token", __name__, url_prefix="/oauth")


@blueprint.post("/token", provide_automatic_options=False)
def token() -> Response:
    return flask_response(services().protocol.token(protocol_request(), now()))


@blueprint.post("/device_authorization")
def device_authorization() -> Response:
    return flask_response(services().protocol.device_authorization(protocol_request(), now()))


@blueprint.post("/introspect")
def introspect() -> Response:
    return flask_response(services().protocol.introspect(protocol_request(), now()))


@blueprint.post("/revoke", provide_automatic_options=False)
def revoke() -> Response:
    return flask_response(services().protocol.revoke(protocol_request(), now()))


@blueprint.route("/userinfo", methods=["GET", "POST"], provide_automatic_options=False)
def userinfo() -> Response:
    return flask_response(services().protocol.userinfo(protocol_request(), now()))


@blueprint.route("/token", methods=["OPTIONS"], endpoint="token_preflight")
@blueprint.route("/revoke", methods=["OPTIONS"], endpoint="revoke_preflight")
@blueprint.route("/userinfo", methods=["OPTIONS"], endpoint="userinfo_preflight")
def preflight() -> Response:
    """What a browser asks before a script of another origin may call (P-14).

    Those endpoints leave out Flask's own answer to OPTIONS, which would come first and allow nothing.
    """
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = "GET, POST"
    response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    response.headers["Access-Control-Max-Age"] = "600"
    return response


@blueprint.after_request
def allow_any_origin(response: Response) -> Response:
    # Public clients in browsers call these with a token or a code in hand, never with a cookie: any origin may, none
    # with credentials. Introspection is for servers alone.
    if request.path != "/oauth/introspect":
        response.headers["Access-Control-Allow-Origin"] = "*"
    return response
