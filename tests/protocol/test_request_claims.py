"""The `claims` parameter: read, bounded by the client, consented to, kept with the grant."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.protocol.authorize import NeedsConsent, NeedsSignIn
from idp.protocol.errors import InvalidRequest
from idp.protocol.request_claims import ClaimsRequest
from tests.protocol.conftest import House, answer, replace


def asking(**members: Any) -> str:
    return json.dumps(members)


@pytest.mark.spec("OIDC Core §5.5")
def test_it_keeps_what_is_known_and_leaves_out_the_rest() -> None:
    text = asking(
        userinfo={"name": {"essential": True, "extra": 1}, "email": None, "https://x.example/y": None},
        id_token={"acr": {"values": ["1", "2"]}, "sub": {"value": "s"}, "picture": {"value": 7}},
        other={"name": 3},
    )
    read = ClaimsRequest.parse(text)
    assert read.userinfo == {"name": {"essential": True}, "email": None}
    assert read.id_token == {"acr": {"values": ["1", "2"]}, "sub": {"value": "s"}, "picture": {}}
    assert (read.sub, read.essential_acr, read.personal) == ("s", (), ("name", "picture", "email"))
    assert ClaimsRequest.from_json(json.loads(json.dumps(read.to_json()))) == read
    assert read.within({"email"}).personal == ("email",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        '{"userinfo": []}',
        '{"userinfo": {"name": true}}',
        '{"userinfo": {"name": {"essential": "yes"}}}',
        '{"id_token": {"acr": {"values": "1"}}}',
        '{"userinfo": {"name": null, "name": null}}',
        '{"id_token": {"sub": {"value": NaN}}}',
        "[" * 20_000,
        '{"userinfo":' * 3_000,
        asking(userinfo={f"c{n}": None for n in range(51)}),
    ],
)
def test_what_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        ClaimsRequest.parse(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["userinfo", "id_token", "sub", "acr"]), inner),
        max_leaves=12,
    )
)
def test_anything_is_read_or_refused(value: Any) -> None:
    try:
        read = ClaimsRequest.parse(json.dumps(value))
    except InvalidRequest:
        return
    kept = json.dumps(read.to_json(), allow_nan=False)
    again = ClaimsRequest.from_json(json.loads(kept))
    assert (again.sub, again.essential_acr, again.personal) == (read.sub, read.essential_acr, read.personal)


@pytest.mark.spec("OIDC Core §5.5", "T-5", "D-82")
def test_claims_are_given_where_they_are_asked_for_within_what_the_client_may_have(house: House) -> None:
    client = house.client(scopes=("openid", "profile"))
    claims = asking(userinfo={"name": {"essential": True}, "email": None, "rfc": None}, id_token={"name": None})
    body = house.redeem(client, house.code(client, claims=claims)).body
    assert body is not None
    info = house.userinfo(body["access_token"]).body
    assert info is not None
    assert set(info) == {"sub", "name"}
    assert "name" in house.keys.verify(body["id_token"], typ="JWT", now=house.now)
    plain = house.redeem(client, house.code(client)).body
    assert plain is not None
    assert set(house.userinfo(plain["access_token"]).body or ()) == {"sub"}
    assert "name" not in house.keys.verify(plain["id_token"], typ="JWT", now=house.now)


@pytest.mark.spec("T-4", "D-82")
def test_the_rfc_is_given_for_its_scope_alone(house: House) -> None:
    client = house.client()
    body = house.redeem(client, house.code(client, claims=asking(userinfo={"rfc": None}, id_token={"rfc": None}))).body
    assert body is not None
    assert "rfc" not in (house.userinfo(body["access_token"]).body or {})
    assert "rfc" not in house.keys.verify(body["id_token"], typ="JWT", now=house.now)


@pytest.mark.spec("OIDC Core §5.5.1")
def test_an_essential_claim_that_we_do_not_know_stops_nothing(house: House) -> None:
    claims = asking(userinfo={"phone_number": {"essential": True}, "nickname": {"essential": True}})
    assert "code" in answer(house.authorize(house.query(house.client(), claims=claims)))


@pytest.mark.spec("P-9", "T-5")
def test_the_person_is_asked_for_claims_beyond_the_scopes_and_once(house: House) -> None:
    client = house.client(first_party=False)

    def ask(claims: str | None) -> Any:
        return house.authorize(house.query(client, claims=claims))

    def allow(waiting: Any) -> None:
        assert isinstance(waiting, NeedsConsent)
        decided = house.server.authorizations.decide(
            waiting.interaction, allow=True, authentication=house.authentication, browser=house.browser, now=house.now
        )
        assert "code" in answer(decided)

    allow(ask(None))
    assert "code" in answer(ask(None))
    waiting = ask(asking(userinfo={"email": None}))
    shown = house.server.describe_interaction(
        waiting.interaction, browser=house.browser, now=house.now, authentication=house.authentication
    )
    assert shown is not None
    assert (shown.new_scopes, shown.extra_claims, shown.new_claims) == ((), ("email",), ("email",))
    assert shown.claims == {"email": "cliente@example.org"}
    allow(waiting)
    assert "code" in answer(ask(asking(id_token={"email": None})))
    assert isinstance(ask(asking(userinfo={"email": None, "name": None})), NeedsConsent)
    silent = house.authorize(house.query(client, claims=asking(userinfo={"name": None}), prompt="none"))
    assert answer(silent)["error"] == "consent_required"
    (application,) = house.server.consents.list_for(house.authentication.sub)
    assert application.scopes == ("openid",)


@pytest.mark.spec("OIDC Core §5.5.1", "P-8")
@pytest.mark.parametrize("member", ["id_token", "userinfo"])
def test_another_person_than_the_one_asked_for_gets_no_answer_for_it(house: House, member: str) -> None:
    client = house.client()
    own = asking(**{member: {"sub": {"value": house.authentication.sub}}})
    assert "code" in answer(house.authorize(house.query(client, claims=own)))
    other = asking(**{member: {"sub": {"value": "another"}}})
    assert answer(house.authorize(house.query(client, claims=other, prompt="none")))["error"] == "login_required"
    waiting = house.authorize(house.query(client, claims=other))
    assert isinstance(waiting, NeedsSignIn)
    later = house.now + timedelta(seconds=20)
    signed_in = replace(house.authentication, auth_time=later)
    resumed = house.server.authorizations.resume(
        waiting.interaction, authentication=signed_in, browser=house.browser, now=later
    )
    assert answer(resumed)["error"] == "login_required"


@pytest.mark.spec("OIDC Core §5.5.1.1")
@pytest.mark.parametrize(
    ("acr", "error"),
    [
        ({"essential": True, "values": ["1", "9"]}, None),
        ({"essential": True, "value": "9"}, "unmet_authentication_requirements"),
        ({"essential": True, "values": ["8", "9"]}, "unmet_authentication_requirements"),
        ({"values": ["9"]}, None),
        ({"essential": True}, None),
    ],
)
def test_an_essential_acr_is_reached_or_refused(house: House, acr: dict[str, Any], error: str | None) -> None:
    sent = answer(house.authorize(house.query(house.client(), claims=asking(id_token={"acr": acr}))))
    assert sent.get("error") == error


@pytest.mark.spec("OIDC Core §5.5.1.1")
def test_an_essential_acr_below_which_the_person_signed_in_asks_again(house: House) -> None:
    house.authentication = replace(house.authentication, acr="0")
    query = house.query(house.client(), claims=asking(id_token={"acr": {"essential": True, "value": "1"}}))
    assert isinstance(house.authorize(query), NeedsSignIn)
    voluntary = house.query(house.client(), acr_values="1 2")
    assert "code" in answer(house.authorize(voluntary))
