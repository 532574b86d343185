"""A person sees which applications may act for them, and sends one away."""

from dataclasses import replace
from datetime import timedelta

import pytest

from idp.protocol.authorize import NeedsConsent
from idp.protocol.consents import Application, Consents
from idp.protocol.details import ClientDetails
from tests.protocol.conftest import House, answer

MINUTE = timedelta(minutes=1)
OTHER = "0c0a5b54-3c5e-4b1e-9d43-6a3c51a3b111"


def list_for(house: House, sub: str | None = None) -> tuple[Application, ...]:
    return house.server.consents.list_for(sub or house.authentication.sub)


def allow(house: House, query: str) -> str:
    """Say yes on the consent page; the code."""
    needs = house.authorize(query)
    assert isinstance(needs, NeedsConsent)
    decided = house.server.authorizations.decide(
        needs.interaction, allow=True, authentication=house.authentication, browser=house.browser, now=house.now
    )
    return answer(decided)["code"]


def consent(house: House, client_name: str, scope: str = "openid email") -> str:
    """Let a client in by the consent page; its id."""
    client = house.client(client_name, first_party=False)
    allow(house, house.query(client, scope=scope))
    return client.client_id


def test_the_list_says_who_what_since_when_and_when_last(house: House) -> None:
    assert list_for(house) == ()
    late = consent(house, "zeta", "openid rfc")
    early = consent(house, "Alfa")
    alfa, zeta = list_for(house)
    assert (alfa.client_id, alfa.client_name, set(alfa.scopes)) == (early, "Alfa", {"openid", "email"})
    assert (zeta.client_id, set(zeta.scopes)) == (late, {"openid", "rfc"})
    assert alfa.since == alfa.last_used_at == house.now


def test_a_first_party_client_asks_for_no_consent_and_is_shown_by_its_grants(house: House) -> None:
    client = house.client("Buzón")
    tokens = house.tokens(client, "openid offline_access")
    (shown,) = list_for(house)
    assert (shown.client_name, shown.since, shown.last_used_at) == ("Buzón", house.now, house.now)
    later = house.now + MINUTE
    refreshed = house.post(
        "token", client, now=later, grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert refreshed.status == 200
    assert list_for(house) == (replace(shown, last_used_at=later),)


@pytest.mark.spec("OIDC Core §4")
@pytest.mark.parametrize("way", ["consent", "grant"])
def test_an_application_that_can_begin_by_itself_is_told_who_asks(house: House, way: str) -> None:
    details = ClientDetails(initiate_login_uri="https://app.example/start?tenant=1")
    client = house.client("Buzón", first_party=way == "grant", details=details)
    if way == "consent":
        allow(house, house.query(client))
    else:
        house.tokens(client)
    consent(house, "Zeta")
    assert [each.start_url for each in list_for(house)] == [
        "https://app.example/start?tenant=1&iss=https%3A%2F%2Fid.example",
        None,
    ]


@pytest.mark.spec("D-28")
@pytest.mark.spec("W-9")
def test_sent_away_it_can_do_nothing_any_more_and_has_to_ask_again(house: House) -> None:
    client = house.client("App", first_party=False)
    query = house.query(client, scope="openid offline_access")

    body = house.redeem(client, allow(house, query)).body
    assert body is not None
    assert house.is_active(client, body["access_token"])
    pending = house.code(client, scope="openid offline_access")  # consented: no page
    assert house.server.consents.revoke(house.authentication.sub, client.client_id, house.now) is True
    assert list_for(house) == ()
    assert not house.is_active(client, body["access_token"])
    assert not house.is_active(client, body["refresh_token"])
    refreshed = house.post("token", client, grant_type="refresh_token", refresh_token=body["refresh_token"])
    assert refreshed.body is not None
    assert (refreshed.status, refreshed.body["error"]) == (400, "invalid_grant")
    assert house.redeem(client, pending).status == 400
    assert house.redeem(client, allow(house, query)).status == 200  # by the consent page again


@pytest.mark.spec("D-60")
@pytest.mark.spec("W-9")
def test_of_another_person_or_client_there_is_nothing_to_end(house: House) -> None:
    one, two = consent(house, "Uno"), consent(house, "Dos")
    consents: Consents = house.server.consents
    assert list_for(house, OTHER) == ()
    assert consents.revoke(OTHER, one, house.now) is False
    for wrong in ("nobody", "", "x\0", "ñ", "\ud800", "x" * 65, "' or 1=1--"):
        assert consents.revoke(house.authentication.sub, wrong, house.now) is False
    assert {each.client_id for each in list_for(house)} == {one, two}
    assert consents.revoke(house.authentication.sub, one, house.now) is True
    assert [each.client_id for each in list_for(house)] == [two]
    assert consents.revoke(house.authentication.sub, one, house.now) is False
