"""The authorization endpoint over HTTP, with everything behind it: by GET, by POST, by a page that posts on."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from flask import Flask

from idp.app import create_app
from idp.db import Base
from idp.protocol.clients import Registration
from idp.protocol.details import ClientDetails
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import Services
from tests.web.conftest import SECRET, Page, Visitor

USERNAME, PASSWORD = "EKU9003173C9", "Nieve.Tibia7"
CHALLENGE = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"
ISSUER = "https://llave.example"
CSP = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' https:"


@dataclass
class House:
    """The whole provider, one person, and clients by name."""

    app: Flask
    services: Services
    ids: dict[str, str]

    def visitor(self) -> Visitor:
        return Visitor(self.app, base_url=ISSUER)

    def parameters(self, client: str, **changes: str | None) -> dict[str, str]:
        values = {
            "response_type": "code",
            "client_id": self.ids[client],
            "redirect_uri": f"https://{client}.example/cb",
            "scope": "openid",
            "state": f"state of {client}",
            "nonce": f"nonce of {client}",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}

    def address(self, client: str, **changes: str | None) -> str:
        return "/oauth/authorize?" + urlencode(self.parameters(client, **changes))

    def sign_in(self, visitor: Visitor, page: Page) -> Page:
        """From the redirect to the sign-in page to where that leads."""
        return visitor.submit(USERNAME, PASSWORD, address=location(page))


def location(page: Page) -> str:
    assert page.status == 303, page.text
    return str(page.response.headers["Location"])


def sent(page: Page) -> dict[str, str]:
    parts = urlsplit(location(page))
    return dict(parse_qsl(parts.fragment or parts.query, keep_blank_values=True))


@pytest.fixture
def house(tmp_path: Path, keys_folder: Path) -> Iterator[House]:
    settings = Settings(
        secret_key=SECRET,
        issuer=ISSUER,
        database_url=f"sqlite:///{tmp_path / 'idp.db'}",
        keys_dir=keys_folder,
        mail_server="localhost",
    )
    app = create_app(settings)
    services: Services = app.extensions[EXTENSION]
    Base.metadata.create_all(services.store.engine)
    now = datetime.now(UTC)
    services.keys.ensure(now)
    services.lifecycle.create(USERNAME, email="cliente@example.org", name="Cliente", password=PASSWORD, now=now)
    ids = {}
    for name, profile in (("one", "modern"), ("two", "modern"), ("old", "compat")):
        compat: dict[str, Any] = {
            "grant_types": ("authorization_code", "implicit"),
            "response_types": ("code", "id_token", "code id_token"),
            "details": ClientDetails(
                response_modes=("form_post",),
                logo_digest="0123abcd",
                policy_uri="https://old.example/privacidad",
                tos_uri="https://old.example/condiciones",
            ),
        }
        registration = Registration(
            client_name=name.capitalize(),
            redirect_uris=(f"https://{name}.example/cb",),
            scopes=("openid", "email"),
            profile=profile,
            first_party=name != "two",
            **(compat if profile == "compat" else {}),
        )
        ids[name] = services.protocol.clients.add(registration, now=now)[0].client_id
    yield House(app, services, ids)
    services.store.engine.dispose()


class _Fields(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values["action"]
        if tag == "input" and values.get("type") == "hidden":
            self.fields[values["name"]] = values["value"]
        if tag == "script":
            self.scripts.append(values["src"])


@pytest.mark.spec("D-63", "W-6")
def test_two_tabs_for_two_clients_finish_in_crossed_order(house: House) -> None:
    visitor = house.visitor()
    first = visitor.get(house.address("one"))
    second = visitor.get(house.address("old"))
    resumed = visitor.follow(house.sign_in(visitor, second))
    assert (sent(resumed)["state"], location(resumed).split("?")[0]) == ("state of old", "https://old.example/cb")
    back = visitor.follow(visitor.get(location(first)))
    assert (sent(back)["state"], location(back).split("?")[0]) == ("state of one", "https://one.example/cb")
    assert sent(back)["code"] != sent(resumed)["code"]


@pytest.mark.spec("OIDC Core §3.1.2.1", "P-13")
def test_a_request_may_come_by_post_from_another_site(house: House) -> None:
    visitor = house.visitor()
    # As a browser sends it: no cookie (SameSite=Lax), the other site's origin, and no token of ours.
    strange = {"headers": {"Origin": "https://one.example"}}
    posted = Visitor(house.app, base_url=ISSUER).post("/oauth/authorize", house.parameters("one"), **strange)
    assert location(posted).startswith("/oauth/authorize?posted=")
    assert "state" not in location(posted)
    begun = visitor.get(location(posted))
    resumed = visitor.follow(house.sign_in(visitor, begun))
    assert sent(resumed)["state"] == "state of one"
    # Signed in now: the next one needs no page.
    posted = visitor.post("/oauth/authorize", house.parameters("one"), **strange)
    assert "code" in sent(visitor.get(location(posted)))
    again = visitor.get(location(posted))
    assert (again.status, again.screen) == (400, "error")


@pytest.mark.spec("D-07", "P-3")
def test_what_stands_in_query_and_body_is_refused(house: House) -> None:
    parameters = house.parameters("one")
    state = parameters.pop("state")
    for query in (f"state={state}", urlencode(parameters)):
        page = house.visitor().post("/oauth/authorize?" + query, house.parameters("one"))
        assert (page.status, page.screen) == (400, "error")
        assert "Location" not in page.response.headers
    twice = house.visitor().client.post(
        "/oauth/authorize",
        data=urlencode(house.parameters("one")) + "&state=x",
        content_type="application/x-www-form-urlencoded",
        base_url=ISSUER,
    )
    assert twice.status_code == 400
    for body in (b"{}", b""):
        page = house.visitor().post("/oauth/authorize", body, content_type="application/json")  # type: ignore[arg-type]
        assert (page.status, page.screen) == (415, "error")
    assert house.visitor().post("/oauth/authorize", {}).status == 400


@pytest.mark.spec("P-2", "D-01", "D-04")
def test_by_post_too_a_foreign_address_gets_a_page_and_other_errors_go_back(house: House) -> None:
    foreign = house.parameters("one", redirect_uri="https://evil.example/cb", response_type="x")
    page = house.visitor().post("/oauth/authorize", foreign)
    assert (page.status, page.screen) == (400, "error")
    assert "Location" not in page.response.headers
    refused = sent(house.visitor().post("/oauth/authorize", house.parameters("one", prompt="invent")))
    assert (refused["error"], refused["state"], refused["iss"]) == ("invalid_request", "state of one", ISSUER)


@pytest.mark.spec("W-5")
def test_a_head_request_takes_nothing(house: House) -> None:
    visitor = house.visitor()
    posted = location(visitor.post("/oauth/authorize", house.parameters("one")))
    assert visitor.client.head(posted, base_url=ISSUER).status_code == 405
    assert location(visitor.get(posted)).startswith("/login")


HARD = "a\"b'c<d>&amp;&e\r\nf\ng\rh ñ \u2028 </form><script>"


@pytest.mark.spec("OIDC Form Post §2", "W-7", "W-8", "D-67")
@pytest.mark.parametrize("prompt", [None, "none"])
def test_the_form_post_page_carries_every_value_to_the_letter(house: House, prompt: str | None) -> None:
    visitor = house.visitor()
    house.sign_in(visitor, visitor.get(house.address("old")))
    page = visitor.get(
        house.address("old", response_mode="form_post", state=HARD, prompt=prompt, response_type="code id_token")
    )
    assert (page.status, page.screen) == (200, "form_post")
    assert "continue" in page.ids
    headers = page.response.headers
    assert headers["Content-Security-Policy"] == CSP
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    form = _Fields(page.text)
    assert form.action == "https://old.example/cb"
    assert set(form.fields) == {"code", "id_token", "state", "iss", "session_state"}
    assert (form.fields["state"], form.fields["iss"]) == (HARD, ISSUER)
    assert all(source.startswith("/") for source in form.scripts)
    assert "<script>" not in page.text
    assert not re.search(r"\son[a-z]+=|style=", page.text)


@pytest.mark.spec("P-6", "P-8")
def test_an_error_comes_by_the_same_page(house: House) -> None:
    page = house.visitor().get(house.address("old", response_mode="form_post", prompt="none"))
    form = _Fields(page.text)
    assert (page.status, form.action) == (200, "https://old.example/cb")
    assert (form.fields["error"], form.fields["state"]) == ("login_required", "state of old")


@pytest.mark.spec("D-67", "P-16")
@pytest.mark.parametrize("state", ["x" * 16_000, "\r\nSet-Cookie: a=b", '"><', "ñandú 鍵", " ", "%0d%0a", "+", "\x00"])
def test_a_state_comes_back_as_it_was_and_bears_no_header(house: House, state: str) -> None:
    page = house.visitor().get(house.address("one", state=state, prompt="none"))
    assert sent(page)["state"] == state
    assert re.fullmatch(r"[\x21-\x7e]+", location(page))
    assert "a=b" not in page.response.headers.get("Set-Cookie", "")


@pytest.mark.spec("D-67", "O-4")
def test_a_state_without_end_is_refused_and_one_left_out_is_not_made_up(house: House) -> None:
    page = house.visitor().get(house.address("one", state="x" * 65_536, prompt="none"))
    assert (page.status, page.screen) == (400, "error")
    assert "state" not in sent(house.visitor().get(house.address("one", state=None, prompt="none")))


@pytest.mark.spec("D-74", "P-14")
@pytest.mark.parametrize("origin", ["null", "https://evil.example", "https://one.example"])
def test_the_endpoint_is_not_for_scripts_of_other_origins(house: House, origin: str) -> None:
    headers = {"Origin": origin}
    answers = [
        house.visitor().get(house.address("one"), headers=headers),
        house.visitor().post("/oauth/authorize", house.parameters("one"), headers=headers),
        Page(house.visitor().client.options("/oauth/authorize", headers=headers, base_url=ISSUER)),
        house.visitor().post("/oauth/par", house.parameters("one"), headers=headers),
    ]
    for page in answers:
        assert not [name for name in page.response.headers if name[0].lower().startswith("access-control-")]


@pytest.mark.spec("D-74", "P-14")
@pytest.mark.parametrize("origin", ["null", "https://evil.example", "https://one.exampl"])
def test_no_origin_is_reflected_and_none_has_credentials(house: House, origin: str) -> None:
    visitor, headers = house.visitor(), {"Origin": origin}
    allowed = {
        "/oauth/token": visitor.post("/oauth/token", {"grant_type": "authorization_code"}, headers=headers),
        "/oauth/userinfo": visitor.get("/oauth/userinfo", headers=headers),
        "/oauth/jwks": visitor.get("/oauth/jwks", headers=headers),
        "/oauth/introspect": visitor.post("/oauth/introspect", {"token": "x"}, headers=headers),
        "/account": visitor.get("/account", headers=headers),
        "/login": visitor.get("/login", headers=headers),
    }
    found = {address: page.response.headers.get("Access-Control-Allow-Origin") for address, page in allowed.items()}
    # Those that a page's script may call with a code or a token in hand, by anybody, never with a cookie.
    assert {address for address, each in found.items() if each is not None} == {
        "/oauth/token",
        "/oauth/userinfo",
        "/oauth/jwks",
    }
    assert set(found.values()) == {"*", None}
    assert not any("Access-Control-Allow-Credentials" in page.response.headers for page in allowed.values())


@pytest.mark.spec("P-10", "P-16")
def test_a_request_is_pushed_over_http(house: House) -> None:
    door = house.visitor().client
    refused = door.post("/oauth/par", data=house.parameters("one"), base_url=ISSUER)
    assert (refused.status_code, refused.json["error"] if refused.json else None) == (401, "invalid_client")
    secret = house.services.protocol.clients.rotate_secret(house.ids["one"], now=datetime.now(UTC))
    answer = door.post(
        "/oauth/par", data=house.parameters("one"), auth=(house.ids["one"], _revealed(secret)), base_url=ISSUER
    )
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert answer.json is not None
    request_uri = answer.json["request_uri"]
    visitor = house.visitor()
    begun = visitor.get("/oauth/authorize?" + urlencode({"client_id": house.ids["one"], "request_uri": request_uri}))
    assert sent(visitor.follow(house.sign_in(visitor, begun)))["state"] == "state of one"
    assert door.get("/oauth/par", base_url=ISSUER).status_code == 405


def _revealed(secret: Any) -> str:
    return str(getattr(secret, "secret", secret))


@pytest.mark.spec("T-5", "P-9")
def test_the_consent_page_shows_claims_that_no_scope_gives(house: House) -> None:
    visitor = house.visitor()
    begun = visitor.get(house.address("two", claims='{"userinfo":{"email":{"essential":true},"rfc":null}}'))
    consent = visitor.follow(visitor.follow(house.sign_in(visitor, begun)))
    assert consent.screen == "consent"
    assert "Su correo electrónico" in consent
    assert "cliente@example.org" in consent
    assert "Su RFC" not in consent
    done = visitor.fill("form-consent", consent, interaction=consent.fields["interaction"], decision="allow")
    assert "code" in sent(done)
    assert "code" in sent(visitor.get(house.address("two", claims='{"userinfo":{"email":null}}')))


@pytest.mark.spec("OIDC Prompt Create §4")
def test_who_is_to_make_an_account_is_told_how_one_gets_one(house: House) -> None:
    visitor = house.visitor()
    begun = visitor.get(house.address("one", prompt="create"))
    page = visitor.get(location(begun))
    assert page.screen == "signin"
    assert "Las cuentas se abren por invitación" in page
    assert "Las cuentas se abren por invitación" not in visitor.get(location(visitor.get(house.address("one"))))
    # Who has an account after all signs in, and goes on.
    assert "code" in sent(visitor.follow(house.sign_in(visitor, begun)))


@pytest.mark.spec("OIDC Registration §2")
def test_what_a_client_says_of_itself_stands_where_its_person_decides(house: House) -> None:
    visitor = house.visitor()
    begun = visitor.get(house.address("old", prompt="consent"))
    consent = visitor.follow(visitor.follow(house.sign_in(visitor, begun)))
    assert consent.screen == "consent"
    for page in (visitor.get(location(visitor.get(house.address("old", prompt="login")))), consent):
        assert 'href="https://old.example/privacidad"' in page
        assert 'href="https://old.example/condiciones"' in page
        assert f'src="/oauth/logo/{house.ids["old"]}/0123abcd.png"' in page
    assert "app-links" not in visitor.get(location(visitor.get(house.address("one", prompt="login"))))


@pytest.mark.spec("P-8", "D-09")
@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "0"}])
def test_a_live_session_is_asked_for_the_password_again(house: House, changes: dict[str, str]) -> None:
    visitor = house.visitor()
    house.sign_in(visitor, visitor.get(house.address("one")))
    page = visitor.get(location(visitor.get(house.address("one", **changes))))
    assert (page.screen, page.fields["username"]) == ("signin", USERNAME)
    assert "Usar otra cuenta" in page


@pytest.mark.spec("D-12", "W-6")
def test_a_handle_in_another_browser_signs_nobody_in(house: House) -> None:
    mine, thief = house.visitor(), house.visitor()
    begun = mine.get(house.address("one"))
    handle = location(begun).partition("interaction=")[2]
    taken = thief.get("/oauth/authorize?interaction=" + handle)
    assert (taken.status, taken.screen) == (400, "error")
    house.sign_in(thief, begun)
    assert thief.get("/oauth/authorize?interaction=" + handle).status == 400
    assert "code" in sent(mine.follow(house.sign_in(mine, begun)))


@pytest.mark.spec("OIDC Core §3.1.2.1")
@pytest.mark.parametrize("name", ["display", "ui_locales", "claims_locales", "acr_values", "login_hint", "unknown"])
@pytest.mark.parametrize("value", ["x", "page", "es-MX fr", "' or 1=1--", "\u202e"])
def test_what_is_voluntary_or_unknown_is_never_an_error(house: House, name: str, value: str) -> None:
    begun = house.visitor().get(house.address("one", **{name: value}))
    assert location(begun).startswith("/login?interaction=")


def test_what_the_discovery_document_says_is_so(house: House) -> None:
    found = house.visitor().client.get("/.well-known/openid-configuration", base_url=ISSUER).json
    assert found is not None
    assert found["pushed_authorization_request_endpoint"] == ISSUER + "/oauth/par"
    assert found["claims_parameter_supported"] is True
    assert found["request_parameter_supported"] is True
    assert found["request_uri_parameter_supported"] is False
    assert "none" not in found["request_object_signing_alg_values_supported"]
    assert {"none", "login", "consent", "select_account", "create"} == set(found["prompt_values_supported"])
    assert {"query", "fragment", "form_post"} <= set(found["response_modes_supported"])


@pytest.mark.spec("P-16")
@pytest.mark.parametrize(
    ("body", "status"), [(b"state=a", 303), (b"state=a\r\nX: y", 303), (b"state=\xf1", 400), (b"state=%ff", 400)]
)
def test_a_sign_out_by_post_is_sent_on_whatever_it_holds(house: House, body: bytes, status: int) -> None:
    answer = house.visitor().client.post(
        "/oauth/logout", data=body, content_type="application/x-www-form-urlencoded", base_url=ISSUER
    )
    assert answer.status_code == status
    assert "X" not in answer.headers
    if status == 303:
        assert answer.headers["Location"].startswith("/oauth/logout?state=a")
