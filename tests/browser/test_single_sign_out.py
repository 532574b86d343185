"""One sign-out for all: back channel, frames and check-session, with real servers and a real browser."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import create_engine

from idp.db import Store, engine_options
from idp.protocol.clients import Clients, Registration
from idp.protocol.details import ClientDetails
from tests.browser.conftest import Town
from tests.browser.walk import WAIT_MS, Look, walking

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.xdist_group("browser")]

TOLD_WITHIN = 10.0
"""Seconds from the sign-out until the application has heard of it, on a machine that does other things too."""

USERNAME = "usr.KICR630120NX3"


@dataclass
class Site:
    """An application on `localhost`, of the provider's site, so that a browser gives its frame the readable cookie."""

    port: int
    client_id: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    slow: float = 0.0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def same_site(self) -> str:
        return f"http://localhost:{self.port}"

    def queries(self, path: str) -> list[dict[str, str]]:
        return [query for asked, query in self.asked if asked == path]


@contextmanager
def serving() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found.asked.append((parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}))
            if parts.path == "/front":
                time.sleep(found.slow)
            body = found.pages.get(parts.path, "<!doctype html><title>aplicación</title><h1>aplicación</h1>").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Site(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def site(town: Town) -> Iterator[Site]:
    with serving() as found:
        url = f"sqlite:///{town.provider.database}"
        store = Store(create_engine(url, **engine_options(url)))
        registration = Registration(
            "Aplicación con marco",
            redirect_uris=(f"{found.origin}/cb",),
            post_logout_redirect_uris=(f"{found.origin}/signed-out",),
            profile="compat",
            first_party=True,
            details=ClientDetails(
                frontchannel_logout_uri=f"{found.origin}/front", frontchannel_logout_session_required=True
            ),
        )
        client, _ = Clients(store).add(registration, now=datetime.now(UTC))
        store.engine.dispose()
        found.client_id = client.client_id
        yield found


def sign_in(page: Page, town: Town) -> None:
    page.fill("#username", USERNAME)
    page.fill("#password", town.passwords[USERNAME])
    page.click("#submit")


def authorize(page: Page, town: Town, site: Site, **parameters: str) -> dict[str, str]:
    """Go through the authorization endpoint; what came back to the application."""
    query = {
        "client_id": site.client_id,
        "redirect_uri": f"{site.origin}/cb",
        "response_type": "code",
        "scope": "openid",
        "state": secrets.token_urlsafe(8),
        **parameters,
    }
    before = len(site.queries("/cb"))
    page.goto(f"{town.provider.issuer}/oauth/authorize?{urlencode(query)}")
    if page.locator("#username").count():
        sign_in(page, town)
    page.wait_for_url(f"{site.origin}/cb**")
    [answer] = site.queries("/cb")[before:]
    return answer


def test_signing_out_at_the_provider_signs_out_at_the_mailbox(chromium: Browser, town: Town, screenshots: Path) -> None:
    with walking(chromium, screenshots, Look()) as walk:
        page = walk.page
        page.goto(f"{town.mailbox}/login")
        walk.arrive("signin")
        sign_in(page, town)
        walk.arrive("consent")
        page.click("#submit")
        expect(page.locator('a[href*="/invoices/"]').first).to_be_visible()

        page.goto(f"{town.provider.issuer}/logout")
        page.click("#submit")
        walk.arrive("signed-out")
        began = time.monotonic()
        while time.monotonic() - began < TOLD_WITHIN:
            page.goto(town.mailbox)
            if not page.locator('form[action="/logout"]').count():
                break
            time.sleep(0.2)
        expect(page.locator('form[action="/logout"]')).to_have_count(0)
        expect(page.locator('a[href*="/invoices/"]')).to_have_count(0)


@pytest.mark.spec("P-12", "W-7")
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_frames_are_loaded_and_the_browser_goes_back(
    chromium: Browser, town: Town, site: Site, screenshots: Path, scripts: bool
) -> None:
    with walking(chromium, screenshots, Look(scripts=scripts)) as walk:
        page, issuer = walk.page, town.provider.issuer
        authorize(page, town, site)
        back = {"client_id": site.client_id, "post_logout_redirect_uri": f"{site.origin}/signed-out", "state": 'a "&1'}
        page.goto(f"{issuer}/oauth/logout?{urlencode(back)}")
        walk.arrive("signout-confirm")
        assert site.queries("/front") == []
        with page.expect_response(lambda response: response.url.endswith("/logout/confirm")) as answered:
            page.click("#submit")
        policy = answered.value.headers["content-security-policy"]
        if not scripts:
            walk.arrive("signed-out")
            page.click("#submit")
        page.wait_for_url(f"{site.origin}/signed-out**")
        assert f"; frame-src {site.origin}" in policy
        assert site.queries("/signed-out") == [{"state": 'a "&1'}]
        [told] = site.queries("/front")
        assert told["iss"] == issuer
        assert set(told) == {"iss", "sid"}
        page.goto(f"{issuer}/logout")
        walk.arrive("signed-out")


def test_a_frame_that_hangs_holds_nobody_up(chromium: Browser, town: Town, site: Site, screenshots: Path) -> None:
    site.slow = 20.0
    with walking(chromium, screenshots, Look()) as walk:
        page, issuer = walk.page, town.provider.issuer
        authorize(page, town, site)
        back = {"client_id": site.client_id, "post_logout_redirect_uri": f"{site.origin}/signed-out"}
        page.goto(f"{issuer}/oauth/logout?{urlencode(back)}")
        began = time.monotonic()
        page.click("#submit", no_wait_after=True)
        page.wait_for_url(f"{site.origin}/signed-out**")
        assert 3 < time.monotonic() - began < 15
    site.slow = 0.0


CHECK = """<!doctype html><title>comprobación</title><h1>comprobación</h1>
<iframe id="op" src="{frame}" title="op"></iframe><script>
window.heard = [];
addEventListener("message", function (event) {{ window.heard.push([event.data, event.origin]); }});
window.ask = function (message) {{ document.getElementById("op").contentWindow.postMessage(message, "{issuer}"); }};
</script>"""


@pytest.mark.spec("W-1", "W-7")
def test_check_session_sees_signing_out_and_in(chromium: Browser, town: Town, site: Site) -> None:
    issuer = town.provider.issuer
    site.pages["/check"] = CHECK.format(frame=f"{issuer}/oauth/check_session", issuer=issuer)
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)

    def ask(message: object, at: str = site.same_site) -> str:
        page.goto(f"{at}/check", wait_until="load")
        page.evaluate("message => ask(message)", message)
        page.wait_for_function("heard.length > 0")
        [[answer, origin]] = page.evaluate("heard")
        assert origin == issuer
        return str(answer)

    answer = authorize(page, town, site)
    [state] = [each for each in context.cookies(issuer) if each["name"] == "browser-state"]
    assert state["httpOnly"] is False
    # The frame is asked from 127.0.0.1 in the answer and from localhost here: another origin has another state.
    stated = restate(answer["session_state"], site, state["value"], site.same_site)
    assert ask(f"{site.client_id} {stated}") == "unchanged"
    assert ask(f"{site.client_id} {answer['session_state']}") == "changed"
    assert ask(f"other {stated}") == "changed"
    for broken in ("", "x", f"{site.client_id} x", f"{site.client_id} .", "a b c.d", {"a": 1}, "x" * 5000):
        assert ask(broken) == "error", broken

    page.goto(f"{issuer}/logout")
    page.click("#submit")
    assert ask(f"{site.client_id} {stated}") == "changed"
    assert not [each for each in context.cookies(issuer) if each["name"] == "browser-state"]
    authorize(page, town, site)
    assert ask(f"{site.client_id} {stated}") == "changed"
    context.close()


def restate(stated: str, site: Site, state: str, origin: str) -> str:
    """The same `session_state`, had the application another origin; first, that it is what it should be."""

    def state_for(origin: str) -> str:
        return f"{sha256(' '.join((site.client_id, origin, state, salt)).encode()).hexdigest()}.{salt}"

    salt = stated.partition(".")[2]
    assert stated == state_for(site.origin)
    return state_for(origin)


def test_discovery_says_what_there_is(town: Town) -> None:
    issuer = town.provider.issuer
    with urlopen(f"{issuer}/.well-known/openid-configuration", timeout=10) as answer:
        metadata = json.load(answer)
    assert metadata["end_session_endpoint"] == f"{issuer}/oauth/logout"
    assert metadata["check_session_iframe"] == f"{issuer}/oauth/check_session"
    for name in (
        "backchannel_logout",
        "backchannel_logout_session",
        "frontchannel_logout",
        "frontchannel_logout_session",
    ):
        assert metadata[f"{name}_supported"] is True
