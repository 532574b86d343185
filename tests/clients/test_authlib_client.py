"""Authlib's clients, for requests and for Flask, sign in unchanged."""

import secrets

import pytest
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import MismatchingStateError
from authlib.integrations.flask_client import OAuth
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.base import OAuth2Error
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from tests.clients.conftest import REDIRECT_URI, SCOPE, House
from tests.journeys import Person, parameters

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]


@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post", "none"])
def test_requests_session_walks_from_authorization_to_revocation(house: House, auth: str) -> None:
    client = house.register(auth)
    issuer = house.provider.issuer
    verifier = generate_token(48)
    with OAuth2Session(
        client.client_id,
        client.client_secret or None,
        scope=SCOPE,
        redirect_uri=REDIRECT_URI,
        token_endpoint_auth_method=auth,
        revocation_endpoint_auth_method=auth,
        code_challenge_method="S256",
    ) as session:
        metadata = session.get(f"{issuer}/.well-known/openid-configuration", withhold_token=True).json()
        assert metadata["issuer"] == issuer
        url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
        callback = Person(issuer).authorize(url, house.username, house.password)
        assert parameters(callback)["iss"] == issuer

        token = session.fetch_token(
            metadata["token_endpoint"], authorization_response=callback, state=state, code_verifier=verifier
        )
        assert session.get(metadata["userinfo_endpoint"]).json()["rfc"] == house.username

        renewed = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
        assert renewed["refresh_token"] != token["refresh_token"]
        assert session.get(metadata["userinfo_endpoint"]).json()["rfc"] == house.username

        answer = session.revoke_token(
            metadata["revocation_endpoint"], token=renewed["refresh_token"], token_type_hint="refresh_token"
        )
        assert answer.status_code == 200
        with pytest.raises(OAuth2Error) as refusal:
            session.refresh_token(metadata["token_endpoint"], refresh_token=renewed["refresh_token"])
        assert refusal.value.error == "invalid_grant"


def test_flask_client_signs_in_from_discovery_alone(house: House) -> None:
    client = house.register("client_secret_basic")
    app = relying_party(house.provider.issuer, client.client_id, client.client_secret)
    browser = app.test_client()
    with browser:
        away = browser.get("/login")
        assert away.status_code == 302
        callback = Person(house.provider.issuer).authorize(away.location, house.username, house.password)
        claims = browser.get("/regreso?" + callback.partition("?")[2]).get_json()
    assert claims["iss"] == house.provider.issuer
    assert claims["aud"] in (client.client_id, [client.client_id])
    assert claims["sub"] != house.username  # T-4: the RFC is a claim of its own scope, never the subject

    # The answer of one browser is not taken by another: its state is unknown there.
    with pytest.raises(MismatchingStateError):
        app.test_client().get("/regreso?" + callback.partition("?")[2])


def relying_party(issuer: str, client_id: str, client_secret: str) -> Flask:
    """The web application of Authlib's documentation."""
    app = Flask("cliente")
    app.config.update(SECRET_KEY=secrets.token_hex(16), TESTING=True, SERVER_NAME="cliente.example")
    app.config.update(PREFERRED_URL_SCHEME="https")
    oauth = OAuth(app)
    oauth.register(
        "llavero",
        client_id=client_id,
        client_secret=client_secret,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": SCOPE, "code_challenge_method": "S256"},
    )

    @app.get("/login")
    def login() -> ResponseReturnValue:
        return oauth.llavero.authorize_redirect(REDIRECT_URI)  # type: ignore[no-any-return]

    @app.get("/regreso")
    def callback() -> ResponseReturnValue:
        token = oauth.llavero.authorize_access_token()
        return jsonify(token["userinfo"])  # the claims of the ID token, checked by Authlib

    return app
