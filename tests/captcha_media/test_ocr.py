"""Tesseract reads plain letters and not ours: a short form of `make bench-captcha`."""

import shutil
from pathlib import Path

import pytest

from bench import captcha_ocr

IMAGES = 16
SEED = 20261124

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is missing: apt-get install tesseract-ocr"),
]


def test_the_reader_can_read(tmp_path: Path) -> None:
    captcha_ocr.check_reader(tmp_path)


@pytest.mark.spec("M3")
def test_it_solves_none_of_ours(tmp_path: Path) -> None:
    solved = captcha_ocr.measure(captcha_ocr.make_images(IMAGES, SEED), 2, tmp_path)
    assert len(solved) == 14
    assert {pipeline: sum(each) for pipeline, each in solved.items() if any(each)} == {}
