"""How a client proves who it is: by its one registered method, in the same words whenever it does not."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from idp.protocol.client_auth import ASSERTION_TYPE
from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.messages import ProtocolRequest, ProtocolResponse
from tests.protocol.conftest import ISSUER, House

KEYS: dict[str, Any] = {
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
KEYS["PS256"] = KEYS["RS256"]
STRANGER = ECKey.generate_key("P-256", {"kid": "ec"})
TOKEN_ENDPOINT = f"{ISSUER}/oauth/token"


def key_set(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


def signer(house: House, **changes: Any) -> Client:
    """A client that signs its assertions."""
    details = ClientDetails(jwks=key_set(KEYS["ES256"], KEYS["RS256"], KEYS["EdDSA"]))
    values = {
        "token_endpoint_auth_method": "private_key_jwt",
        "grant_types": ("client_credentials",),
        "details": details,
    } | changes
    return house.client(**values)


def assertion(
    house: House, client: Client, *, key: Any = None, alg: str = "ES256", header: Any = None, **changes: Any
) -> str:
    now = int(house.now.timestamp())
    claims = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": ISSUER,
        "iat": now,
        "exp": now + 60,
        "jti": f"jti-{len(made)}",
    } | changes
    made.append(claims)
    key = KEYS[alg] if key is None else key
    protected = {"alg": alg, "kid": key.kid, "typ": "JWT"} | (header or {})
    protected = {name: value for name, value in protected.items() if value is not None}
    payload = json.dumps({name: value for name, value in claims.items() if value is not None})
    first, second = (_encode(part.encode()) for part in (json.dumps(protected), payload))
    signature = jws.JWSRegistry.algorithms[alg].sign(f"{first}.{second}".encode(), key)
    return f"{first}.{second}.{_encode(signature)}"


made: list[Any] = []


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def ask(
    house: House, *, authorization: str | None = None, now: Any = None, **parameters: str | None
) -> ProtocolResponse:
    values = {"grant_type": "client_credentials", **parameters}
    form = urlencode({name: value for name, value in values.items() if value is not None}).encode()
    return house.server.token(ProtocolRequest("POST", form=form, authorization=authorization), now or house.now)


def present(house: House, token: str, **changes: Any) -> ProtocolResponse:
    return ask(house, **{"client_assertion_type": ASSERTION_TYPE, "client_assertion": token, **changes})


def basic(client_id: str, secret: str) -> str:
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def assert_refused(answer: ProtocolResponse) -> None:
    assert (answer.status, answer.body) == (
        401,
        {"error": "invalid_client", "error_description": "Client authentication failed."},
    )


@pytest.mark.spec("P-10", "OIDC Core §9", "RFC 7523 §3")
@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256", "EdDSA"])
def test_a_signed_assertion_lets_the_client_in(house: House, alg: str) -> None:
    client = signer(house)
    assert present(house, assertion(house, client, alg=alg)).status == 200


@pytest.mark.spec("P-10", "D-24")
def test_only_the_registered_algorithm_counts(house: House) -> None:
    details = replace(signer(house).details, token_endpoint_auth_signing_alg="PS256")
    client = signer(house, details=details)
    assert present(house, assertion(house, client, alg="PS256")).status == 200
    assert_refused(present(house, assertion(house, client, alg="RS256")))


BAD: dict[str, Callable[[House, Client], str]] = {
    "aud of another endpoint": lambda house, client: assertion(house, client, aud=f"{ISSUER}/oauth/introspect"),
    "aud of the token endpoint, for modern": lambda house, client: assertion(house, client, aud=TOKEN_ENDPOINT),
    "aud of another issuer": lambda house, client: assertion(house, client, aud="https://other.example"),
    "aud of another issuer too": lambda house, client: assertion(house, client, aud=[ISSUER, "https://other.example"]),
    "aud of nobody": lambda house, client: assertion(house, client, aud=None),
    "aud empty": lambda house, client: assertion(house, client, aud=[]),
    "aud of another type": lambda house, client: assertion(house, client, aud={"a": 1}),
    "exp past": lambda house, client: assertion(house, client, exp=int(house.now.timestamp()) - 31),
    "exp far": lambda house, client: assertion(house, client, exp=int(house.now.timestamp()) + 3700),
    "exp as text": lambda house, client: assertion(house, client, exp="tomorrow"),
    "no exp": lambda house, client: assertion(house, client, exp=None),
    "nbf to come": lambda house, client: assertion(house, client, nbf=int(house.now.timestamp()) + 60),
    "no jti": lambda house, client: assertion(house, client, jti=None),
    "jti too long": lambda house, client: assertion(house, client, jti="j" * 257),
    "another issuer": lambda house, client: assertion(house, client, iss="someone"),
    "no issuer": lambda house, client: assertion(house, client, iss=None),
    "another's key": lambda house, client: assertion(house, client, key=STRANGER),
    "an unknown kid": lambda house, client: assertion(house, client, header={"kid": "../../dev/null"}),
    "kid of another key": lambda house, client: assertion(house, client, header={"kid": "rsa"}),
    "HS256 with the public key": lambda house, client: assertion(
        house, client, alg="HS256", key=OctKey.import_key(json.dumps(KEYS["ES256"].as_dict(private=False)))
    ),
    "its own jwk": lambda house, client: assertion(
        house, client, key=STRANGER, header={"kid": None, "jwk": STRANGER.as_dict(private=False)}
    ),
    "jku": lambda house, client: assertion(house, client, header={"jku": "https://evil.example/keys"}),
    "x5u": lambda house, client: assertion(house, client, header={"x5u": "https://evil.example/cert"}),
    "crit": lambda house, client: assertion(house, client, header={"crit": ["x"], "x": 1}),
    "another kind of token": lambda house, client: assertion(house, client, header={"typ": "logout+jwt"}),
    "none": lambda house, client: ".".join(
        (_encode(b'{"alg":"none"}'), assertion(house, client).split(".")[1], _encode(b"x"))
    ),
    "no signature": lambda house, client: assertion(house, client).rpartition(".")[0] + ".",
    "a changed claim": lambda house, client: ".".join(
        (assertion(house, client).split(".")[0], *assertion(house, client, jti="other").split(".")[1:2], "AAAA")
    ),
    "two segments": lambda house, client: assertion(house, client).rpartition(".")[0],
    "nothing": lambda *_: "",
    "noise": lambda *_: "a.b.c",
    "a member twice": lambda house, client: (
        _encode(b'{"alg":"ES256","alg":"ES256"}') + assertion(house, client)[assertion(house, client).index(".") :]
    ),
}


@pytest.mark.spec("D-24", "D-31", "D-33", "P-10", "T-2")
@pytest.mark.parametrize("how", BAD)
def test_an_assertion_that_is_not_good_is_refused(house: House, how: str) -> None:
    client = signer(house)
    assert present(house, assertion(house, client)).status == 200
    assert_refused(present(house, BAD[how](house, client)))


@pytest.mark.spec("D-24")
def test_an_assertion_is_good_once(house: House) -> None:
    client, other = signer(house), signer(house)
    token = assertion(house, client, jti="same")
    assert present(house, token).status == 200
    assert_refused(present(house, token))
    # The name is the client's own: another's use of it says nothing.
    assert present(house, assertion(house, other, jti="same")).status == 200
    # At the last instant it counts as spent, and after it as old.
    assert_refused(present(house, token, now=house.now + timedelta(seconds=89)))
    assert_refused(present(house, token, now=house.now + timedelta(seconds=91)))


@pytest.mark.spec("D-24")
def test_an_assertion_that_names_another_client_is_refused(house: House) -> None:
    client, victim = signer(house), signer(house, details=ClientDetails(jwks=key_set(STRANGER)))
    assert_refused(present(house, assertion(house, victim, key=KEYS["ES256"])))
    assert_refused(present(house, assertion(house, client), client_id=victim.client_id))
    assert present(house, assertion(house, client), client_id=client.client_id).status == 200


@pytest.mark.spec("P-10", "OIDC Core §9", "RFC 9126 §2")
def test_compat_may_name_the_token_endpoint(house: House) -> None:
    client = signer(house, profile="compat")
    for aud in (ISSUER, TOKEN_ENDPOINT, [TOKEN_ENDPOINT], [ISSUER, TOKEN_ENDPOINT]):
        assert present(house, assertion(house, client, aud=aud)).status == 200
    assert_refused(present(house, assertion(house, client, aud=f"{ISSUER}/oauth/introspect")))


@pytest.mark.spec("P-10", "D-24")
def test_an_assertion_is_for_clients_that_registered_it(house: House) -> None:
    client = signer(house, token_endpoint_auth_method="client_secret_post")
    assert_refused(present(house, assertion(house, client)))
    assert ask(house, client_id=client.client_id, client_secret=house.secrets[client.client_id]).status == 200


@pytest.mark.spec("P-10")
@pytest.mark.parametrize(
    "changes",
    [
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {"client_assertion_type": None},
        {"client_secret": "s"},
        {"authorization": "Basic YTpi"},
    ],
)
def test_an_assertion_stands_alone_and_says_what_it_is(house: House, changes: Any) -> None:
    client = signer(house)
    assert_refused(present(house, assertion(house, client), **changes))
    assert present(house, assertion(house, client)).status == 200


@pytest.mark.spec("OIDC Core §10.1")
def test_without_a_key_id_the_key_must_be_the_only_one_that_suits(house: House) -> None:
    client = signer(house)
    assert present(house, assertion(house, client, header={"kid": None})).status == 200
    twice = signer(house, details=ClientDetails(jwks=key_set(KEYS["ES256"], ECKey.generate_key("P-256"))))
    assert_refused(present(house, assertion(house, twice, header={"kid": None})))


@pytest.mark.spec("OIDC Core §9")
def test_a_secret_can_sign_for_compat(house: House) -> None:
    client = house.client(
        profile="compat", token_endpoint_auth_method="client_secret_jwt", grant_types=("client_credentials",)
    )
    secret = house.secrets[client.client_id]
    assert secret is not None
    key = OctKey.import_key(secret.encode())
    token = assertion(house, client, alg="HS256", key=key, header={"kid": None})
    assert present(house, token).status == 200
    assert_refused(present(house, token))
    wrong = OctKey.import_key(b"another secret of the same length, at least")
    assert_refused(present(house, assertion(house, client, alg="HS256", key=wrong, header={"kid": None})))
    assert_refused(ask(house, client_id=client.client_id, client_secret=secret))
    assert_refused(ask(house, authorization=basic(client.client_id, secret)))
    rotated = house.server.clients.rotate_secret(client.client_id, now=house.now)
    assert_refused(present(house, assertion(house, client, alg="HS256", key=key, header={"kid": None})))
    key = OctKey.import_key(rotated.encode())
    assert present(house, assertion(house, client, alg="HS256", key=key, header={"kid": None})).status == 200


@pytest.mark.spec("D-22", "P-10")
def test_a_confidential_client_uses_its_one_method(house: House) -> None:
    posts = house.client(grant_types=("client_credentials",))
    uses_basic = house.client(grant_types=("client_credentials",), token_endpoint_auth_method="client_secret_basic")
    by_post, by_basic = house.secrets[posts.client_id], house.secrets[uses_basic.client_id]
    assert by_post is not None
    assert by_basic is not None
    assert ask(house, client_id=posts.client_id, client_secret=by_post).status == 200
    assert ask(house, authorization=basic(uses_basic.client_id, by_basic)).status == 200
    header = basic(uses_basic.client_id, by_basic)
    for bad in (
        ask(house, client_id=posts.client_id),
        ask(house, client_id=posts.client_id, client_secret=by_basic),
        ask(house, authorization=basic(posts.client_id, by_post)),
        ask(house, client_id=uses_basic.client_id, client_secret=by_basic),
        ask(house, authorization=header, client_id=uses_basic.client_id, client_secret=by_basic),
        ask(house, authorization=header, client_id=posts.client_id),
        ask(house, client_id="unknown", client_secret=by_post),
        ask(house),
    ):
        assert_refused(bad)


@pytest.mark.spec("D-23", "P-10", "P-16")
@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b":secret").decode(),
        "Basic " + base64.b64encode(b"id:").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(b"id:%FF%FE").decode(),
        "Basic " + base64.b64encode(b"id:" + b"s" * 2**20).decode(),
        "Bearer abc",
        "Digest a:b",
        "",
    ],
)
def test_a_malformed_header_is_refused_at_once(house: House, authorization: str) -> None:
    assert_refused(ask(house, authorization=authorization))


@pytest.mark.spec("D-23")
@pytest.mark.parametrize(
    "secret", ["", "contraseña ☃", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "s" * 2000]
)
def test_a_secret_that_is_none_of_ours_is_refused(house: House, secret: str) -> None:
    client = house.client(grant_types=("client_credentials",))
    assert_refused(ask(house, client_id=client.client_id, client_secret=secret))


@pytest.mark.spec("P-10")
def test_the_other_endpoints_know_clients_the_same_way(house: House) -> None:
    client = signer(house)
    access = present(house, assertion(house, client)).body
    assert access is not None
    for door in ("introspect", "revoke"):
        for token, status in ((assertion(house, client), 200), (assertion(house, client, aud=TOKEN_ENDPOINT), 401)):
            answer = house.post(
                door, None, client_assertion_type=ASSERTION_TYPE, client_assertion=token, token=access["access_token"]
            )
            assert answer.status == status


def test_a_public_client_is_let_in_by_name_and_not_with_a_secret(house: House) -> None:
    client = house.client(token_endpoint_auth_method="none", first_party=False)
    assert house.post("revoke", None, client_id=client.client_id, token="t").status == 200
    assert house.post("revoke", None, client_id=client.client_id, client_secret="s", token="t").status == 401
    assert house.post("introspect", None, client_id=client.client_id, token="t").status == 401
