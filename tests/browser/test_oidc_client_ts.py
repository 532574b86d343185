"""npm oidc-client-ts in Chromium: a page without a server of its own signs in, refreshes, and signs out, unchanged."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Town
from tests.clients.conftest import House
from tests.clients.scripts import FOLDER
from tests.serving import free_port

pytestmark = [pytest.mark.enable_socket, pytest.mark.browser, pytest.mark.xdist_group("browser")]

LIBRARY = FOLDER / "node_modules" / "oidc-client-ts" / "dist" / "browser" / "oidc-client-ts.min.js"
PAGE = """<!doctype html><title>Aplicación</title><script src="/oidc.js"></script><script>
const settings = SETTINGS
const manager = new oidc.UserManager({
  ...settings, userStore: new oidc.WebStorageStateStore({ store: sessionStorage }),
})
</script>"""


@contextmanager
def single_page_application(port: int, settings: dict[str, Any]) -> Iterator[None]:
    """The page, the same at every path, and the library beside it."""
    page = PAGE.replace("SETTINGS", json.dumps(settings)).encode()
    library = LIBRARY.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {"/oidc.js": library, "/favicon.ico": b""}.get(self.path, page)
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if found is library else "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def house(town: Town) -> House:
    """The town's provider, as the other clients' tests know it.

    Here rather than beside them because a process can drive one Playwright only, which is the browser tests' own.
    """
    if not LIBRARY.is_file():
        pytest.skip("oidc-client-ts is missing: install it with `npm ci --prefix tests/clients`")
    username = "KICR630120NX3"
    return House(town.provider, username, town.passwords[username])


@dataclass(frozen=True, slots=True)
class Application:
    """The page, open in a browser of its own, and what its console complained of."""

    page: Page
    address: str
    complaints: list[str]


@pytest.fixture
def application(house: House, chromium: Browser) -> Iterator[Application]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    client = house.register("none", redirect_uri=f"{address}/regreso", post_logout_redirect_uri=f"{address}/adios")
    settings = {
        "authority": house.provider.issuer,
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "post_logout_redirect_uri": f"{address}/adios",
        "scope": "openid email rfc offline_access",
        "loadUserInfo": True,
        "automaticSilentRenew": False,
        "revokeTokensOnSignout": True,
    }
    context = chromium.new_context(locale="es-MX")
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        with single_page_application(port, settings):
            page.goto(f"{address}/")
            yield Application(page, address, complaints)
    finally:
        context.close()


def sign_in(page: Page, house: House, application: Application) -> None:
    """From the provider's sign-in page back to the application."""
    page.wait_for_selector('body[data-screen="signin"]')
    page.fill("#username", house.username)
    page.fill("#password", house.password)
    page.click("#submit")
    page.wait_for_selector('body[data-screen="consent"]')
    page.click("#submit")
    page.wait_for_url(f"{application.address}/regreso?*")


@pytest.mark.spec("P-14")
def test_page_signs_in_refreshes_and_signs_out(house: House, application: Application) -> None:
    page = application.page
    page.evaluate("void manager.signinRedirect({ state: { from: 'inicio' } })")
    sign_in(page, house, application)
    user = page.evaluate("manager.signinCallback()")
    assert user["profile"]["rfc"] == house.username
    assert user["profile"]["email"] == "persona@cliente.example"
    assert user["state"] == {"from": "inicio"}

    # A refresh token by CORS from the page itself: a public client, so that the old one is dead afterwards.
    renewed = page.evaluate("manager.signinSilent()")
    assert renewed["access_token"] != user["access_token"]
    assert renewed["refresh_token"] != user["refresh_token"]

    page.evaluate("void manager.signoutRedirect()")
    page.wait_for_url(f"{application.address}/adios*")
    assert page.evaluate("manager.signoutCallback().then(() => true)")
    assert page.evaluate("manager.getUser()") is None
    page.goto(f"{house.provider.issuer}/login")
    page.wait_for_selector('body[data-screen="signin"]')
    assert application.complaints == []


@pytest.mark.spec("W-7")
def test_a_popup_signs_in_and_has_no_hold_on_the_page_that_opened_it(house: House, application: Application) -> None:
    page = application.page
    with page.expect_popup() as opened:
        page.evaluate("window.signingIn = manager.signinPopup(); undefined")
    popup = opened.value
    popup.set_default_timeout(20_000)
    sign_in(popup, house, application)
    # Our pages send COOP: the two windows have parted for good, and the library goes on by a BroadcastChannel.
    assert popup.evaluate("window.opener") is None
    popup.evaluate("void manager.signinCallback()")
    user = page.evaluate("window.signingIn")
    assert user["profile"]["rfc"] == house.username
    assert application.complaints == []
