"""Signed requests: what is taken from them, and what is never believed."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.errors import InvalidRedirectUri, OAuth2Error
from tests.protocol.conftest import CHALLENGE, ISSUER, REDIRECT_URI, House, answer

KEY = ECKey.generate_key("P-256", {"kid": "k1"}, private=True)
OTHER = ECKey.generate_key("P-256", {"kid": "k1"}, private=True)


def public(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


def signer(house: House, profile: str = "modern", **details: Any) -> Client:
    values = {"jwks": public(KEY), **details}
    return house.client(profile=profile, details=ClientDetails(**values))


def claims_of(house: House, client: Client, **changes: Any) -> dict[str, Any]:
    at = int(house.now.timestamp())
    values = {
        "iss": client.client_id,
        "aud": ISSUER,
        "iat": at,
        "exp": at + 60,
        "client_id": client.client_id,
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": "openid profile",
        "state": "signed",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def sign(claims: dict[str, Any], key: Any = KEY, alg: str = "ES256", **header: Any) -> str:
    values = {"alg": alg, "kid": "k1", "typ": "oauth-authz-req+jwt", **header}
    values = {name: value for name, value in values.items() if value is not None}
    return jwt.encode(values, claims, key, algorithms=[alg])


def sign_text(text: str) -> str:
    return jws.serialize_compact({"alg": "ES256"}, text.encode(), KEY, algorithms=["ES256"])


def ask(house: House, client: Client, text: str, **beside: str | None) -> Any:
    bare: dict[str, str | None] = dict.fromkeys(("scope", "state", "nonce", "code_challenge_method"))
    bare |= {"code_challenge": None, "response_type": None, "redirect_uri": None, **beside}
    return house.authorize(house.query(client, request=text, **bare))


def refusal(house: House, client: Client, text: str, **beside: str | None) -> str:
    """The code of the error, on a page or at the client."""
    try:
        return answer(ask(house, client, text, **beside))["error"]
    except OAuth2Error as error:
        assert error.reply_to is None
        return str(error.error)


@pytest.mark.spec("RFC 9101 §6.3", "P-11")
def test_a_modern_client_gets_what_it_signed_and_nothing_beside(house: House) -> None:
    client = signer(house)
    text = sign(claims_of(house, client))
    sent = answer(ask(house, client, text, state="beside", scope="openid email", prompt="none", max_age="0"))
    assert sent["state"] == "signed"
    body = house.redeem(client, sent["code"]).body
    assert body is not None
    assert body["scope"] == "openid profile"
    # What is not in the object was not asked: PKCE beside it is none.
    bare = sign(claims_of(house, client, code_challenge=None, code_challenge_method=None))
    assert refusal(house, client, bare, code_challenge=CHALLENGE, code_challenge_method="S256") == "invalid_request"


@pytest.mark.spec("OIDC Core §6.1")
def test_a_compat_client_may_put_some_beside(house: House) -> None:
    client = signer(house, "compat")
    text = sign(
        {"scope": "openid profile", "state": "signed", "max_age": 9999, "claims": {"userinfo": {"email": None}}}
    )
    sent = answer(ask(house, client, text, state="beside", response_type="code", redirect_uri=REDIRECT_URI))
    assert sent["state"] == "signed"
    body = house.redeem(client, sent["code"], code_verifier=None).body
    assert body is not None
    assert body["scope"] == "openid profile"
    assert "email" in (house.userinfo(body["access_token"]).body or {})


@pytest.mark.spec("OIDC Core §6.1")
@pytest.mark.parametrize(("inside", "fails"), [("code", False), ("id_token", True)])
def test_the_response_type_beside_must_match(house: House, inside: str, fails: bool) -> None:
    client = signer(house, "compat")
    text = sign(claims_of(house, client, response_type=inside))
    sent = answer(ask(house, client, text, response_type="code", redirect_uri=REDIRECT_URI))
    assert sent.get("error") == ("invalid_request_object" if fails else None)


@pytest.mark.spec("P-1", "P-2")
@pytest.mark.parametrize("profile", ["modern", "compat"])
def test_the_address_inside_is_the_one_that_counts(house: House, profile: str) -> None:
    client = signer(house, profile)
    good, bad = claims_of(house, client), claims_of(house, client, redirect_uri="https://evil.example/cb")
    assert ask(house, client, sign(good), redirect_uri="https://evil.example/cb").location.startswith(REDIRECT_URI)
    with pytest.raises(InvalidRedirectUri):
        ask(house, client, sign(bad), redirect_uri=REDIRECT_URI)


@pytest.mark.spec("D-14", "P-11", "T-2")
@pytest.mark.parametrize("profile", ["modern", "compat"])
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda claims: sign(claims), None),
        (lambda claims: sign(claims, typ=None), None),
        (lambda claims: sign(claims, typ="JWT"), None),
        (lambda claims: sign(claims, kid=None), None),
        (lambda claims: sign(claims, OTHER), "invalid_request_object"),
        (lambda claims: sign(claims, kid="k2"), "invalid_request_object"),
        (lambda claims: sign(claims, typ="at+jwt"), "invalid_request_object"),
        (lambda claims: sign(claims, jwk=OTHER.as_dict(private=False)), "invalid_request_object"),
        (lambda claims: sign(claims, OTHER, jku="https://evil.example/jwks"), "invalid_request_object"),
        (lambda claims: sign(claims, OctKey.import_key("s" * 43), "HS256"), "invalid_request_object"),
        (lambda claims: sign(claims)[:-4] + "AAAA", "invalid_request_object"),
        (lambda claims: sign(claims).rpartition(".")[0] + ".", "invalid_request_object"),
        (lambda claims: "e30." * 5, "invalid_request_object"),
        (lambda claims: "no object", "invalid_request_object"),
        (lambda claims: "é.é.é", "invalid_request_object"),
        (lambda claims: sign({**claims, "iss": "another"}), "invalid_request_object"),
        (lambda claims: sign({**claims, "client_id": "another"}), "invalid_request_object"),
        (lambda claims: sign({**claims, "aud": "https://other.example"}), "invalid_request_object"),
        (lambda claims: sign({**claims, "aud": ["https://other.example", ISSUER]}), None),
        (lambda claims: sign({**claims, "exp": claims["iat"] - 31}), "invalid_request_object"),
        (lambda claims: sign({**claims, "exp": "soon"}), "invalid_request_object"),
        (lambda claims: sign({**claims, "nbf": claims["iat"] + 60}), "invalid_request_object"),
        (lambda claims: sign({**claims, "sub": claims["client_id"]}), "invalid_request_object"),
        (lambda claims: sign({**claims, "request": "x"}), "invalid_request_object"),
        (lambda claims: sign({**claims, "request_uri": "https://evil.example/"}), "invalid_request_object"),
        (lambda claims: sign({**claims, "state": True}), "invalid_request_object"),
        (lambda claims: sign({**claims, "scope": ["openid"]}), "invalid_request_object"),
        (lambda claims: sign_text(json.dumps({**claims, "state": "\ud800"})), "invalid_request_object"),
        (lambda claims: sign_text(json.dumps(claims)[:-1] + ',"state":"twice"}'), "invalid_request_object"),
        (lambda _claims: sign_text("[" * 9000), "invalid_request_object"),
        (lambda claims: sign({**claims, "prompt": "invent"}), "invalid_request"),
        (lambda claims: sign({**claims, "max_age": 1.5}), "invalid_request_object"),
    ],
)
def test_one_thing_wrong_and_it_is_refused(
    house: House, profile: str, spoil: Callable[[dict[str, Any]], str], error: str | None
) -> None:
    client = signer(house, profile)
    text = spoil(claims_of(house, client))
    beside = {"response_type": "code", "redirect_uri": REDIRECT_URI}
    if error is None:
        assert "code" in answer(ask(house, client, text, **beside))
    else:
        assert refusal(house, client, text, **beside) == error


@pytest.mark.spec("D-14", "P-11")
@pytest.mark.parametrize("profile", ["modern", "compat"])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_an_unsigned_one_is_not_supported(house: House, profile: str, signature: str) -> None:
    client = signer(house, profile)
    body = sign(claims_of(house, client)).split(".")[1]
    header = urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    assert refusal(house, client, f"{header}.{body}.{signature}") == "request_not_supported"


@pytest.mark.spec("RFC 9101 §4", "OIDC Core §6.1")
@pytest.mark.parametrize("missing", ["iss", "aud", "exp", "client_id"])
def test_modern_wants_to_know_by_whom_for_whom_and_until_when(house: House, missing: str) -> None:
    for profile, fails in (("modern", True), ("compat", False)):
        client = signer(house, profile)
        text = sign(claims_of(house, client, **{missing: None}))
        sent = answer(ask(house, client, text, response_type="code", redirect_uri=REDIRECT_URI))
        assert sent.get("error") == ("invalid_request_object" if fails else None)


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("RS256", RSAKey.generate_key(2048, {"kid": "k1"}, private=True)),
        ("PS256", RSAKey.generate_key(2048, {"kid": "k1"}, private=True)),
        ("EdDSA", OKPKey.generate_key("Ed25519", {"kid": "k1"}, private=True)),
    ],
)
@pytest.mark.filterwarnings("ignore:EdDSA")
def test_each_algorithm_with_its_key_and_only_the_registered_one(house: House, alg: str, key: Any) -> None:
    client = signer(house, jwks=public(key))
    assert "code" in answer(ask(house, client, sign(claims_of(house, client), key, alg)))
    bound = signer(house, jwks=public(key, KEY), request_object_signing_alg="ES256")
    assert refusal(house, bound, sign(claims_of(house, bound), key, alg)) == "invalid_request_object"
    assert "code" in answer(ask(house, bound, sign(claims_of(house, bound))))


@pytest.mark.spec("RFC 9101 §10.5")
def test_who_has_to_sign_is_refused_without(house: House) -> None:
    client = signer(house, require_signed_request_object=True)
    assert answer(house.authorize(house.query(client)))["error"] == "invalid_request"
    assert "code" in answer(ask(house, client, sign(claims_of(house, client))))


@pytest.mark.spec("D-14", "P-15")
def test_an_address_is_never_fetched(house: House) -> None:
    client = signer(house)
    # Sockets are off: a fetch would be an error of another kind.
    sent = answer(house.authorize(house.query(client, request_uri="https://evil.example/request.jwt")))
    assert sent["error"] == "request_uri_not_supported"
    both = sign(claims_of(house, client))
    assert refusal(house, client, both, request_uri="https://evil.example/x") == "invalid_request"


def test_an_object_waits_as_long_as_its_person_needs(house: House) -> None:
    client = signer(house)
    text = sign(claims_of(house, client))
    waiting = house.server.authorizations.begin(
        house.query(client, request=text), authentication=None, browser=lambda: house.browser, now=house.now
    )
    later = house.now + timedelta(minutes=10)
    resumed = house.server.authorizations.resume(
        waiting.interaction, authentication=house.authentication, browser=house.browser, now=later
    )
    assert "code" in answer(resumed)
