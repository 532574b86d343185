"""Draws the characters of a CAPTCHA so that people read them and OCR does not.

What hurts a reader of text lines more than a person, by measurement: letters that do not stand on one line, and
bands or discs in which dark and light change places. What hurts people is letters that look alike, so there are
fifteen that do not. `bench/captcha_ocr.py` measures Tesseract; its figure is a floor, not a promise.
"""

import io
import math
import random
from functools import cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

ALPHABET = "ACEHKMNPRTUX369"
WIDTH, HEIGHT = 640, 220
"""Twice what the page shows it at."""

_FONTS = sorted((Path(__file__).parent / "fonts").glob("*.ttf"))
_SIZES = (112, 120, 128)
_TURN_MAX = 12.0
_SHEAR_MAX = math.tan(math.radians(8))
_OVERLAP = 0.1
_ZIGZAG = 30
_CELL = 20
_GREYS = 16
_BITS = 4


def draw(characters: str, noise: bytes) -> bytes:
    """A PNG of `characters`, which are of `ALPHABET`. Everything else about it follows from `noise` alone.

    It says nothing but its pixels: no text, no time, no profile.
    """
    # Seeded on purpose: the same challenge is the same image, however often it is asked for. `noise` cannot be
    # guessed, and the characters come from elsewhere.
    chance = random.Random(noise)  # noqa: S311 - see above
    ink = _warp(_letters(characters, chance), chance)
    for area in _areas(chance):
        ink = ImageChops.difference(ink, area)  # exclusive or: inside, light and dark change places
    dark, light = _tones(chance, 34, 84), _tones(chance, 208, 250)
    if chance.random() < 0.5:
        dark, light = light, dark
    picture = Image.composite(dark, light, ink)
    picture = Image.composite(Image.blend(picture, Image.new("L", picture.size, 128), 0.28), picture, _hatch(chance))
    picture = _grain(picture, chance)
    return _png(picture)


def _letters(characters: str, chance: random.Random) -> Image.Image:
    """White on black: the letters, each in a face, size and slant of its own, up and down in turn; and one line."""
    drawn = [_letter(character, chance) for character in characters]
    room = WIDTH - sum(int(letter.width * (1 - _OVERLAP)) for letter in drawn)
    gap = chance.uniform(-4, min(14, room / 8))
    x = chance.uniform(24, max(25, room - gap * (len(drawn) - 1) - 24))
    up = chance.choice((-1, 1))
    layer = Image.new("L", (WIDTH, HEIGHT))
    for letter in drawn:
        y = HEIGHT / 2 + up * (_ZIGZAG + chance.uniform(-6, 6)) - letter.height / 2
        y = min(max(y, 4), HEIGHT - letter.height - 4)
        place = (int(x), int(y))
        layer.paste(255, place, letter)
        x += letter.width * (1 - _OVERLAP) + gap
        up = -up
    pen = ImageDraw.Draw(layer)
    across = range(-8, WIDTH + 9, 8)
    swings = _wave(chance, (18, 40), (230, 420), across)
    line = [(x, HEIGHT / 2 + swing) for x, swing in zip(across, swings, strict=True)]
    pen.line(line, fill=255, width=chance.choice((4, 5)), joint="curve")
    for _ in range(4):
        _stroke(pen, chance)
    return layer


def _letter(character: str, chance: random.Random) -> Image.Image:
    font = _font(chance.randrange(len(_FONTS)), chance.choice(_SIZES))
    left, top, right, bottom = font.getbbox(character)
    width, height = math.ceil(right - left), math.ceil(bottom - top)
    margin = 36
    tile = Image.new("L", (width + 2 * margin, height + 2 * margin))
    ImageDraw.Draw(tile).text((margin - left, margin - top), character, fill=255, font=font)
    turn, shear = math.radians(chance.uniform(-_TURN_MAX, _TURN_MAX)), chance.uniform(-_SHEAR_MAX, _SHEAR_MAX)
    middle_x, middle_y = tile.width / 2, tile.height / 2
    cosine, sine = math.cos(turn), math.sin(turn)
    a, b, d, e = cosine + shear * sine, -sine + shear * cosine, sine, cosine
    matrix = (a, b, middle_x - a * middle_x - b * middle_y, d, e, middle_y - d * middle_x - e * middle_y)
    tile = tile.transform(tile.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return tile.crop(tile.getbbox())


def _stroke(pen: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """A short one near an edge, which is no letter."""
    x = chance.uniform(10, WIDTH - 10)
    y = chance.choice((chance.uniform(4, 18), chance.uniform(HEIGHT - 18, HEIGHT - 4)))
    angle, length = chance.uniform(0, math.pi), chance.uniform(14, 26)
    end = (x + length * math.cos(angle), y + length * math.sin(angle))
    pen.line([(x, y), end], fill=255, width=chance.randint(7, 12))


def _wave(chance: random.Random, heights: tuple[float, float], lengths: tuple[float, float], at: range) -> list[float]:
    """Two sines, one upon the other."""
    height, length, phase = chance.uniform(*heights), chance.uniform(*lengths), chance.uniform(0, math.tau)
    second, length_2, phase_2 = height * 0.35, length * chance.uniform(0.4, 0.6), chance.uniform(0, math.tau)
    return [
        height * math.sin(math.tau * x / length + phase) + second * math.sin(math.tau * x / length_2 + phase_2)
        for x in at
    ]


def _warp(layer: Image.Image, chance: random.Random) -> Image.Image:
    """Bend it a little, along both axes."""
    depth, length = chance.uniform(3.6, 5.2), chance.uniform(160, 210)
    phase_x, phase_y = chance.uniform(0, math.tau), chance.uniform(0, math.tau)

    def bent(x: int, y: int) -> tuple[float, float]:
        return (
            x + depth * math.sin(math.tau * y / length + phase_x),
            y + depth * math.sin(math.tau * x / length + phase_y),
        )

    mesh = [
        (
            (x, y, x + _CELL, y + _CELL),
            (*bent(x, y), *bent(x, y + _CELL), *bent(x + _CELL, y + _CELL), *bent(x + _CELL, y)),
        )
        for x in range(0, WIDTH, _CELL)
        for y in range(0, HEIGHT, _CELL)
    ]
    return layer.transform(layer.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _areas(chance: random.Random) -> list[Image.Image]:
    """Where light and dark change places: in one style two wavy bands, in the other discs. Each turns the last over."""
    return _bands(chance) if chance.random() < 0.5 else _discs(chance)


def _bands(chance: random.Random) -> list[Image.Image]:
    across = range(0, WIDTH + 8, 8)
    areas = []
    for middle in (HEIGHT * 0.36, HEIGHT * 0.64):
        upper = _wave(chance, (16, 30), (260, 480), across)
        thickness = chance.uniform(34, 52)
        lower = _wave(chance, (10, 18), (260, 480), across)
        outline = [(x, middle - thickness / 2 + swing) for x, swing in zip(across, upper, strict=True)]
        outline += [(x, middle + thickness / 2 + swing) for x, swing in reversed(list(zip(across, lower, strict=True)))]
        area = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(area).polygon(outline, fill=255)
        areas.append(area)
    return areas


def _discs(chance: random.Random) -> list[Image.Image]:
    areas = []
    step = WIDTH / 4
    for number in range(5):
        x, y = number * step + chance.uniform(-40, 40), HEIGHT / 2 + chance.uniform(-70, 70)
        across, down = chance.uniform(70, 110), chance.uniform(44, 74)
        area = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(area).ellipse((x - across, y - down, x + across, y + down), fill=255)
        areas.append(area)
    return areas


def _hatch(chance: random.Random) -> Image.Image:
    """Slanted lines, slightly wavy, over everything."""
    mask = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(mask)
    down = range(0, HEIGHT + 20, 20)
    slant, step, width = chance.choice((-1, 1)) * chance.uniform(0.4, 0.8), chance.uniform(19, 24), 8
    swing = _wave(chance, (6, 14), (150, 260), down)
    x = -HEIGHT
    while x < WIDTH + HEIGHT:
        pen.line([(x + slant * y + bend, y) for y, bend in zip(down, swing, strict=True)], fill=255, width=width)
        x += int(step)
    return mask


def _tones(chance: random.Random, low: int, high: int) -> Image.Image:
    """Soft fields between two greys."""
    small = Image.frombytes("L", (8, 4), bytes(chance.randint(low, high) for _ in range(32)))
    return small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def _grain(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Noise in grains of two pixels, which are one where the page shows it."""
    small = (WIDTH // 2, HEIGHT // 2)
    grain = Image.frombytes("L", small, chance.randbytes(small[0] * small[1]))
    grain = grain.point([value * 15 // 256 for value in range(256)]).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    return ImageChops.add(picture, grain, 1, -7)


def _png(picture: Image.Image) -> bytes:
    # Sixteen greys are what the eye needs here, and take half a byte each.
    step = 255 / (_GREYS - 1)
    indexed = picture.point([round(value / step) for value in range(256)])
    indexed.putpalette([round(index * step) for index in range(_GREYS) for _ in range(3)])
    file = io.BytesIO()
    indexed.save(file, "PNG", bits=_BITS, compress_level=6)  # 9 takes seven times as long for 3 %
    return file.getvalue()


@cache
def _font(number: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONTS[number]), size, layout_engine=ImageFont.Layout.BASIC)
