"""The session cookie, the token of forms, sign-out."""

from collections.abc import Callable

import pytest
from flask import Flask, session

from idp.settings import Settings
from idp.web.browser import begin_browser
from tests.web.conftest import KNOWN, PASSWORD, SECRET, Page, Services, Visitor, build

SECURE = Settings(secret_key=SECRET, issuer="https://llave.example")


def set_cookies(page: Page) -> list[str]:
    return page.response.headers.getlist("Set-Cookie")


@pytest.mark.spec("W-1")
def test_over_https_the_cookie_is_of_this_host_alone() -> None:
    visitor = Visitor(build(SECURE), base_url="https://llave.example")
    (cookie,) = set_cookies(visitor.get("/login"))
    assert cookie.startswith("__Host-session=")
    assert set(cookie.split("; ")[1:]) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}


@pytest.mark.spec("W-1")
def test_over_http_on_loopback_it_goes_without_prefix(visitor: Visitor) -> None:
    (cookie,) = set_cookies(visitor.get("/login"))
    assert cookie.startswith("session=")
    assert set(cookie.split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Lax"}


@pytest.mark.spec("W-2")
@pytest.mark.spec("D-47")
def test_the_cookie_changes_at_sign_in_and_the_old_one_is_dead(visitor: Visitor, services: Services) -> None:
    visitor.get("/login")
    before = visitor.cookie()
    visitor.sign_in()
    after = visitor.cookie()
    assert after != before
    assert services.sessions.rows[after or ""].account_id == "id-1"
    visitor.client.set_cookie("session", before or "")
    assert visitor.get("/login").screen == "signin"


@pytest.mark.spec("W-2")
@pytest.mark.spec("D-47")
@pytest.mark.parametrize("value", ["A" * 43, "short", "x" * 3000, "ñ", '"><script>'])
def test_a_cookie_that_was_not_ours_is_never_adopted(visitor: Visitor, services: Services, value: str) -> None:
    visitor.client.set_cookie("session", value)
    assert visitor.get("/login").status == 200
    assert value not in services.sessions.rows
    assert visitor.cookie() != value


def test_what_nobody_looks_into_costs_no_look_up(app: Flask, visitor: Visitor, services: Services) -> None:
    @app.get("/oauth/jwks")
    def jwks() -> dict[str, str]:
        return {}

    visitor.get("/login")
    looks, writes = services.sessions.looks, services.sessions.writes
    response = visitor.get("/oauth/jwks").response
    assert "Cookie" not in response.vary
    assert "Set-Cookie" not in response.headers
    assert (services.sessions.looks, services.sessions.writes) == (looks, writes)


@pytest.mark.spec("W-5")
@pytest.mark.parametrize("address", ["/login", "/logout", "/begin"])
def test_head_changes_nothing(app: Flask, visitor: Visitor, services: Services, address: str) -> None:
    @app.get("/begin")
    def begin() -> str:
        return begin_browser().browser

    visitor.submit(KNOWN, "wrong")
    rows = dict(services.sessions.rows)
    for client in (visitor.client, app.test_client()):
        response = client.head(address)
        assert response.status_code in {200, 405}
        assert "Set-Cookie" not in response.headers
    assert services.sessions.rows == rows


@pytest.mark.spec("W-5")
@pytest.mark.spec("D-46")
def test_a_form_without_our_token_is_refused_before_anything_is_counted(
    visitor: Visitor, another: Callable[[], Visitor], services: Services
) -> None:
    visitor.get("/login")
    stranger = another().get("/login").fields["csrf_token"]
    fields = {"username": KNOWN, "password": PASSWORD}
    for token in ({}, {"csrf_token": stranger}, {"csrf_token": "nonsense"}):
        page = visitor.post("/login", {**fields, **token})
        assert (page.status, page.screen) == (400, "signin")
        assert "La página estuvo abierta demasiado tiempo." in page
    assert services.sign_in.attempts == {}
    assert not any(row.account_id for row in services.sessions.rows.values())


@pytest.mark.spec("W-5")
@pytest.mark.spec("D-46")
def test_a_token_of_before_the_sign_in_is_refused_after_it(visitor: Visitor) -> None:
    old = visitor.get("/login").fields["csrf_token"]
    visitor.sign_in()
    assert visitor.post("/logout", {"csrf_token": old}).status == 400
    assert visitor.get("/login").response.headers["Location"] == "/account"


@pytest.mark.spec("W-5")
@pytest.mark.spec("D-46")
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:5001", "https://localhost:5000", "x"]
)
def test_a_form_of_another_origin_is_refused_whatever_it_holds(
    visitor: Visitor, services: Services, origin: str
) -> None:
    assert visitor.submit(KNOWN, PASSWORD, headers={"Origin": origin}).status == 400
    assert services.sign_in.attempts == {}
    assert not any(row.account_id for row in services.sessions.rows.values())


@pytest.mark.spec("W-5")
@pytest.mark.parametrize("with_cookie", [True, False])
def test_a_form_of_another_site_signs_nobody_out(visitor: Visitor, with_cookie: bool) -> None:
    visitor.sign_in()
    before = visitor.cookie()
    assert before is not None
    if not with_cookie:
        # As SameSite=Lax has it.
        visitor.client.delete_cookie("session")
    sent = visitor.post("/login", {"username": KNOWN, "password": PASSWORD}, headers={"Origin": "https://evil.example"})
    assert sent.status == 400
    assert not any(each.startswith("session=") for each in sent.response.headers.getlist("Set-Cookie"))
    visitor.client.set_cookie("session", before)
    assert visitor.get("/login").response.headers["Location"] == "/account"


@pytest.mark.spec("W-5")
def test_a_form_of_our_own_origin_is_taken(visitor: Visitor) -> None:
    assert visitor.submit(KNOWN, PASSWORD, headers={"Origin": "http://localhost:5000"}).status == 303


def test_behind_a_proxy_that_changes_the_host_forms_are_taken() -> None:
    visitor = Visitor(build(SECURE), base_url="https://internal.example:8443")
    headers = {"Origin": "https://llave.example", "Referer": "https://llave.example/login"}
    assert visitor.submit(KNOWN, PASSWORD, headers=headers).status == 303


def test_a_stale_form_keeps_the_pending_request_and_can_be_sent_again(visitor: Visitor, services: Services) -> None:
    visitor.get("/login")
    services.protocol.add("handle", services.sessions.rows[visitor.cookie() or ""])
    page = visitor.post("/login?interaction=handle", {"username": KNOWN, "password": PASSWORD})
    assert (page.status, page.actions["form-signin"]) == (400, "/login?interaction=handle")
    fields = {"username": KNOWN, "password": PASSWORD, "csrf_token": page.fields["csrf_token"]}
    sent = visitor.post("/login?interaction=handle", fields)
    assert sent.response.headers["Location"] == "/oauth/authorize?interaction=handle"


def test_a_get_signs_nobody_out(visitor: Visitor) -> None:
    visitor.sign_in()
    page = visitor.get("/logout")
    assert (page.screen, page.status) == ("signout-confirm", 200)
    assert {"form-signout"} == set(page.actions)
    assert visitor.get("/login").response.headers["Location"] == "/account"


@pytest.mark.parametrize("address", ["/logout?done=1", "/logout?done=<b>1</b>"])
def test_no_address_says_of_somebody_signed_in_that_they_are_not(visitor: Visitor, address: str) -> None:
    page = visitor.get(address)
    assert (page.screen, "<b>" in page) == ("signed-out", False)
    visitor.sign_in()
    page = visitor.get(address)
    assert page.screen == "signout-confirm"
    assert "Cerró su sesión." not in page


@pytest.mark.spec("W-3")
@pytest.mark.spec("D-48")
def test_signing_out_kills_the_cookie_on_the_server_too(visitor: Visitor) -> None:
    visitor.sign_in()
    cookie = visitor.cookie() or ""
    sent = visitor.post("/logout", {"csrf_token": visitor.get("/logout").fields["csrf_token"]})
    page = visitor.follow(sent)
    assert page.screen == "signed-out"
    assert ("Cerró su sesión." in page, "No hay ninguna sesión abierta" in page) == (True, False)
    assert visitor.cookie() is None
    assert "No hay ninguna sesión abierta" in visitor.get("/logout")
    visitor.client.set_cookie("session", cookie)
    page = visitor.get("/login")
    assert page.screen == "signin"
    assert KNOWN not in page


@pytest.mark.spec("D-48")
def test_nothing_with_a_person_on_it_is_kept_by_a_cache(visitor: Visitor) -> None:
    visitor.sign_in()
    for address in ("/login", "/logout"):
        assert visitor.get(address).response.headers["Cache-Control"] == "no-store"


def test_the_page_for_a_store_that_fails_while_saving_is_a_page_too(
    app: Flask, visitor: Visitor, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from idp.db import StoreUnavailable

    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailable("OperationalError")

    monkeypatch.setattr(services.sessions, "begin", refuse)
    page = visitor.get("/login")
    assert (page.status, page.screen) == (503, "error")


def test_values_in_the_session_outlive_the_request(app: Flask, visitor: Visitor) -> None:
    @app.get("/keep")
    def keep() -> str:
        session["kept"] = session.get("kept", 0) + 1
        return str(session["kept"])

    assert [visitor.get("/keep").text for _ in range(3)] == ["1", "2", "3"]
