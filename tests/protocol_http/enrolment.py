"""Clients that register themselves, as those of the conformance suite do."""

from typing import Any

import requests

from tests.protocol_http.conftest import POST_LOGOUT_REDIRECT_URI, REDIRECT_URI, Office
from tests.serving import Client


def try_to_enrol(office: Office, **metadata: Any) -> requests.Response:
    """Ask the registration endpoint; what is not said is as the suite says it."""
    body = {
        "client_name": "Cliente que se registra",
        "redirect_uris": [REDIRECT_URI],
        "post_logout_redirect_uris": [POST_LOGOUT_REDIRECT_URI],
        "response_types": ["code"],
        "grant_types": ["authorization_code"],
        **metadata,
    }
    return office.http.post(office.metadata["registration_endpoint"], json=body, timeout=30)


def enrol(office: Office, **metadata: Any) -> Client:
    """A client that was taken."""
    response = try_to_enrol(office, **metadata)
    assert response.status_code == 201, response.text
    made = response.json()
    return Client(made["client_id"], made.get("client_secret", ""), made["redirect_uris"][0])
