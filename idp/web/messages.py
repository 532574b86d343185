"""Flask's request and response, to and from the plain values of the protocol door."""

import json

from flask import Response, request

from idp.web.limits import FORM
from idp.wiring import ProtocolRequest, ProtocolResponse


def protocol_request() -> ProtocolRequest:
    """The present request. Its body is read only where it is a form; anything else counts as none (P-3)."""
    form = None
    if request.method == "POST" and request.mimetype == FORM:
        form = request.get_data(cache=False)
    return ProtocolRequest(
        method=request.method,
        query=request.query_string.decode("latin-1"),
        form=form,
        authorization=request.headers.get("Authorization"),
    )


def flask_response(answer: ProtocolResponse) -> Response:
    """The answer, as Flask sends it."""
    if answer.location is not None:
        response = Response(status=answer.status)
        # Not through werkzeug's redirect(), which rewrites what it takes for an IRI: it goes out to the letter.
        response.autocorrect_location_header = False
        response.headers["Location"] = answer.location
    elif answer.jwt is not None:
        response = Response(answer.jwt, answer.status, mimetype="application/jwt")
    else:
        body = json.dumps(answer.body, separators=(",", ":"), ensure_ascii=False)
        response = Response(body, answer.status, mimetype="application/json")
    response.headers.update(answer.headers)
    return response
