"""Every row of the manual in Chromium by keyboard: wide, narrow, light, dark, Spanish, English, without scripts."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Town
from tests.browser.manual import Visitor
from tests.browser.walk import Look, walking

LOOKS = [
    pytest.param(Look(), id="1280-light-es", marks=pytest.mark.xdist_group("browser")),
    pytest.param(Look(360, dark=True), id="360-dark-es", marks=pytest.mark.xdist_group("browser-2")),
    pytest.param(Look(360, language="en"), id="360-light-en", marks=pytest.mark.xdist_group("browser")),
    pytest.param(Look(dark=True, language="en"), id="1280-dark-en", marks=pytest.mark.xdist_group("browser-2")),
    pytest.param(Look(scripts=False), id="1280-no-scripts-es", marks=pytest.mark.xdist_group("browser")),
    pytest.param(
        Look(360, dark=True, language="en", scripts=False),
        id="360-no-scripts-en",
        marks=pytest.mark.xdist_group("browser-2"),
    ),
]

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.timeout(300)]


@pytest.mark.spec("D-61", "M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M9", "M10", "M11", "M12", "M13", "M14")
@pytest.mark.parametrize("look", LOOKS)
def test_a_person_walks_the_whole_manual_by_keyboard(
    chromium: Browser, town: Town, screenshots: Path, look: Look
) -> None:
    account = town.rig.add()
    with walking(chromium, screenshots, look) as walk:
        visitor = Visitor(walk, town, account, account.password)
        visitor.meet_the_sign_in_page()
        visitor.be_refused()
        visitor.be_locked()
        visitor.recover_by_question()
        visitor.enter_the_mailbox()
        visitor.see_the_account()
        visitor.sign_out(look=True)
        visitor.ask_support()
        visitor.recover_by_mail()
        visitor.renew()
        visitor.activate()
