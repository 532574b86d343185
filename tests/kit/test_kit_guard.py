"""A Flask view behind the guard: what RFC 6750 wants answered, and nothing of the caller's repeated."""

from datetime import datetime, timedelta

import pytest
from flask import Flask, Response, g, jsonify
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from idp_kit import AccessTokenVerifier
from idp_kit.flask_guard import Guard
from joserfc.jwk import ECKey
from kit_issuer import AUDIENCE, Issuer
from werkzeug.test import TestResponse


class Clock:
    """The resource server's own."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(now: datetime) -> Clock:
    return Clock(now)


@pytest.fixture
def client(verifier: AccessTokenVerifier, clock: Clock) -> FlaskClient:
    app = Flask(__name__)
    guard = Guard(verifier, clock=clock)

    @app.route("/invoices", methods=["GET", "POST"])
    @guard.require("mailbox:read")
    def invoices() -> ResponseReturnValue:
        return jsonify(rfc=g.access_token.get_mailbox().rfc)

    @app.get("/xml")
    @guard.require("mailbox:read", "mailbox:download")
    def xml() -> ResponseReturnValue:
        return Response("<xml/>", headers={"Cache-Control": "private, max-age=1"})

    @app.get("/me")
    @guard.require()
    def me() -> ResponseReturnValue:
        return g.access_token.sub

    return app.test_client()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_refused(response: TestResponse, status: int, error: str) -> None:
    assert response.status_code == status
    assert response.json is not None
    assert response.json["error"] == error
    assert response.json["error_description"].isascii()
    assert response.headers["Cache-Control"] == "no-store"
    assert f'Bearer error="{error}", error_description="' in response.headers["WWW-Authenticate"]


def test_a_good_token_passes(client: FlaskClient, issuer: Issuer) -> None:
    response = client.get("/invoices", headers=bearer(issuer.mailbox_token()))
    assert response.json == {"rfc": "EKU9003173C9"}
    assert response.headers["Cache-Control"] == "no-store"
    assert client.get("/invoices", headers={"Authorization": f"bearer  {issuer.mailbox_token()}"}).status_code == 200
    assert client.get("/xml", headers=bearer(issuer.mailbox_token())).headers["Cache-Control"] == "private, max-age=1"


def test_without_a_token_the_challenge_names_no_error(client: FlaskClient) -> None:
    for headers in ({}, {"Authorization": "Basic dTpw"}, {"Authorization": "DPoP x"}, {"Authorization": ""}):
        response = client.get("/invoices", headers=headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer scope="mailbox:read"'
        assert response.headers["Cache-Control"] == "no-store"
    assert client.get("/me").headers["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.spec("D-36")
def test_a_token_in_the_query_or_the_body_is_refused(client: FlaskClient, issuer: Issuer) -> None:
    token = issuer.mailbox_token()
    for response in (
        client.get("/invoices", query_string={"access_token": token}),
        client.get("/invoices", query_string={"access_token": token}, headers=bearer(token)),
        client.get("/invoices?access_token=", headers=bearer(token)),
        client.post("/invoices", data={"access_token": token}),
        client.post("/invoices", data={"access_token": token}, headers=bearer(token)),
    ):
        assert_refused(response, 400, "invalid_request")
        assert token not in response.text


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer {0}, Bearer {0}", "Bearer é"]
)
def test_a_header_that_is_not_one_token(value: str, client: FlaskClient, issuer: Issuer) -> None:
    value = value.format(issuer.mailbox_token())
    assert_refused(client.get("/invoices", headers={"Authorization": value}), 400, "invalid_request")


@pytest.mark.spec("D-29")
@pytest.mark.spec("D-35")
def test_what_the_verifier_refuses_is_401(client: FlaskClient, issuer: Issuer) -> None:
    own = ECKey.generate_key("P-256", {"kid": "ec-1", "alg": "ES256"})
    good = issuer.mailbox_token()
    for token in (
        "x",
        good.rsplit(".", 1)[0] + ".",
        issuer.sign(issuer.claims(), alg="none"),
        issuer.sign(issuer.claims(), key=own),
        issuer.sign(issuer.claims(), kid="../../dev/null"),
        issuer.mailbox_token(aud="https://other.example"),
        issuer.mailbox_token(iss="https://other.example"),
        issuer.mailbox_token(cnf={"jkt": "x"}),
    ):
        response = client.get("/invoices", headers=bearer(token))
        assert_refused(response, 401, "invalid_token")
        assert token not in response.text + str(response.headers)


@pytest.mark.spec("K-3")
def test_the_token_ends_by_the_servers_own_clock(client: FlaskClient, issuer: Issuer, clock: Clock) -> None:
    token = issuer.mailbox_token()
    clock.now += timedelta(seconds=299)
    assert client.get("/invoices", headers=bearer(token) | {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 200
    clock.now += timedelta(seconds=1)
    response = client.get("/invoices", headers=bearer(token) | {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"})
    assert_refused(response, 401, "invalid_token")


@pytest.mark.spec("K-4")
@pytest.mark.spec("D-72")
def test_a_token_that_allows_something_else_is_403(client: FlaskClient, issuer: Issuer) -> None:
    for path, token in (
        ("/invoices", issuer.token()),
        ("/invoices", issuer.token(sub="erp", client_id="erp", scope="openid")),
        ("/invoices", issuer.token(mailbox=issuer.mailbox())),
        ("/invoices", issuer.token(scope="mailbox:read")),
        ("/invoices", issuer.mailbox_token(mailbox=issuer.mailbox(retention_days=0))),
        ("/invoices", issuer.mailbox_token(mailbox=issuer.mailbox(actions=["download"]))),
        ("/xml", issuer.mailbox_token(scope="mailbox:read")),
        ("/xml", issuer.mailbox_token(mailbox=issuer.mailbox(actions=["read"]))),
    ):
        response = client.get(path, headers=bearer(token))
        assert_refused(response, 403, "insufficient_scope")
        scope = "mailbox:read mailbox:download" if path == "/xml" else "mailbox:read"
        assert response.headers["WWW-Authenticate"].endswith(f', scope="{scope}"')


def test_keys_out_of_reach_are_503(client: FlaskClient, issuer: Issuer) -> None:
    issuer.is_down = True
    response = client.get("/invoices", headers=bearer(issuer.mailbox_token()))
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.json is not None
    assert response.json["error"] == "temporarily_unavailable"
    assert "WWW-Authenticate" not in response.headers


def test_a_guard_asks_for_real_scopes(verifier: AccessTokenVerifier) -> None:
    for scope in ("", "a b", 'a"b', "é"):
        with pytest.raises(ValueError, match="scope"):
            Guard(verifier).require(scope)


def test_one_request_leaves_nothing_to_the_next(client: FlaskClient, issuer: Issuer) -> None:
    with client.application.app_context():  # in which every request has the same `g`
        assert client.get("/invoices", headers=bearer(issuer.mailbox_token())).status_code == 200
        assert g.access_token.claims["aud"] == AUDIENCE
        assert client.get("/invoices").status_code == 401
        assert "access_token" not in g
