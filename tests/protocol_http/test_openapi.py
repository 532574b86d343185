"""docs/openapi.yaml is what the server does: whatever is sent, no 500 and only what the file declares."""

import base64
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.journeys import Person
from tests.protocol_http.conftest import REDIRECT_URI, Office
from tests.protocol_http.relying_party import RelyingParty
from tests.serving import ROOT, Client

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("protocol_http")]

SCHEMA = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.yaml")
OPERATIONS = {operation.label: operation for operation in (found.ok() for found in SCHEMA.get_all_operations())}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FUZZED = [
    pytest.param(label, mode, id=f"{mode.value} {label}")
    for label, operation in sorted(OPERATIONS.items())
    if not label.startswith("GET /health/")
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    # Of an operation that takes nothing, nothing can be wrong.
    if mode is GenerationMode.POSITIVE or operation.body or operation.path_parameters
]


@pytest.fixture(scope="module")
def client(office: Office) -> Client:
    """A client that may do all that the endpoints do."""
    return office.register(
        "Cliente",
        *("--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials"),
        *("--grant", "urn:ietf:params:oauth:grant-type:device_code"),
        *("--scope", "openid email rfc offline_access mailbox:read"),
    )


@pytest.fixture(scope="module")
def known(office: Office, client: Client) -> dict[str, str]:
    """Headers that are right: of a client, and of a person's token."""
    relying_party = RelyingParty(office, client)
    answer = relying_party.sign_in(Person(office.provider.issuer), scope="openid email rfc mailbox:read")
    tokens = relying_party.redeem(answer)
    return {"client": basic(client), "token": f"Bearer {tokens['access_token']}"}


def basic(client: Client) -> str:
    return "Basic " + base64.b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()


@pytest.mark.spec("P-16")
@pytest.mark.parametrize(("label", "mode"), FUZZED)
def test_any_request_gets_an_answer_that_the_file_declares(
    office: Office, known: dict[str, str], label: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[label]

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), who=st.sampled_from(["", *known.values()]))
    def ask(case: Any, who: str) -> None:
        headers = {"Authorization": who} if who else {}
        answer = case.call_and_validate(base_url=office.provider.issuer, headers=headers, checks=CHECKS, timeout=30)
        answered.append(answer.status_code)

    answered: list[int] = []
    ask()
    assert answered
    assert max(answered) < 500


def test_right_requests_get_the_answers_that_the_file_describes(office: Office, client: Client) -> None:
    relying_party = RelyingParty(office, client)
    tokens = relying_party.redeem(
        relying_party.sign_in(Person(office.provider.issuer), scope="openid email rfc offline_access mailbox:read")
    )
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    own = {"Authorization": basic(client)}
    seen = {
        "GET /.well-known/openid-configuration": office.http.get(relying_party.url(".well-known/openid-configuration")),
        "GET /.well-known/oauth-authorization-server": office.http.get(
            relying_party.url(".well-known/oauth-authorization-server")
        ),
        "GET /oauth/jwks": office.http.get(office.metadata["jwks_uri"]),
        "GET /health/live": office.http.get(relying_party.url("health/live")),
        "GET /health/ready": office.http.get(relying_party.url("health/ready")),
        "GET /oauth/userinfo": office.http.get(office.metadata["userinfo_endpoint"], headers=bearer),
        "POST /oauth/userinfo": office.http.post(office.metadata["userinfo_endpoint"], headers=bearer),
        "POST /oauth/introspect": office.http.post(
            office.metadata["introspection_endpoint"], headers=own, data={"token": tokens["access_token"]}
        ),
        "POST /oauth/token": office.http.post(
            office.metadata["token_endpoint"],
            headers=own,
            data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        ),
        "POST /oauth/revoke": office.http.post(
            office.metadata["revocation_endpoint"], headers=own, data={"token": tokens["refresh_token"]}
        ),
        "POST /oauth/par": office.http.post(
            office.metadata["pushed_authorization_request_endpoint"], headers=own, data=relying_party.request()
        ),
        "POST /oauth/device_authorization": office.http.post(
            office.metadata["device_authorization_endpoint"], headers=own, data={"scope": "openid"}
        ),
    }
    made = office.http.post(office.metadata["registration_endpoint"], json={"redirect_uris": [REDIRECT_URI]})
    seen["POST /oauth/register"] = made
    management = {"Authorization": f"Bearer {made.json()['registration_access_token']}"}
    place = made.json()["registration_client_uri"]
    seen["GET /oauth/register/{client_id}"] = office.http.get(place, headers=management)
    seen["PUT /oauth/register/{client_id}"] = office.http.put(
        place, headers=management, json={"client_id": made.json()["client_id"], "redirect_uris": [REDIRECT_URI]}
    )
    seen["DELETE /oauth/register/{client_id}"] = office.http.delete(place, headers=management)

    assert set(seen) == set(OPERATIONS)
    for label, response in seen.items():
        assert response.status_code in {200, 201, 204}, (label, response.status_code, response.text)
        OPERATIONS[label].validate_response(response)
