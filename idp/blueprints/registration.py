"""Clients that register themselves, under `/oauth/register`, and the logos that they show at consent."""

from flask import Blueprint, Response, abort, request

from idp.policy import REGISTRATION_BODY_MAX
from idp.protocol.registration import RegistrationRequest
from idp.web.current import now, services
from idp.web.messages import flask_response

blueprint = Blueprint("registration", __name__, url_prefix="/oauth")
_JSON = "application/json"


@blueprint.post("/register")
def register() -> Response:
    return flask_response(services().protocol.registrations.register(_request(), now()))


@blueprint.get("/register/<client_id>")
def read(client_id: str) -> Response:
    return flask_response(services().protocol.registrations.read(client_id, _request(), now()))


@blueprint.put("/register/<client_id>")
def replace(client_id: str) -> Response:
    return flask_response(services().protocol.registrations.replace(client_id, _request(), now()))


@blueprint.delete("/register/<client_id>")
def remove(client_id: str) -> Response:
    answer = services().protocol.registrations.remove(client_id, _request(), now())
    if answer.status != 204:
        return flask_response(answer)
    response = Response(status=204)
    response.headers.update(answer.headers)
    return response


@blueprint.get("/logo/<client_id>/<digest>.png")
def logo(client_id: str, digest: str) -> Response:
    """A client's logo as we drew it; its address changes with it, so that it may be kept for ever."""
    clients = services().protocol.clients
    client = clients.find(client_id)
    if client is None or client.details.logo_digest != digest:
        abort(404)
    png = clients.find_logo(client_id)
    if png is None:
        abort(404)
    response = Response(png, mimetype="image/png")
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def _request() -> RegistrationRequest:
    """The present request; 404 where no client may register itself, 413 for a body that no metadata fills."""
    if not services().protocol.registrations.is_served:
        abort(404)
    body = None
    if request.mimetype == _JSON and request.method in {"POST", "PUT"}:
        body = request.get_data(cache=False)
        if len(body) > REGISTRATION_BODY_MAX:
            abort(413)
    return RegistrationRequest(body, request.headers.get("Authorization"), request.remote_addr)
