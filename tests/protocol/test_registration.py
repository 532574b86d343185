"""Clients that register themselves: who may, what they may say, and what becomes of what they may not say."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from idp import policy
from idp.protocol.metadata import IDENTITY_SCOPES
from tests.protocol.conftest import ISSUER, House
from tests.protocol.desk import REDIRECT_URI, Desk, error

KEY = RSAKey.generate_key(2048, {"kid": "k", "use": "sig", "alg": "RS256"})
JWKS = {"keys": [KEY.as_dict(private=False)]}


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house)


@pytest.mark.spec("RFC 7591 §2", "OIDC Registration §2")
def test_what_is_left_out_has_the_defaults_of_the_standards(desk: Desk) -> None:
    body = desk.made()
    client = desk.house.server.clients.find(body["client_id"])
    assert client is not None
    expected = {
        "client_name": "rp.example",
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "application_type": "web",
        "subject_type": "public",
        "id_token_signed_response_alg": "RS256",
        "scope": " ".join(IDENTITY_SCOPES),
        "client_secret_expires_at": 0,
        "client_id_issued_at": int(desk.house.now.timestamp()),
        "registration_client_uri": f"{ISSUER}/oauth/register/{body['client_id']}",
    }
    assert expected.items() <= body.items()
    assert client.has_secret(body["client_secret"], now=desk.house.now)
    assert (client.profile.name, client.first_party, client.resources) == ("compat", False, ())


@pytest.mark.spec("RFC 7591 §3.2.1", "OIDC Registration §3.2")
def test_everything_that_is_said_is_kept_and_answered(desk: Desk) -> None:
    desk.web.found["https://rp.example/uris.json"] = [REDIRECT_URI]
    said = {
        "client_name": "Aplicación",
        "grant_types": ["authorization_code", "implicit", "refresh_token"],
        "response_types": ["code id_token"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "RS256",
        "jwks": JWKS,
        "contacts": ["a@rp.example"],
        "client_uri": "https://rp.example/",
        "policy_uri": "https://rp.example/policy",
        "tos_uri": "https://rp.example/tos",
        "subject_type": "pairwise",
        "sector_identifier_uri": "https://rp.example/uris.json",
        "id_token_signed_response_alg": "ES256",
        "userinfo_signed_response_alg": "RS256",
        "request_object_signing_alg": "RS256",
        "default_max_age": 3600,
        "require_auth_time": True,
        "initiate_login_uri": "https://rp.example/start",
        "post_logout_redirect_uris": ["https://rp.example/bye"],
        "backchannel_logout_uri": "https://rp.example/backchannel",
        "backchannel_logout_session_required": True,
        "frontchannel_logout_uri": "https://rp.example/frontchannel",
        "frontchannel_logout_session_required": True,
        "software_id": "app",
        "scope": "openid email",
    }
    body = desk.made(**said)
    assert said.items() <= body.items()
    assert not {"client_secret", "client_secret_expires_at", "sector", "logo_digest"} & body.keys()
    client = desk.house.server.clients.find(body["client_id"])
    assert client is not None
    assert client.details.sector == "rp.example"
    read = desk.send("read", body["client_id"], body["registration_access_token"])
    assert (read.status, read.body) == (200, body)


@pytest.mark.spec("D-70")
def test_what_is_an_operators_to_say_is_ignored(desk: Desk) -> None:
    body = desk.made(
        first_party=True,
        profile="modern",
        organization_rfc="EKU9003173C9",
        retention_days=9999,
        resources=["https://mailbox.example"],
        scope="openid mailbox:read mailbox:archive",
        client_id="mine",
        client_secret="mine",
        sector="victim.example",
        logo_digest="x",
        is_admin=True,
    )
    client = desk.house.server.clients.find(body["client_id"])
    assert client is not None
    assert client.client_id != "mine"
    assert not client.has_secret("mine", now=desk.house.now)
    assert client.scopes == ("openid",)
    assert (client.first_party, client.organization_rfc, client.retention_days, client.resources) == (
        False,
        None,
        None,
        (),
    )
    assert (client.details.sector, client.details.logo_digest) == (None, None)
    assert client.profile.name == "compat"


METADATA = "invalid_client_metadata"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"redirect_uris": []}, "invalid_redirect_uri"),
    ({"redirect_uris": ["https://rp.example/cb#f"]}, "invalid_redirect_uri"),
    ({"redirect_uris": ["http://rp.example/cb"]}, "invalid_redirect_uri"),
    ({"redirect_uris": ["https://user@rp.example/cb"]}, "invalid_redirect_uri"),
    ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
    ({"redirect_uris": ["mx.example.app:/cb"]}, "invalid_redirect_uri"),
    ({"redirect_uris": ["https://["]}, "invalid_redirect_uri"),
    ({"redirect_uris": ["https://rp.example:99999/cb"]}, "invalid_redirect_uri"),
    ({"redirect_uris": ["/cb"]}, "invalid_redirect_uri"),
    ({"redirect_uris": "https://rp.example/cb"}, METADATA),
    ({"redirect_uris": [1]}, METADATA),
    ({"redirect_uris": [f"https://rp.example/{n}" for n in range(21)]}, METADATA),
    (
        {"redirect_uris": ["http://127.0.0.1/cb"], "response_types": ["id_token"], "grant_types": ["implicit"]},
        "invalid_redirect_uri",
    ),
    ({"client_name": ""}, METADATA),
    ({"client_name": "a" * 101}, METADATA),
    ({"client_name": "A\u202eB"}, METADATA),
    ({"client_name": 5}, METADATA),
    ({"grant_types": ["password"]}, METADATA),
    ({"grant_types": ["client_credentials"], "response_types": []}, METADATA),
    ({"grant_types": ["urn:ietf:params:oauth:grant-type:device_code"], "response_types": []}, METADATA),
    ({"grant_types": ["authorization_code"], "response_types": ["code id_token"]}, METADATA),
    ({"grant_types": ["implicit"]}, METADATA),
    ({"response_types": ["token"]}, METADATA),
    ({"response_types": ["none"]}, METADATA),
    ({"token_endpoint_auth_method": "tls_client_auth"}, METADATA),
    ({"token_endpoint_auth_method": "private_key_jwt"}, METADATA),
    ({"token_endpoint_auth_signing_alg": "none", "jwks": JWKS}, METADATA),
    ({"token_endpoint_auth_method": "client_secret_jwt", "token_endpoint_auth_signing_alg": "RS256"}, METADATA),
    ({"jwks": JWKS, "jwks_uri": "https://rp.example/keys"}, METADATA),
    ({"jwks": {"keys": [KEY.as_dict(private=True)]}}, METADATA),
    ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, METADATA),
    ({"jwks": {"keys": []}}, METADATA),
    ({"jwks": []}, METADATA),
    ({"jwks": {"keys": JWKS["keys"] * 21}}, METADATA),
    ({"jwks_uri": "http://rp.example/keys"}, METADATA),
    ({"jwks_uri": "file:///etc/passwd"}, METADATA),
    ({"logo_uri": "javascript:alert(1)"}, METADATA),
    ({"tos_uri": "data:text/html,x"}, METADATA),
    ({"initiate_login_uri": "http://rp.example/start"}, METADATA),
    ({"id_token_signed_response_alg": "none"}, METADATA),
    ({"id_token_signed_response_alg": "HS256"}, METADATA),
    ({"userinfo_signed_response_alg": "none"}, METADATA),
    ({"request_object_signing_alg": "none"}, METADATA),
    ({"id_token_encrypted_response_alg": "RSA-OAEP"}, METADATA),
    ({"id_token_encrypted_response_alg": "RSA1_5", "jwks": JWKS}, METADATA),
    ({"id_token_encrypted_response_enc": "A128GCM", "jwks": JWKS}, METADATA),
    ({"subject_type": "secret"}, METADATA),
    ({"subject_type": "pairwise", "redirect_uris": [REDIRECT_URI, "https://two.example/cb"]}, METADATA),
    ({"application_type": "desktop"}, METADATA),
    ({"default_max_age": -1}, METADATA),
    ({"default_max_age": True}, METADATA),
    ({"default_max_age": "10"}, METADATA),
    ({"require_auth_time": "true"}, METADATA),
    ({"contacts": ["x" * 201]}, METADATA),
    ({"frontchannel_logout_uri": "https://other.example/out"}, METADATA),
    ({"backchannel_logout_uri": "http://rp.example/out"}, METADATA),
    ({"post_logout_redirect_uris": ["http://rp.example/bye"]}, METADATA),
    ({"response_modes": ["web_message"]}, METADATA),
]


@pytest.mark.spec("RFC 7591 §3.2.2", "OIDC Registration §3.3", "P-16")
# Numbered, not shown: the keys in them are other ones in each process.
@pytest.mark.parametrize(
    ("changes", "code"), REFUSED, ids=[f"{n}-{'-'.join(each)}" for n, (each, _) in enumerate(REFUSED)]
)
def test_what_may_not_be_registered_is_refused_by_its_code(desk: Desk, changes: dict[str, Any], code: str) -> None:
    answer = desk.register(**changes)
    assert error(answer) == (400, code)
    assert answer.body is not None
    assert answer.body["error_description"].isascii()
    assert desk.house.server.clients.list() == []
    assert desk.web.asked == []


@pytest.mark.spec("W-7", "P-1")
@pytest.mark.parametrize(
    "host", ["rp.example;x", "rp.example,x", "rp.example'x", "rp.example%3bx", "[::1];x", "*.example"]
)
def test_a_host_is_written_with_what_hosts_are_written_with(desk: Desk, host: str) -> None:
    """The origin of an application's frame stands in a policy, where `;` would cut off the frames of the others."""
    address, usual = f"https://{host}/cb", "https://rp.example:8443/cb"
    assert error(desk.register(redirect_uris=[address])) == (400, "invalid_redirect_uri")
    assert error(desk.register(policy_uri=address)) == (400, "invalid_client_metadata")
    assert desk.register(redirect_uris=[usual], frontchannel_logout_uri=usual, policy_uri=usual).status == 201


@pytest.mark.spec("OIDC Registration §2", "RFC 8252 §7")
def test_native_applications_have_their_own_schemes(desk: Desk) -> None:
    for uri in ("mx.example.app:/cb", "http://127.0.0.1/cb"):
        body = desk.made(redirect_uris=[uri], application_type="native", token_endpoint_auth_method="none")
        assert "client_secret" not in body


def test_members_nobody_knows_and_nulls_count_for_nothing(desk: Desk) -> None:
    body = desk.made(request_uris=["https://rp.example/r"], software_statement="x", logo_uri=None, contacts=None, x={})
    assert not {"request_uris", "software_statement", "logo_uri", "contacts", "x"} & body.keys()


@pytest.mark.parametrize("body", [None, b"", b"[]", b"{", b'{"a":1,"a":2}', b"[" * 30000, b"\xff", b'"x"', b"NaN"])
@pytest.mark.spec("P-3", "P-16")
def test_a_body_that_is_no_json_object_is_refused(desk: Desk, body: bytes | None) -> None:
    assert error(desk.send("register", None, None, body)) == (400, "invalid_request")


@pytest.mark.spec("RFC 7591 §3")
def test_an_initial_token_is_good_for_its_uses_and_its_days(desk: Desk) -> None:
    desk.mode = "token"
    now = desk.house.now
    token = desk.door.issue_token(now=now, uses=2, lifetime=timedelta(days=3))
    assert error(desk.register()) == (401, "invalid_token")
    assert error(desk.register(token="another")) == (401, "invalid_token")
    assert error(desk.register(token=token, now=now + timedelta(days=3))) == (401, "invalid_token")
    # What is refused costs nothing.
    assert error(desk.register(token=token, redirect_uris=[])) == (400, "invalid_redirect_uri")
    assert desk.register(token=token).status == 201
    assert desk.register(token=token, now=now + timedelta(days=2)).status == 201
    assert error(desk.register(token=token)) == (401, "invalid_token")
    assert desk.door.sweep(now) == 1


@pytest.mark.spec("S-2")
def test_of_many_at_once_as_many_register_as_the_token_has_uses(desk: Desk) -> None:
    desk.mode = "token"
    token = desk.door.issue_token(now=desk.house.now, uses=3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: desk.register(token=token).status, range(12)))
    assert sorted(answers) == [201] * 3 + [401] * 9
    assert len(desk.house.server.clients.list()) == 3


@pytest.mark.spec("O-4")
def test_an_address_that_asks_too_much_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "REGISTRATIONS_MAX", 2)
    assert [desk.register().status for _ in range(3)] == [201, 201, 429]
    answer = desk.register(now=desk.house.now + timedelta(minutes=10))
    assert answer.headers["Retry-After"] == "3000"
    assert desk.register(now=desk.house.now + timedelta(minutes=61)).status == 201
