"""npm openid-client, newest, signs in unchanged."""

import pytest

from tests.clients.conftest import POST_LOGOUT_REDIRECT_URI, REDIRECT_URI, SCOPE, House, assert_signs_out
from tests.clients.scripts import script
from tests.journeys import Person

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]


@pytest.mark.spec("P-6")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post", "none"])
def test_openid_client_walks_from_discovery_to_sign_out(house: House, node: str, auth: str) -> None:
    client = house.register(auth)
    person = Person(house.provider.issuer)
    with script(node, "openid_client.mjs") as relying_party:
        asked = relying_party.tell(
            {
                "issuer": house.provider.issuer,
                "client_id": client.client_id,
                "client_secret": client.client_secret,
                "auth": auth,
                "redirect_uri": REDIRECT_URI,
                "post_logout_redirect_uri": POST_LOGOUT_REDIRECT_URI,
                "scope": SCOPE,
            }
        )
        callback = person.authorize(asked["authorization_url"], house.username, house.password)
        assert callback.startswith(REDIRECT_URI + "?")
        told = relying_party.tell({"callback": callback})

    # The library itself has checked the signature, `iss`, `aud`, `exp`, `nonce`, `auth_time` and userinfo's `sub`.
    assert told["foreign_issuer"]["code"] == "OAUTH_INVALID_RESPONSE"
    assert told["missing_issuer"]["code"] == "OAUTH_INVALID_RESPONSE"
    assert told["claims"]["iss"] == house.provider.issuer
    assert {"auth_time", "acr", "amr", "sid"} <= told["claims"].keys()
    assert told["userinfo"]["rfc"] == house.username
    assert told["userinfo"]["account_kind"] == "client"
    assert told["userinfo"]["mailbox"]["rfc"] == house.username
    assert 1 <= told["expires_in"] <= 300
    assert told["scope"].split() == SCOPE.split()
    assert told["renewed"]
    assert told["after_revocation"]["error"] == "invalid_grant"
    if auth != "none":
        assert told["introspected"]["active"] is True
        assert told["introspected"]["client_id"] == client.client_id
    assert_signs_out(person, told["end_session_url"])
