"""What the conformance suite's plan Basic asks of the code flow, request by request, over HTTP."""

import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.journeys import Person, read
from tests.protocol_http.conftest import CLAIMS, USERNAME, Office
from tests.protocol_http.enrolment import enrol
from tests.protocol_http.relying_party import RelyingParty, decode
from tests.serving import Client

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("protocol_http")]

PROFILE = ("name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture")
SCOPE_CLAIMS = {
    "profile": (*PROFILE, "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"),
    "email": ("email", "email_verified"),
    "address": ("address",),
    "phone": ("phone_number", "phone_number_verified"),
}


@pytest.fixture(scope="module")
def client(office: Office) -> Client:
    return office.compat(scope="openid profile email address phone offline_access")


@pytest.fixture
def relying_party(office: Office, client: Client) -> RelyingParty:
    """Without PKCE, as most of the suite's modules are."""
    return RelyingParty(office, client, pkce=False)


@pytest.fixture(scope="module")
def visitor(office: Office, client: Client) -> Person:
    """Somebody who is signed in and has consented to all of it: what each test asks comes straight back."""
    person = Person(office.provider.issuer, address="127.1.0.1")
    RelyingParty(office, client, pkce=False).sign_in(person, scope="openid profile email address phone offline_access")
    return person


@pytest.fixture
def stranger(office: Office) -> Person:
    return Person(office.provider.issuer, address="127.1.0.2")


def userinfo(relying_party: RelyingParty, tokens: dict[str, Any], how: str = "get") -> dict[str, Any]:
    response = relying_party.userinfo(tokens["access_token"], how)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    return dict(response.json())


@pytest.mark.spec("OIDC Core §3.1")
def test_the_code_flow(relying_party: RelyingParty, stranger: Person) -> None:
    answer = relying_party.sign_in(stranger)
    assert set(answer) == {"code", "state", "iss", "session_state"}
    assert (answer["state"], answer["iss"]) == ("estado-1", relying_party.office.provider.issuer)
    response = relying_party.try_redeem(answer)
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
    tokens = response.json()
    assert tokens["token_type"] == "Bearer"
    claims = decode(tokens["id_token"])
    assert claims["iss"] == relying_party.office.provider.issuer
    assert (claims["aud"], claims["nonce"]) == (relying_party.client.client_id, "nonce-1")
    assert abs(claims["iat"] - time.time()) < 60
    assert claims["exp"] > claims["iat"] >= claims["auth_time"]
    assert userinfo(relying_party, tokens)["sub"] == claims["sub"]


@pytest.mark.spec("OIDC Core §10.1")
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_the_id_token_names_a_key_of_ours(office: Office, stranger: Person, alg: str) -> None:
    relying_party = RelyingParty(office, enrol(office, id_token_signed_response_alg=alg), pkce=False)
    token = relying_party.redeem(relying_party.sign_in(stranger))["id_token"]
    keys = office.http.get(office.metadata["jwks_uri"], timeout=30).json()
    [key] = [each for each in keys["keys"] if each["kid"] == decode(token, 0)["kid"]]
    assert (key["alg"], key["use"]) == (alg, "sig")
    assert jwt.decode(token, KeySet.import_key_set(keys), algorithms=[alg]).header["alg"] == alg


@pytest.mark.spec("RFC 6749 §3.1.1", "P-3")
def test_a_request_without_a_response_type(relying_party: RelyingParty, visitor: Person) -> None:
    answer = relying_party.answer(relying_party.open(visitor, response_type=None))
    assert answer is not None
    assert (answer["error"], answer["state"]) == ("invalid_request", "estado-1")
    assert "code" in relying_party.sign_in(visitor)


@pytest.mark.spec("OIDC Core §5.3")
@pytest.mark.parametrize("how", ["get", "post_header", "post_body"])
def test_userinfo_is_asked_in_each_way(relying_party: RelyingParty, visitor: Person, how: str) -> None:
    tokens = relying_party.redeem(relying_party.sign_in(visitor))
    assert userinfo(relying_party, tokens, how)["sub"] == decode(tokens["id_token"])["sub"]


@pytest.mark.spec("OIDC Core §3.1.2.1")
def test_the_code_flow_needs_no_nonce(relying_party: RelyingParty, visitor: Person) -> None:
    tokens = relying_party.redeem(relying_party.sign_in(visitor, nonce=None))
    assert "nonce" not in decode(tokens["id_token"])


@pytest.mark.spec("OIDC Core §5.4")
@pytest.mark.parametrize("scope", [*SCOPE_CLAIMS, " ".join(SCOPE_CLAIMS), "email openid"])
def test_a_scope_gives_its_claims_and_no_others(relying_party: RelyingParty, visitor: Person, scope: str) -> None:
    asked = scope if "openid" in scope else f"openid {scope}"
    tokens = relying_party.redeem(relying_party.sign_in(visitor, scope=asked))
    found = userinfo(relying_party, tokens)
    expected = {name for each in asked.split() for name in SCOPE_CLAIMS.get(each, ())}
    assert set(found) == {"sub", *expected}
    for name, value in {**CLAIMS, "preferred_username": USERNAME}.items():
        assert found.get(name, value) == value
    assert not expected & set(decode(tokens["id_token"]))


@pytest.mark.spec("OIDC Core §3.1.2.1")
@pytest.mark.parametrize(
    "parameters",
    [
        {"display": "page"},
        {"display": "popup"},
        {"extra": "foobar"},
        {"ui_locales": "se"},
        {"claims_locales": "se"},
        {"acr_values": "1 2"},
        {"max_age": "10000"},
        {"login_hint": USERNAME},
    ],
    ids=lambda parameters: "".join(parameters),
)
def test_what_is_voluntary_or_unknown_changes_nothing(
    relying_party: RelyingParty, visitor: Person, parameters: dict[str, str]
) -> None:
    tokens = relying_party.redeem(relying_party.sign_in(visitor, prompt="none", **parameters))
    claims = decode(tokens["id_token"])
    assert claims["auth_time"] <= claims["iat"]


@pytest.mark.spec("OIDC Core §3.1.2.1")
@pytest.mark.parametrize(
    "parameters",
    [{"display": "page"}, {"display": "popup"}, {"ui_locales": "se"}, {"login_hint": USERNAME}],
    ids=lambda parameters: "".join(parameters.values()),
)
def test_who_is_not_signed_in_gets_a_page_all_the_same(
    relying_party: RelyingParty, stranger: Person, parameters: dict[str, str]
) -> None:
    page = read(relying_party.open(stranger, **parameters))
    assert (page.status, page.screen) == (200, "signin")
    assert page.forms["form-signin"].values["username"] == parameters.get("login_hint", "")


@pytest.mark.spec("P-8", "OIDC Core §3.1.2.1")
def test_a_new_sign_in_where_it_is_asked_for(relying_party: RelyingParty, stranger: Person) -> None:
    first = decode(relying_party.redeem(relying_party.sign_in(stranger))["id_token"])
    time.sleep(2.1)  # the modules wait so too: auth_time counts seconds, and max_age=1 has to be past
    for parameters in ({"max_age": "1"}, {"prompt": "login"}):
        asked = relying_party.open(stranger, **parameters)
        assert read(asked).screen == "signin"
        second = decode(relying_party.redeem(relying_party.go_through(stranger, asked))["id_token"])
        assert second["sub"] == first["sub"]
        assert second["auth_time"] > first["auth_time"]
    assert relying_party.answer(relying_party.open(stranger, max_age="10000")) is not None


@pytest.mark.spec("P-8", "OIDC Core §3.1.2.6")
def test_prompt_none_answers_at_once(relying_party: RelyingParty, visitor: Person, stranger: Person) -> None:
    answer = relying_party.answer(relying_party.open(stranger, prompt="none"))
    assert answer is not None
    assert (answer["error"], answer["state"]) == ("login_required", "estado-1")
    first = decode(relying_party.redeem(relying_party.sign_in(visitor))["id_token"])
    answer = relying_party.answer(relying_party.open(visitor, prompt="none"))
    assert answer is not None
    second = decode(relying_party.redeem(answer)["id_token"])
    assert [second[name] for name in ("sub", "auth_time")] == [first[name] for name in ("sub", "auth_time")]


@pytest.mark.spec("P-8", "OIDC Core §3.1.2.2")
def test_the_hint_of_a_person_who_is_signed_in(relying_party: RelyingParty, visitor: Person) -> None:
    hint = relying_party.redeem(relying_party.sign_in(visitor))["id_token"]
    answer = relying_party.answer(relying_party.open(visitor, prompt="none", id_token_hint=hint))
    assert answer is not None
    assert decode(relying_party.redeem(answer)["id_token"])["sub"] == decode(hint)["sub"]


@pytest.mark.spec("P-7", "RFC 6749 §4.1.2")
def test_a_code_is_good_once_and_takes_its_tokens_along(relying_party: RelyingParty, visitor: Person) -> None:
    answer = relying_party.sign_in(visitor)
    tokens = relying_party.redeem(answer)
    assert relying_party.userinfo(tokens["access_token"]).status_code == 200
    again = relying_party.try_redeem(answer)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    refused = relying_party.userinfo(tokens["access_token"])
    assert (refused.status_code, 'error="invalid_token"' in refused.headers["WWW-Authenticate"]) == (401, True)


@pytest.mark.spec("P-1", "P-2")
@pytest.mark.parametrize("added", ["/aJvgkKaGUh", "?foo=bar"])
def test_an_address_that_is_not_registered_is_an_error_page(
    relying_party: RelyingParty, visitor: Person, added: str
) -> None:
    page = read(relying_party.open(visitor, redirect_uri=relying_party.client.redirect_uri + added))
    assert (page.status, page.screen) == (400, "error")
    assert relying_party.answer(relying_party.open(visitor)) is not None


@pytest.mark.spec("OIDC Core §3.1.2.1")
def test_a_request_by_post(relying_party: RelyingParty, visitor: Person) -> None:
    """A form of another site: it comes without our cookie and finds the person signed in nevertheless."""
    endpoint = relying_party.office.metadata["authorization_endpoint"]
    lonely = Person(relying_party.office.provider.issuer, address="127.1.0.2")
    sent = lonely.http.post(endpoint, data=relying_party.request(), allow_redirects=False, timeout=30)
    assert sent.status_code == 303
    answer = relying_party.answer(visitor.open(sent.headers["Location"]))
    assert answer is not None
    assert "id_token" in relying_party.redeem(answer)


@pytest.mark.spec("P-10", "OIDC Core §9")
def test_client_secret_post(office: Office, visitor: Person) -> None:
    relying_party = RelyingParty(office, enrol(office, token_endpoint_auth_method="client_secret_post"), pkce=False)
    assert "id_token" in relying_party.redeem(relying_party.sign_in(visitor), "post")
    refused = relying_party.try_redeem(relying_party.sign_in(visitor), "basic")
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.spec("P-11", "D-14", "OIDC Core §3.1.2.6")
@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"request_uri": "https://cliente.example/objeto.jwt"}, "request_uri_not_supported"),
    ],
    ids=["unsigned", "by reference"],
)
def test_objects_that_are_not_supported_are_refused_by_their_codes(
    relying_party: RelyingParty, visitor: Person, parameters: dict[str, str], error: str
) -> None:
    """What the modules take for "not supported", beside a discovery document that says the same."""
    assert "none" not in relying_party.office.metadata["request_object_signing_alg_values_supported"]
    assert relying_party.office.metadata["request_uri_parameter_supported"] is False
    answer = relying_party.answer(relying_party.open(visitor, **parameters))
    assert answer is not None
    assert (answer["error"], answer["state"]) == (error, "estado-1")


@pytest.mark.spec("OIDC Core §5.5")
def test_an_essential_claim_is_given(relying_party: RelyingParty, visitor: Person) -> None:
    claims = '{"userinfo":{"name":{"essential":true}}}'
    tokens = relying_party.redeem(relying_party.sign_in(visitor, claims=claims))
    assert set(userinfo(relying_party, tokens)) == {"sub", "name"}
    assert "name" not in decode(tokens["id_token"])


@pytest.mark.spec("T-6", "T-8", "OIDC Core §12")
def test_a_refresh_token_works_for_its_own_client_only(
    office: Office, relying_party: RelyingParty, visitor: Person
) -> None:
    tokens = relying_party.redeem(relying_party.sign_in(visitor, scope="openid offline_access", prompt="consent"))
    other = RelyingParty(office, enrol(office, grant_types=["authorization_code", "refresh_token"]), pkce=False)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refused = other.post_token(form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    refreshed = relying_party.post_token(form)
    assert refreshed.status_code == 200, refreshed.text
    before, after = decode(tokens["id_token"]), decode(refreshed.json()["id_token"])
    for name in ("iss", "sub", "aud", "auth_time"):
        assert after[name] == before[name], name
    assert userinfo(relying_party, refreshed.json())["sub"] == before["sub"]


@pytest.mark.spec("P-5", "RFC 7636 §4.6")
def test_a_proof_key_is_taken_where_it_comes(office: Office, client: Client, visitor: Person) -> None:
    relying_party = RelyingParty(office, client)
    assert "id_token" in relying_party.redeem(relying_party.sign_in(visitor))
    answer = relying_party.sign_in(visitor)
    relying_party.verifier = None
    refused = relying_party.try_redeem(answer)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
