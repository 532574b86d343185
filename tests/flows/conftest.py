"""The whole provider in this process: its tables, one account, one client that is a device."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from idp.accounts.sessions import Browser
from idp.app import create_app
from idp.audit import AuditEvent
from idp.db import Base
from idp.keys import KeyRing
from idp.protocol.clients import Client, Registration
from idp.protocol.profiles import DEVICE_CODE
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import Services, authentication_of

USERNAME, PASSWORD = "EKU9003173C9", "Sello.Digital.2026"
ISSUER = "http://localhost"


@dataclass
class House:
    """The provider, an account, a client that is a device."""

    app: Flask
    services: Services
    client: Client
    secret: str

    def post(self, path: str, **form: str) -> TestResponse:
        values = {"client_id": self.client.client_id, "client_secret": self.secret, **form}
        return self.app.test_client().post(path, data=values)

    def begin(self, scope: str = "openid profile") -> dict[str, Any]:
        answer = self.post("/oauth/device_authorization", scope=scope)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        found: dict[str, Any] = answer.json
        return found

    def poll(self, device_code: str) -> dict[str, Any]:
        found: dict[str, Any] = self.post("/oauth/token", grant_type=DEVICE_CODE, device_code=device_code).json
        return found

    def sign_in(self) -> Browser:
        """A browser at which the account signed in a moment ago."""
        at, sessions = datetime.now(UTC), self.services.sessions
        with self.services.store.write() as tx:
            own = {"amr": ("pwd",), "acr": "1", "now": at, "address": None, "user_agent": None}
            cookie = sessions.sign_in(tx, None, self.account_id, **own)
        browser = sessions.find(cookie, at)
        assert browser is not None
        return browser

    def let_in(self, scope: str, *, browser: Browser | None = None) -> dict[str, Any]:
        """The tokens of a device that the account has let in a moment ago."""
        begun, at, door = self.begin(scope), datetime.now(UTC), self.services.protocol.devices
        door.enter(begun["user_code"], browser="b", address=None, now=at)
        authentication = authentication_of(browser or self.sign_in())
        door.decide(begun["user_code"], allow=True, browser="b", authentication=authentication, now=at)
        return self.poll(begun["device_code"])

    @property
    def account_id(self) -> str:
        found = self.services.directory.find(USERNAME, datetime.now(UTC))
        assert found is not None
        return found.account_id

    def events(self) -> list[str]:
        with self.services.store.read() as connection:
            rows = connection.execute(AuditEvent.__table__.select()).all()
        return [row.event for row in rows if "device" in row.event]


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and an account, made once: a password hash is slow on purpose."""
    folder = tmp_path_factory.mktemp("device")
    KeyRing(folder / "keys").ensure(datetime.now(UTC))
    services = start_app(folder).extensions[EXTENSION]
    Base.metadata.create_all(services.store.engine)
    services.lifecycle.create(
        USERNAME, email="cliente@example.org", name="Cliente de prueba", password=PASSWORD, now=datetime.now(UTC)
    )
    services.store.engine.dispose()
    return folder


def start_app(folder: Path) -> Flask:
    return create_app(
        Settings(
            issuer=ISSUER,
            database_url=f"sqlite:///{folder}/idp.db",
            keys_dir=folder / "keys",
            secret_key="0123456789abcdef0123456789abcdef-tests",
        )
    )


@pytest.fixture
def house(made_folder: Path, tmp_path: Path) -> Iterator[House]:
    shutil.copytree(made_folder, tmp_path / "own")
    app = start_app(tmp_path / "own")
    services: Services = app.extensions[EXTENSION]
    client, secret = services.protocol.clients.add(
        Registration(
            client_name="<b>Televisor</b>",
            redirect_uris=("https://app.example/cb",),
            scopes=("openid", "profile", "rfc", "offline_access"),
            grant_types=("authorization_code", "refresh_token", DEVICE_CODE),
            token_endpoint_auth_method="client_secret_post",
        ),
        now=datetime.now(UTC),
    )
    yield House(app, services, client, str(secret))
    services.store.engine.dispose()
