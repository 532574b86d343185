"""Every row of the manual in Chromium by keyboard: wide, narrow, light, dark, Spanish, English, without scripts."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Town
from tests.browser.manual import Visitor
from tests.browser.walk import Look, walking

GROUPS = ("browser", "browser-2")
SHORT = (
    Look(),
    Look(360, dark=True, language="en"),
    Look(dark=True, language="en", scripts=False),
    Look(360, scripts=False),
)
"""Any two of width, language and scripts meet in one of these, and the colours meet each width and both with scripts
and without: only words and colours do not, which leave each other alone."""


def looks() -> list[Any]:
    """Every look there is; those that are not `SHORT` are walked by `make test-all`. Two groups share them out."""
    ways = product((1280, 360), (False, True), ("es-MX", "en"), (True, False))
    every = [Look(width, dark=dark, language=language, scripts=scripts) for width, dark, language, scripts in ways]
    others = [look for look in every if look not in SHORT]
    assert len(SHORT) + len(others) == len(every)
    return [
        pytest.param(look, id=look.tag, marks=[*marks, pytest.mark.xdist_group(GROUPS[count % 2])])
        for these, marks in ((SHORT, ()), (others, (pytest.mark.slow,)))
        for count, look in enumerate(these)
    ]


pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.timeout(300)]


@pytest.mark.spec("D-61", "M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M9", "M10", "M11", "M12", "M13", "M14")
@pytest.mark.parametrize("look", looks())
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
    # What the house says of it: each step was taken, and once.
    happened = ("account:lock:set", "account:question:success", "account:reminder:request", "account:password:reset")
    assert [town.rig.provider.count_audit(event, account.username) for event in happened] == [1, 1, 1, 2]
