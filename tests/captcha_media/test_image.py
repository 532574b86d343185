"""The picture: what it may cost, what it says beside its pixels, and that people's letters are in it."""

import io
import statistics
import struct
import time

import pytest
from PIL import Image, ImageChops

from idp.captcha_media import image
from idp.captcha_media.image import ALPHABET, HEIGHT, WIDTH, draw
from idp.policy import CAPTCHA_LENGTH

BYTES_MAX = 25_000
SECONDS_MAX = 0.05
TEXTS = [(ALPHABET * 2)[n : n + CAPTCHA_LENGTH] for n in range(24)]


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("L")


def chunks(content: bytes) -> list[bytes]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        found.append(content[at + 4 : at + 8])
        at += 12 + length
    assert at == len(content)
    return found


def test_no_letter_of_the_alphabet_is_taken_for_another() -> None:
    # ux.md, section 9.1: nearly every misreading was one of these pairs.
    for pair in ("4A", "7T", "XY", "EF", "DR", "DP", "JL", "0O", "O0", "1I", "5S", "2Z", "8B", "VU", "WM", "GC", "QO"):
        assert not set(pair) <= set(ALPHABET), pair
    assert len(set(ALPHABET)) == 15


def test_its_size_in_pixels_and_bytes() -> None:
    for number, text in enumerate(TEXTS):
        content = draw(text, bytes([number]))
        assert opened(content).size == (WIDTH, HEIGHT)
        assert len(content) <= BYTES_MAX


@pytest.mark.spec("C-5")
def test_an_image_takes_less_than_fifty_milliseconds() -> None:
    draw(TEXTS[0], b"faces loaded")
    spent = []
    for number, text in enumerate(TEXTS):
        began = time.process_time()
        draw(text, bytes([number]))
        spent.append(time.process_time() - began)
    assert statistics.median(spent) < SECONDS_MAX


@pytest.mark.spec("C-2", "D-45")
def test_it_says_nothing_but_its_pixels() -> None:
    for number, text in enumerate(TEXTS):
        content = draw(text, bytes([number]))
        # Header, palette, pixels, end: no text, no time, no profile.
        assert set(chunks(content)) == {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
        assert text.encode() not in content


def test_the_same_noise_gives_the_same_image() -> None:
    assert draw("ACEHK", b"one") == draw("ACEHK", b"one")
    assert draw("ACEHK", b"one") != draw("ACEHK", b"two")
    assert draw("ACEHK", b"one") != draw("ACEHN", b"one")


def test_both_styles_and_both_grounds_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    styles: list[str] = []
    for name in ("_bands", "_discs"):
        style = getattr(image, name)
        monkeypatch.setattr(image, name, lambda chance, name=name, style=style: styles.append(name) or style(chance))
    grounds = []
    for number in range(24):
        corner = opened(draw("ACEHK", bytes([number]))).crop((0, 0, WIDTH, 12))
        grounds.append(statistics.mean(corner.tobytes()) > 128)
    assert set(styles) == {"_bands", "_discs"}
    assert set(grounds) == {True, False}


def test_letters_change_the_picture_in_five_places() -> None:
    # With the same noise, one letter more or less changes the picture where it stands: all five are in it.
    whole = opened(draw("AAAAA", b"places"))
    starts = []
    for place in range(CAPTCHA_LENGTH):
        text = "A" * place + "M" + "A" * (CAPTCHA_LENGTH - place - 1)
        differs = ImageChops.difference(whole, opened(draw(text, b"places"))).point(lambda value: 255 * (value > 100))
        box = differs.getbbox()
        assert box is not None
        starts.append(box)
    assert all(right - left > 20 for left, _, right, _ in starts)


@pytest.mark.parametrize("text", ["MMMMM", "NHMHN", "66666", "KXMRU"])
def test_the_widest_text_stays_inside(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pasted: list[tuple[int, int, int, int]] = []
    paste = Image.Image.paste

    def watch(self: Image.Image, im: object, box: object = None, mask: Image.Image | None = None) -> None:
        if mask is not None and isinstance(box, tuple):
            pasted.append((box[0], box[1], box[0] + mask.width, box[1] + mask.height))
        paste(self, im, box, mask)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "paste", watch)
    for number in range(20):
        draw(text, bytes([number]))
    assert len(pasted) == 20 * CAPTCHA_LENGTH
    assert min(left for left, _, _, _ in pasted) >= 0
    assert max(right for _, _, right, _ in pasted) <= WIDTH
    assert min(top for _, top, _, _ in pasted) >= 0
    assert max(bottom for _, _, _, bottom in pasted) <= HEIGHT


def test_every_face_has_every_letter() -> None:
    assert len(image._FONTS) >= 6
    for number, path in enumerate(image._FONTS):
        font = image._font(number, 112)
        shapes = {bytes(font.getmask(character)) for character in ALPHABET}
        missing = bytes(font.getmask("Z"))
        assert len(shapes) == len(ALPHABET), path.name
        assert missing not in shapes, path.name
