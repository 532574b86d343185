"""What only a browser can tell: frames of another origin, the back button and a replayed cookie after sign-out."""

import threading
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Town
from tests.browser.walk import WAIT_MS, Look, walking

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.xdist_group("browser")]


@pytest.fixture
def framing_site(town: Town) -> Iterator[str]:
    """A site of another origin that puts the page named in its query into a frame."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = escape(town.provider.issuer + unquote(urlsplit(self.path).query))
            body = f'<!doctype html><title>otra</title><iframe src="{target}"></iframe>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.spec("D-11")
@pytest.mark.parametrize("path", ["/login", "/recover/username", "/logout", "/oauth/authorize?client_id=x"])
def test_no_page_opens_in_a_frame_of_another_origin(
    chromium: Browser, town: Town, framing_site: str, path: str
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    # Refused by the header, not by a server that happened to be away.
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        page.goto(f"{framing_site}?{quote(path)}", wait_until="commit")
    assert page.frames[1].locator("[data-screen]").count() == 0
    context.close()


@pytest.mark.spec("D-48", "D-69", "W-3")
def test_after_sign_out_neither_back_button_nor_old_cookie_shows_the_person(
    chromium: Browser, town: Town, screenshots: Path
) -> None:
    account = town.rig.add()
    with walking(chromium, screenshots, Look()) as walk:
        page, issuer = walk.page, town.issuer
        page.goto(f"{issuer}/login")
        page.fill("#username", account.username)
        page.fill("#password", account.password)
        page.click("#submit")
        walk.arrive("account")
        for path in ("sessions", "activity", "profile"):
            page.goto(f"{issuer}/account/{path}")
            walk.arrive("account")
        assert account.username in page.content()
        assert "Cuenta de prueba" in page.content()
        old = page.context.cookies(issuer)

        page.goto(f"{issuer}/logout")
        page.click("#submit")
        walk.arrive("signed-out")
        for _ in range(5):
            page.go_back()
            assert account.username not in page.content()
            assert "Cuenta de prueba" not in page.content()
        for _ in range(5):
            page.go_forward()
            assert account.username not in page.content()

        page.context.clear_cookies()
        page.context.add_cookies(old)  # type: ignore[arg-type]  # what it gave it takes
        page.goto(f"{issuer}/account")
        walk.arrive("signin")
        assert account.username not in page.content()
