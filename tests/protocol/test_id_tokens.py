"""What an ID token and userinfo say, to whom, under which signature and encryption."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey, Key, RSAKey

from idp.keys import ALGORITHMS, KeyRing
from idp.protocol.client_keys import ClientKeys as RegisteredKeys
from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.key_sets import ENCRYPTION_ALGORITHMS, ENCRYPTION_METHODS
from idp.protocol.messages import ProtocolRequest, ProtocolResponse
from idp.protocol.sealing import Sealing
from idp.protocol.stored_grants import GrantRow
from idp.protocol.tokens import read_id_token_hint
from tests.protocol.conftest import ISSUER, House, replace


class ClientKeys:
    """One key of one client."""

    def __init__(self, key: Key | None) -> None:
        self.key = key

    def find_key(self, client: Client, *, kid: str | None, alg: str, use: str, now: datetime) -> Key | None:
        assert use == "enc"
        return self.key


def _grant(house: House, client: Client, **changes: Any) -> GrantRow:
    with house.server.services.store.write() as tx:
        values = {"scopes": ("openid", "email"), "resource": None, **changes}
        added = house.server.services.tokens.add_grant(
            tx, client_id=client.client_id, authentication=house.authentication, now=house.now, **values
        )
    grant = house.server.services.tokens.find_grant(added)
    assert grant is not None
    return grant


def _mint(house: House, client: Client, grant: GrantRow | None = None, **parts: Any) -> str:
    subject = house.people.known[house.authentication.sub]
    return house.server.services.tokens.mint_id_token(
        grant or _grant(house, client), client, subject, **{"nonce": "n", "now": house.now, **parts}
    )


def _read(house: House, token: str) -> dict[str, Any]:
    return house.keys.verify(token, typ="JWT", now=house.now)


def _header(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(urlsafe_b64decode(token.split(".")[0] + "=="))
    return found


def _half(raw: bytes) -> str:
    return urlsafe_b64encode(raw[: len(raw) // 2]).rstrip(b"=").decode()


def _decrypt(token: str, key: Key, alg: str, enc: str) -> str:
    plain = jwe.decrypt_compact(token, key, algorithms=[alg, enc]).plaintext
    assert plain is not None
    return plain.decode()


@pytest.mark.spec("OIDC Core §3.1.3.6", "OIDC Core §3.3.2.11", "T-2")
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_it_is_signed_as_registered_with_the_hashes_that_go_with_it(house: House, alg: str) -> None:
    client = replace(house.client(), id_token_signed_response_alg=alg)
    token = _mint(house, client, access_token="at", code="co", state="sñ")
    claims, digest = _read(house, token), sha512 if alg == "EdDSA" else sha256
    assert _header(token)["alg"] == alg
    names = ("at_hash", "c_hash", "s_hash")
    assert [claims[name] for name in names] == [_half(digest(each.encode()).digest()) for each in ("at", "co", "sñ")]
    assert not {*names}.intersection(_read(house, _mint(house, client)))
    published = {each["kid"]: each for each in house.keys.jwks(house.now)["keys"]}
    assert published[_header(token)["kid"]]["alg"] == alg
    assert not any({"d", "p", "q"}.intersection(each) for each in published.values())


@pytest.mark.spec("T-11")
def test_missing_keys_are_made_and_those_there_are_stay(house: House, keys_folder: Path) -> None:
    before = {each["kid"] for each in house.keys.jwks(house.now)["keys"]}
    [edwards] = keys_folder.glob("*-EdDSA-*.pem")
    edwards.unlink()
    ring = KeyRing(keys_folder, strict=True)
    made = ring.ensure(house.now)
    after = {each["kid"] for each in ring.jwks(house.now)["keys"]}
    assert len(made) == 1
    assert after - before == set(made)
    assert len(before & after) == len(before) - 1
    assert ring.ensure(house.now) == []


@pytest.mark.spec("OIDC Core §5.4")
def test_scope_claims_stand_in_it_only_where_no_access_token_is_issued(house: House) -> None:
    client = house.client()
    assert _read(house, _mint(house, client))["email"] == "cliente@example.org"
    for parts in ({"access_token": "at"}, {"code": "co"}):
        assert "email" not in _read(house, _mint(house, client, **parts))


@pytest.mark.spec("OIDC Core §5.5", "T-5")
def test_claims_that_are_asked_for_by_name_are_given_as_far_as_the_client_may_have_them(house: House) -> None:
    client = house.client(scopes=("openid", "profile", "email"))
    asked: dict[str, Any] = {
        "name": None,
        "email": {"essential": True},
        "rfc": {"essential": True},
        "iss": {"value": "https://evil.example"},
        "phone_number": None,
    }
    grant = _grant(house, client, scopes=("openid",), claims={"id_token": asked, "userinfo": asked})
    claims = _read(house, _mint(house, client, grant, access_token="at"))
    assert (claims["name"], claims["email"], claims["iss"]) == ("Cliente de prueba", "cliente@example.org", ISSUER)
    assert not {"rfc", "phone_number"}.intersection(claims)
    with_rfc = replace(client, scopes=(*client.scopes, "rfc"))
    assert _read(house, _mint(house, with_rfc, grant, access_token="at"))["rfc"] == "EKU9003173C9"
    own = _read(house, _mint(house, client, grant, access_token="at", claims_requested={}))
    assert "name" not in own
    token = house.server.services.tokens.mint_for_person(
        grant, client, house.people.known[grant.sub], grant.scopes, now=house.now
    )
    body = house.userinfo(token.access_token).body
    assert body == {"sub": grant.sub, "name": "Cliente de prueba", "email": "cliente@example.org"}


@pytest.mark.spec("OIDC Core §5.5.1")
@pytest.mark.parametrize(
    ("how", "given"),
    [
        ({"value": "cliente@example.org"}, True),
        ({"value": "other@example.org"}, False),
        ({"values": ["x", "cliente@example.org"]}, True),
        ({"values": ["x"]}, False),
        ({"values": "x"}, True),
        ({}, True),
    ],
)
def test_a_claim_that_is_asked_for_with_a_value_is_given_where_it_has_it(
    house: House, how: dict[str, Any], given: bool
) -> None:
    client = house.client()
    claims = _read(house, _mint(house, client, access_token="at", claims_requested={"email": how}))
    assert ("email" in claims) == given


@pytest.mark.spec("OIDC Core §10.2", "OIDC Core §16.14")
@pytest.mark.parametrize("enc", ENCRYPTION_METHODS)
@pytest.mark.parametrize("alg", ENCRYPTION_ALGORITHMS)
def test_it_is_encrypted_for_the_client_after_it_is_signed(house: House, alg: str, enc: str) -> None:
    key: Key
    if alg.startswith("RSA"):
        key = RSAKey.generate_key(2048, {"kid": "client-1", "use": "enc"})
    else:
        key = ECKey.generate_key("P-256", {"kid": "client-1", "use": "enc"})
    client = replace(
        house.client(),
        details=ClientDetails(id_token_encrypted_response_alg=alg, id_token_encrypted_response_enc=enc),
    )
    house.server.services.tokens.sealing = Sealing(house.keys, ClientKeys(key))
    token = _mint(house, client)
    header = _header(token)
    assert (header["alg"], header["enc"], header["cty"], header["kid"]) == (alg, enc, "JWT", "client-1")
    claims = _read(house, _decrypt(token, key, alg, enc))
    assert claims["aud"] == client.client_id
    assert read_id_token_hint(token, house.keys, ISSUER, house.now) is None


def _with_details(house: House, **details: Any) -> Client:
    return house.client(details=ClientDetails(**details))


@pytest.mark.spec("OIDC Core §10.2", "P-16")
def test_a_client_without_a_key_to_encrypt_for_loses_nothing(house: House) -> None:
    client = _with_details(house, id_token_encrypted_response_alg="RSA-OAEP", jwks_uri="https://app.example/keys")
    code = house.code(client)
    refused = house.redeem(client, code)
    assert refused.body is not None
    assert (refused.status, refused.body["error"]) == (400, "invalid_request")
    key = RSAKey.generate_key(2048)
    house.server.services.tokens.sealing = Sealing(house.keys, ClientKeys(key))
    body = house.redeem(client, code).body
    assert body is not None
    assert _read(house, _decrypt(body["id_token"], key, "RSA-OAEP", "A128CBC-HS256"))["nonce"] == "n-1"


@pytest.mark.spec("OIDC Core §10.2", "OIDC Core §10.2.1")
def test_the_key_is_the_one_that_the_client_registered_for_encryption(house: House) -> None:
    keys = [RSAKey.generate_key(2048, {"kid": use, "use": use}) for use in ("sig", "enc")]
    jwks = {"keys": [key.as_dict(private=False) for key in keys]}
    client = _with_details(house, id_token_encrypted_response_alg="RSA-OAEP-256", jwks=jwks)
    house.server.services.tokens.sealing = Sealing(house.keys, RegisteredKeys())
    token = house.tokens(client)["id_token"]
    assert _header(token)["kid"] == "enc"
    assert _read(house, _decrypt(token, keys[1], "RSA-OAEP-256", "A128CBC-HS256"))["aud"] == client.client_id


@pytest.mark.spec("OIDC Core §5.3.2")
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_userinfo_is_signed_where_registered(house: House, alg: str) -> None:
    client = _with_details(house, userinfo_signed_response_alg=alg)
    answer = house.userinfo(house.tokens(client, "openid email")["access_token"])
    assert (answer.status, answer.body) == (200, None)
    assert answer.jwt is not None
    assert _header(answer.jwt)["alg"] == alg
    payload = answer.jwt.split(".")[1]
    assert json.loads(urlsafe_b64decode(payload + "==")) == {
        "sub": house.authentication.sub,
        "email": "cliente@example.org",
        "iss": ISSUER,
        "aud": client.client_id,
    }
    # T-1: it has no `exp`, so nothing of ours takes it for a token.
    assert read_id_token_hint(answer.jwt, house.keys, ISSUER, house.now) is None


@pytest.mark.spec("OIDC Core §5.3.2", "OIDC Core §10.2")
@pytest.mark.parametrize("signed", ["RS256", None])
def test_userinfo_is_encrypted_where_registered(house: House, signed: str | None) -> None:
    client = _with_details(
        house,
        userinfo_signed_response_alg=signed,
        userinfo_encrypted_response_alg="ECDH-ES",
        userinfo_encrypted_response_enc="A256GCM",
        jwks_uri="https://app.example/keys",
    )
    key = ECKey.generate_key("P-256")
    house.server.services.tokens.sealing = Sealing(house.keys, ClientKeys(key))
    token = house.tokens(client, "openid email")["access_token"]
    answer = house.userinfo(token)
    assert answer.jwt is not None
    plain = _decrypt(answer.jwt, key, "ECDH-ES", "A256GCM")
    claims = json.loads(urlsafe_b64decode(plain.split(".")[1] + "==") if signed else plain)
    assert claims["email"] == "cliente@example.org"
    assert ("aud" in claims, "cty" in _header(answer.jwt)) == ((True, True) if signed else (False, False))
    house.server.services.tokens.sealing = Sealing(house.keys, ClientKeys(None))
    assert house.userinfo(token).status == 400


@pytest.mark.spec("OIDC Core §8.1", "T-4")
def test_a_pairwise_sub_is_the_same_everywhere_for_one_sector_and_another_for_the_next(house: House) -> None:
    sub = house.authentication.sub
    one, same, other = (
        _with_details(house, subject_type="pairwise", sector_identifier_uri=f"https://{sector}/uris.json")
        for sector in ("one.example", "one.example", "other.example")
    )
    body = house.tokens(one, "openid offline_access")
    seen = _read(house, body["id_token"])["sub"]
    assert seen not in {sub, _read(house, house.tokens(other)["id_token"])["sub"]}
    assert seen == _read(house, house.tokens(same)["id_token"])["sub"]
    userinfo = house.userinfo(body["access_token"]).body
    assert userinfo == {"sub": seen}
    assert house.keys.verify(body["access_token"], typ="at+jwt", now=house.now)["sub"] == seen
    for name in ("access_token", "refresh_token"):
        introspected = house.post("introspect", one, token=body[name]).body
        assert introspected is not None
        assert (introspected["active"], introspected["sub"]) == (True, seen)
    refreshed = house.post("token", one, grant_type="refresh_token", refresh_token=body["refresh_token"]).body
    assert refreshed is not None
    assert _read(house, refreshed["id_token"])["sub"] == seen
    assert house.server.services.tokens.sub_for(one, sub) == seen
    assert house.server.services.tokens.sub_for(house.client(), sub) == sub
    assert sub.encode() not in urlsafe_b64decode(seen + "=")


@pytest.mark.spec("OIDC Core §8.1")
def test_without_a_sector_the_host_of_the_redirect_address_is_one(house: House) -> None:
    sub_for, sub = house.server.services.tokens.sub_for, house.authentication.sub
    alone = _with_details(house, subject_type="pairwise")
    named = _with_details(house, subject_type="pairwise", sector_identifier_uri="https://app.example/uris.json")
    assert sub_for(alone, sub) == sub_for(named, sub)


@pytest.mark.spec("D-82", "T-4")
def test_another_account_never_gets_the_sub_of_one_before_it(house: House) -> None:
    client = _with_details(house, subject_type="pairwise", sector_identifier_uri="https://one.example/uris.json")
    first, old = house.tokens(client)["id_token"], house.authentication.sub
    # The same person's RFC in an account made anew: its id is another.
    again = replace(house.people.known.pop(old), sub="0b9c7a52-9a0e-4f5e-8d2c-1f6c5a1f2b3d")
    house.people.known[again.sub] = again
    house.authentication = replace(house.authentication, sub=again.sub)
    second = house.tokens(client)["id_token"]
    subs = {_read(house, token)["sub"] for token in (first, second)}
    assert len(subs) == 2
    assert not any("EKU9003173C9" in json.dumps(_read(house, token)) for token in (first, second))
    with_rfc = house.userinfo(house.tokens(client, "openid rfc")["access_token"]).body
    assert with_rfc is not None
    assert with_rfc["rfc"] == "EKU9003173C9"


@pytest.mark.spec("OIDC Core §5.1")
def test_userinfo_gives_every_standard_claim(house: House) -> None:
    sub = house.authentication.sub
    everything: dict[str, Any] = {
        **{name: f"a {name}" for name in ("name", "family_name", "given_name", "middle_name", "nickname")},
        **{name: f"a {name}" for name in ("preferred_username", "gender", "birthdate", "zoneinfo", "locale")},
        **{name: f"https://example.org/{name}" for name in ("profile", "picture", "website")},
        "updated_at": 1_764_000_000,
        "email": "cliente@example.org",
        "email_verified": True,
        "address": {"formatted": "Calle 1\nMonterrey", "country": "MX"},
        "phone_number": "+52 81 5555 0100",
        "phone_number_verified": False,
    }
    house.people.known[sub] = replace(house.people.known[sub], claims=everything)
    client = house.client(scopes=("openid", "profile", "email", "address", "phone"))
    body = house.userinfo(house.tokens(client, "openid profile email address phone")["access_token"]).body
    assert body == {"sub": sub, **everything}
    assert set(house.server.metadata()["claims_supported"]).issuperset(body)


@pytest.mark.spec("D-72", "T-1", "T-5")
def test_a_client_that_acts_for_itself_is_no_person(house: House) -> None:
    client = house.client(grant_types=("client_credentials",), scopes=("openid", "reports"), redirect_uris=())
    answer = house.post("token", client, grant_type="client_credentials")
    assert answer.body is not None
    refused: ProtocolResponse = house.userinfo(answer.body["access_token"])
    assert refused.status == 403
    asked = house.post("token", client, grant_type="client_credentials", scope="openid")
    assert asked.body is not None
    assert asked.body["error"] == "invalid_scope"
    # Even if one had scope openid.
    forged = house.server.services.tokens.mint_for_client(client, ("openid",), None, now=house.now).access_token
    assert house.userinfo(forged).status == 401


@pytest.mark.spec("T-10", "RFC 7662 §2.1", "RFC 7009 §2.1")
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "urn:example:unknown"])
def test_every_kind_of_token_is_looked_at_and_revoked_whatever_the_hint_says(house: House, hint: str | None) -> None:
    client = house.client()
    for name, ends_family in (("access_token", False), ("refresh_token", True)):
        body = house.tokens(client)

        def is_active(token: str) -> bool:
            found = house.post("introspect", client, token=token, token_type_hint=hint).body
            assert found is not None
            return bool(found["active"])

        assert is_active(body["access_token"])
        assert is_active(body["refresh_token"])
        # An ID token is for reading, not for use: it is nothing here, and revoking it changes nothing.
        assert not is_active(body["id_token"])
        assert house.post("revoke", client, token=body["id_token"], token_type_hint=hint).status == 200
        assert is_active(body["refresh_token"])
        assert house.post("revoke", client, token=body[name], token_type_hint=hint).status == 200
        assert not is_active(body[name])
        assert is_active(body["refresh_token"]) is not ends_family


@pytest.mark.spec("D-21", "P-3", "P-4")
def test_what_is_no_token_request_is_refused_by_its_registered_code(house: House) -> None:
    client = house.client()

    def refused(**parameters: str | None) -> tuple[int, str]:
        answer = house.post("token", client, **parameters)
        assert answer.body is not None
        return answer.status, answer.body["error"]

    assert refused(grant_type="password", username="x", password="y") == (400, "unsupported_grant_type")
    assert refused(grant_type="implicit") == (400, "unsupported_grant_type")
    assert refused(grant_type="") == (400, "invalid_request")
    assert refused() == (400, "invalid_request")
    for request in (
        ProtocolRequest("POST", query="grant_type=client_credentials", form=b""),
        ProtocolRequest("POST", form=None),
        ProtocolRequest("POST", form=b"grant_type=a&grant_type=a"),
    ):
        answer = house.server.token(request, house.now)
        assert answer.body is not None
        assert (answer.status, answer.body["error"]) == (400, "invalid_request")


@pytest.mark.spec("T-11")
def test_keys_of_each_algorithm_rotate_by_overlap(house: House) -> None:
    client = replace(house.client(), id_token_signed_response_alg="EdDSA")
    before = _mint(house, client)
    house.keys.rotate(house.now)
    assert _header(_mint(house, client))["kid"] == _header(before)["kid"]
    later = house.now + timedelta(minutes=5)
    after = _mint(house, client, now=later)
    assert _header(after)["kid"] != _header(before)["kid"]
    assert house.keys.verify(before, typ="JWT", now=later - timedelta(seconds=1))
    assert house.keys.verify(after, typ="JWT", now=later)
