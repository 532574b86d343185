"""The yardstick: a token endpoint as Authlib's documentation builds one, over Flask-SQLAlchemy and the ORM mixins.

Everything that is not Authlib's pattern is what we use ourselves: production server, SQLite PRAGMAs, key size,
algorithm, lifetime of the token, client authentication. The key is parsed once, which `get_jwks` allows and
`import_any_key` passes through; handing over a JWK dictionary, as the documentation's `load_jwks` does, would parse it
at every call and make this side slower than a careful user of Authlib would have it. `token_endpoint.py` runs it.
"""

import os
import secrets
from pathlib import Path
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.sqla_oauth2 import (
    OAuth2ClientMixin,
    OAuth2TokenMixin,
    create_query_client_func,
    create_save_token_func,
)
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from joserfc.jwk import ECKey
from sqlalchemy import event

db = SQLAlchemy()


class OAuth2Client(db.Model, OAuth2ClientMixin):  # type: ignore[name-defined,misc]  # both come without types
    """A relying party: documentation, "Flask OAuth 2.0 Server", section "Client"."""

    __tablename__ = "oauth2_client"
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.Integer, nullable=True)


class OAuth2Token(db.Model, OAuth2TokenMixin):  # type: ignore[name-defined,misc]  # both come without types
    """An issued token: the same page, section "Token"."""

    __tablename__ = "oauth2_token"
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.Integer, nullable=True)


class TokenGenerator(JWTBearerTokenGenerator):  # type: ignore[misc]  # Authlib has no types
    """RFC 9068 access tokens, signed with the one key of this server."""

    def __init__(self, issuer: str, key: ECKey, audience: str) -> None:
        super().__init__(issuer=issuer, alg="ES256", expires_generator=300)
        self._key = key
        self._audience = audience

    def get_jwks(self) -> ECKey:
        return self._key

    def get_audiences(self, client: Any, user: Any, scope: Any) -> str:  # noqa: ARG002  # Authlib calls it so
        return self._audience


def create_app(folder: Path, issuer: str) -> Flask:
    """The application over `folder`, which `prepare` filled."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'authlib.db'}"
    # As in idp/db.py, so that both sides wait for the same lock in the same way.
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 10}}
    db.init_app(app)
    with app.app_context():
        event.listen(db.engine, "connect", _set_pragmas)
    server = AuthorizationServer(
        app,
        query_client=create_query_client_func(db.session, OAuth2Client),
        save_token=create_save_token_func(db.session, OAuth2Token),
    )
    key = ECKey.import_key((folder / "key.pem").read_bytes())
    server.register_grant(ClientCredentialsGrant)
    server.register_token_generator("default", TokenGenerator(issuer, key, "https://api.example"))

    @app.post("/oauth/token")
    def issue_token() -> ResponseReturnValue:
        return server.create_token_response()  # type: ignore[no-any-return]  # Authlib has no types

    @app.get("/oauth/jwks")
    def jwks() -> ResponseReturnValue:
        return jsonify({"keys": [key.as_dict(private=False, kid="bench", alg="ES256", use="sig")]})

    return app


def prepare(folder: Path) -> tuple[str, str]:
    """Make key, tables and one client that may ask for `api:read`; its id and its secret."""
    (folder / "key.pem").write_bytes(ECKey.generate_key("P-256", private=True).as_pem(private=True))
    client_id, client_secret = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    app = create_app(folder, "http://127.0.0.1")
    with app.app_context():
        db.create_all()
        client = OAuth2Client(client_id=client_id, client_secret=client_secret, user_id=1)
        client.set_client_metadata(
            {
                "client_name": "bench",
                "grant_types": ["client_credentials"],
                "scope": "api:read",
                "token_endpoint_auth_method": "client_secret_basic",
            }
        )
        db.session.add(client)
        db.session.commit()
    return client_id, client_secret


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def from_environment() -> Flask:
    """What the production server calls in each worker (`granian --factory`)."""
    return create_app(Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_ISSUER"])
