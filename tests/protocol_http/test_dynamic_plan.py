"""What the plans Config, Dynamic and 3rd-party-initiated login ask: discovery and clients that register themselves."""

import io
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from PIL import Image

from tests.journeys import Person, read
from tests.protocol_http.application import Application, listening
from tests.protocol_http.conftest import REDIRECT_URI, Office
from tests.protocol_http.enrolment import enrol, try_to_enrol
from tests.protocol_http.relying_party import RelyingParty, decode

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("protocol_http")]

KEY = RSAKey.generate_key(2048, {"kid": "rp-1", "use": "sig", "alg": "RS256"})
OWN_METADATA = {"mailbox_retention_days_default", "mailbox_time_zone"}
"""What we add to the registered metadata; docs/conformance.md has the suite's configuration name it."""


@pytest.fixture
def person(office: Office) -> Person:
    return Person(office.provider.issuer, address="127.1.2.1")


@pytest.fixture
def application(authority: trustme.CA) -> Iterator[Application]:
    with listening(authority) as found:
        yield found


def jwks(*keys: RSAKey) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


def published(office: Office) -> list[dict[str, Any]]:
    return list(office.http.get(office.metadata["jwks_uri"], timeout=30).json()["keys"])


# -- discovery ---------------------------------------------------------------------------------------------------------


@pytest.mark.spec("OIDC Discovery §3", "OIDC Core §15.2")
def test_discovery_says_what_the_profiles_want(office: Office) -> None:
    response = office.http.get(f"{office.provider.issuer}/.well-known/openid-configuration", timeout=30)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    metadata = response.json()
    assert metadata["issuer"] == office.provider.issuer
    for name, value in metadata.items():
        if name.endswith(("_endpoint", "_uri", "_iframe")):
            assert value.startswith(f"{office.provider.issuer}/"), name
    assert {"code", "id_token", "id_token token"} <= set(metadata["response_types_supported"])
    assert {"authorization_code", "implicit"} <= set(metadata["grant_types_supported"])
    assert {"RS256"} <= set(metadata["id_token_signing_alg_values_supported"])
    assert {"RS256"} <= set(metadata["userinfo_signing_alg_values_supported"])
    assert {"RS256"} <= set(metadata["request_object_signing_alg_values_supported"])
    assert "none" not in metadata["id_token_signing_alg_values_supported"]
    assert {"public", "pairwise"} == set(metadata["subject_types_supported"])
    assert {"openid", "profile", "email", "address", "phone", "offline_access"} <= set(metadata["scopes_supported"])
    assert metadata["claims_supported"]
    assert metadata["claims_parameter_supported"] is True
    assert {"es-MX", "en"} == set(metadata["ui_locales_supported"])
    assert set(metadata) >= OWN_METADATA


@pytest.mark.spec("RFC 6749 §5.2")
def test_the_implicit_grant_is_none_of_the_token_endpoint(office: Office) -> None:
    """Discovery names it for the authorization endpoint's sake."""
    client = enrol(office, response_types=["id_token token"], grant_types=["implicit"])
    refused = RelyingParty(office, client).post_token({"grant_type": "implicit"})
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.spec("OIDC Core §10.1", "T-11")
def test_the_published_keys_are_public_and_can_be_told_apart(office: Office) -> None:
    keys = published(office)
    assert len({key["kid"] for key in keys}) == len(keys)
    assert {key["use"] for key in keys} == {"sig"}
    assert {"RSA", "EC"} <= {key["kty"] for key in keys}
    for key in keys:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(key)
        assert key["kty"] != "RSA" or len(key["n"]) >= 342  # 2048 bits


@pytest.mark.spec("OIDC Core §10.1.1", "T-11")
def test_new_keys_are_published_beside_the_old_ones(office: Office) -> None:
    """The suite's module knows RSA and EC keys only, hence one algorithm at a time."""
    before = {key["kid"] for key in published(office)}
    made = office.provider.idp("keys", "rotate", "--alg", "RS256").split()
    assert len(made) == 1
    deadline = time.monotonic() + 10
    while made[0] not in (now := {key["kid"]: key for key in published(office)}) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert before <= set(now)
    assert {kid: now[kid]["alg"] for kid in set(now) - before} == {made[0]: "RS256"}


# -- what is registered holds ------------------------------------------------------------------------------------------


@pytest.mark.spec("OIDC Registration §2", "OIDC Core §5.3.2")
def test_tokens_and_userinfo_are_signed_as_registered(office: Office, person: Person) -> None:
    relying_party = RelyingParty(
        office, enrol(office, id_token_signed_response_alg="RS256", userinfo_signed_response_alg="RS256"), pkce=False
    )
    tokens = relying_party.redeem(relying_party.sign_in(person))
    keys = KeySet.import_key_set({"keys": published(office)})
    response = relying_party.userinfo(tokens["access_token"])
    assert response.headers["Content-Type"] == "application/jwt"
    for token in (tokens["id_token"], response.text):
        claims = jwt.decode(token, keys, algorithms=["RS256"]).claims
        assert (claims["iss"], claims["aud"]) == (office.provider.issuer, relying_party.client.client_id)
        assert claims["sub"] == decode(tokens["id_token"])["sub"]


@pytest.mark.spec("T-2", "OIDC Registration §2")
def test_unsigned_id_tokens_cannot_be_registered(office: Office) -> None:
    refused = try_to_enrol(office, id_token_signed_response_alg="none")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    assert try_to_enrol(office, id_token_signed_response_alg="RS256").status_code == 201


@pytest.mark.spec("P-1", "P-2", "OIDC Registration §2")
def test_a_redirect_address_with_a_query_is_taken_to_the_letter(office: Office, person: Person) -> None:
    relying_party = RelyingParty(office, enrol(office, redirect_uris=[f"{REDIRECT_URI}?foo=bar"]), pkce=False)
    response = relying_party.open(person)
    assert read(response).screen == "signin"
    answer = relying_party.go_through(person, response)
    assert answer["foo"] == "bar"
    assert "id_token" in relying_party.redeem(answer)
    for wrong in (f"{REDIRECT_URI}?bar=foo", f"{REDIRECT_URI}?foo=bar&bar=foo", REDIRECT_URI, None):
        page = read(relying_party.open(person, redirect_uri=wrong))
        assert (page.status, page.screen) == (400, "error"), wrong


@pytest.mark.spec("RFC 6749 §3.1.2")
def test_a_redirect_address_with_a_fragment_is_refused(office: Office) -> None:
    refused = try_to_enrol(office, redirect_uris=[f"{REDIRECT_URI}#foobar"])
    assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/json")
    assert refused.json()["error"] == "invalid_redirect_uri"


@pytest.mark.spec("OIDC Registration §2", "P-15")
def test_logo_policy_and_terms_stand_where_the_person_decides(
    office: Office, person: Person, application: Application
) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "#247").save(picture, "PNG")
    application.pages["/logo.png"] = ("image/png", picture.getvalue())
    pages = {"policy_uri": "https://cliente.example/aviso", "tos_uri": "https://cliente.example/terminos"}
    client = enrol(office, logo_uri=f"{application.origin}/logo.png", **pages)
    relying_party = RelyingParty(office, client, pkce=False)
    page = read(relying_party.open(person))
    decide = person.send(page, "form-signin", username=office.username, password=office.password)
    assert decide.screen == "consent"
    assert set(pages.values()) <= set(decide.links)
    [image] = [part for part in decide.source.split('"') if part.startswith(f"/oauth/logo/{client.client_id}/")]
    shown = office.http.get(office.provider.issuer + image, timeout=30)
    assert (shown.status_code, shown.headers["Content-Type"].partition("/")[0]) == (200, "image")


@pytest.mark.spec("OIDC Registration §5", "P-15")
def test_a_sector_lists_the_redirect_addresses(office: Office, application: Application) -> None:
    asked = {"subject_type": "pairwise", "sector_identifier_uri": f"{application.origin}/sector.json"}
    for listed, status in ((["https://cliente.example/otra"], 400), ([REDIRECT_URI], 201)):
        application.pages["/sector.json"] = ("application/json", json.dumps(listed).encode())
        answer = try_to_enrol(office, **asked)
        assert answer.status_code == status, answer.text
        assert answer.json().get("error") == ("invalid_client_metadata" if status == 400 else None)


@pytest.mark.spec("P-10", "P-15", "OIDC Core §9")
@pytest.mark.parametrize("audience", ["issuer", "token_endpoint"])
@pytest.mark.parametrize("by_address", [True, False], ids=["jwks_uri", "jwks"])
def test_a_client_signs_with_its_registered_key(
    office: Office, person: Person, application: Application, by_address: bool, audience: str
) -> None:
    application.pages["/jwks"] = ("application/json", json.dumps(jwks(KEY)).encode())
    keys = {"jwks_uri": f"{application.origin}/jwks"} if by_address else {"jwks": jwks(KEY)}
    client = enrol(office, token_endpoint_auth_method="private_key_jwt", **keys)
    relying_party = RelyingParty(office, client, pkce=False)
    stranger = RSAKey.generate_key(2048, {"kid": "rp-1"})
    for key, status in ((KEY, 200), (stranger, 401)):
        assertion = jwt.encode(
            {"alg": "RS256", "kid": "rp-1"},
            {
                "iss": client.client_id,
                "sub": client.client_id,
                "aud": office.metadata[audience],
                "jti": secrets.token_urlsafe(16),
                "exp": int(time.time()) + 60,
            },
            key,
        )
        data = {
            "grant_type": "authorization_code",
            "code": relying_party.sign_in(person)["code"],
            "redirect_uri": client.redirect_uri,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
        answer = relying_party.post_token(data, auth="")
        assert answer.status_code == status, answer.text


@pytest.mark.spec("P-11", "P-15", "OIDC Core §6.2")
def test_a_request_by_reference_is_refused_and_never_fetched(
    office: Office, person: Person, application: Application
) -> None:
    """Two modules of the plan Dynamic want it fetched: docs/conformance.md says why it is not."""
    application.pages["/objeto"] = ("application/oauth-authz-req+jwt", b"eyJhbGciOiJub25lIn0.e30.")
    address = f"{application.origin}/objeto"
    relying_party = RelyingParty(office, enrol(office, request_uris=[address]), pkce=False)
    answer = relying_party.answer(relying_party.open(person, request_uri=address))
    assert answer is not None
    assert answer["error"] == "request_uri_not_supported"


# -- third party initiated login ---------------------------------------------------------------------------------------


@pytest.mark.spec("OIDC Core §4", "OIDC Registration §2")
def test_an_address_for_sign_ins_that_begin_elsewhere(office: Office) -> None:
    address = "https://cliente.example/empezar"
    made = try_to_enrol(office, initiate_login_uri=address)
    assert made.status_code == 201, made.text
    assert made.json()["initiate_login_uri"] == address
    read_back = office.http.get(
        made.json()["registration_client_uri"],
        headers={"Authorization": f"Bearer {made.json()['registration_access_token']}"},
        timeout=30,
    )
    assert (read_back.status_code, read_back.headers["Content-Type"]) == (200, "application/json")
    assert read_back.json()["initiate_login_uri"] == address
    refused = try_to_enrol(office, initiate_login_uri=address.replace("https", "http"))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
