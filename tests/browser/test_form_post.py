"""The form_post page in Chromium: it sends itself, and without JavaScript its button does."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from playwright.sync_api import Browser, Route

from tests.serving import Client, Provider, provider_in

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

CALLBACK = "https://cliente.example/regreso"
USERNAME = "EKU9003173C9"
STATE = "a\"b'c<d>&amp;&e\r\nf ñ \u2028 </form>"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Provider, Client, str]]:
    with provider_in(tmp_path_factory.mktemp("form-post")) as provider:
        password = provider.add_account(USERNAME)
        client = provider.add_client(
            *("Aplicación antigua", CALLBACK, "--profile", "compat"),
            *("--response-mode", "form_post", "--response-type", "code", "--response-type", "code id_token"),
            *("--grant", "authorization_code", "--grant", "implicit"),
        )
        provider.start(workers=1)
        yield provider, client, password


@pytest.mark.spec("OIDC Form Post §2", "P-13", "W-7")
@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("by_post", [False, True])
def test_every_value_arrives_by_post(
    house: tuple[Provider, Client, str], chromium: Browser, tmp_path: Path, scripts: bool, by_post: bool
) -> None:
    provider, client, password = house
    arrived: list[tuple[str, str]] = []
    refused: list[str] = []

    def take(route: Route) -> None:
        arrived.append((route.request.method, route.request.post_data or ""))
        route.fulfill(body="<!doctype html><title>Llegó</title>", content_type="text/html; charset=utf-8")

    parameters = {
        "response_type": "code id_token",
        "response_mode": "form_post",
        "client_id": client.client_id,
        "redirect_uri": CALLBACK,
        "scope": "openid",
        "state": STATE,
        "nonce": "n",
        "prompt": "consent",
    }
    with chromium.new_context(java_script_enabled=scripts) as context:
        page = context.new_page()
        page.on("console", lambda message: refused.append(message.text))
        page.route(CALLBACK, take)
        if by_post:
            # From a page of another site, so that no cookie of ours comes along (SameSite=Lax).
            form = tmp_path / "form.html"
            fields = "".join(
                f'<input type="hidden" name="{name}" value="{_written(value)}">' for name, value in parameters.items()
            )
            form.write_text(
                f'<!doctype html><meta charset="utf-8"><form method="post" action="{provider.issuer}/oauth/authorize">'
                f"{fields}<button>Ir</button></form>",
                encoding="utf-8",
            )
            page.goto(form.as_uri())
            page.click("button")
        else:
            page.goto(f"{provider.issuer}/oauth/authorize?{urlencode(parameters)}")
        page.fill("#username", USERNAME)
        page.fill("#password", password)
        page.click("#submit")
        page.wait_for_selector("#form-consent")
        page.click("#submit")
        if not scripts:
            page.wait_for_selector("[data-screen=form_post]")
            page.click("#continue")
        page.wait_for_url(CALLBACK)
        assert page.title() == "Llegó"
    assert [method for method, _ in arrived] == ["POST"]
    sent = dict(parse_qsl(arrived[0][1], keep_blank_values=True, strict_parsing=True))
    assert sent["state"] == STATE
    assert {"code", "id_token", "iss", "session_state"} <= set(sent)
    assert not [text for text in refused if "Content Security Policy" in text]


def _written(value: str) -> str:
    for raw, reference in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), ("\r", "&#13;"), ("\n", "&#10;")):
        value = value.replace(raw, reference)
    return value
