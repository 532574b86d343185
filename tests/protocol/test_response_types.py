"""What comes back, and by which way: response types and response modes of both profiles."""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc import jwe
from joserfc.jwk import Key, RSAKey

from idp.keys import half_hash
from idp.protocol.authorize import NeedsConsent
from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.messages import ProtocolResponse
from idp.protocol.profiles import PROFILES
from idp.protocol.responses import FormPost
from idp.protocol.sealing import Sealing
from tests.protocol.conftest import ISSUER, REDIRECT_URI, House, answer

EVERY = tuple(sorted(PROFILES["compat"].response_types))
FRONT = tuple(each for each in EVERY if each != "code")


class OneKey:
    """The only key of every client, or none."""

    def __init__(self, key: Key | None) -> None:
        self.key = key

    def find_key(self, client: Client, *, kid: str | None, alg: str, use: str, now: datetime) -> Key | None:
        return self.key


def compat(house: House, **changes: Any) -> Client:
    values: dict[str, Any] = {
        "profile": "compat",
        "grant_types": ("authorization_code", "implicit", "refresh_token"),
        "response_types": EVERY,
        "details": ClientDetails(response_modes=("form_post",)),
        **changes,
    }
    return house.client(**values)


@pytest.mark.spec("OIDC Core §3", "P-4", "P-6")
@pytest.mark.parametrize("response_type", EVERY)
def test_each_response_type_gives_what_its_name_says(house: House, response_type: str) -> None:
    client = compat(house)
    sent = answer(house.authorize(house.query(client, response_type=response_type)))
    kinds = set(response_type.split())
    assert {"code", "id_token", "access_token"} & set(sent) == {
        {"token": "access_token"}.get(each, each) for each in kinds
    }
    assert (sent["iss"], sent["state"]) == (ISSUER, "st&te=1 ñ")
    if "token" in kinds:
        assert (sent["token_type"], sent["scope"], sent["expires_in"]) == ("Bearer", "openid", "300")
        assert house.userinfo(sent["access_token"]).status == 200
    if "id_token" in kinds:
        claims = house.keys.verify(sent["id_token"], typ="JWT", now=house.now)
        assert (claims["aud"], claims["nonce"]) == (client.client_id, "n-1")
        # OIDC Core section 3.3.2.11: each hash where the thing it is of stands beside it, and only there.
        assert claims.get("c_hash") == (half_hash(sent["code"], "ES256") if "code" in sent else None)
        assert claims.get("at_hash") == (half_hash(sent["access_token"], "ES256") if "token" in kinds else None)
    if "code" in kinds:
        body = house.redeem(client, sent["code"]).body
        assert body is not None
        assert house.keys.verify(body["id_token"], typ="JWT", now=house.now)["nonce"] == "n-1"


@pytest.mark.spec("OIDC Multiple Response Types §3")
def test_the_order_of_the_values_does_not_matter(house: House) -> None:
    sent = answer(house.authorize(house.query(compat(house), response_type="token id_token code")))
    assert {"code", "id_token", "access_token"} <= set(sent)


@pytest.mark.spec("OIDC Multiple Response Types §5", "P-4")
@pytest.mark.parametrize("response_type", EVERY)
@pytest.mark.parametrize("mode", [None, "query", "fragment", "form_post"])
@pytest.mark.parametrize("error", [False, True])
def test_the_mode_is_the_one_asked_for_or_the_one_implied(
    house: House, response_type: str, mode: str | None, error: bool
) -> None:
    changes = {"prompt": "none", "max_age": "0"} if error else {}
    decision = house.authorize(house.query(compat(house), response_type=response_type, response_mode=mode, **changes))
    sent = answer(decision)
    if mode == "query" and response_type != "code":
        # No token ever stands in a query; the refusal does not either.
        assert sent["error"] == "invalid_request"
        mode = "fragment"
    else:
        assert sent.get("error") == ("login_required" if error else None)
    expected = mode or ("query" if response_type == "code" else "fragment")
    if expected == "form_post":
        assert isinstance(decision, FormPost)
        assert decision.redirect_uri == REDIRECT_URI
    else:
        assert isinstance(decision, ProtocolResponse)
        parts = urlsplit(decision.location or "")
        assert bool(parts.query) == (expected == "query")
        assert bool(parts.fragment) == (expected == "fragment")
        assert decision.status == 303
    assert (sent["iss"], sent["state"]) == (ISSUER, "st&te=1 ñ")


@pytest.mark.spec("P-4", "D-05")
@pytest.mark.parametrize("response_type", FRONT)
def test_what_a_client_did_not_register_is_not_there_for_it(house: House, response_type: str) -> None:
    client = compat(house, response_types=("code",), grant_types=("authorization_code",))
    query = house.query(client, response_type=response_type)
    decision = house.authorize(query)
    assert answer(decision)["error"] == "unsupported_response_type"
    # It goes where that response type would have gone.
    assert decision.location.startswith(REDIRECT_URI + "#")
    for unknown in ("none", "code code", "code  id_token", " code", "CODE", "code token token"):
        sent = answer(house.authorize(house.query(compat(house), response_type=unknown)))
        assert sent["error"] == "unsupported_response_type"


@pytest.mark.spec("P-4", "D-05")
def test_form_post_is_for_those_who_registered_it(house: House) -> None:
    asked = {"response_mode": "form_post"}
    assert isinstance(house.authorize(house.query(compat(house), **asked)), FormPost)
    refused = house.authorize(house.query(compat(house, details=ClientDetails()), **asked))
    assert answer(refused)["error"] == "invalid_request"
    assert refused.location.startswith(REDIRECT_URI + "?")


@pytest.mark.spec("OIDC Core §3.2.2.1", "OIDC Core §3.3.2.11")
@pytest.mark.parametrize("response_type", EVERY)
def test_an_id_token_through_the_browser_needs_a_nonce_and_openid(house: House, response_type: str) -> None:
    client = compat(house)
    without = answer(house.authorize(house.query(client, response_type=response_type, nonce=None)))
    other_scope = answer(house.authorize(house.query(client, response_type=response_type, scope="profile")))
    if "id_token" in response_type:
        assert without["error"] == "invalid_request"
        assert other_scope["error"] == "invalid_scope"
    else:
        assert "error" not in without
        assert "error" not in other_scope


@pytest.mark.spec("P-5")
def test_compat_may_leave_pkce_out_and_never_use_plain(house: House) -> None:
    client = compat(house)
    none = {"code_challenge": None, "code_challenge_method": None}
    code = house.code(client, **none)
    assert house.redeem(client, code, code_verifier=None).status == 200
    assert answer(house.authorize(house.query(client, code_challenge_method="plain")))["error"] == "invalid_request"


@pytest.mark.spec("P-7")
def test_what_came_through_the_browser_dies_with_a_code_used_twice(house: House) -> None:
    client = compat(house)
    sent = answer(house.authorize(house.query(client, response_type="code token")))
    assert house.redeem(client, sent["code"]).status == 200
    assert house.is_active(client, sent["access_token"])
    assert house.redeem(client, sent["code"]).status == 400
    assert not house.is_active(client, sent["access_token"])


@pytest.mark.spec("OIDC Core §11")
def test_offline_access_is_for_what_gives_a_code(house: House) -> None:
    client = compat(house)
    scope = "openid offline_access"
    sent = answer(house.authorize(house.query(client, response_type="id_token token", scope=scope)))
    assert sent["scope"] == "openid"
    sent = answer(house.authorize(house.query(client, response_type="code token", scope=scope)))
    assert sent["scope"] == scope


@pytest.mark.spec("OIDC Core §5.4")
def test_without_an_access_token_the_claims_of_the_scopes_are_in_the_id_token(house: House) -> None:
    client = compat(house)
    for response_type, given in (("id_token", True), ("id_token token", False)):
        sent = answer(house.authorize(house.query(client, response_type=response_type, scope="openid profile")))
        claims = house.keys.verify(sent["id_token"], typ="JWT", now=house.now)
        assert ("name" in claims) == given


def test_session_state_comes_with_success_where_the_browser_has_one(house: House) -> None:
    query = house.query(compat(house), response_type="id_token")

    def begin(query: str) -> dict[str, str]:
        return answer(
            house.server.authorizations.begin(
                query,
                authentication=house.authentication,
                browser=lambda: house.browser,
                now=house.now,
                browser_state="state-1",
            )
        )

    assert begin(query)["session_state"] != begin(query)["session_state"]
    assert "session_state" not in begin(query + "&max_age=0&prompt=none")
    assert "session_state" not in answer(house.authorize(query))


def test_a_client_of_the_implicit_grant_alone_may_ask(house: House) -> None:
    client = compat(house, grant_types=("implicit",), response_types=("id_token",))
    assert "id_token" in answer(house.authorize(house.query(client, response_type="id_token")))


@pytest.mark.spec("P-9")
def test_the_refusal_of_a_person_goes_the_same_way(house: House) -> None:
    client = compat(house, first_party=False)
    waiting = house.authorize(house.query(client, response_type="id_token", response_mode="form_post"))
    assert isinstance(waiting, NeedsConsent)
    decision = house.server.authorizations.decide(
        waiting.interaction, allow=False, authentication=house.authentication, browser=house.browser, now=house.now
    )
    assert isinstance(decision, FormPost)
    assert answer(decision)["error"] == "access_denied"


@pytest.mark.spec("P-16", "OIDC Core §10.2")
@pytest.mark.parametrize("has_key", [True, False])
def test_a_client_without_a_key_for_its_encryption_is_told_so_and_gets_nothing(house: House, has_key: bool) -> None:
    key = RSAKey.generate_key(2048)
    details = ClientDetails(
        jwks_uri="https://app.example/jwks",
        id_token_encrypted_response_alg="RSA-OAEP",
        id_token_encrypted_response_enc="A128GCM",
    )
    client = compat(house, first_party=False, details=details)
    house.server.services.tokens.sealing = Sealing(house.keys, OneKey(key if has_key else None))
    waiting = house.authorize(house.query(client, response_type="code id_token"))
    decision = house.server.authorizations.decide(
        waiting.interaction,
        allow=True,
        authentication=house.authentication,
        browser=house.browser,
        now=house.now,
    )
    sent = answer(decision)
    allowed = house.server.consents.list_for(house.authentication.sub)
    if has_key:
        token = jwe.decrypt_compact(sent["id_token"], key, algorithms=["RSA-OAEP", "A128GCM"]).plaintext
        assert token is not None
        assert house.keys.verify(token.decode(), typ="JWT", now=house.now)["nonce"] == "n-1"
        assert len(allowed) == 1
    else:
        assert (sent["error"], "code" in sent, "id_token" in sent) == ("invalid_request", False, False)
        assert not allowed
