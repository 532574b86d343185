"""The device grant: what a device is told, what a person may decide, what comes of it."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from idp import policy
from idp.db import Store
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import AccessDenied, DeviceCodeUnknown, TooManyCodes
from idp.protocol.messages import ProtocolRequest
from idp.protocol.profiles import DEVICE_CODE
from tests.protocol.conftest import ISSUER, House, replace

RESOURCE = "https://mailbox.example"


def _client(house: House, **changes: Any) -> Client:
    return house.client("Televisor", **{"grant_types": ("authorization_code", "refresh_token", DEVICE_CODE)} | changes)


def _begin(house: House, client: Client, scope: str = "openid profile", **more: str) -> dict[str, Any]:
    response = house.post("device_authorization", client, scope=scope, **more)
    assert response.status == 200, response.body
    assert response.body is not None
    return response.body


def _decide(house: House, user_code: str, *, allow: bool = True, now: Any = None) -> None:
    at = now or house.now
    house.server.devices.enter(user_code, browser=house.browser, address="192.0.2.7", now=at)
    house.server.devices.decide(
        user_code, allow=allow, browser=house.browser, authentication=house.authentication, now=at
    )


def _poll(house: House, client: Client, device_code: str, now: Any = None) -> tuple[int, dict[str, Any]]:
    response = house.post("token", client, grant_type=DEVICE_CODE, device_code=device_code, now=now)
    assert response.body is not None
    return response.status, response.body


def _refused(house: House, client: Client, device_code: str, now: Any = None) -> str:
    status, body = _poll(house, client, device_code, now)
    assert status == 400
    return str(body["error"])


@pytest.mark.spec("RFC 8628 §3.2")
def test_a_device_is_told_where_to_send_its_person(house: House) -> None:
    answer = _begin(house, _client(house))
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", answer["user_code"])
    assert answer["verification_uri"] == f"{ISSUER}/device"
    assert answer["verification_uri_complete"] == f"{ISSUER}/device?user_code={answer['user_code']}"
    assert (answer["expires_in"], answer["interval"]) == (600, 5)
    assert house.server.metadata()["device_authorization_endpoint"] == f"{ISSUER}/oauth/device_authorization"


@pytest.mark.spec("RFC 8628 §3.1", "T-5", "P-3", "P-10")
def test_only_a_client_of_this_grant_may_begin_and_only_for_what_it_may_have(house: House) -> None:
    client, other = _client(house, resources=(RESOURCE,)), house.client("Other")
    assert house.post("device_authorization", client, scope="openid", resource=RESOURCE).status == 200

    def refused(asking: Client | None, **parameters: str | None) -> tuple[int, str]:
        response = house.post("device_authorization", asking, **parameters)
        assert response.body is not None
        return response.status, response.body["error"]

    assert refused(other, scope="openid") == (400, "unauthorized_client")
    assert refused(client, scope="openid", client_secret="wrong") == (401, "invalid_client")
    assert refused(client, scope="mailbox:archive") == (400, "invalid_scope")
    assert refused(client) == (400, "invalid_scope")
    assert refused(client, scope="openid", resource="https://other.example") == (400, "invalid_target")
    for request in (ProtocolRequest("POST", query="client_id=x", form=b""), ProtocolRequest("POST")):
        assert house.server.device_authorization(request, house.now).status == 400


@pytest.mark.spec("RFC 8628 §3.5", "OIDC Core §3.1.3.7")
def test_an_approved_device_gets_the_tokens_once(house: House) -> None:
    client = _client(house)
    begun = _begin(house, client, "openid profile offline_access")
    assert _refused(house, client, begun["device_code"]) == "authorization_pending"
    _decide(house, begun["user_code"])
    status, body = _poll(house, client, begun["device_code"])
    assert (status, body["scope"]) == (200, "openid profile offline_access")
    claims = house.keys.verify(body["id_token"], typ="JWT", now=house.now)
    assert (claims["sub"], claims["aud"], claims["sid"]) == (house.authentication.sub, client.client_id, "sid-1")
    assert "at_hash" in claims
    assert "nonce" not in claims
    assert house.is_active(client, body["refresh_token"])
    refreshed = house.post("token", client, grant_type="refresh_token", refresh_token=body["refresh_token"])
    assert refreshed.status == 200


@pytest.mark.spec("P-16")
def test_the_device_of_a_client_that_another_process_has_removed_gets_nothing(house: House, tmp_path: Path) -> None:
    client = _client(house)
    begun = _begin(house, client)
    house.server.devices.enter(begun["user_code"], browser=house.browser, address="192.0.2.7", now=house.now)
    elsewhere = Store(create_engine(f"sqlite:///{tmp_path}/idp.db"))
    Clients(elsewhere).remove(client.client_id, now=house.now)
    elsewhere.engine.dispose()
    with pytest.raises(DeviceCodeUnknown):
        house.server.devices.decide(
            begun["user_code"], allow=True, browser=house.browser, authentication=house.authentication, now=house.now
        )


@pytest.mark.spec("P-7", "D-16")
def test_a_device_code_seen_again_kills_what_came_of_it(house: House) -> None:
    client = _client(house)
    begun = _begin(house, client, "openid offline_access")
    _decide(house, begun["user_code"])
    body = _poll(house, client, begun["device_code"])[1]
    assert house.is_active(client, body["access_token"])
    assert _refused(house, client, begun["device_code"]) == "invalid_grant"
    assert not house.is_active(client, body["access_token"])
    assert not house.is_active(client, body["refresh_token"])


@pytest.mark.spec("RFC 8628 §3.5")
def test_a_device_that_asks_too_often_is_told_to_slow_down_and_waits_longer_each_time(house: House) -> None:
    client = _client(house)
    code = _begin(house, client)["device_code"]

    def at(seconds: float) -> str:
        return _refused(house, client, code, house.now + timedelta(seconds=seconds))

    assert at(0) == "authorization_pending"
    assert at(4.5) == "authorization_pending"  # the network's share
    assert at(5) == "slow_down"
    assert at(13) == "slow_down"  # ten seconds by now
    assert at(28) == "authorization_pending"


@pytest.mark.spec("RFC 8628 §3.5")
def test_a_code_runs_out(house: House) -> None:
    client = _client(house)
    begun, late = _begin(house, client), house.now + policy.DEVICE_CODE_LIFETIME
    just_before = late - timedelta(seconds=1)
    assert _refused(house, client, begun["device_code"], just_before) == "authorization_pending"
    assert _refused(house, client, begun["device_code"], late) == "expired_token"
    with pytest.raises(DeviceCodeUnknown):
        _decide(house, begun["user_code"], now=late)
    assert _refused(house, client, "never-was", late) == "invalid_grant"


@pytest.mark.spec("RFC 8628 §3.5")
def test_a_refused_device_is_told_so(house: House) -> None:
    client = _client(house)
    begun = _begin(house, client)
    _decide(house, begun["user_code"], allow=False)
    assert _refused(house, client, begun["device_code"]) == "access_denied"
    with pytest.raises(DeviceCodeUnknown):
        _decide(house, begun["user_code"])


@pytest.mark.spec("P-7", "D-17")
def test_a_device_code_is_of_no_use_to_another_client(house: House) -> None:
    owner, other = _client(house), _client(house)
    begun = _begin(house, owner)
    _decide(house, begun["user_code"])
    assert _refused(house, other, begun["device_code"]) == "invalid_grant"
    assert _poll(house, owner, begun["device_code"])[0] == 200


@pytest.mark.spec("RFC 8707 §2.2")
@pytest.mark.parametrize(("resource", "status"), [(RESOURCE, 200), ("https://other.example", 400)])
def test_a_device_names_the_resource_that_was_granted_and_no_other(house: House, resource: str, status: int) -> None:
    client = _client(house, resources=(RESOURCE, "https://other.example"))
    begun = _begin(house, client, resource=RESOURCE)
    _decide(house, begun["user_code"])
    asked = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"], "resource": resource}
    answer = house.post("token", client, **asked)
    assert answer.status == status
    assert answer.body is not None
    if status == 400:
        assert answer.body["error"] == "invalid_target"
    else:
        assert house.keys.verify(answer.body["access_token"], typ="at+jwt", now=house.now)["aud"] == resource


@pytest.mark.spec("L-5", "PW-6")
@pytest.mark.parametrize("meanwhile", ["disabled", "expired", "revoked"])
def test_whoever_approved_must_still_be_good_when_the_device_asks(house: House, meanwhile: str) -> None:
    client, sub = _client(house), house.authentication.sub
    begun = _begin(house, client)
    _decide(house, begun["user_code"])
    if meanwhile == "disabled":
        del house.people.known[sub]
    elif meanwhile == "expired":
        house.people.known[sub] = replace(house.people.known[sub], credentials_expire_at=house.now)
    else:
        assert house.server.consents.revoke(sub, client.client_id, house.now)
    assert _refused(house, client, begun["device_code"]) == "invalid_grant"


@pytest.mark.spec("S-2")
def test_a_code_is_decided_once(house: House) -> None:
    client = _client(house)
    begun = _begin(house, client)
    _decide(house, begun["user_code"])
    with pytest.raises(DeviceCodeUnknown):
        house.server.devices.decide(
            begun["user_code"],
            allow=False,
            browser=house.browser,
            authentication=house.authentication,
            now=house.now,
        )
    assert _poll(house, client, begun["device_code"])[0] == 200


@pytest.mark.spec("RFC 8628 §5.4", "W-6")
def test_only_the_browser_that_entered_the_code_decides_and_only_signed_in(house: House) -> None:
    client, door = _client(house), house.server.devices
    code = _begin(house, client)["user_code"]
    door.enter(code, browser=house.browser, address=None, now=house.now)
    assert door.find_entered("browser-2", house.now) is None
    values: dict[str, Any] = {"allow": True, "now": house.now}
    with pytest.raises(DeviceCodeUnknown):
        door.decide(code, browser="browser-2", authentication=house.authentication, **values)
    with pytest.raises(AccessDenied):
        door.decide(code, browser=house.browser, authentication=None, **values)
    other = _begin(house, client)["user_code"]
    with pytest.raises(DeviceCodeUnknown):
        door.decide(other, browser=house.browser, authentication=house.authentication, **values)
    door.decide(code, browser=house.browser, authentication=house.authentication, **values)


@pytest.mark.spec("RFC 8628 §6.1")
def test_a_code_is_read_however_it_is_typed(house: House) -> None:
    code = _begin(house, _client(house))["user_code"]
    bare = code.replace("-", "")
    for typed in (code, bare, code.lower(), f"  {bare[:2]} {bare[2:]} ", "-".join(bare), bare[:4] + "–" + bare[4:]):
        found = house.server.devices.enter(typed, browser=house.browser, address=None, now=house.now)
        assert found.user_code == code
    for typed in ("", "AAAA-AAAA", bare + "B", bare[:-1], "ñ" * 8, "B" * 10_000):
        with pytest.raises(DeviceCodeUnknown):
            house.server.devices.enter(typed, browser=typed or "b", address=None, now=house.now)


@pytest.mark.spec("RFC 8628 §5.1")
def test_wrong_codes_are_counted_by_browser_and_by_address(house: House) -> None:
    code, door = _begin(house, _client(house))["user_code"], house.server.devices

    def wrong(browser: str, address: str, now: Any = house.now) -> None:
        with pytest.raises(DeviceCodeUnknown):
            door.enter("BBBB-BBBB", browser=browser, address=address, now=now)

    for _ in range(policy.DEVICE_TRIES_MAX - 1):
        wrong("one", "192.0.2.1")
    door.enter(code, browser="one", address="192.0.2.1", now=house.now)  # a right one costs nothing
    wrong("one", "192.0.2.1")
    with pytest.raises(TooManyCodes) as refusal:
        door.enter(code, browser="one", address="192.0.2.1", now=house.now)
    assert refusal.value.retry_after == policy.DEVICE_TRIES_WINDOW
    later = house.now + policy.DEVICE_TRIES_WINDOW - timedelta(seconds=1)
    with pytest.raises(TooManyCodes):
        door.enter(code, browser="one", address="192.0.2.1", now=later)

    for number in range(policy.DEVICE_ADDRESS_TRIES_MAX):
        wrong(f"many-{number}", f"2001:db8:0:1::{number}")
    with pytest.raises(TooManyCodes):
        door.enter(code, browser="next", address="2001:db8:0:1::ffff", now=house.now)
    door.enter(code, browser="next", address="2001:db8:0:2::1", now=house.now)


@pytest.mark.spec("P-9", "K-7")
def test_an_approval_is_a_consent_and_gives_staff_no_mailbox(house: House) -> None:
    client, sub = _client(house, first_party=False), house.authentication.sub
    house.people.known[sub] = replace(house.people.known[sub], mailbox_rfc=None)
    begun = _begin(house, client, "openid mailbox:read")
    _decide(house, begun["user_code"])
    [application] = house.server.consents.list_for(sub)
    assert application.client_id == client.client_id
    assert _poll(house, client, begun["device_code"])[1]["scope"] == "openid"


@pytest.mark.spec("W-3")
def test_a_grant_that_is_not_for_offline_use_ends_with_the_session_and_survives_the_wait(house: House) -> None:
    client = _client(house)
    begun = _begin(house, client)
    _decide(house, begun["user_code"])
    tokens, at = house.server.services.tokens, house.now + policy.DEVICE_CODE_LIFETIME - timedelta(seconds=1)
    assert tokens.sweep(now=at) == 0
    with house.server.services.store.write() as tx:
        tokens.end_session(tx, "sid-1", now=at)
    assert _refused(house, client, begun["device_code"], at) == "invalid_grant"
