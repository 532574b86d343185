"""The token endpoint: who may ask, what is spent, what comes of it."""

from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from idp import policy
from idp.protocol.messages import ProtocolRequest
from tests.protocol.conftest import ISSUER, REDIRECT_URI, House, replace


def _error(response: object) -> tuple[int, str]:
    return response.status, response.body["error"]  # type: ignore[attr-defined]


@pytest.mark.spec("T-1", "RFC 9068 §2.2")
def test_an_access_token_holds_what_the_contract_says(house: House) -> None:
    client = house.client(resources=("https://mailbox.example",), retention_days=30)
    body = house.tokens(client, "openid rfc mailbox:read")
    claims = house.keys.verify(body["access_token"], typ="at+jwt", now=house.now)
    assert set(claims) == {
        *("iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope", "auth_time", "acr", "amr", "sid"),
        *("rfc", "mailbox"),
    }
    assert (claims["iss"], claims["aud"], claims["client_id"]) == (ISSUER, "https://mailbox.example", client.client_id)
    assert claims["exp"] - claims["iat"] == body["expires_in"] == 300
    assert claims["mailbox"] == {"rfc": "EKU9003173C9", "actions": ["read"], "retention_days": 30}
    assert "refresh_token" not in body


@pytest.mark.spec("OIDC Core §2")
def test_an_id_token_is_for_the_client_and_bound_to_nonce_and_access_token(house: House) -> None:
    client = house.client(id_token_signed_response_alg="RS256")
    body = house.tokens(client, "openid")
    claims = house.keys.verify(body["id_token"], typ="JWT", now=house.now)
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"}
    assert (claims["aud"], claims["nonce"]) == (client.client_id, "n-1")
    assert claims["auth_time"] == int(house.authentication.auth_time.timestamp())


@pytest.mark.spec("T-7", "K-1")
def test_a_client_narrows_the_window_and_never_widens_it(house: House) -> None:
    client = house.client(retention_days=400)
    claims = house.keys.verify(house.tokens(client, "mailbox:read")["access_token"], typ="at+jwt", now=house.now)
    assert claims["mailbox"]["retention_days"] == 90


@pytest.mark.spec("K-5", "T-6")
def test_a_changed_window_is_in_the_next_token_and_what_was_narrowed_stays_narrow(house: House) -> None:
    client, sub = house.client(), house.authentication.sub
    body = house.tokens(client, "openid offline_access mailbox:read")

    def refresh(scope: str | None = None) -> dict[str, Any]:
        answer = house.post(
            "token", client, grant_type="refresh_token", refresh_token=body["refresh_token"], scope=scope
        )
        assert answer.body is not None
        body.update(answer.body)
        return house.keys.verify(body["access_token"], typ="at+jwt", now=house.now)

    house.people.known[sub] = replace(house.people.known[sub], retention_days=30)
    assert refresh()["mailbox"]["retention_days"] == 30
    assert "mailbox" not in refresh("openid offline_access")
    assert "mailbox" not in refresh()


@pytest.mark.spec("K-7")
def test_staff_get_no_mailbox(house: House) -> None:
    sub = house.authentication.sub
    house.people.known[sub] = replace(house.people.known[sub], mailbox_rfc=None)
    body = house.tokens(house.client(), "openid mailbox:read")
    assert body["scope"] == "openid"
    assert "mailbox" not in house.keys.verify(body["access_token"], typ="at+jwt", now=house.now)


@pytest.mark.spec("P-7", "D-16")
def test_a_code_seen_again_revokes_what_came_of_it(house: House) -> None:
    client = house.client()
    code = house.code(client, scope="openid offline_access")
    first = house.redeem(client, code).body
    assert first is not None
    assert house.is_active(client, first["access_token"])
    assert _error(house.redeem(client, code)) == (400, "invalid_grant")
    assert not house.is_active(client, first["access_token"])
    assert not house.is_active(client, first["refresh_token"])
    assert house.userinfo(first["access_token"]).status == 401
    refreshed = house.post("token", client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert _error(refreshed) == (400, "invalid_grant")


@pytest.mark.spec("P-7", "D-17")
def test_a_code_is_of_no_use_to_another_client_and_is_not_spent_by_it(house: House) -> None:
    owner, other = house.client("Owner"), house.client("Other")
    code = house.code(owner)
    assert _error(house.redeem(other, code)) == (400, "invalid_grant")
    assert house.redeem(owner, code).status == 200


@pytest.mark.spec("P-5", "P-7", "D-18", "D-19")
@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": None},
        {"code_verifier": "short"},
        {"code_verifier": "ñ" * 43},
        {"redirect_uri": "https://app.example/other"},
        {"redirect_uri": None},
    ],
)
def test_a_wrong_binding_spends_the_code(house: House, changes: dict[str, str | None]) -> None:
    client = house.client(redirect_uris=(REDIRECT_URI, "https://app.example/other"))
    code = house.code(client)
    assert _error(house.redeem(client, code, **changes)) == (400, "invalid_grant")
    assert _error(house.redeem(client, code)) == (400, "invalid_grant")


@pytest.mark.spec("P-7", "D-20")
def test_a_code_lives_sixty_seconds(house: House) -> None:
    client = house.client()
    code, late = house.code(client), house.code(client)
    assert house.redeem(client, code, now=house.now + timedelta(seconds=59)).status == 200
    assert _error(house.redeem(client, late, now=house.now + timedelta(seconds=61))) == (400, "invalid_grant")


@pytest.mark.spec("L-5", "PW-6")
def test_a_code_of_someone_disabled_or_with_an_old_password_is_worth_nothing(house: House) -> None:
    client, sub = house.client(), house.authentication.sub
    code, other = house.code(client), house.code(client)
    subject = house.people.known.pop(sub)
    assert _error(house.redeem(client, code)) == (400, "invalid_grant")
    house.people.known[sub] = replace(subject, credentials_expire_at=house.now)
    assert _error(house.redeem(client, other)) == (400, "invalid_grant")


@pytest.mark.spec("P-3", "P-4", "D-21")
@pytest.mark.parametrize(
    ("grant_type", "error"),
    [
        ("password", "unsupported_grant_type"),
        ("x", "unsupported_grant_type"),
        ("", "invalid_request"),
        (None, "invalid_request"),
    ],
)
def test_other_grant_types_are_refused_without_echo(house: House, grant_type: str | None, error: str) -> None:
    response = house.post("token", house.client(), grant_type=grant_type)
    assert _error(response) == (400, error)
    assert response.body is not None
    assert "password" not in response.body["error_description"]


@pytest.mark.spec("P-3", "D-21", "D-07")
def test_parameters_come_from_one_form_body_each_once(house: House) -> None:
    client = house.client(grant_types=("client_credentials",), redirect_uris=())
    form = f"grant_type=client_credentials&client_id={client.client_id}&client_secret={house.secrets[client.client_id]}"
    assert house.server.token(ProtocolRequest("POST", form=form.encode()), house.now).status == 200
    for request in (
        ProtocolRequest("POST", query=form),
        ProtocolRequest("POST", query="x=1", form=form.encode()),
        ProtocolRequest("POST", form=(form + "&grant_type=client_credentials").encode()),
        ProtocolRequest("POST", form=None),
        ProtocolRequest("POST", form=b"grant_type=%ff"),
        ProtocolRequest("POST", form=b"grant_type=\xff"),
        ProtocolRequest("POST", form=b"&".join(b"a%d=1" % n for n in range(101))),
    ):
        assert _error(house.server.token(request, house.now)) == (400, "invalid_request")


@pytest.mark.spec("P-10", "D-22", "D-23")
def test_a_client_authenticates_by_its_registered_method_only(house: House) -> None:
    client = house.client(token_endpoint_auth_method="client_secret_basic", grant_types=("client_credentials",))
    secret = house.secrets[client.client_id] or ""

    def ask(header: str | None, **form: str) -> object:
        body = "&".join(f"{name}={value}" for name, value in {"grant_type": "client_credentials", **form}.items())
        return house.server.token(ProtocolRequest("POST", form=body.encode(), authorization=header), house.now)

    def basic(text: str) -> str:
        return "Basic " + b64encode(text.encode()).decode()

    good = basic(f"{client.client_id}:{secret}")
    assert ask(good).status == 200  # type: ignore[attr-defined]
    refused = [
        ask(None, client_id=client.client_id),
        ask(None, client_id=client.client_id, client_secret=secret),
        ask(good, client_secret=secret),
        ask(good, client_id="other"),
        ask(basic(f"{client.client_id}:wrong")),
        ask(basic(f"{client.client_id}:ñandú")),
        ask(basic(f"{client.client_id}:%ff")),
        ask(basic(f"{client.client_id}:")),
        ask(basic(":" + secret)),
        ask(basic("unknown:" + secret)),
        ask(basic(client.client_id)),
        ask("Basic %%%"),
        ask("Basic"),
        ask("Bearer x"),
        ask("Basic " + "A" * 1_000_000),
        ask(None),
    ]
    assert {_error(each) for each in refused} == {(401, "invalid_client")}
    assert {each.headers["WWW-Authenticate"].split()[0] for each in refused} == {"Basic"}  # type: ignore[attr-defined]
    assert len({each.body["error_description"] for each in refused}) == 1  # type: ignore[attr-defined]


@pytest.mark.spec("T-8", "D-25")
def test_a_used_refresh_token_kills_its_family(house: House) -> None:
    client = house.client()
    first = house.tokens(client)["refresh_token"]
    second = house.post("token", client, grant_type="refresh_token", refresh_token=first).body
    assert second is not None
    assert second["refresh_token"] != first
    assert house.is_active(client, second["access_token"])
    for token in (first, second["refresh_token"]):
        assert _error(house.post("token", client, grant_type="refresh_token", refresh_token=token)) == (
            400,
            "invalid_grant",
        )
    assert not house.is_active(client, second["access_token"])


@pytest.mark.spec("T-6", "D-26", "D-27")
def test_a_refresh_token_is_for_its_client_and_never_widens(house: House) -> None:
    client, other = house.client(), house.client("Other")
    token = house.tokens(client, "openid email offline_access")["refresh_token"]

    def refresh(asker: object, token: str, scope: str | None = None) -> object:
        return house.post("token", asker, grant_type="refresh_token", refresh_token=token, scope=scope)  # type: ignore[arg-type]

    assert _error(refresh(other, token)) == (400, "invalid_grant")
    assert _error(refresh(client, token, "openid profile")) == (400, "invalid_scope")
    narrowed = refresh(client, token, "openid")
    assert narrowed.body["scope"] == "openid"  # type: ignore[attr-defined]
    again = refresh(client, narrowed.body["refresh_token"], "openid email")  # type: ignore[attr-defined]
    assert _error(again) == (400, "invalid_scope")


@pytest.mark.spec("T-7", "PW-6")
def test_a_refresh_token_ends_with_the_password(house: House) -> None:
    client = house.client()
    token = house.tokens(client)["refresh_token"]
    end = house.people.known[house.authentication.sub].credentials_expire_at
    kept = house.post(
        "token", client, grant_type="refresh_token", refresh_token=token, now=end - timedelta(seconds=1)
    ).body
    assert kept is not None
    late = house.post("token", client, grant_type="refresh_token", refresh_token=kept["refresh_token"], now=end)
    assert _error(late) == (400, "invalid_grant")


@pytest.mark.spec("T-7")
def test_a_refresh_family_ends_absolutely(house: House) -> None:
    sub = house.authentication.sub
    house.people.known[sub] = replace(house.people.known[sub], credentials_expire_at=house.now + timedelta(days=999))
    client = house.client()
    token = house.tokens(client)["refresh_token"]
    nearly = house.now + policy.REFRESH_TOKEN_LIFETIME - timedelta(seconds=5)
    kept = house.post("token", client, grant_type="refresh_token", refresh_token=token, now=nearly).body
    assert kept is not None
    over = nearly + timedelta(seconds=6)
    late = house.post("token", client, grant_type="refresh_token", refresh_token=kept["refresh_token"], now=over)
    assert _error(late) == (400, "invalid_grant")


@pytest.mark.spec("D-72", "T-5")
def test_a_client_for_itself_gets_no_scope_of_a_person(house: House) -> None:
    client = house.client(
        grant_types=("client_credentials",), redirect_uris=(), scopes=("openid", "reports", "mailbox:read")
    )
    body = house.post("token", client, grant_type="client_credentials").body
    assert body is not None
    claims = house.keys.verify(body["access_token"], typ="at+jwt", now=house.now)
    assert (claims["sub"], claims["scope"]) == (client.client_id, "reports")
    assert "mailbox" not in claims
    for scope in ("openid", "mailbox:read", "reports openid", "other"):
        refused = house.post("token", client, grant_type="client_credentials", scope=scope)
        assert _error(refused) == (400, "invalid_scope")
    assert _error(house.userinfo(body["access_token"])) == (403, "insufficient_scope")


@pytest.mark.spec("K-7")
def test_a_client_of_an_organisation_sees_that_mailbox(house: House) -> None:
    client = house.client(
        grant_types=("client_credentials",),
        redirect_uris=(),
        scopes=("mailbox:read",),
        organization_rfc="URE180429TM6",
    )
    body = house.post("token", client, grant_type="client_credentials").body
    assert body is not None
    claims = house.keys.verify(body["access_token"], typ="at+jwt", now=house.now)
    assert (claims["mailbox"]["rfc"], claims["mailbox"]["retention_days"]) == ("URE180429TM6", 60)


def test_a_grant_that_is_not_registered_is_unauthorized(house: House) -> None:
    client = house.client()
    assert _error(house.post("token", client, grant_type="client_credentials")) == (400, "unauthorized_client")


@pytest.mark.spec("RFC 8707 §2.2")
def test_a_token_request_may_name_the_resource_that_was_granted_and_no_other(house: House) -> None:
    first, second = "https://first.example", "https://second.example"
    client = house.client(resources=(first, second))

    def code() -> str:
        return house.code(client, scope="openid offline_access", resource=second)

    assert _error(house.redeem(client, code(), resource=first)) == (400, "invalid_target")
    for resource in (second, None):
        body = house.redeem(client, code(), resource=resource).body
        assert body is not None
        assert house.keys.verify(body["access_token"], typ="at+jwt", now=house.now)["aud"] == second
    refresh = {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
    assert _error(house.post("token", client, **refresh, resource=first)) == (400, "invalid_target")
    # A slip costs nothing: the token is not spent.
    assert house.post("token", client, **refresh, resource=second).status == 200
