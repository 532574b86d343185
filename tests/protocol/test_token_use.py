"""Userinfo, introspection, revocation: which tokens are taken, and from whom."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import Connection, delete

from idp.protocol.messages import ProtocolRequest
from idp.protocol.models import ClientRecord
from idp.protocol.stored_grants import GrantRow, StoredGrants
from tests.protocol.conftest import House


def _b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = token.split(".")
    return json.loads(urlsafe_b64decode(header + "==")), json.loads(urlsafe_b64decode(payload + "==")), signature


@pytest.mark.spec("T-2", "T-3", "D-29", "D-30", "D-31", "D-32", "D-33")
def test_forged_tokens_are_refused_at_userinfo_and_introspection(house: House) -> None:
    client = house.client()
    good = house.tokens(client, "openid")["access_token"]
    header, claims, signature = _parts(good)
    own = ECKey.generate_key("P-256")
    [published] = [each for each in house.keys.jwks(house.now)["keys"] if each["alg"] == "ES256"]
    public = ECKey.import_key(published)
    payload = good.split(".")[1]

    doubled = b'{"exp":9999999999,"exp":9999999999,"iss":1}'

    def signed_by_us(changed: dict[str, Any]) -> str:
        return house.keys.sign({**claims, **changed}, typ="at+jwt", alg="ES256", now=house.now)

    def hmac_with(secret: bytes) -> str:
        # By hand: joserfc refuses to take a public key for a secret, and attackers do not use it.
        signed = f"{_b64({**header, 'alg': 'HS256'})}.{payload}"
        return f"{signed}.{_b64(hmac.digest(secret, signed.encode(), 'sha256'))}"

    forged = [
        f"{_b64({**header, 'alg': 'none'})}.{payload}.",
        f"{_b64({**header, 'alg': 'None'})}.{payload}.{signature}",
        f"{good.rsplit('.', 1)[0]}.",
        f"{_b64({**header, 'alg': 'HS256'})}.{payload}.{signature}",
        jwt.encode({**header, "jwk": own.as_dict(private=False)}, claims, own, algorithms=["ES256"]),
        jwt.encode({**header, "jku": "https://evil.example/jwks"}, claims, own, algorithms=["ES256"]),
        jwt.encode({**header, "x5u": "https://evil.example/x5u"}, claims, own, algorithms=["ES256"]),
        jwt.encode(header, claims, own, algorithms=["ES256"]),
        *(
            jwt.encode({**header, "kid": kid}, claims, own, algorithms=["ES256"])
            for kid in ("../../dev/null", "' or 1=1--", "k" * 10_240, "", "other")
        ),
        jwt.encode({"alg": "ES256", "typ": "at+jwt"}, claims, own, algorithms=["ES256"]),
        f"{_b64({**header, 'crit': ['x'], 'x': 1})}.{payload}.{signature}",
        signed_by_us({"exp": str(claims["exp"])}),
        signed_by_us({"exp": None}),
        signed_by_us({"exp": True}),
        signed_by_us({"nbf": claims["exp"] + 100}),
        signed_by_us({"iat": claims["exp"] + 100}),
        signed_by_us({"iss": "https://other.example"}),
        signed_by_us({"jti": "x"}),
        house.keys.sign(claims, typ="JWT", alg="ES256", now=house.now),
        f"{_b64(header)}.{_b64(doubled)}.{signature}",
        "a.b.c",
        "",
        "x" * 20_000,
        "." * 100,
        hmac_with(public.as_pem(private=False)),
        hmac_with(public.as_der(private=False)),
        hmac_with(json.dumps(published).encode()),
    ]
    assert house.userinfo(good).status == 200
    for token in forged:
        assert house.userinfo(token).status == 401, token
        if token and len(token) < 16_000:
            assert not house.is_active(client, token), token


@pytest.mark.spec("D-32", "T-11")
def test_a_token_of_a_retired_key_is_refused(house: House) -> None:
    client = house.client()
    token = house.tokens(client, "openid")["access_token"]
    kid = _parts(token)[0]["kid"]
    house.keys.rotate(house.now, at_once=True)
    later = house.now + timedelta(seconds=1)
    assert house.userinfo(token, later).status == 200
    house.keys.retire(kid, later)
    assert house.userinfo(token, later).status == 401


@pytest.mark.spec("T-1", "D-34")
def test_an_id_token_or_refresh_token_is_no_bearer(house: House) -> None:
    body = house.tokens(house.client())
    for name in ("id_token", "refresh_token"):
        refused = house.userinfo(body[name])
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


@pytest.mark.spec("OIDC Core §5.4")
def test_userinfo_gives_what_the_scopes_say(house: House) -> None:
    client = house.client()
    sub = house.authentication.sub
    assert house.userinfo(house.tokens(client, "openid")["access_token"]).body == {"sub": sub}
    assert house.userinfo(house.tokens(client, "openid email rfc")["access_token"]).body == {
        "sub": sub,
        "email": "cliente@example.org",
        "rfc": "EKU9003173C9",
    }


@pytest.mark.spec("D-36", "RFC 6750 §2")
def test_userinfo_takes_one_token_by_one_method(house: House) -> None:
    token = house.tokens(house.client(), "openid")["access_token"]
    form = f"access_token={token}".encode()
    ask = house.server.userinfo
    assert ask(ProtocolRequest("POST", form=form), house.now).status == 200
    assert ask(ProtocolRequest(query=f"access_token={token}"), house.now).status == 400
    both = ProtocolRequest("POST", form=form, authorization=f"Bearer {token}")
    assert ask(both, house.now).status == 400
    assert ask(ProtocolRequest("POST", form=form + b"&" + form), house.now).status == 400
    assert ask(ProtocolRequest(), house.now).status == 401


@pytest.mark.spec("L-5")
def test_a_disabled_person_has_no_active_token(house: House) -> None:
    client = house.client()
    body = house.tokens(client)
    del house.people.known[house.authentication.sub]
    assert house.userinfo(body["access_token"]).status == 401
    assert not house.is_active(client, body["access_token"])
    assert not house.is_active(client, body["refresh_token"])


@pytest.mark.spec("T-10", "D-38")
def test_tokens_of_others_are_inactive_to_ask_and_unmoved_by_revoking(house: House) -> None:
    owner = house.client("Owner", resources=("https://mailbox.example",))
    other = house.client("Other")
    server = house.client("Mailbox", resources=("https://mailbox.example",))
    body = house.tokens(owner)
    assert house.is_active(owner, body["access_token"])
    assert house.is_active(server, body["access_token"])
    assert not house.is_active(other, body["access_token"])
    assert not house.is_active(server, body["refresh_token"])
    for name in ("access_token", "refresh_token"):
        assert house.post("revoke", other, token=body[name]).status == 200
        assert house.is_active(owner, body[name])


@pytest.mark.spec("RFC 7009 §2.1")
def test_revoking_kills_one_access_token_or_the_whole_family(house: House) -> None:
    client = house.client()
    body = house.tokens(client)
    assert house.post("revoke", client, token=body["access_token"]).status == 200
    assert not house.is_active(client, body["access_token"])
    assert house.userinfo(body["access_token"]).status == 401
    kept = house.post("token", client, grant_type="refresh_token", refresh_token=body["refresh_token"]).body
    assert kept is not None
    assert house.post("revoke", client, token=kept["refresh_token"], token_type_hint="access_token").status == 200
    assert not house.is_active(client, kept["access_token"])
    assert house.post("revoke", client, token="unknown").status == 200


@pytest.mark.spec("T-10")
def test_introspection_is_for_clients_that_authenticate(house: House) -> None:
    public = house.client("Public", first_party=False, token_endpoint_auth_method="none")
    response = house.post("introspect", public, token="x")
    assert response.status == 401


@pytest.mark.spec("RFC 7662 §2.2")
def test_introspection_says_what_the_token_says(house: House) -> None:
    client = house.client()
    token = house.tokens(client, "openid mailbox:read")["access_token"]
    body = house.post("introspect", client, token=token).body
    assert body is not None
    assert body == {"active": True, "token_type": "Bearer", **_parts(token)[1]}


@pytest.mark.spec("T-3")
def test_a_mailbox_token_gets_no_slack(house: House) -> None:
    client = house.client()
    plain, mailbox = (house.tokens(client, scope)["access_token"] for scope in ("openid", "openid mailbox:read"))
    end = house.now + timedelta(seconds=300)
    assert house.userinfo(plain, end + timedelta(seconds=29)).status == 200
    assert house.userinfo(plain, end + timedelta(seconds=31)).status == 401
    assert house.userinfo(mailbox, end - timedelta(seconds=1)).status == 200
    assert house.userinfo(mailbox, end).status == 401


@pytest.mark.spec("RFC 7592 §2.3", "T-10")
@pytest.mark.parametrize("grant_type", ["client_credentials", "authorization_code"])
def test_no_token_outlives_its_client(house: House, grant_type: str) -> None:
    resource = "https://mailbox.example"
    reader = house.client("Mailbox", resources=(resource,))
    client = house.client(
        grant_types=("client_credentials", "authorization_code"), scopes=("openid", "reports"), resources=(resource,)
    )
    if grant_type == "client_credentials":
        body = house.post("token", client, grant_type=grant_type).body
    else:
        body = house.redeem(client, house.code(client)).body
    assert body is not None
    assert house.is_active(reader, body["access_token"])
    house.server.clients.remove(client.client_id, now=house.now)
    assert not house.is_active(reader, body["access_token"])


@pytest.mark.spec("P-16")
@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token"])
def test_a_client_that_is_removed_while_it_is_served_gets_no_token(
    house: House, grant_type: str, removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL lets the removal end between two statements of the redemption."""
    client = house.client()
    code = house.code(client, scope="openid offline_access")
    spent = house.tokens(client)["refresh_token"]
    add = StoredGrants.add_refresh_token

    def late(own: StoredGrants, tx: Connection, grant: GrantRow, *rest: Any, **more: Any) -> str | None:
        if removed:
            tx.execute(delete(ClientRecord).where(ClientRecord.client_id == client.client_id))
        return add(own, tx, grant, *rest, **more)

    monkeypatch.setattr(StoredGrants, "add_refresh_token", late)
    if grant_type == "refresh_token":
        response = house.post("token", client, grant_type=grant_type, refresh_token=spent)
    else:
        response = house.redeem(client, code)
    assert response.body is not None
    assert (response.status, response.body.get("error")) == ((400, "invalid_grant") if removed else (200, None))
