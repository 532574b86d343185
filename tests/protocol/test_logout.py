"""RP-initiated logout: who is asked, and where one may go afterwards."""

from urllib.parse import urlencode

import pytest

from idp.protocol.errors import InteractionGone, InvalidRequest
from idp.protocol.logout import EndSession, NeedsConfirmation
from tests.protocol.conftest import House, replace

BACK = "https://app.example/signed-out"


def _begin(house: House, *, signed_in: bool = True, **parameters: str) -> object:
    return house.server.logouts.begin(
        urlencode(parameters),
        authentication=house.authentication if signed_in else None,
        browser=lambda: house.browser,
        now=house.now,
    )


@pytest.mark.spec("P-12")
def test_the_hint_of_this_session_proceeds_and_goes_back(house: House) -> None:
    client = house.client(post_logout_redirect_uris=(BACK,))
    hint = house.tokens(client)["id_token"]
    ended = _begin(house, id_token_hint=hint, post_logout_redirect_uri=BACK, state="s 1")
    assert ended == EndSession(f"{BACK}?state=s+1", "App")


@pytest.mark.spec("P-12", "D-62")
def test_without_a_hint_of_this_session_a_person_confirms(house: House) -> None:
    client = house.client(post_logout_redirect_uris=(BACK,))
    hint = house.tokens(client)["id_token"]
    assert isinstance(_begin(house), NeedsConfirmation)
    assert isinstance(_begin(house, client_id=client.client_id, post_logout_redirect_uri=BACK), NeedsConfirmation)
    house.authentication = replace(house.authentication, sid="sid-2")
    asked = _begin(house, id_token_hint=hint, post_logout_redirect_uri=BACK)
    assert isinstance(asked, NeedsConfirmation)
    for browser in ("browser-2", None):
        with pytest.raises(InteractionGone):
            house.server.logouts.confirm(asked.logout, browser=browser, now=house.now)
    assert house.server.logouts.confirm(asked.logout, browser=house.browser, now=house.now).return_uri == BACK
    with pytest.raises(InteractionGone):
        house.server.logouts.confirm(asked.logout, browser=house.browser, now=house.now)


@pytest.mark.spec("P-12", "D-62")
@pytest.mark.parametrize("uri", ["https://evil.example/", BACK + "/x", BACK[:-1], BACK + "?a=b", "javascript:alert(1)"])
def test_a_return_that_is_not_registered_is_refused(house: House, uri: str) -> None:
    client = house.client(post_logout_redirect_uris=(BACK,))
    hint = house.tokens(client)["id_token"]
    with pytest.raises(InvalidRequest):
        _begin(house, id_token_hint=hint, post_logout_redirect_uri=uri)
    with pytest.raises(InvalidRequest):
        _begin(house, post_logout_redirect_uri=BACK)


@pytest.mark.spec("T-1", "D-34")
def test_an_access_token_is_no_hint(house: House) -> None:
    client = house.client(post_logout_redirect_uris=(BACK,))
    token = house.tokens(client)["access_token"]
    assert isinstance(_begin(house, id_token_hint=token, client_id=client.client_id), NeedsConfirmation)


def test_hint_and_client_must_agree(house: House) -> None:
    client, other = house.client(), house.client("Other")
    hint = house.tokens(client)["id_token"]
    with pytest.raises(InvalidRequest):
        _begin(house, id_token_hint=hint, client_id=other.client_id)


def test_who_is_signed_out_already_goes_straight_back(house: House) -> None:
    client = house.client(post_logout_redirect_uris=(BACK,))
    ended = _begin(house, signed_in=False, client_id=client.client_id, post_logout_redirect_uri=BACK)
    assert ended == EndSession(BACK, "App")
