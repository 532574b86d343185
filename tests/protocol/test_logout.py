"""RP-initiated logout: who is asked, and where one may go afterwards."""

from base64 import urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256
from urllib.parse import urlencode

import pytest

from idp.protocol.details import ClientDetails
from idp.protocol.errors import InteractionGone, InvalidIdTokenHint, InvalidRedirectUri, InvalidRequest
from idp.protocol.logout import EndSession, NeedsConfirmation, session_state
from tests.protocol.conftest import House, answer, replace

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
    for whose in ({"id_token_hint": hint}, {"client_id": client.client_id}, {"client_id": "nobody"}):
        with pytest.raises(InvalidRedirectUri):
            _begin(house, **whose, post_logout_redirect_uri=uri)
    with pytest.raises(InvalidIdTokenHint):
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


@pytest.mark.spec("P-12")
def test_a_hint_names_the_session_after_its_end_and_for_a_pairwise_client(house: House) -> None:
    details = ClientDetails(subject_type="pairwise", sector="app.example")
    client = house.client(post_logout_redirect_uris=(BACK,), details=details)
    hint = house.tokens(client)["id_token"]
    house.now += timedelta(hours=11)
    assert _begin(house, id_token_hint=hint, post_logout_redirect_uri=BACK) == EndSession(BACK, "App")


@pytest.mark.spec("P-12")
def test_a_hint_that_is_none_of_ours_counts_for_nothing(house: House) -> None:
    """What the conformance suite sends: an ID token of somebody else, and ours with `alg` changed to `none`."""
    client = house.client(post_logout_redirect_uris=(BACK,))
    hint = house.tokens(client)["id_token"]
    header, payload, signature = hint.split(".")
    none = urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    for forged in (f"{none}.{payload}.", f"{none}.{payload}.{signature}", f"{header}.{payload}.{signature[::-1]}"):
        with pytest.raises(InvalidIdTokenHint):
            _begin(house, id_token_hint=forged, post_logout_redirect_uri=BACK, state="s")
        assert isinstance(_begin(house, id_token_hint=forged), NeedsConfirmation)


def test_what_the_suite_sends_without_a_return_is_confirmed(house: House) -> None:
    for parameters in ({}, {"state": "s"}, {"logout_hint": "somebody@example.org", "ui_locales": "en xx"}):
        asked = _begin(house, **parameters)
        assert isinstance(asked, NeedsConfirmation)
        ended = house.server.logouts.confirm(asked.logout, browser=house.browser, now=house.now)
        assert ended == EndSession(None, None)


@pytest.mark.parametrize(
    ("redirect_uri", "origin"),
    [
        ("https://app.example/cb?x=1", "https://app.example"),
        ("https://APP.example:443/cb", "https://app.example"),
        ("https://app.example:8443/cb", "https://app.example:8443"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("http://[::1]:5000/cb", "http://[::1]:5000"),
        ("com.example.app:/cb", "null"),
    ],
)
def test_session_state_binds_client_origin_and_browser_state(redirect_uri: str, origin: str) -> None:
    stated, _, salt = session_state("client-1", redirect_uri, "opbs").partition(".")
    assert stated == sha256(f"client-1 {origin} opbs {salt}".encode()).hexdigest()
    assert session_state("client-1", redirect_uri, "opbs") != f"{stated}.{salt}"


def test_session_state_comes_with_success_where_the_browser_has_a_state(house: House) -> None:
    client = house.client()
    for state in (None, "opbs"):
        decision = house.server.authorizations.begin(
            house.query(client),
            authentication=house.authentication,
            browser=lambda: house.browser,
            now=house.now,
            browser_state=state,
        )
        assert ("session_state" in answer(decision)) is (state is not None)
