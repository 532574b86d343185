"""What the example mailbox withstands, in the browser and at its API."""

import os
import re
import stat
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from invoice_mailbox.config import Config, ConfigError
from mailbox_rig import (
    EKU,
    ISSUER,
    URL,
    Clock,
    Provider,
    claim_json,
    days_before,
    make_mailbox,
    mexico,
    sign_in,
    write_cfdi,
)

NOW = mexico("2026-11-24T12:00:00")
TODAY = date(2026, 11, 24)


@pytest.fixture
def provider() -> Provider:
    return Provider(Clock(NOW))


@pytest.fixture
def app(provider: Provider, tmp_path: Path) -> Flask:
    folder = tmp_path / "cfdi"
    write_cfdi(folder, "mine.xml", stamped=days_before(TODAY, 1), issuer_name="LUCES &amp; OBRAS")
    write_cfdi(folder, "gone.xml", stamped=days_before(TODAY, 91), issuer_name="JARDINERIA DEL SUR")
    write_cfdi(folder, "theirs.xml", stamped=days_before(TODAY, 1), receiver="XIA190128J61", issuer_name="AJENA")
    return make_mailbox(provider, tmp_path, folder)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def cookie_of(client: FlaskClient) -> str:
    cookie = client.get_cookie("mailbox_session", domain="localhost")
    assert cookie is not None
    return cookie.value


def sign_out(client: FlaskClient) -> Any:
    match = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert match is not None
    return client.post("/logout", data={"csrf_token": match[1]})


@pytest.mark.spec("W-3")
def test_after_sign_out_the_replayed_cookie_shows_nothing(client: FlaskClient, app: Flask, provider: Provider) -> None:
    """D-48."""
    sign_in(client, provider)
    page, stolen = client.get("/"), cookie_of(client)
    assert "LUCES" in page.text
    assert page.headers["Cache-Control"] == "no-store"
    answer = sign_out(client)
    address = urlsplit(answer.headers["Location"])
    assert (answer.status_code, f"{address.scheme}://{address.netloc}{address.path}") == (303, f"{ISSUER}/oauth/logout")
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert query["post_logout_redirect_uri"] == f"{URL}/signed-out"
    assert query["client_id"] == "mailbox"
    assert query["id_token_hint"].count(".") == 2
    assert query["state"]
    assert provider.refresh_tokens == set(), "and the refresh token was revoked"
    assert client.get_cookie("mailbox_session", domain="localhost") is None
    thief = app.test_client()
    thief.set_cookie("mailbox_session", stolen)
    assert 'data-screen="landing"' in thief.get("/").text
    assert 'data-screen="signed-out"' in client.get("/signed-out?state=x").text


def test_signing_out_works_while_the_provider_is_away(client: FlaskClient, provider: Provider) -> None:
    sign_in(client, provider)
    page = client.get("/")
    assert "LUCES" in page.text
    provider.down = True
    # Discovery is known by then, so the browser is still sent there.
    assert sign_out(client).status_code == 303
    assert 'data-screen="landing"' in client.get("/").text


@pytest.mark.spec("W-2")
def test_signing_in_gives_the_browser_another_cookie(client: FlaskClient, app: Flask, provider: Provider) -> None:
    callback = provider.authorize(client.get("/login").headers["Location"])
    before = cookie_of(client)
    answer = client.get(callback)
    set_cookie = answer.headers["Set-Cookie"]
    assert cookie_of(client) != before
    assert "HttpOnly" in set_cookie
    assert "SameSite=Lax" in set_cookie
    planted = app.test_client()
    planted.set_cookie("mailbox_session", before)
    assert 'data-screen="landing"' in planted.get("/").text


def test_by_https_cookies_are_secure(provider: Provider, tmp_path: Path) -> None:
    app = make_mailbox(provider, tmp_path, tmp_path / "cfdi", url="https://mailbox.example")
    answer = app.test_client().get("/login?lang=en")
    assert all("Secure" in cookie for cookie in answer.headers.getlist("Set-Cookie"))
    assert answer.headers["Strict-Transport-Security"]


def test_a_session_ends_when_idle_and_in_any_case(client: FlaskClient, provider: Provider) -> None:
    sign_in(client, provider)
    for _ in range(79):
        provider.clock.now += timedelta(minutes=9)
        client.get("/signed-out")
    assert "LUCES" in client.get("/").text
    provider.clock.now += timedelta(minutes=9)
    assert 'data-screen="landing"' in client.get("/").text
    sign_in(client, provider)
    provider.clock.now += timedelta(minutes=10)
    assert 'data-screen="landing"' in client.get("/").text


def test_tokens_are_kept_where_only_the_mailbox_reads(client: FlaskClient, provider: Provider, tmp_path: Path) -> None:
    answer = sign_in(client, provider)
    assert "." not in cookie_of(client)
    assert len(cookie_of(client)) < 64
    assert "eyJ" not in str(answer.headers)
    database = tmp_path / "instance" / "mailbox.db"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert cookie_of(client).encode() not in database.read_bytes()


def test_sign_out_needs_the_form_of_this_browser(client: FlaskClient, app: Flask, provider: Provider) -> None:
    sign_in(client, provider)
    other = app.test_client()
    sign_in(other, provider)
    foreign = re.search(r'name="csrf_token" value="([^"]+)"', other.get("/").text)
    assert foreign is not None
    for form in ({}, {"csrf_token": "x"}, {"csrf_token": foreign[1]}):
        answer = client.post("/logout", data=form)
        assert answer.status_code == 400
        assert "La página estuvo abierta demasiado tiempo" in answer.text
    assert "LUCES" in client.get("/").text
    answer = client.get("/logout")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "OPTIONS, POST")


@pytest.mark.spec("P-1")
@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil",
        "https:evil",
        "https://evil.example/",
        "javascript:alert(1)",
        "/invoices//evil.example",
        "/invoices/..%2f..%2fevil",
        "\x00",
        "/invoices/\r\nX: y",
        "/logout",
        "/static/base.css",
    ],
)
def test_after_sign_in_the_browser_stays_here(client: FlaskClient, provider: Provider, target: str) -> None:
    """D-49."""
    client.get("/login", query_string={"next": target})
    answer = client.get(provider.authorize(client.get("/login", query_string={"next": target}).headers["Location"]))
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/"


@pytest.mark.spec("W-8")
@pytest.mark.parametrize(
    "text", ["'\"><script>", "{{7*7}}", "${7*7}", "\x00", "' or sleep(3)--", "%", "ñ" * 5000, "\ud800"]
)
def test_what_is_typed_is_shown_as_text_or_not_at_all(client: FlaskClient, provider: Provider, text: str) -> None:
    """D-50."""
    sign_in(client, provider)
    value = text.encode("utf-8", "surrogatepass")
    for path in ("/", "/login", "/signed-out", "/callback", "/api/invoices"):
        for name in ("q", "page", "order", "lang", "next", "state", "code", "error", "iss"):
            answer = client.get(path, query_string={name: value})
            assert answer.status_code < 500
            assert "<script>" not in answer.text
            assert "49" not in re.findall(r"«(.*?)»", answer.text)
    assert client.get("/invoices/" + text.replace("\ud800", "")).status_code == 404
    assert "LUCES" in client.get("/").text


def test_a_cfdi_with_markup_is_shown_as_text(client: FlaskClient, provider: Provider, tmp_path: Path) -> None:
    write_cfdi(
        tmp_path / "cfdi",
        "markup.xml",
        stamped=days_before(TODAY, 1),
        issuer_name="&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}",
        issuer="&lt;b&gt;",
    )
    sign_in(client, provider)
    page = client.get("/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}" in page
    assert "<script>" not in page
    assert "<b>" not in page.casefold()


def test_every_answer_forbids_scripts_frames_and_inline_style(client: FlaskClient, provider: Provider) -> None:
    sign_in(client, provider)
    for path in ("/", "/signed-out", "/nothing", "/callback", "/api/invoices", "/static/base.css"):
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert f"form-action 'self' {ISSUER}" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script| style=| on\w+=", answer.text)
        answer.close()


def test_both_languages_are_whole(client: FlaskClient, provider: Provider) -> None:
    assert 'lang="es-MX"' in client.get("/", headers={"Accept-Language": "de"}).text
    assert 'lang="en"' in client.get("/", headers={"Accept-Language": "en-US,en;q=0.9"}).text
    sign_in(client, provider)
    english = client.get("/?lang=en").text
    assert "89 days left" in english
    assert "1 invoice was stamped more than 90 days ago" in english
    assert "Cerrar" not in english
    assert "Your invoices" in client.get("/").text, "remembered"
    assert "Sus facturas" in client.get("/?lang=es").text


def test_bodies_methods_and_paths_that_nobody_asked_for(client: FlaskClient) -> None:
    assert client.post("/logout", data=b"a" * 100_000).status_code in {400, 413}
    assert client.post("/", data={"a": "b"}).status_code in {400, 405}
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404
    assert client.get("/", headers={"Cookie": 'mailbox_session="\xff\x00'}).status_code == 200
    assert client.get("/", headers={"Accept-Language": "x" * 4000}).status_code == 200
    health = client.get("/health")
    assert (health.status_code, health.json) == (200, {"status": "ok"})


# -- the JSON API --------------------------------------------------------------------------------------------------


def ask(client: FlaskClient, token: str | None, path: str = "/api/invoices") -> Any:
    return client.get(path, headers={} if token is None else {"Authorization": f"Bearer {token}"})


@pytest.mark.spec("K-6")
def test_the_api_lists_reads_and_hands_out_what_the_token_allows(
    client: FlaskClient, provider: Provider, tmp_path: Path
) -> None:
    token = provider.access_token()
    answer = ask(client, token).json
    assert (answer["count"], answer["safekeeping"]) == (1, 1)
    invoice = answer["invoices"][0]
    assert invoice["issuer"] == {"rfc": "IIA040805DZ4", "name": "LUCES & OBRAS"}
    assert (invoice["total"], invoice["days_left"], invoice["last_day"]) == ("1160.00", 89, "2027-02-21")
    assert ask(client, token, f"/api/invoices/{invoice['key']}").json == invoice
    xml = ask(client, token, f"/api/invoices/{invoice['key']}/xml")
    assert xml.data == (tmp_path / "cfdi" / "mine.xml").read_bytes()
    assert ask(client, token, "/api/invoices?q=nada").json["count"] == 0
    wide = provider.access_token(mailbox=claim_json(EKU, NOW, days=365))
    gone = ask(client, wide, "/api/invoices?q=jardineria").json["invoices"][0]["key"]
    theirs = provider.access_token(mailbox=claim_json("XIA190128J61", NOW))
    foreign = ask(client, theirs).json["invoices"][0]["key"]
    answers = [
        ask(client, token, f"/api/invoices/{key}{suffix}")
        for key in (gone, foreign, "0" * 32)
        for suffix in ("", "/xml")
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.data for answer in answers}) == 1


@pytest.mark.spec("T-5")
def test_a_machine_sees_its_organisation_and_without_the_claim_nothing(client: FlaskClient, provider: Provider) -> None:
    """D-72."""
    bound = provider.access_token(sub="erp", client_id="erp", scope="mailbox:read")
    assert ask(client, bound).json["count"] == 1
    key = ask(client, bound).json["invoices"][0]["key"]
    assert ask(client, bound, f"/api/invoices/{key}/xml").status_code == 403
    loose = provider.access_token(sub="erp", client_id="erp", scope="reports:read", mailbox=None)
    assert ask(client, loose).status_code == 403
    claimless = provider.access_token(sub="erp", client_id="erp", scope="mailbox:read", mailbox=None)
    assert ask(client, claimless).status_code == 403
    # And it is nobody's browser.
    assert 'data-screen="landing"' in client.get("/", headers={"Authorization": f"Bearer {bound}"}).text


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"aud": "http://another.example"}, 401),
        ({"iss": "https://evil.example"}, 401),
        ({"exp": int(NOW.timestamp())}, 401),
        ({"cnf": {"jkt": "x"}}, 401),
        ({"mailbox": None}, 403),
        ({"mailbox": {}}, 403),
        ({}, 200),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_token_for_something_else_is_refused_by_the_api(
    client: FlaskClient, provider: Provider, change: dict[str, Any], status: int
) -> None:
    answer = ask(client, provider.access_token(**change))
    assert answer.status_code == status
    assert status != 401 or answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_the_api_takes_a_token_in_its_header_only(client: FlaskClient, provider: Provider) -> None:
    """D-34 and D-36, and a browser's cookie beside."""
    sign_in(client, provider)
    assert ask(client, None).status_code == 401
    assert client.get("/api/invoices", query_string={"access_token": provider.access_token()}).status_code == 400
    id_token = provider.sign({"iss": ISSUER, "aud": URL, "sub": "x", "exp": int(NOW.timestamp()) + 300}, "JWT")
    assert ask(client, id_token).status_code == 401
    assert ask(client, provider.access_token(), "/api/nothing").json["error"] == "not_found"


def test_a_setting_that_is_missing_or_no_address_is_named_and_not_repeated(tmp_path: Path) -> None:
    good = {
        "MAILBOX_ISSUER": ISSUER,
        "MAILBOX_CLIENT_ID": "mailbox",
        "MAILBOX_CLIENT_SECRET": "hidden",
        "MAILBOX_CFDI": os.fspath(tmp_path),
        "MAILBOX_INSTANCE": os.fspath(tmp_path),
        "MAILBOX_URL": URL + "/",
    }
    config = Config.from_environment(good)
    assert (config.url, config.audience) == (URL, URL)
    assert Config.from_environment(good | {"MAILBOX_AUDIENCE": "urn:mailbox"}).audience == "urn:mailbox"
    for name in good:
        with pytest.raises(ConfigError, match=name):
            Config.from_environment({key: value for key, value in good.items() if key != name})
    with pytest.raises(ConfigError, match="MAILBOX_ISSUER is not an address"):
        Config.from_environment(good | {"MAILBOX_ISSUER": "ftp://hidden"})
