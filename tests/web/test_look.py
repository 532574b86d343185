"""The look, as far as text can tell: contrast, weight, nothing inline."""

import re
from pathlib import Path

import pytest

from idp.web.assets import SCRIPTS, STYLES
from tests.web.conftest import Visitor

IDP = Path(__file__).parents[2] / "idp"
STATIC = IDP / "static"
TEMPLATES = sorted((IDP / "templates").rglob("*.html"))

TEXT, MARK = 4.5, 3.0
"""WCAG 2.2, 1.4.3 for text and 1.4.11 for what is no text."""

PAIRS = [
    ("ink", "bg", TEXT),
    ("ink", "surface", TEXT),
    ("ink-2", "bg", TEXT),
    ("ink-2", "surface", TEXT),
    ("ink-2", "surface-2", TEXT),
    ("ink-3", "bg", TEXT),
    ("ink-3", "surface", TEXT),
    ("ink-3", "surface-2", TEXT),
    ("line-strong", "bg", MARK),
    ("line-strong", "surface", MARK),
    ("line-strong", "surface-2", MARK),
    ("on-brand", "brand", TEXT),
    ("on-brand", "brand-hover", TEXT),
    ("brand", "bg", TEXT),
    ("brand", "surface", TEXT),
    ("brand", "brand-tint", TEXT),
    ("link", "bg", TEXT),
    ("link", "surface", TEXT),
    ("link", "surface-2", TEXT),
    ("danger", "surface", TEXT),
    ("danger", "danger-tint", TEXT),
    ("ink", "danger-tint", TEXT),
    ("warn", "warn-tint", TEXT),
    ("ink", "warn-tint", TEXT),
    ("ok", "surface", TEXT),
    ("ok", "ok-tint", TEXT),
    ("info", "info-tint", TEXT),
    ("ink", "info-tint", TEXT),
    ("focus", "bg", MARK),
    ("focus", "surface", MARK),
    ("focus", "surface-2", MARK),
    ("gold", "surface", MARK),
    ("on-canvas", "canvas-1", TEXT),
    ("on-canvas", "canvas-2", TEXT),
    ("on-canvas-2", "canvas-1", TEXT),
    ("on-canvas-2", "canvas-2", TEXT),
    ("gold-canvas", "canvas-1", TEXT),
    ("gold-canvas", "canvas-2", TEXT),
]


def tokens(scheme: str) -> dict[str, str]:
    light, dark = (STATIC / "tokens.css").read_text().split("@media (prefers-color-scheme:dark)")
    found = dict(re.findall(r"--([\w-]+):(#[0-9A-Fa-f]{3,6})\b", light))
    if scheme == "dark":
        found.update(re.findall(r"--([\w-]+):(#[0-9A-Fa-f]{3,6})\b", dark))
    return found


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_itself() -> None:
    assert contrast("#000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#767676", "#FFF") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back", "need"), PAIRS)
def test_colours_are_told_apart(scheme: str, front: str, back: str, need: float) -> None:
    found = tokens(scheme)
    assert contrast(found[front], found[back]) >= need


@pytest.mark.parametrize("group", STYLES)
def test_style_and_script_of_each_group_stay_light(group: str) -> None:
    files = [*STYLES[group], *SCRIPTS[group]]
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
