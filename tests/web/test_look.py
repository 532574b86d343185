"""The look, as far as text can tell: weight, nothing inline."""

import re
from pathlib import Path

import pytest

from idp.web.assets import SCRIPTS, STYLES
from tests.web.conftest import Visitor

IDP = Path(__file__).parents[2] / "idp"
STATIC = IDP / "static"
TEMPLATES = sorted(path for path in (IDP / "templates").rglob("*.html") if "mail" not in path.parts)
"""Of pages; mails have no style sheet to refer to."""


@pytest.mark.parametrize("group", STYLES)
def test_style_and_script_of_each_group_stay_light(group: str) -> None:
    # The CAPTCHA brings its script along when it is due.
    files = [*STYLES[group], *SCRIPTS[group], *(["captcha.js"] if "captcha.css" in STYLES[group] else [])]
    assert sum((STATIC / name).stat().st_size for name in files) < 30_000


def test_the_sign_in_page_stays_light_and_asks_for_little(visitor: Visitor) -> None:
    page = visitor.get("/login")
    assert len(page.text.encode()) < 12_000
    fetched = re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="([^"]+)"', page.text)
    assert len(fetched) <= 3
    assert all(each.startswith("/") and not each.startswith("//") for each in fetched)


@pytest.mark.spec("W-7")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_nothing_is_inline(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle\s*=", text)
    assert not re.search(r"<style", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"\son[a-z]+\s*=", text)
    assert "javascript:" not in text
    assert "|safe" not in text
    assert "autoescape" not in text


def test_every_class_of_a_template_has_a_style() -> None:
    style = "".join((STATIC / name).read_text() for name in {name for files in STYLES.values() for name in files})
    used = {
        name
        for path in TEMPLATES
        for value in re.findall(r'class="([^"{]*)', path.read_text())
        for name in value.split()
    }
    behaviour = {"js-only"}
    assert {name for name in used - behaviour if f".{name}" not in style} == set()
