"""What stands on every response, errors included, and what is too much."""

import logging
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from flask import Flask

from idp import audit
from idp.accounts.errors import AddressThrottled
from idp.policy import FORM_BODY_MAX, PARAMETER_COUNT_MAX
from idp.settings import Settings
from idp.web.errors import render_error
from idp.web.headers import allow_form_action
from tests.web.conftest import KNOWN, SECRET, Services, Visitor, build

EVERYWHERE = ["/login", "/", "/nowhere", "/oauth/nowhere", "/style.css", "/static/icon.svg", "/recover/username"]
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"


@pytest.mark.spec("W-7")
@pytest.mark.spec("D-11")
@pytest.mark.parametrize("address", EVERYWHERE)
def test_every_response_carries_them(visitor: Visitor, address: str) -> None:
    headers = visitor.get(address).response.headers
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "publickey-credentials-get=(self)" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers


@pytest.mark.spec("W-7")
def test_over_https_browsers_are_told_to_stay_there() -> None:
    visitor = Visitor(build(Settings(secret_key=SECRET, issuer="https://llave.example")))
    assert visitor.get("/nowhere").response.headers["Strict-Transport-Security"].startswith("max-age=31536000")


@pytest.mark.spec("W-7")
@pytest.mark.parametrize(
    ("redirect_uri", "scheme"),
    [
        ("https://buzon.example/callback", "https:"),
        ("http://127.0.0.1:5001/callback", "http:"),
        ("MX.Factura.App:/callback", "mx.factura.app:"),
    ],
)
def test_a_form_may_end_at_the_scheme_of_the_redirect_uri(
    visitor: Visitor, services: Services, redirect_uri: str, scheme: str
) -> None:
    visitor.get("/login")
    services.protocol.add("handle", services.sessions.rows[visitor.cookie() or ""], redirect_uri=redirect_uri)
    headers = visitor.get("/login?interaction=handle").response.headers
    assert headers["Content-Security-Policy"] == f"{POLICY} {scheme}"
    assert visitor.get("/login").response.headers["Content-Security-Policy"] == POLICY


def test_what_is_no_scheme_adds_nothing(app: Flask, visitor: Visitor) -> None:
    @app.get("/odd")
    def odd() -> str:
        allow_form_action("*; script-src 'unsafe-inline':x")
        return ""

    assert visitor.get("/odd").response.headers["Content-Security-Policy"] == POLICY


def test_the_request_id_is_ours_and_new_each_time(visitor: Visitor) -> None:
    ids = [visitor.get("/login", headers={"X-Request-Id": "theirs"}).response.headers["X-Request-Id"] for _ in "ab"]
    assert "theirs" not in ids
    assert ids[0] != ids[1]


@pytest.mark.spec("L-7")
@pytest.mark.parametrize(
    ("remote", "forwarded", "seen"),
    [
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_only_a_trusted_proxy_says_where_a_request_came_from(remote: str, forwarded: str, seen: str) -> None:
    app = build(Settings(secret_key=SECRET, trusted_proxies=("10.0.0.0/8",)))

    @app.get("/where")
    def where() -> str:
        return str(audit.origin.get().address)

    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    page = Visitor(app).get("/where", headers=headers, environ_base={"REMOTE_ADDR": remote})
    assert page.text == seen


@pytest.mark.spec("L-7")
def test_without_a_trusted_proxy_forwarded_headers_are_nothing(app: Flask, visitor: Visitor) -> None:
    @app.get("/where")
    def where() -> str:
        return str(audit.origin.get().address)

    assert visitor.get("/where", headers={"X-Forwarded-For": "203.0.113.9"}).text == "127.0.0.1"


@pytest.mark.spec("PW-2")
def test_a_body_over_the_limit_is_refused(visitor: Visitor, services: Services) -> None:
    page = visitor.submit(KNOWN, "a" * FORM_BODY_MAX)
    assert (page.status, page.screen) == (413, "error")
    assert services.sign_in.attempts == {}


@pytest.mark.spec("P-16")
@pytest.mark.parametrize("address", ["/login", "/nowhere", "/oauth/nowhere", "/static/icon.svg"])
def test_a_query_that_is_no_text_is_refused(visitor: Visitor, address: str) -> None:
    for query, is_text in (("ui_locales=\x80", False), ("ui_locales=%80", True), ("\xc3\xb1=1", True)):
        answer = visitor.client.get(address, environ_overrides={"QUERY_STRING": query}, buffered=True)
        assert (answer.status_code == 400) is not is_text
        assert answer.status_code < 500


@pytest.mark.spec("O-4")
def test_too_many_parameters_are_refused(visitor: Visitor) -> None:
    many = "&".join(f"p{n}=1" for n in range(PARAMETER_COUNT_MAX + 1))
    form = "application/x-www-form-urlencoded"
    assert visitor.get("/login?" + many).status == 413
    assert Visitor(visitor.client.application).client.post("/login", data=many, content_type=form).status_code == 413
    few = "&".join(f"p{n}=1" for n in range(PARAMETER_COUNT_MAX))
    assert visitor.get("/login?" + few).status == 200


@pytest.mark.spec("P-16")
def test_a_stale_form_whose_page_cannot_be_made_is_no_fault(visitor: Visitor, services: Services) -> None:
    visitor.submit(KNOWN, "wrong")
    assert visitor.post("/login", {"username": KNOWN}).status == 400
    services.captcha.open.clear()
    services.captcha.failure = AddressThrottled(timedelta(minutes=2))
    assert visitor.post("/login", {"username": KNOWN}).status == 429


@pytest.mark.parametrize("language", ["es-MX", "en"])
def test_an_error_says_when_by_the_clock_of_24_hours(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setattr("idp.web.errors.now", lambda: datetime(2026, 11, 25, 1, 51, 55, tzinfo=UTC))
    text = visitor.get(f"/nowhere?ui_locales={language}").text
    assert "24 nov 2026, 19:51 (" in text or "24 Nov 2026, 19:51 (" in text
    assert ":55" not in text


@pytest.mark.spec("P-16")
def test_a_page_form_is_taken_in_one_way_only(visitor: Visitor) -> None:
    page = visitor.get("/login")
    token = page.fields["csrf_token"]
    multipart = visitor.client.post("/login", data={"csrf_token": token}, content_type="multipart/form-data")
    assert multipart.status_code == 415
    assert visitor.client.post("/login", data={"csrf_token": token}).status_code == 400
    assert visitor.client.post("/nowhere", data=b"{}", content_type="application/json").status_code == 404


@pytest.mark.spec("D-68")
@pytest.mark.parametrize(
    "address",
    ["//evil.example/login", "//login", "///login", "/login/", "/LOGIN", "/login;x", "/%2e%2e/login", "/login//"],
)
def test_other_spellings_of_an_address_lead_nowhere(visitor: Visitor, address: str) -> None:
    page = visitor.get("/", environ_overrides={"PATH_INFO": address}, headers={"Host": "evil.example"})
    assert page.status in {400, 404}
    assert "Location" not in page.response.headers
    assert 'href="//' not in page


@pytest.mark.parametrize(
    ("method", "address", "status"), [("GET", "/nowhere", 404), ("PUT", "/login", 405), ("DELETE", "/logout", 405)]
)
def test_errors_of_pages_are_pages(visitor: Visitor, method: str, address: str, status: int) -> None:
    response = visitor.client.open(address, method=method)
    assert response.status_code == status
    text = response.get_data(as_text=True)
    assert 'data-screen="error"' in text
    assert response.headers["X-Request-Id"] in text
    if status == 405:
        assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize("address", ["/oauth/nowhere", "/oauth/token"])
def test_errors_that_machines_meet_are_json(visitor: Visitor, address: str) -> None:
    page = visitor.get(address)
    assert (page.status, page.response.mimetype) == (404, "application/json")
    assert set(page.response.json or {}) == {"error", "error_description"}


@pytest.mark.spec("W-8")
def test_what_nobody_foresaw_shows_nothing_of_itself_but_its_reference(
    app: Flask, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("SELECT secret FROM account")

    with caplog.at_level(logging.ERROR):
        page = visitor.get("/broken")
    folio = page.response.headers["X-Request-Id"]
    assert (page.status, page.screen) == (500, "error")
    assert "SELECT" not in page
    assert "Traceback" not in page
    assert folio in page
    assert folio in caplog.text


@pytest.mark.parametrize(
    ("code", "sentence", "shown"),
    [
        ("client", "La aplicación que lo envió aquí no está registrada.", "invalid_client"),
        ("redirect", "La dirección de regreso no es válida.", "invalid_redirect_uri"),
        ("hint", "La aplicación no demostró cuál es", "invalid_id_token_hint"),
        ("request", "La solicitud de acceso está incompleta", "invalid_request"),
        ("gone", "Esta solicitud de acceso ya terminó o venció.", "interaction_expired"),
    ],
)
def test_what_may_not_be_redirected_is_said_on_a_page(
    app: Flask, visitor: Visitor, code: str, sentence: str, shown: str
) -> None:
    app.add_url_rule("/oauth/authorize", view_func=lambda: render_error(code), endpoint="authorize")
    page = visitor.get("/oauth/authorize?redirect_uri=https://evil.example/cb")
    assert (page.status, page.screen) == (400, "error")
    assert sentence in page
    assert shown in page
    assert "folio" in page.ids
    assert "Location" not in page.response.headers
    assert 'href="https://evil.example' not in page


def test_static_addresses_change_with_their_content_and_may_be_kept(visitor: Visitor) -> None:
    page = visitor.get("/login")
    address = unescape(page.text.partition('rel="stylesheet" href="')[2].partition('"')[0])
    response = visitor.get(address).response
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    etag = response.headers["ETag"]
    assert visitor.get("/style.css").response.headers["Cache-Control"] == "no-cache"
    assert visitor.get("/style.css", headers={"If-None-Match": etag}).status == 304


def test_a_static_address_leads_to_nothing_else(visitor: Visitor) -> None:
    for path in ("../settings.py", "..%2f..%2fsettings.py", "nowhere.css"):
        assert visitor.get("/static/" + path + "?v=x").status == 404
