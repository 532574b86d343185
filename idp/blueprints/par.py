"""`/oauth/par`: pushed authorization requests."""

from flask import Blueprint, Response

from idp.web.current import now, services
from idp.web.messages import flask_response, protocol_request

blueprint = Blueprint("par", __name__, url_prefix="/oauth")


@blueprint.post("/par")
def push() -> Response:
    """RFC 9126 section 2. For servers; nothing here is meant for a script of another origin."""
    return flask_response(services().protocol.par(protocol_request(), now()))
