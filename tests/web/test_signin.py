"""`/login`: what the sign-in page shows, takes, refuses, and where it leads."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from idp.accounts.errors import AddressThrottled, HashingOverloaded
from idp.db import StoreUnavailable
from idp.policy import PASSWORD_HASH_WAIT, PASSWORD_LENGTH_MAX
from tests.web.conftest import KNOWN, PASSWORD, UNKNOWN, Page, Services, Visitor

HOSTILE = [
    "'\"><script>alert(1)</script>",
    "{{7*7}}",
    "${7*7}",
    "\x00",
    "' or sleep(3)--",
    "\r\nSet-Cookie: a=b",
    "\u202e\u200b",
    "a" * 10_000,
]


def begin(visitor: Visitor, services: Services, handle: str = "handle", **changed: Any) -> None:
    """Let this browser have a pending authorization request."""
    visitor.get("/login")
    services.protocol.add(handle, services.sessions.rows[visitor.cookie() or ""], **changed)


def test_the_page_has_the_names_that_machines_rely_on(visitor: Visitor) -> None:
    page = visitor.get("/login")
    assert (page.status, page.screen, page.language) == (200, "signin", "es-MX")
    assert {"username", "password", "submit"} <= page.ids
    assert set(page.fields) == {"csrf_token", "username", "password"}
    assert page.actions == {"form-signin": "/login"}


@pytest.mark.spec("PW-7")
def test_fields_tell_password_managers_what_they_are(visitor: Visitor) -> None:
    page = visitor.get("/login")
    assert 'autocomplete="username"' in page
    assert 'autocomplete="current-password"' in page
    assert "maxlength" not in page
    assert "onpaste" not in page


def test_the_front_door_leads_to_the_sign_in_page(visitor: Visitor) -> None:
    page = visitor.get("/")
    assert (page.status, page.response.headers["Location"]) == (303, "/login")


@pytest.mark.spec("P-13")
@pytest.mark.spec("D-73")
@pytest.mark.parametrize(("password", "place"), [(PASSWORD, "/account"), ("wrong", "/login")])
def test_every_answer_to_the_form_is_a_303(visitor: Visitor, password: str, place: str) -> None:
    page = visitor.submit(KNOWN, password)
    assert (page.status, page.response.headers["Location"]) == (303, place)
    assert page.response.headers["Cache-Control"] == "no-store"


@pytest.mark.spec("P-13")
@pytest.mark.spec("D-73")
def test_a_client_that_keeps_the_method_but_obeys_303_gets_a_page(visitor: Visitor) -> None:
    page = visitor.get("/login")
    fields = {"username": KNOWN, "password": "wrong", "csrf_token": page.fields["csrf_token"]}
    response = visitor.client.post("/login", data=fields, follow_redirects=True)
    assert (response.status_code, response.request.method) == (200, "GET")
    assert response.request.get_data() == b""


def test_a_failure_shows_the_alert_once(visitor: Visitor) -> None:
    page = visitor.follow(visitor.submit(KNOWN, "wrong"))
    assert {"alert", "alert-close"} <= page.ids
    assert 'role="alertdialog"' in page
    assert "El usuario o la contraseña no son correctos. Le quedan 2 intentos antes" in page
    assert "<title>Error: Acceso a clientes" in page
    assert "alert" not in visitor.get("/login").ids


def test_a_failure_clears_the_fields_and_offers_the_name_again(visitor: Visitor) -> None:
    page = visitor.follow(visitor.submit(KNOWN, "wrong"))
    assert (page.fields["username"], page.fields["password"]) == ("", "")
    assert f'data-value="{KNOWN}"' in page
    assert "wrong" not in page
    assert visitor.get("/login?again=1").fields["username"] == KNOWN


def test_the_last_attempt_left_is_said_in_the_singular(visitor: Visitor) -> None:
    visitor.submit(KNOWN, "wrong")
    page = visitor.follow(visitor.submit(KNOWN, "wrong"))
    assert "Le queda 1 intento antes de que el usuario se bloquee." in page


@pytest.mark.parametrize("name", [KNOWN, UNKNOWN])
def test_the_third_failure_shows_the_locked_page(visitor: Visitor, name: str) -> None:
    for _ in range(3):
        page = visitor.follow(visitor.submit(name, "wrong"))
    assert (page.status, page.screen) == (200, "locked")
    assert "Cuenta bloqueada" in page
    assert 'href="/recover?again=1"' in page
    assert visitor.follow(visitor.submit(name, PASSWORD)).screen == "locked"
    assert visitor.get("/recover?again=1").fields["username"] == name


@pytest.mark.spec("L-3")
@pytest.mark.spec("D-40")
def test_a_name_that_nobody_has_sees_the_same_pages(another: Callable[[], Visitor]) -> None:
    def walk(name: str) -> list[tuple[int, list[str], str]]:
        visitor, seen = another(), []
        for _ in range(4):
            for page in (sent := visitor.submit(name, "wrong"), visitor.follow(sent)):
                headers = sorted(each for each, _ in page.response.headers)
                seen.append((page.status, headers, _without_handles(page, name)))
        return seen

    assert walk(KNOWN) == walk(UNKNOWN)


def _without_handles(page: Page, name: str) -> str:
    text = page.text
    for handle in (page.fields.get("csrf_token"), page.fields.get("captcha_handle"), name):
        if handle:
            text = text.replace(handle, "…")
    return text


def test_what_is_no_username_is_said_at_the_field_and_is_no_attempt(visitor: Visitor, services: Services) -> None:
    page = visitor.submit("pedro", "whatever")
    assert (page.status, page.screen) == (400, "signin")
    assert "El usuario no tiene un formato válido." in page
    assert 'aria-describedby="username-help username-error"' in page
    assert page.fields["username"] == "pedro"
    assert services.sign_in.attempts == {}
    assert not any("pedro" in str(row.data) for row in services.sessions.rows.values())


def test_empty_fields_are_each_named(visitor: Visitor, services: Services) -> None:
    page = visitor.submit("", "")
    assert page.status == 400
    assert "Hay un problema" in page
    assert 'href="#username">Escriba su usuario.' in page
    assert 'href="#password">Escriba su contraseña.' in page
    assert services.sign_in.attempts == {}


@pytest.mark.spec("PW-2")
def test_a_password_too_long_to_be_one_is_refused_before_it_is_compared(visitor: Visitor, services: Services) -> None:
    page = visitor.submit(KNOWN, "a" * (PASSWORD_LENGTH_MAX + 1))
    assert page.status == 400
    assert f"Use {PASSWORD_LENGTH_MAX} caracteres o menos." in page
    assert services.sign_in.attempts == {}
    assert visitor.submit(KNOWN, "a" * PASSWORD_LENGTH_MAX).status == 303


@pytest.mark.spec("W-8")
@pytest.mark.spec("D-50")
@pytest.mark.parametrize("field", ["username", "password", "csrf_token"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_field_is_refused_or_shown_as_text(visitor: Visitor, field: str, text: str) -> None:
    fields = {"username": KNOWN, "password": "wrong", "csrf_token": visitor.get("/login").fields["csrf_token"]}
    page = visitor.post("/login", {**fields, field: text})
    if page.status == 303:
        page = visitor.follow(page)
    assert page.status in {200, 400}
    assert "<script>alert" not in page
    assert page.fields["username"] != "49"
    assert "a=b" not in (page.response.headers.get("Set-Cookie") or "")


@pytest.mark.spec("W-8")
@pytest.mark.spec("D-50")
@pytest.mark.parametrize("name", ["interaction", "ui_locales", "again", "other", "x"])
@pytest.mark.parametrize("text", HOSTILE[:-1])
def test_hostile_text_in_the_address_is_refused_or_shown_as_text(visitor: Visitor, name: str, text: str) -> None:
    page = visitor.get("/login", query_string={name: text})
    assert (page.status, page.screen) == (200, "signin")
    assert "<script>alert" not in page


def test_a_client_name_is_shown_as_text(visitor: Visitor, services: Services) -> None:
    begin(visitor, services, client_name="<b>Buzón</b>")
    page = visitor.get("/login?interaction=handle")
    assert "<bdi>&lt;b&gt;Buzón&lt;/b&gt;</bdi>" in page


@pytest.mark.spec("OIDC Registration §2")
def test_a_client_shows_its_logo_and_its_pages(visitor: Visitor, services: Services) -> None:
    begin(visitor, services)
    assert "app-links" not in visitor.get("/login?interaction=handle")
    begin(visitor, services, logo_path="/oauth/logo/mailbox/d.png", policy_uri="https://buzon.example/aviso")
    page = visitor.get("/login?interaction=handle")
    assert 'src="/oauth/logo/mailbox/d.png"' in page
    assert 'href="https://buzon.example/aviso" rel="noreferrer"' in page


def test_a_pending_request_is_named_and_resumed(visitor: Visitor, services: Services) -> None:
    begin(visitor, services, login_hint=KNOWN)
    page = visitor.get("/login?interaction=handle")
    assert "Buzón de facturas" in page
    assert page.fields["username"] == KNOWN
    sent = visitor.submit(KNOWN, PASSWORD, address="/login?interaction=handle")
    assert (sent.status, sent.response.headers["Location"]) == (303, "/oauth/authorize?interaction=handle")


def test_a_failure_keeps_the_pending_request(visitor: Visitor, services: Services) -> None:
    begin(visitor, services)
    sent = visitor.submit(KNOWN, "wrong", address="/login?interaction=handle")
    assert sent.response.headers["Location"] == "/login?interaction=handle"
    assert "Buzón de facturas" in visitor.follow(sent)


@pytest.mark.spec("W-6")
@pytest.mark.spec("D-12")
def test_a_handle_of_another_browser_is_as_good_as_none(
    visitor: Visitor, another: Callable[[], Visitor], services: Services
) -> None:
    begin(visitor, services)
    second = another()
    second.get("/login")
    page = second.get("/login?interaction=handle")
    assert "Buzón de facturas" not in page
    assert page.actions["form-signin"] == "/login"
    sent = second.submit(KNOWN, PASSWORD, address="/login?interaction=handle")
    assert sent.response.headers["Location"] == "/account"
    assert services.sessions.rows[visitor.cookie() or ""].account_id is None


@pytest.mark.spec("D-49")
@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https:evil.example", "javascript:alert(1)"])
@pytest.mark.parametrize("name", ["next", "return_to", "redirect_uri", "url", "interaction"])
def test_no_return_address_is_taken_from_the_request(visitor: Visitor, name: str, target: str) -> None:
    page = visitor.get("/login", query_string={name: target})
    fields = {"username": KNOWN, "password": PASSWORD, "csrf_token": page.fields["csrf_token"], name: target}
    sent = visitor.post("/login", fields, query_string={name: target})
    assert (sent.status, sent.response.headers["Location"]) == (303, "/account")


@pytest.mark.spec("D-49")
@pytest.mark.parametrize(
    ("kept", "place"),
    [
        ("/account/password", "/account/password"),
        ("//evil.example", "/account"),
        ("/logout", "/account"),
        (7, "/account"),
    ],
)
def test_who_was_going_to_a_page_of_ours_gets_there(
    visitor: Visitor, services: Services, kept: object, place: str
) -> None:
    visitor.get("/login")
    services.sessions.rows[visitor.cookie() or ""].data["after_sign_in"] = kept
    assert visitor.sign_in().response.headers["Location"] == place


def test_who_is_signed_in_goes_to_their_account(visitor: Visitor) -> None:
    assert visitor.sign_in().response.headers["Location"] == "/account"
    page = visitor.get("/login")
    assert (page.status, page.response.headers["Location"]) == (303, "/account")


def test_who_is_signed_in_may_use_another_account(visitor: Visitor) -> None:
    visitor.sign_in()
    page = visitor.get("/login?other=1")
    assert page.screen == "signin"
    assert page.fields["username"] == ""


def test_who_is_signed_in_goes_straight_on(visitor: Visitor, services: Services) -> None:
    begin(visitor, services)
    visitor.sign_in()
    page = visitor.get("/login?interaction=handle")
    assert (page.status, page.response.headers["Location"]) == (303, "/oauth/authorize?interaction=handle")


def test_who_must_prove_it_again_sees_their_own_name(visitor: Visitor, services: Services) -> None:
    begin(visitor, services, reauthenticate=True)
    visitor.sign_in()
    page = visitor.get("/login?interaction=handle")
    assert page.status == 200
    assert "Confirme que es usted" in page
    assert page.fields["username"] == KNOWN
    assert "readonly" in page
    assert "Confirme que es usted" not in visitor.get("/login?interaction=handle&other=1")


def test_an_account_that_ended_is_nobody(visitor: Visitor, services: Services) -> None:
    visitor.sign_in()
    services.sign_in.people.clear()
    assert visitor.get("/login").screen == "signin"


def test_time_away_is_explained_once(visitor: Visitor, services: Services) -> None:
    visitor.get("/login")
    services.sessions.idle_out(visitor.cookie() or "")
    assert "Su sesión se cerró por inactividad." in visitor.get("/login")
    assert "Su sesión se cerró por inactividad." not in visitor.get("/login")


@pytest.mark.spec("L-10")
def test_too_many_at_once_are_told_when_to_come_back(visitor: Visitor, services: Services) -> None:
    services.sign_in.failure = HashingOverloaded(PASSWORD_HASH_WAIT)
    page = visitor.submit(KNOWN, PASSWORD)
    assert (page.status, page.screen) == (503, "error")
    assert page.response.headers["Retry-After"] == "5"


@pytest.mark.spec("O-5")
def test_a_store_that_is_away_refuses_and_says_nothing_of_itself(visitor: Visitor, services: Services) -> None:
    services.sign_in.failure = StoreUnavailable("OperationalError")
    page = visitor.submit(KNOWN, PASSWORD)
    assert (page.status, page.screen) == (503, "error")
    assert "Retry-After" in page.response.headers
    assert "OperationalError" not in page


@pytest.mark.spec("L-7")
def test_too_much_from_one_address_waits_on_the_same_page(visitor: Visitor, services: Services) -> None:
    services.sign_in.failure = AddressThrottled(timedelta(seconds=61))
    page = visitor.submit(KNOWN, PASSWORD)
    assert (page.status, page.screen, page.fields["password"]) == (429, "signin", "")
    assert page.response.headers["Retry-After"] == "61"
    assert "Hay demasiadas solicitudes desde su conexión. Espere 2 minutos e inténtelo de nuevo." in page
    services.sign_in.failure = None
    assert visitor.submit(KNOWN, PASSWORD).status == 303


@pytest.mark.spec("L-6")
def test_a_browser_that_signed_in_is_known_by_a_cookie_of_its_own(visitor: Visitor, services: Services) -> None:
    sent = visitor.sign_in()
    cookie = next(each for each in sent.response.headers.getlist("Set-Cookie") if each.startswith("device="))
    assert "device=device-of-id-1" in cookie
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Max-Age=15552000" in cookie
    visitor.submit(KNOWN, "wrong", address="/login?other=1")
    assert [attempt.device for attempt in services.sign_in.seen] == [None, "device-of-id-1"]


def test_an_attempt_says_where_it_comes_from(app: Flask, services: Services) -> None:
    Visitor(app, environ_base={"REMOTE_ADDR": "192.0.2.7", "HTTP_USER_AGENT": "Agent/1"}).sign_in()
    (attempt,) = services.sign_in.seen
    assert (attempt.address, attempt.user_agent, attempt.captcha, attempt.captcha_due) == (
        "192.0.2.7",
        "Agent/1",
        None,
        False,
    )
    assert attempt.browser is not None


@pytest.mark.spec("L-6")
@pytest.mark.parametrize("value", ["a" * 1000, ""])
def test_a_device_cookie_that_cannot_be_one_is_none(visitor: Visitor, services: Services, value: str) -> None:
    visitor.client.set_cookie("device", value)
    visitor.sign_in()
    assert services.sign_in.seen[0].device is None


@pytest.mark.parametrize(("ticked", "everywhere"), [({"everywhere": "1"}, True), ({}, False)])
def test_signing_out_here_or_everywhere(
    visitor: Visitor, services: Services, ticked: dict[str, str], everywhere: bool
) -> None:
    visitor.sign_in()
    sent = visitor.fill("form-signout", "/logout", **ticked)
    assert sent.status == 303
    assert services.sign_in.everywhere == [everywhere]


def test_support_shows_what_the_deployment_has(app: Flask, visitor: Visitor) -> None:
    page = visitor.get("/recover/username")
    assert (page.status, page.screen) == (200, "support")
    assert "Tenga a la mano su RFC" in page
    assert "Teléfono" not in page


def test_an_unknown_well_known_address_is_really_not_there(visitor: Visitor) -> None:
    address = "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200"
    assert visitor.get(address).status == 404
