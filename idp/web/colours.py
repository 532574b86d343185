"""Colours: how far apart two of them are, and how one becomes another (ux.md section 6.2)."""

import re
from functools import cache
from pathlib import Path

TEXT, MARK = 4.5, 3.0
"""WCAG 2.2: 1.4.3 for text, 1.4.11 for what is no text."""

PAIRS = (
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
    ("ink", "brand-tint", TEXT),
    ("link", "bg", TEXT),
    ("link", "surface", TEXT),
    ("link", "surface-2", TEXT),
    ("link", "warn-tint", TEXT),
    ("link", "danger-tint", TEXT),
    ("link", "info-tint", TEXT),
    ("danger", "surface", TEXT),
    ("danger", "danger-tint", TEXT),
    ("ink", "danger-tint", TEXT),
    ("warn", "warn-tint", TEXT),
    ("ink", "warn-tint", TEXT),
    ("ok", "surface", TEXT),
    ("ok", "ok-tint", TEXT),
    ("ink", "ok-tint", TEXT),
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
)
"""Front, back and what is needed: everything that the pages put on something."""

SCHEMES = ("light", "dark")
_TOKENS = Path(__file__).parent.parent / "static/tokens.css"
_Rgb = tuple[float, float, float]


@cache
def _written() -> dict[str, dict[str, str]]:
    light, dark = _TOKENS.read_text("utf-8").split("@media (prefers-color-scheme:dark)")
    found = dict(re.findall(r"--([\w-]+):(#[0-9A-Fa-f]{3,6})\b", light))
    return {"light": found, "dark": {**found, **dict(re.findall(r"--([\w-]+):(#[0-9A-Fa-f]{3,6})\b", dark))}}


def tokens(scheme: str) -> dict[str, str]:
    """The colours of our own style sheet by name, for `light` or `dark`."""
    return dict(_written()[scheme])


def _rgb(colour: str) -> _Rgb:
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def _luminance(colour: str) -> float:
    # WCAG 2.2, "relative luminance".
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio": from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def mix(one: str, other: str, share: float) -> str:
    """`share` of `other` in `one`, as `#rrggbb`."""
    parts = zip(_rgb(one), _rgb(other), strict=True)
    return "#" + "".join(f"{round(255 * (a + (b - a) * share)):02x}" for a, b in parts)


def find_unreadable(colours: dict[str, str], changed: set[str]) -> tuple[str, str, float, float] | None:
    """The first pair with a changed colour in it that is not told apart: front, back, its contrast, the need."""
    for front, back, need in PAIRS:
        if changed & {front, back}:
            found = contrast(colours[front], colours[back])
            if found < need:
                return front, back, found, need
    return None
