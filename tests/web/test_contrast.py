"""Contrast, computed anew from the style sheet: the table of the design, to the second digit."""

import pytest

from idp.web.colours import MARK, PAIRS, TEXT, contrast, find_unreadable, mix, tokens

TABLE = """
ink bg 14.50 16.10
ink surface 16.08 14.82
ink-2 bg 7.29 10.38
ink-2 surface 8.09 9.55
ink-3 bg 5.19 7.38
ink-3 surface 5.76 6.80
ink-3 surface-2 5.43 6.24
line-strong bg 3.37 5.32
line-strong surface 3.74 4.89
line-strong surface-2 3.53 4.49
on-brand brand 8.03 9.13
on-brand brand-hover 10.81 10.75
brand bg 7.24 10.06
brand surface 8.03 9.26
brand brand-tint 6.80 7.63
link bg 6.27 10.17
link surface 6.96 9.36
link surface-2 6.56 8.59
danger surface 7.43 8.86
danger danger-tint 6.53 8.25
ink danger-tint 14.12 13.81
warn warn-tint 6.74 9.21
ink warn-tint 14.48 12.86
ok surface 6.99 9.81
ok ok-tint 6.10 8.47
info info-tint 7.46 8.81
ink info-tint 14.01 13.16
focus bg 6.87 10.98
focus surface 7.62 10.11
focus surface-2 7.18 9.27
gold surface 3.78 8.12
on-canvas canvas-1 10.83 13.06
on-canvas canvas-2 7.65 9.53
on-canvas-2 canvas-1 8.26 8.88
on-canvas-2 canvas-2 5.84 6.48
gold-canvas canvas-1 7.52 8.42
gold-canvas canvas-2 5.31 6.14
"""
"""Front, back, contrast in the light and in the dark look: ux.md section 6.2."""
ROWS = [line.split() for line in TABLE.split("\n") if line]


def test_the_measure_itself() -> None:
    assert contrast("#000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#767676", "#FFF") == pytest.approx(4.54, abs=0.01)
    assert mix("#000000", "#ffffff", 0.5) == "#808080"


@pytest.mark.parametrize(("front", "back", "light", "dark"), ROWS, ids=[f"{row[0]} on {row[1]}" for row in ROWS])
def test_the_table_holds(front: str, back: str, light: str, dark: str) -> None:
    assert (front, back) in {(one, other) for one, other, _need in PAIRS}
    for scheme, said in (("light", light), ("dark", dark)):
        assert contrast(tokens(scheme)[front], tokens(scheme)[back]) == pytest.approx(float(said), abs=0.011)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_pair_is_told_apart(scheme: str) -> None:
    assert find_unreadable(tokens(scheme), set(tokens(scheme))) is None


def test_the_gold_button_can_be_read() -> None:
    # Its text is one colour in both looks; account.css.
    assert contrast("#1B1405", tokens("light")["gold-canvas"]) >= TEXT
    assert contrast("#1B1405", tokens("dark")["gold-canvas"]) >= TEXT


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_rosette_leaves_what_stands_on_it_readable(scheme: str) -> None:
    # Where the mask ends, a line is 15 % gold on the lighter end of the ground.
    found = tokens(scheme)
    line = mix(found["canvas-2"], found["gold-canvas"], 0.15)
    assert contrast(found["on-canvas-2"], line) >= TEXT


def test_more_contrast_is_more() -> None:
    # prefers-contrast: lines take the stronger colour, and that one is a mark's.
    for scheme in ("light", "dark"):
        assert contrast(tokens(scheme)["line-strong"], tokens(scheme)["surface"]) >= MARK
