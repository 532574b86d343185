"""What is asked for while a sign-in ends: given before and dead with it, or not given at all."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from idp.accounts.attempts import Attempt
from idp.accounts.sessions import Browser
from idp.protocol.authorize import Decision, NeedsSignIn
from idp.protocol.errors import AccessDenied
from idp.protocol.messages import ProtocolResponse
from idp.wiring import authentication_of
from tests.flows.conftest import PASSWORD, USERNAME, House

Act = Callable[[House, Browser], None]


def _nothing(_house: House, _browser: Browser) -> None:
    """So that each refusal stands beside the success that differs from it in one act."""


def _change_password_here(house: House, browser: Browser) -> None:
    """At the same browser, which keeps its `sid`."""
    attempt = Attempt(browser=browser)
    house.services.own_account.change_password(
        house.account_id, PASSWORD, "Otra.Clave.2027", attempt=attempt, now=datetime.now(UTC)
    )


def _change_password_elsewhere(house: House, _browser: Browser) -> None:
    house.services.own_account.change_password(
        house.account_id, PASSWORD, "Otra.Clave.2027", attempt=Attempt(), now=datetime.now(UTC)
    )


def _sign_out(house: House, browser: Browser) -> None:
    house.services.sign_in.sign_out(browser, datetime.now(UTC))


def _disable_and_enable(house: House, _browser: Browser) -> None:
    house.services.lifecycle.disable(USERNAME, datetime.now(UTC))
    house.services.lifecycle.enable(USERNAME, datetime.now(UTC))


ACTS = [
    (_nothing, True),
    (_change_password_here, False),
    (_change_password_elsewhere, False),
    (_sign_out, False),
    (_disable_and_enable, False),
]


def _authorize(house: House, browser: Browser, **more: str) -> Decision:
    """What a request gets that found this browser signed in, whatever has happened since."""
    query = {
        "response_type": "code",
        "client_id": house.client.client_id,
        "redirect_uri": "https://app.example/cb",
        "scope": "openid offline_access",
        "code_challenge": "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM",
        "code_challenge_method": "S256",
        **more,
    }
    return house.services.protocol.authorizations.begin(
        urlencode(query),
        authentication=authentication_of(browser),
        browser=lambda: browser.browser,
        now=datetime.now(UTC),
    )


@pytest.mark.spec("W-4", "W-3", "L-5")
@pytest.mark.parametrize(("act", "is_given"), ACTS)
def test_no_code_outlives_the_sign_in_that_it_was_asked_with(house: House, act: Act, is_given: bool) -> None:
    """Such a code, and the refresh token that came of it, would be good for a month after a new password."""
    house.services.protocol.clients.update(house.client.client_id, {"first_party": True}, now=datetime.now(UTC))
    browser = house.sign_in()
    act(house, browser)
    loud, silent = _authorize(house, browser), _authorize(house, browser, prompt="none")
    assert isinstance(silent, ProtocolResponse)
    if is_given:
        assert isinstance(loud, ProtocolResponse)
        assert "code=" in str(loud.location)
        assert "code=" in str(silent.location)
    else:
        assert isinstance(loud, NeedsSignIn)
        assert "error=login_required" in str(silent.location)


@pytest.mark.spec("W-4", "L-5")
@pytest.mark.parametrize(("act", "is_given"), ACTS)
def test_no_consent_outlives_the_sign_in_that_it_was_given_with(house: House, act: Act, is_given: bool) -> None:
    browser = house.sign_in()
    asked = _authorize(house, browser)
    act(house, browser)
    decision = house.services.protocol.authorizations.decide(
        asked.interaction,  # type: ignore[union-attr]  # it asks for consent
        allow=True,
        authentication=authentication_of(browser),
        browser=browser.browser,
        now=datetime.now(UTC),
    )
    assert isinstance(decision, ProtocolResponse if is_given else NeedsSignIn)
    assert bool(house.services.protocol.consents.list_for(house.account_id)) is is_given


@pytest.mark.spec("D-28", "P-9")
@pytest.mark.parametrize("is_taken_back", [False, True])
def test_no_code_outlives_the_consent_that_it_rests_on(
    house: House, monkeypatch: pytest.MonkeyPatch, is_taken_back: bool
) -> None:
    browser, services, at = house.sign_in(), house.services, datetime.now(UTC)
    client, consents, apply = house.client, services.protocol.consents, services.store.apply
    with services.store.write() as tx:
        consents.remember(tx, house.account_id, client, ("openid", "offline_access"), at)

    def take_back_first(work: Any) -> Any:
        """The person was quicker than the request, which has found the consent and is about to answer."""
        monkeypatch.setattr(services.store, "apply", apply)
        if is_taken_back:
            assert consents.revoke(house.account_id, client.client_id, at)
        return apply(work)

    monkeypatch.setattr(services.store, "apply", take_back_first)
    assert isinstance(_authorize(house, browser), NeedsSignIn if is_taken_back else ProtocolResponse)
    assert bool(consents.list_for(house.account_id)) is not is_taken_back


@pytest.mark.spec("W-4", "L-5")
@pytest.mark.parametrize(("act", "is_given"), ACTS)
def test_no_device_is_let_in_by_a_sign_in_that_has_ended(house: House, act: Act, is_given: bool) -> None:
    browser = house.sign_in()
    act(house, browser)
    if is_given:
        assert "access_token" in house.let_in("openid", browser=browser)
    else:
        with pytest.raises(AccessDenied):
            house.let_in("openid", browser=browser)
