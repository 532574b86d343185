"""Pushed requests: for their client, for a minute, for one authorization."""

from datetime import timedelta
from typing import Any

import pytest

from idp.protocol.authorize import NeedsConsent, NeedsSignIn
from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.errors import InteractionGone, InvalidClient, InvalidRequestUri
from idp.protocol.messages import ProtocolRequest, ProtocolResponse
from tests.protocol.conftest import CHALLENGE, ISSUER, REDIRECT_URI, House, answer
from tests.protocol.test_request_objects import KEY, claims_of, public, sign


def push(house: House, client: Client, **changes: str | None) -> ProtocolResponse:
    values = {
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": "openid profile",
        "state": "pushed",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return house.post("par", client, **values)


def pushed(house: House, client: Client, **changes: str | None) -> str:
    response = push(house, client, **changes)
    assert (response.status, response.headers["Cache-Control"]) == (201, "no-store")
    assert response.body is not None
    assert response.body["expires_in"] == 60
    return str(response.body["request_uri"])


def query(client: Client, request_uri: str, more: str = "") -> str:
    return f"client_id={client.client_id}&request_uri={request_uri}{more}"


@pytest.mark.spec("RFC 9126 §4", "P-11", "D-15")
def test_a_pushed_request_is_answered_and_what_stands_beside_it_is_not_looked_at(house: House) -> None:
    client = house.client()
    more = "&redirect_uri=https://evil.example&scope=openid+email&state=other&prompt=none&max_age=0&response_type=x"
    sent = answer(house.authorize(query(client, pushed(house, client), more)))
    assert (sent["state"], sent["iss"]) == ("pushed", ISSUER)
    body = house.redeem(client, sent["code"]).body
    assert body is not None
    assert body["scope"] == "openid profile"


@pytest.mark.spec("D-15", "P-11")
def test_it_is_spent_when_a_code_came_of_it_and_not_before(house: House) -> None:
    client = house.client()
    request_uri = pushed(house, client)
    for _ in range(2):
        # The page loads, and is loaded again.
        assert isinstance(house.authorize(query(client, request_uri), signed_in=False), NeedsSignIn)
    assert "code" in answer(house.authorize(query(client, request_uri)))
    with pytest.raises(InvalidRequestUri):
        house.authorize(query(client, request_uri))


@pytest.mark.spec("D-15", "P-11")
def test_of_two_authorizations_that_began_with_it_one_completes(house: House) -> None:
    client = house.client()
    request_uri = pushed(house, client)
    first, second = (house.authorize(query(client, request_uri), signed_in=False) for _ in range(2))
    later = house.now + timedelta(minutes=5)

    def resume(waiting: Any) -> Any:
        return house.server.authorizations.resume(
            waiting.interaction, authentication=house.authentication, browser=house.browser, now=later
        )

    assert "code" in answer(resume(first))
    with pytest.raises(InteractionGone):
        resume(second)


@pytest.mark.spec("D-15", "P-11")
def test_a_refusal_spends_it_too(house: House) -> None:
    client = house.client(first_party=False)
    request_uri = pushed(house, client)
    waiting = house.authorize(query(client, request_uri))
    assert isinstance(waiting, NeedsConsent)
    house.server.authorizations.decide(
        waiting.interaction, allow=False, authentication=house.authentication, browser=house.browser, now=house.now
    )
    with pytest.raises(InvalidRequestUri):
        house.authorize(query(client, request_uri))
    silent = pushed(house, client, prompt="none")
    assert answer(house.authorize(query(client, silent)))["error"] == "consent_required"
    with pytest.raises(InvalidRequestUri):
        house.authorize(query(client, silent))


@pytest.mark.spec("D-15", "P-11")
def test_it_is_of_its_client_and_lives_a_minute(house: House) -> None:
    client, other = house.client(), house.client("Other")
    request_uri = pushed(house, client)
    with pytest.raises(InvalidRequestUri):
        house.authorize(query(other, request_uri))
    with pytest.raises(InvalidClient):
        house.authorize(f"request_uri={request_uri}")
    for seconds in (60, 61):
        with pytest.raises(InvalidRequestUri):
            house.authorize(query(client, request_uri), now=house.now + timedelta(seconds=seconds))
    assert "code" in answer(house.authorize(query(client, request_uri), now=house.now + timedelta(seconds=59)))


@pytest.mark.spec("P-11", "P-2")
@pytest.mark.parametrize("tail", ["", "x", "x" * 43, "é" * 43, "../../x"])
def test_one_that_we_did_not_give_is_a_page(house: House, tail: str) -> None:
    client = house.client()
    with pytest.raises(InvalidRequestUri):
        house.authorize(house.query(client, request_uri="urn:ietf:params:oauth:request_uri:" + tail))


@pytest.mark.spec("RFC 9126 §2.1", "P-1", "P-3", "P-10")
@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"redirect_uri": "https://evil.example/cb"}, 400, "invalid_request"),
        ({"redirect_uri": None}, 400, "invalid_request"),
        ({"response_type": "token"}, 400, "unsupported_response_type"),
        ({"code_challenge": None}, 400, "invalid_request"),
        ({"scope": "not-mine"}, 400, "invalid_scope"),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, 400, "invalid_request"),
        ({"request": "e30.e30.e30"}, 400, "invalid_request_object"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_id": "another"}, 401, "invalid_client"),
    ],
)
def test_what_would_be_refused_later_is_refused_at_once(
    house: House, changes: dict[str, str | None], status: int, error: str
) -> None:
    response = push(house, house.client(), **changes)
    assert response.body is not None
    assert (response.status, response.body["error"]) == (status, error)


@pytest.mark.spec("P-3")
def test_parameters_go_in_the_body_once(house: House) -> None:
    client = house.client()
    secret = house.secrets[client.client_id]
    form = f"{house.query(client)}&client_secret={secret}"
    assert house.server.par(ProtocolRequest("POST", form=form.encode()), house.now).status == 201
    twice = ProtocolRequest("POST", form=f"{form}&state=x".encode())
    beside = ProtocolRequest("POST", query="state=x", form=form.encode())
    for request in (twice, beside, ProtocolRequest("POST")):
        response = house.server.par(request, house.now)
        assert response.body is not None
        assert (response.status, response.body["error"]) == (400, "invalid_request")


@pytest.mark.spec("RFC 9126 §6")
def test_who_has_to_push_is_refused_without(house: House) -> None:
    client = house.client(details=ClientDetails(require_pushed_authorization_requests=True))
    sent = answer(house.authorize(house.query(client)))
    assert (sent["error"], sent["state"]) == ("invalid_request", "st&te=1 ñ")
    assert "code" in answer(house.authorize(query(client, pushed(house, client))))


@pytest.mark.spec("RFC 9126 §3")
def test_a_signed_request_may_be_pushed(house: House) -> None:
    details = ClientDetails(jwks=public(KEY), require_signed_request_object=True)
    client = house.client(details=details)
    response = house.post("par", client, request=sign(claims_of(house, client)))
    assert response.status == 201
    assert response.body is not None
    assert answer(house.authorize(query(client, response.body["request_uri"])))["state"] == "signed"
    assert push(house, client).status == 400


def test_no_secret_is_kept_with_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    client = house.client()
    kept: list[Any] = []
    put = house.server.services.ephemeral.put
    monkeypatch.setattr(
        type(house.server.services.ephemeral),
        "put",
        lambda _self, *given, **named: (kept.append(given), put(*given, **named)),
    )
    pushed(house, client)
    assert kept
    assert house.secrets[client.client_id] not in repr(kept)
