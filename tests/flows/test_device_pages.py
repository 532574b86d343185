"""From a device's code to its tokens, through the pages and the machine endpoints of the whole provider."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idp import policy
from idp.app import create_app
from idp.audit import AuditEvent
from idp.db import Base
from idp.keys import KeyRing
from idp.protocol.clients import Client, Registration
from idp.protocol.profiles import DEVICE_CODE
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import Services
from tests.journeys import Page

USERNAME, PASSWORD = "EKU9003173C9", "Sello.Digital.2026"
ISSUER = "http://localhost"


@dataclass
class Visitor:
    """A browser at the pages of one provider."""

    http: FlaskClient
    response: TestResponse = field(init=False)
    page: Page = field(init=False)

    def _see(self, response: TestResponse) -> Page:
        self.response = response
        self.page = Page(response.request.url, response.text)
        return self.page

    def open(self, url: str) -> Page:
        return self._see(self.http.get(url, follow_redirects=True))

    def send(self, form_id: str, button: str = "submit", **typed: str) -> Page:
        form = self.page.forms[form_id]
        data = {**form.values, **typed}
        if button in form.buttons:
            name, value = form.buttons[button]
            data[name] = value
        return self._see(self.http.post(form.action, data=data, follow_redirects=True))


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

    def events(self) -> list[str]:
        with self.services.store.read() as connection:
            rows = connection.execute(AuditEvent.__table__.select()).all()
        return [row.event for row in rows if "device" in row.event]


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and an account, made once: a password hash is slow on purpose."""
    folder = tmp_path_factory.mktemp("device")
    KeyRing(folder / "keys").ensure(datetime.now(UTC))
    services = _start(folder).extensions[EXTENSION]
    Base.metadata.create_all(services.store.engine)
    services.lifecycle.create(
        USERNAME, email="cliente@example.org", name="Cliente de prueba", password=PASSWORD, now=datetime.now(UTC)
    )
    services.store.engine.dispose()
    return folder


def _start(folder: Path) -> Flask:
    return create_app(
        Settings(
            issuer=ISSUER,
            database_url=f"sqlite:///{folder}/idp.db",
            keys_dir=folder / "keys",
            secret_key="0123456789abcdef0123456789abcdef-tests",
        )
    )


@pytest.fixture
def house(_folder: Path, tmp_path: Path) -> Iterator[House]:
    shutil.copytree(_folder, tmp_path / "own")
    app = _start(tmp_path / "own")
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


@pytest.fixture
def visitor(house: House) -> Callable[[], Visitor]:
    return lambda: Visitor(house.app.test_client())


def _sign_in(person: Visitor) -> Page:
    assert person.page.screen == "signin"
    return person.send("form-signin", username=USERNAME, password=PASSWORD)


@pytest.mark.spec("RFC 8628 §3.3", "RFC 8628 §5.4", "S25")
def test_a_person_enters_the_code_signs_in_and_lets_the_device_in(house: House, visitor: Callable[[], Visitor]) -> None:
    begun, person = house.begin("openid profile offline_access"), visitor()
    assert person.open("/device").screen == "device"
    assert {"user_code", "submit"} <= person.page.ids
    person.send("form-device", user_code=begun["user_code"].lower().replace("-", " "))
    asked = _sign_in(person)
    assert (asked.screen, {"submit", "deny"} <= asked.ids) == ("device", True)
    text = person.response.text
    assert "&lt;b&gt;Televisor&lt;/b&gt;" in text
    assert begun["user_code"] in text
    assert "127.0.0.1" in text
    assert "Conservar este acceso" in text
    assert house.poll(begun["device_code"])["error"] == "authorization_pending"
    person.send("form-device")
    assert (person.page.screen, person.response.status_code) == ("device", 200)
    assert "Vuelva a su equipo" in person.response.text
    body = house.poll(begun["device_code"])
    assert body["scope"] == "openid profile offline_access"
    assert {"access_token", "id_token", "refresh_token"} <= set(body)
    bearer = {"Authorization": "Bearer " + body["access_token"]}
    assert house.app.test_client().get("/oauth/userinfo", headers=bearer).json["name"] == "Cliente de prueba"
    assert house.events() == ["client:device-code:enter", "account:device:approve"]
    # Nothing to go back to: the third step was shown once.
    assert person.open("/device/done").forms.keys() == {"form-device"}


@pytest.mark.spec("RFC 8628 §5.4", "S25")
def test_a_code_in_the_address_is_filled_in_and_still_asked_for(house: House, visitor: Callable[[], Visitor]) -> None:
    begun, person = house.begin(), visitor()
    page = person.open(begun["verification_uri_complete"])
    assert page.screen == "device"
    assert page.forms["form-device"].values["user_code"] == begun["user_code"]
    assert house.events() == []
    person.send("form-device")
    _sign_in(person)
    assert {"submit", "deny"} <= person.page.ids
    assert house.poll(begun["device_code"])["error"] == "authorization_pending"


@pytest.mark.spec("S25")
def test_whoever_did_not_ask_says_no(house: House, visitor: Callable[[], Visitor]) -> None:
    begun, person = house.begin(), visitor()
    person.open("/device")
    person.send("form-device", user_code=begun["user_code"])
    _sign_in(person)
    person.send("form-device", "deny")
    assert "No se conectó ningún equipo" in person.response.text
    assert house.poll(begun["device_code"])["error"] == "access_denied"
    assert house.events()[-1] == "account:device:deny"


@pytest.mark.spec("RFC 8628 §5.1", "S25")
def test_wrong_codes_are_said_alike_and_then_made_to_wait(house: House, visitor: Callable[[], Visitor]) -> None:
    begun, person = house.begin(), visitor()
    person.open("/device")
    texts = set()
    for typed in ("BBBB-BBBB", "hola", "<script>alert(1)</script>", "\x00" * 8, "B" * 10_000)[
        : policy.DEVICE_TRIES_MAX
    ]:
        person.send("form-device", user_code=typed)
        assert (person.response.status_code, person.page.screen) == (400, "device")
        assert "<script>alert" not in person.response.text
        texts.add(person.response.text.partition('id="user_code-error">')[2].partition("<")[0])
    assert len(texts) == 1
    person.send("form-device", user_code=begun["user_code"])
    assert person.response.status_code == 429
    assert 0 < int(person.response.headers["Retry-After"]) <= policy.DEVICE_TRIES_WINDOW.total_seconds()
    other = visitor()
    other.open("/device")
    assert other.send("form-device", user_code=begun["user_code"]).screen == "signin"
    empty = visitor()
    empty.open("/device")
    empty.send("form-device", user_code=" ")
    assert empty.response.status_code == 400


@pytest.mark.spec("W-5", "W-6", "W-7")
def test_the_answer_is_a_form_of_ours_in_the_browser_that_entered_the_code(
    house: House, visitor: Callable[[], Visitor]
) -> None:
    begun, person, other = house.begin(), visitor(), visitor()
    other.open("/device/confirm")
    assert "ya no es válido" in other.response.text
    person.open("/device")
    person.send("form-device", user_code=begun["user_code"])
    _sign_in(person)
    forms = person.page.forms["form-device"].values
    policy_text = person.response.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy_text
    assert person.response.headers["Cache-Control"] == "no-store"
    answer = person.http.post("/device/confirm", data={**forms, "decision": "allow", "csrf_token": "x"})
    assert answer.status_code == 400
    assert house.poll(begun["device_code"])["error"] == "authorization_pending"
    person.open("/device/confirm")
    person.send("form-device", user_code="BBBB-BBBB")
    assert "ya no es válido" in person.response.text
    person.open("/device/confirm")
    person.send("form-device")
    assert "access_token" in house.poll(begun["device_code"])


@pytest.mark.spec("P-14", "P-16")
def test_the_machine_endpoint_takes_a_form_by_post_and_sets_no_cookie(house: House) -> None:
    http = house.app.test_client()
    assert http.get("/oauth/device_authorization").status_code == 405
    refused = http.post("/oauth/device_authorization", data=json.dumps({"client_id": "x"}), content_type="text/json")
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")
    begun = house.post("/oauth/device_authorization", scope="openid")
    assert "Set-Cookie" not in begun.headers
    assert begun.headers["Access-Control-Allow-Origin"] == "*"
    wrong = house.post("/oauth/device_authorization", scope="openid", client_secret="wrong")
    assert (wrong.status_code, wrong.headers["WWW-Authenticate"][:5]) == (401, "Basic")


@pytest.mark.spec("OIDC Core §5.3.2")
def test_a_userinfo_jwt_goes_out_as_one(house: House, visitor: Callable[[], Visitor]) -> None:
    details = replace(house.client.details, userinfo_signed_response_alg="ES256")
    house.services.protocol.clients.update(house.client.client_id, {"details": details}, now=datetime.now(UTC))
    begun, person = house.begin(), visitor()
    person.open("/device")
    person.send("form-device", user_code=begun["user_code"])
    _sign_in(person)
    person.send("form-device")
    bearer = {"Authorization": "Bearer " + house.poll(begun["device_code"])["access_token"]}
    answer = house.app.test_client().get("/oauth/userinfo", headers=bearer)
    assert (answer.status_code, answer.mimetype, answer.text.count(".")) == (200, "application/jwt", 2)
