"""From a device's code to its tokens, through the pages and the machine endpoints of the whole provider."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idp import policy
from tests.flows.conftest import PASSWORD, USERNAME, House
from tests.journeys import Page


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


@pytest.fixture
def visitor(house: House) -> Callable[[], Visitor]:
    return lambda: Visitor(house.app.test_client())


def _sign_in(person: Visitor) -> Page:
    assert person.page.screen == "signin"
    return person.send("form-signin", username=USERNAME, password=PASSWORD)


@pytest.mark.spec("RFC 8628 §3.3", "RFC 8628 §5.4")
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


@pytest.mark.spec("RFC 8628 §5.4")
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


@pytest.mark.spec("RFC 8628 §3.3")
def test_whoever_did_not_ask_says_no(house: House, visitor: Callable[[], Visitor]) -> None:
    begun, person = house.begin(), visitor()
    person.open("/device")
    person.send("form-device", user_code=begun["user_code"])
    _sign_in(person)
    person.send("form-device", "deny")
    assert "No se conectó ningún equipo" in person.response.text
    assert house.poll(begun["device_code"])["error"] == "access_denied"
    assert house.events()[-1] == "account:device:deny"


@pytest.mark.spec("RFC 8628 §5.1")
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
