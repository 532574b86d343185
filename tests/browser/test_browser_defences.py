"""What only a browser can tell: frames of another origin, the back button and a replayed cookie after sign-out."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.conftest import Town
from tests.browser.walk import WAIT_MS, walking

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.xdist_group("browser")]

OTHER_ORIGIN = "http://otra.localhost/"


@pytest.mark.spec("D-11")
@pytest.mark.parametrize("path", ["/login", "/recover/username", "/logout", "/oauth/authorize?client_id=x"])
def test_no_page_opens_in_a_frame_of_another_origin(chromium: Browser, town: Town, path: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))

    def answer(route: Route) -> None:
        framed = f'<iframe src="{town.provider.issuer}{path}"></iframe>'
        route.fulfill(content_type="text/html", body=f"<title>otra</title>{framed}")

    page.route(OTHER_ORIGIN, answer)
    page.goto(OTHER_ORIGIN, wait_until="load")
    frame = page.frames[1]
    assert not frame.url.startswith(town.provider.issuer)
    assert frame.locator("form").count() == 0
    assert any("frame-ancestors" in text for text in heard), heard
    context.close()


@pytest.mark.spec("D-48")
def test_after_sign_out_neither_back_button_nor_old_cookie_shows_the_person(
    chromium: Browser, town: Town, screenshots: Path
) -> None:
    username = "EKU9003173C9"
    with walking(chromium, "after-sign-out", screenshots) as walk:
        page, issuer = walk.page, town.provider.issuer
        page.goto(f"{issuer}/login")
        page.fill("#username", username)
        page.fill("#password", town.passwords[username])
        page.click("#submit")
        expect(page.locator("#username")).to_have_count(0)
        page.goto(f"{issuer}/login")
        assert username in page.content()
        old = page.context.cookies(issuer)

        page.goto(f"{issuer}/logout")
        page.click("#submit")
        walk.arrive("signed-out")
        page.go_back()
        page.go_back()
        assert username not in page.content()

        page.context.clear_cookies()
        page.context.add_cookies(old)  # type: ignore[arg-type]  # what it gave it takes
        page.goto(f"{issuer}/login")
        walk.arrive("signin")
        assert username not in page.content()
