"""npm oauth4webapi, newest, signs in unchanged."""

import pytest

from tests.clients.conftest import POST_LOGOUT_REDIRECT_URI, REDIRECT_URI, SCOPE, House, assert_signs_out
from tests.clients.scripts import script
from tests.journeys import Person

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]


@pytest.mark.spec("P-7")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post", "none"])
def test_oauth4webapi_walks_from_discovery_to_sign_out(house: House, node: str, auth: str) -> None:
    client = house.register(auth)
    person = Person(house.provider.issuer)
    with script(node, "oauth4webapi.mjs") as relying_party:
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
        told = relying_party.tell({"callback": callback})
        # The library has checked state, `iss`, signature, `aud`, `nonce`, `at_hash` where there is one, and both `sub`.
        assert told["plain_is_the_same"]
        assert told["claims"]["sub"] == told["userinfo"]["sub"]
        assert told["userinfo"]["rfc"] == house.username
        assert told["again"] == "invalid_grant"

        callback = person.authorize(asked["authorization_url"], house.username, house.password)
        told = relying_party.tell({"callback": callback})
    assert told["renewed"]
    assert told["after_revocation"] == "invalid_grant"
    assert_signs_out(person, told["end_session_url"])
