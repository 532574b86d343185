"""What ends a refresh token before its time, each through the door that does it (D-28)."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from idp.accounts.attempts import Attempt
from tests.flows.conftest import PASSWORD, USERNAME, House


def _change_password(house: House) -> None:
    house.services.own_account.change_password(
        house.account_id, PASSWORD, "Otra.Clave.2027", attempt=Attempt(), now=datetime.now(UTC)
    )


def _revoke_consent(house: House) -> None:
    assert house.services.protocol.consents.revoke(house.account_id, house.client.client_id, datetime.now(UTC))


def _disable(house: House) -> None:
    house.services.lifecycle.disable(USERNAME, datetime.now(UTC))


def _remove_grant(house: House) -> None:
    grants = house.client.grant_types - {"refresh_token"}
    house.services.protocol.clients.update(
        house.client.client_id, {"grant_types": tuple(sorted(grants))}, now=datetime.now(UTC)
    )


def _nothing(_house: House) -> None:
    """So that each refusal stands beside the success that differs from it in one act."""


@pytest.mark.spec("D-28", "W-4", "L-5")
@pytest.mark.parametrize(
    ("act", "error"),
    [
        (_nothing, None),
        (_change_password, "invalid_grant"),
        (_revoke_consent, "invalid_grant"),
        (_disable, "invalid_grant"),
        (_remove_grant, "unauthorized_client"),
    ],
)
def test_a_refresh_token_ends_with_what_it_rests_on(
    house: House, act: Callable[[House], None], error: str | None
) -> None:
    token = house.let_in("openid offline_access")["refresh_token"]
    act(house)
    answer = house.post("/oauth/token", grant_type="refresh_token", refresh_token=token)
    assert answer.json.get("error") == error
    assert answer.status_code == (400 if error else 200)
    assert house.post("/oauth/introspect", token=token).json == {"active": False}


@pytest.mark.spec("D-28", "W-3")
def test_signing_out_ends_what_was_not_for_offline_use(house: House) -> None:
    """OIDC Back-Channel Logout section 2.7: a refresh token asked for with `offline_access` outlives the session."""
    browser = house.sign_in()
    online, offline = house.let_in("openid", browser=browser), house.let_in("openid offline_access", browser=browser)
    assert "refresh_token" not in online
    with house.services.store.write() as tx:
        house.services.protocol.services.tokens.end_session(tx, str(browser.sid), now=datetime.now(UTC))
    for body, active in ((online, False), (offline, True)):
        assert house.post("/oauth/introspect", token=body["access_token"]).json["active"] is active
    assert (
        house.post("/oauth/token", grant_type="refresh_token", refresh_token=offline["refresh_token"]).status_code
        == 200
    )
