"""The example mailbox in a browser: signing in and out, what the pages show, and what they refuse."""

import re
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
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
def folder(tmp_path: Path) -> Path:
    """Four invoices of ours, at the edges of the window; one of somebody else; one of nobody."""
    folder = tmp_path / "cfdi"
    write_cfdi(folder, "new.xml", stamped=days_before(TODAY, 1), issuer_name="LUCES &amp; OBRAS", total="5800")
    write_cfdi(folder, "closing.xml", stamped=days_before(TODAY, 78), issuer_name="ENLACES WEB")
    write_cfdi(folder, "last.xml", stamped=days_before(TODAY, 90), issuer_name="PAPELERIA DEL CENTRO")
    write_cfdi(folder, "gone.xml", stamped=days_before(TODAY, 91), issuer_name="JARDINERIA DEL SUR")
    write_cfdi(folder, "theirs.xml", stamped=days_before(TODAY, 1), receiver="XIA190128J61", issuer_name="AJENA")
    write_cfdi(folder, "public.xml", stamped=days_before(TODAY, 1), receiver="XAXX010101000", issuer_name="PUBLICA")
    return folder


@pytest.fixture
def app(provider: Provider, folder: Path, tmp_path: Path) -> Flask:
    return make_mailbox(provider, tmp_path, folder)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def shown(page: Any) -> list[str]:
    """The issuers in the list of a page, in its order."""
    return re.findall(r"<h3><a [^>]*>([^<]+)</a>", page.text)


def keys(client: FlaskClient, provider: Provider) -> dict[str, str]:
    """The key of every invoice in the folder by its issuer, whoever owns it."""
    found = {}
    for rfc in (EKU, "XIA190128J61"):
        token = provider.access_token(mailbox=claim_json(rfc, NOW, days=365))
        answer = client.get("/api/invoices", headers={"Authorization": f"Bearer {token}"})
        found |= {each["issuer"]["name"]: each["key"] for each in answer.json["invoices"]}
    return found


def csrf(page: Any) -> str:
    match = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert match is not None
    return match[1]


@pytest.mark.spec("M15")
def test_a_person_signs_in_and_sees_what_the_window_holds(client: FlaskClient, provider: Provider) -> None:
    landing = client.get("/")
    assert 'data-screen="landing"' in landing.text
    assert shown(landing) == []
    answer = sign_in(client, provider)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    page = client.get("/")
    assert shown(page) == ["LUCES &amp; OBRAS", "ENLACES WEB", "PAPELERIA DEL CENTRO"]
    assert shown(client.get("/?order=closing")) == ["PAPELERIA DEL CENTRO", "ENLACES WEB", "LUCES &amp; OBRAS"]
    assert "<strong>Quedan 12 días</strong> · Disponible hasta el 6 de diciembre de 2026 inclusive" in page.text
    assert "<strong>Último día</strong> · Disponible hasta hoy, 24 de noviembre de 2026, inclusive" in page.text
    assert "$5,800.00 MXN" in page.text
    assert "Puede consultar cada factura durante 90 días a partir de su timbrado. Descárguela antes." in page.text
    assert "1 factura se timbró hace más de 90 días. SERES de México la conserva en resguardo" in page.text
    assert "Escuela de Prueba" in page.text
    for name in ("JARDINERIA", "AJENA", "PUBLICA"):
        assert name not in page.text


def test_the_request_for_sign_in_says_all_that_it_must(client: FlaskClient) -> None:
    address = urlsplit(client.get("/login").headers["Location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{ISSUER}/oauth/authorize"
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert query["redirect_uri"] == f"{URL}/callback"
    assert query["resource"] == URL
    assert query["scope"].split() == ["openid", "profile", "rfc", "offline_access", "mailbox:read", "mailbox:download"]
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    assert len(query["nonce"]) >= 20
    assert len(query["state"]) >= 20


@pytest.mark.spec("M15")
def test_the_window_closes_at_midnight_for_who_is_signed_in(client: FlaskClient, provider: Provider) -> None:
    provider.clock.now = mexico("2026-11-24T23:59:59")
    provider.access_token_changes = {"exp": int(mexico("2026-11-25T00:00:00").timestamp())}
    sign_in(client, provider)
    assert "PAPELERIA DEL CENTRO" in shown(client.get("/"))
    provider.clock.now = mexico("2026-11-25T00:00:00")
    provider.access_token_changes = {}
    page = client.get("/")
    assert shown(page) == ["LUCES &amp; OBRAS", "ENLACES WEB"]
    assert "2 facturas se timbraron hace más de 90 días" in page.text


@pytest.mark.spec("K-6")
def test_one_invoice_is_shown_and_downloaded_as_it_was_received(
    client: FlaskClient, provider: Provider, folder: Path
) -> None:
    key = keys(client, provider)["LUCES & OBRAS"]
    sign_in(client, provider)
    page = client.get(f"/invoices/{key}")
    assert page.status_code == 200
    assert "LUCES &amp; OBRAS" in page.text
    assert "Quedan 89 días" in page.text
    answer = client.get(f"/invoices/{key}/download")
    assert answer.data == (folder / "new.xml").read_bytes()
    assert answer.headers["Content-Disposition"] == ('attachment; filename="11111111-2222-4333-8444-555555555555.xml"')
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.spec("K-6")
@pytest.mark.spec("K-7")
def test_the_owner_is_told_of_safekeeping_and_nobody_else_of_anything(client: FlaskClient, provider: Provider) -> None:
    known = keys(client, provider)
    sign_in(client, provider)
    for suffix in ("", "/download"):
        gone = client.get(f"/invoices/{known['JARDINERIA DEL SUR']}{suffix}")
        assert gone.status_code == 410
        assert "Esta factura se timbró hace más de 90 días. SERES de México la conserva en resguardo" in gone.text
        assert "JARDINERIA" not in gone.text
        theirs = client.get(f"/invoices/{known['AJENA']}{suffix}")
        nothing = client.get(f"/invoices/{'0' * 32}{suffix}")
        assert (theirs.status_code, nothing.status_code) == (404, 404)
        assert theirs.text.replace(csrf(theirs), "") == nothing.text.replace(csrf(nothing), "")


def test_search_and_paging(client: FlaskClient, provider: Provider, folder: Path) -> None:
    for number in range(25):
        write_cfdi(folder, f"more-{number}.xml", stamped=days_before(TODAY, 2), issuer_name=f"CAFE {number:02}")
    sign_in(client, provider)
    assert len(shown(client.get("/"))) == 20
    assert len(shown(client.get("/?page=2"))) == 8
    assert shown(client.get("/?q=café+07")) == ["CAFE 07"]
    assert "Ninguna factura coincide con «nada»." in client.get("/?q=nada").text
    for odd in ("0", "-1", "abc", "٣", "99999999999", "1e3", ""):
        assert len(shown(client.get("/", query_string={"page": odd}))) == 20
    assert client.get("/?page=9999").status_code == 200


@pytest.mark.spec("P-6", "D-71")
@pytest.mark.parametrize("iss", ["https://evil.example", None, ISSUER + "/", ""], ids=str)
def test_a_response_of_another_issuer_or_of_none_is_refused(
    client: FlaskClient, provider: Provider, iss: str | None
) -> None:
    callback = provider.authorize(client.get("/login").headers["Location"], iss=iss)
    answer = client.get(callback)
    assert answer.status_code == 400
    assert "/oauth/token" not in provider.calls, "the code went nowhere"
    assert shown(client.get("/")) == []
    # The same answer with the right issuer still works: nothing was spent.
    assert sign_in(client, provider).status_code == 303


@pytest.mark.parametrize(
    "change",
    [
        {"state": "another"},
        {"state": None},
        {"code": "unknown"},
    ],
    ids=lambda change: repr(next(iter(change.items()))),
)
def test_a_response_that_this_browser_did_not_ask_for_is_refused(
    client: FlaskClient, provider: Provider, change: dict[str, str | None]
) -> None:
    answer = client.get(provider.authorize(client.get("/login").headers["Location"], **change))
    assert answer.status_code == 400
    assert 'data-screen="error"' in answer.text
    assert shown(client.get("/")) == []


def test_a_callback_works_in_the_browser_that_began_and_only_once(
    app: Flask, client: FlaskClient, provider: Provider
) -> None:
    callback = provider.authorize(client.get("/login").headers["Location"])
    assert app.test_client().get(callback).status_code == 400
    assert client.get(callback + "&state=x").status_code == 400
    assert client.get(callback).status_code == 303
    assert client.get(callback).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"exp": 1},
        {"sub": None},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    client: FlaskClient, provider: Provider, change: dict[str, Any]
) -> None:
    provider.id_token_changes = change
    assert sign_in(client, provider).status_code == 400
    assert shown(client.get("/")) == []


@pytest.mark.spec("T-1")
@pytest.mark.parametrize(
    "change",
    [{"aud": "http://another.example"}, {"iss": "https://evil.example"}, {"exp": 1}, {"cnf": {"jkt": "x"}}],
    ids=lambda change: next(iter(change)),
)
def test_an_access_token_that_the_kit_refuses_opens_no_page(
    client: FlaskClient, provider: Provider, change: dict[str, Any]
) -> None:
    provider.access_token_changes = change
    assert sign_in(client, provider).status_code == 400
    assert 'data-screen="landing"' in client.get("/").text


def test_a_user_without_a_mailbox_is_told_so(client: FlaskClient, provider: Provider) -> None:
    provider.scope = "openid profile"
    assert sign_in(client, provider).status_code == 303
    page = client.get("/")
    assert page.status_code == 403
    assert "Su usuario no tiene buzón" in page.text
    assert "form-signout" in page.text


@pytest.mark.spec("K-4")
@pytest.mark.parametrize("mailbox", [None, {}, [], "EKU9003173C9", {"rfc": EKU}], ids=str)
def test_a_claim_that_cannot_be_obeyed_shows_nothing(client: FlaskClient, provider: Provider, mailbox: Any) -> None:
    provider.access_token_changes = {"mailbox": mailbox}
    sign_in(client, provider)
    page = client.get("/")
    assert page.status_code == 403
    assert shown(page) == []


def test_without_the_scope_to_download_there_is_no_download(client: FlaskClient, provider: Provider) -> None:
    key = keys(client, provider)["LUCES & OBRAS"]
    provider.scope = "openid mailbox:read"
    sign_in(client, provider)
    assert "/download" not in client.get("/").text
    assert client.get(f"/invoices/{key}").status_code == 200
    answer = client.get(f"/invoices/{key}/download")
    assert answer.status_code == 403
    assert b"Comprobante" not in answer.data


def test_consent_refused_says_so(client: FlaskClient, provider: Provider) -> None:
    client.get("/login")
    answer = client.get("/callback", query_string={"error": "access_denied", "iss": ISSUER, "state": "x"})
    assert answer.status_code == 403
    assert "No dio su permiso" in answer.text


def test_an_ended_token_is_refreshed_and_the_old_refresh_token_never_used_again(
    client: FlaskClient, provider: Provider
) -> None:
    sign_in(client, provider)
    for minutes in (6, 12, 18):
        provider.clock.now = NOW + timedelta(minutes=minutes)
        assert len(shown(client.get("/"))) == 3
    assert provider.calls.count("/oauth/token") == 4
    assert len(provider.refresh_tokens) == 1


def test_two_requests_at_once_refresh_once(app: Flask, client: FlaskClient, provider: Provider) -> None:
    sign_in(client, provider)
    cookie = client.get_cookie("mailbox_session", domain="localhost")
    assert cookie is not None
    provider.clock.now = NOW + timedelta(minutes=6)
    statuses: list[int] = []

    def look() -> None:
        other = app.test_client()
        other.set_cookie("mailbox_session", cookie.value)
        statuses.append(len(shown(other.get("/"))))

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [3] * 6
    assert provider.calls.count("/oauth/token") == 2
    assert len(provider.refresh_tokens) == 1


def test_a_refused_refresh_leads_back_to_sign_in_and_on_to_the_invoice(client: FlaskClient, provider: Provider) -> None:
    key = keys(client, provider)["LUCES & OBRAS"]
    sign_in(client, provider)
    provider.refresh_tokens.clear()
    provider.clock.now = NOW + timedelta(minutes=6)
    answer = client.get(f"/invoices/{key}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/login?next=/invoices/{key}")
    assert 'data-screen="landing"' in client.get("/").text
    assert sign_in(client, provider, answer.headers["Location"]).headers["Location"] == f"/invoices/{key}"


def test_a_provider_that_is_away_costs_nobody_the_session(client: FlaskClient, provider: Provider) -> None:
    sign_in(client, provider)
    provider.down = True
    assert len(shown(client.get("/"))) == 3, "the token is still good, and the keys are known"
    provider.clock.now = NOW + timedelta(minutes=6)
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "El servicio de acceso no responde" in answer.text
    provider.down = False
    assert len(shown(client.get("/"))) == 3


def test_a_provider_that_is_not_there_yet_is_found_later(client: FlaskClient, provider: Provider) -> None:
    provider.down = True
    assert client.get("/login").status_code == 503
    provider.down = False
    assert sign_in(client, provider).status_code == 303
