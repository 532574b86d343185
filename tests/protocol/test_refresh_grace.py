"""A deployment's grace for lost answers: the same successor again, to the same client, for a moment (T-8)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from idp.protocol.clients import Client
from idp.protocol.stored_grants import digest_token
from tests.protocol.conftest import House

GRACE = timedelta(seconds=10)
Refresh = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def client(house: House) -> Client:
    house.server.services.tokens._refresh_grace = GRACE
    return house.client()


@pytest.fixture
def refresh(house: House, client: Client) -> Refresh:
    def ask(token: str, *, after: float = 0, by: Client | None = None, **more: str) -> tuple[int, dict[str, Any]]:
        at = house.now + timedelta(seconds=after)
        answer = house.post("token", by or client, grant_type="refresh_token", refresh_token=token, now=at, **more)
        assert answer.body is not None
        return answer.status, answer.body

    return ask


@pytest.mark.spec("T-8")
def test_within_the_grace_the_same_successor_comes_again(house: House, client: Client, refresh: Refresh) -> None:
    first = house.tokens(client)["refresh_token"]
    status, body = refresh(first)
    again, repeated = refresh(first, after=10)
    assert (status, again) == (200, 200)
    assert repeated["refresh_token"] == body["refresh_token"] != first
    assert repeated["access_token"] != body["access_token"]
    third, next_body = refresh(body["refresh_token"], after=11)
    assert third == 200
    assert next_body["refresh_token"] not in {first, body["refresh_token"]}


@pytest.mark.spec("T-8", "D-25")
@pytest.mark.parametrize("reason", ["late", "used", "off"])
def test_otherwise_reuse_kills_the_family(house: House, client: Client, refresh: Refresh, reason: str) -> None:
    if reason == "off":
        house.server.services.tokens._refresh_grace = timedelta()
    first = house.tokens(client)["refresh_token"]
    second = refresh(first)[1]["refresh_token"]
    newest = refresh(second, after=1)[1]["refresh_token"] if reason == "used" else second
    assert house.is_active(client, newest)
    status, body = refresh(first, after=11 if reason == "late" else 2)
    assert (status, body["error"]) == (400, "invalid_grant")
    assert not house.is_active(client, newest)


@pytest.mark.spec("T-8", "D-26")
def test_the_grace_is_for_the_client_itself(house: House, client: Client, refresh: Refresh) -> None:
    first = house.tokens(client)["refresh_token"]
    second = refresh(first)[1]["refresh_token"]
    status, body = refresh(first, after=1, by=house.client("Other"))
    assert (status, body["error"]) == (400, "invalid_grant")
    assert house.is_active(client, second)


@pytest.mark.spec("T-6", "D-27")
def test_what_was_narrowed_stays_narrow_in_the_grace(house: House, client: Client, refresh: Refresh) -> None:
    first = house.tokens(client, "openid profile offline_access")["refresh_token"]
    assert refresh(first, scope="openid")[1]["scope"] == "openid"
    assert refresh(first, after=1)[1]["scope"] == "openid"
    status, body = refresh(first, after=1, scope="openid profile")
    assert (status, body["error"]) == (400, "invalid_scope")


@pytest.mark.spec("D-28", "L-5")
def test_a_grant_that_is_dead_has_no_grace(house: House, client: Client, refresh: Refresh) -> None:
    first = house.tokens(client)["refresh_token"]
    refresh(first)
    with house.server.services.store.write() as tx:
        house.server.services.tokens.revoke_grants_of(tx, house.authentication.sub, now=house.now)
    assert refresh(first, after=1)[0] == 400


@pytest.mark.spec("S-3", "S-4", "T-8")
def test_no_successor_is_kept_in_plain(house: House, client: Client, refresh: Refresh) -> None:
    first = house.tokens(client)["refresh_token"]
    second = refresh(first)[1]["refresh_token"]
    with house.server.services.store.read() as connection:
        raw: Any = connection.connection.dbapi_connection
        dump = "\n".join(raw.iterdump())
    assert digest_token(second) in dump
    assert second not in dump
    assert first not in dump
