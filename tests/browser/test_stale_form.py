"""What a browser makes of the answer to a form whose token is no good: it goes on to a page that can be reloaded."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Town
from tests.browser.walk import WAIT_MS

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.xdist_group("browser")]

NOTICE = "La página estuvo abierta demasiado tiempo."


@pytest.mark.spec("W-5")
@pytest.mark.parametrize("scripts", [False, True])
def test_a_refused_form_can_be_reloaded(chromium: Browser, town: Town, scripts: bool) -> None:
    context = chromium.new_context(java_script_enabled=scripts, locale="es-MX")
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(town.provider.issuer + "/recover")
    context.clear_cookies()
    page.fill("#username", "EKU9003173C9")
    page.click("#submit")
    page.wait_for_url("**/recover?again=1")
    expect(page.locator("[role=alert]")).to_contain_text(NOTICE)
    expect(page.locator("#username")).to_have_value("EKU9003173C9")
    answer = page.reload()
    assert answer is not None
    assert (answer.request.method, answer.status) == ("GET", 200)
    expect(page.locator("[role=alert]")).to_have_count(0)
    page.click("#submit")
    page.wait_for_url("**/recover/question")
    context.close()
