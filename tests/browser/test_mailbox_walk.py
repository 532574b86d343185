"""The main job in Chromium: mailbox, wrong password, right password, consent, invoices, download, sign-out."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Town
from tests.browser.walk import Look, Walk, walking

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.xdist_group("browser")]

WRONG = "Equivocada-1"


def sign_in(walk: Walk, username: str, password: str) -> None:
    walk.page.fill("#username", username)
    walk.page.fill("#password", password)
    walk.page.click("#submit")


def read_alert(walk: Walk) -> None:
    """The manual's alert: says that it is wrong, has one button *Cerrar*, and is gone once that is pressed."""
    alert = walk.page.locator("#alert")
    expect(alert).to_be_visible()
    assert alert.get_attribute("role") == "alertdialog"
    walk.arrive("captcha")
    expect(walk.page.locator("#alert-close")).to_have_text("Cerrar")
    walk.page.click("#alert-close")
    expect(alert).to_be_hidden()
    # The manual: then the fields are cleared.
    expect(walk.page.locator("#username")).to_have_value("")
    expect(walk.page.locator("#password")).to_have_value("")


def solve(walk: Walk, town: Town) -> None:
    """Write what the image shows."""
    image = walk.page.locator("#captcha-image").get_attribute("src")
    walk.page.fill("#captcha", town.provider.solve(str(image)))


def download_first_invoice(walk: Walk, rfc: str) -> None:
    """The file that comes is a CFDI stamped once, and its receiver is this person."""
    links = walk.page.locator('a[href$="/download"]')
    if not links.count():
        walk.page.locator('a[href*="/invoices/"]').first.click()
        walk.page.wait_for_load_state()
        walk.look("buzon-factura")
    with walk.page.expect_download() as download:
        links.first.click()
    assert download.value.suggested_filename.endswith(".xml")
    root = ElementTree.parse(download.value.path()).getroot()
    receivers = {
        value
        for element in root.iter()
        if element.tag.endswith("}Receptor") or element.tag.endswith("}Nacional")
        for name, value in element.attrib.items()
        if name.lower() in {"rfc", "rfcr", "rfcrecep"}
    }
    assert receivers == {rfc}
    assert sum(element.tag.endswith("}TimbreFiscalDigital") for element in root.iter()) == 1


def assert_signed_out(walk: Walk, town: Town) -> None:
    """Back at the mailbox, which shows nothing; the provider asks for the password again."""
    # By its own address: before the key press has done its work, the browser is at the mailbox too.
    walk.page.wait_for_url(f"{town.mailbox}/signed-out**")
    expect(walk.page.locator('a[href*="/invoices/"]')).to_have_count(0)
    walk.look("buzon-salio")
    walk.page.goto(f"{town.mailbox}/login")
    walk.arrive("signin")


@pytest.mark.parametrize(
    ("look", "username"),
    [
        pytest.param(Look(), "EKU9003173C9", id="1280-px"),
        pytest.param(Look(scripts=False), "CT.KICR630120NX3", id="javascript-off"),
        pytest.param(Look(width=360), "usr.XIA190128J61", id="360-px"),
    ],
)
def test_a_person_walks_from_the_mailbox_and_back(
    chromium: Browser, town: Town, screenshots: Path, look: Look, username: str
) -> None:
    with walking(chromium, screenshots, look) as walk:
        page = walk.page
        page.goto(town.mailbox)
        walk.look("buzon")
        walk.control("Entrar").click()
        walk.is_at(town.issuer)
        walk.arrive("signin")

        sign_in(walk, username, WRONG)
        read_alert(walk)
        solve(walk, town)
        sign_in(walk, username, town.passwords[username])
        walk.arrive("consent")
        expect(page.locator("#deny")).to_be_visible()
        page.click("#submit")

        walk.is_at(town.mailbox)
        assert page.locator('a[href*="/invoices/"]').count() >= 1
        walk.look("buzon-facturas")
        download_first_invoice(walk, username.rpartition(".")[2])

        walk.control("Cerrar sesión").click()
        assert_signed_out(walk, town)


def test_the_mailbox_is_walked_with_the_keyboard_only(chromium: Browser, town: Town, screenshots: Path) -> None:
    username = "KICR630120NX3"
    with walking(chromium, screenshots, Look()) as walk:
        page, keys = walk.page, walk.page.keyboard
        page.goto(f"{town.mailbox}/login")
        walk.arrive("signin")
        walk.write("#username", username)
        walk.write("#password", town.passwords[username])
        keys.press("Enter")
        walk.arrive("consent")
        walk.press("#submit")
        walk.is_at(town.mailbox)
        walk.press('a[href*="/invoices/"]')
        page.wait_for_url("**/invoices/**")
        walk.tab_to('a[href$="/download"]')
        with page.expect_download() as download:
            keys.press("Enter")
        assert download.value.suggested_filename.endswith(".xml")
        walk.press("form[action$='/logout'] button")
        assert_signed_out(walk, town)
