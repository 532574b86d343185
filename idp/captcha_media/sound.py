"""Speaks the digits of a CAPTCHA: a sentence, the digits, a pause, the digits again, over voices and noise.

The clips are WAV files, 8 bits, mono, 8 kHz, in a folder for each language: `<digit>-<voice>.wav` and
`sentence-<voice>.wav`, any number of voices. `tools/make_clips.py` makes the ones that come along; recordings of
people, of the same form, may take their place. Telephone quality keeps twelve seconds below 100 kB.
"""

import io
import random
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CLIPS = Path(__file__).parent / "clips"
RATE = 8000
"""Samples in a second, of one byte each; 128 is silence."""

_SILENCE = 128
_BABBLE_GAIN = 10 ** (-12 / 20)
_HISS_GAIN = 0.034
"""12 dB below the voice; and 20 dB below it, of noise that would otherwise fill the whole range."""
_SPEED_MIN, _SPEED_MAX = 0.94, 1.07
_LEAD, _AFTER_SENTENCE, _PAUSE = 0.15, 0.4, 0.9
_GAP_MIN = 0.1
_LENGTH = 12.4
"""Seconds of every sound, so that its length tells nothing; clips that are too long for it make it longer."""


@dataclass(frozen=True, slots=True)
class _Voices:
    """The clips of one language: those of each digit, and those of the sentence."""

    digits: tuple[tuple[bytes, ...], ...]
    sentences: tuple[bytes, ...]


def speak(digits: str, language: str, noise: bytes) -> bytes:
    """A WAV of `digits` in `language`, a folder of `CLIPS`. Everything else about it follows from `noise` alone."""
    # Seeded on purpose, as for the image: the same challenge sounds the same each time.
    chance = random.Random(noise)  # noqa: S311 - see above
    voices = _load(language)
    sentence = chance.choice(voices.sentences)
    spoken = [
        _at_speed(chance.choice(voices.digits[int(digit)]), chance.uniform(_SPEED_MIN, _SPEED_MAX))
        for digit in digits * 2
    ]
    left = _LENGTH - _LEAD - _AFTER_SENTENCE - _PAUSE - sum(map(len, [sentence, *spoken])) / RATE
    parts = [_silence(_LEAD), sentence, _silence(_AFTER_SENTENCE)]
    for number, (digit, share) in enumerate(zip(spoken, _shares(len(spoken), chance), strict=True)):
        if number == len(digits):
            parts.append(_silence(_PAUSE))
        parts += [digit, _silence(max(_GAP_MIN, left * share))]
    voice = b"".join(parts)
    voice += _silence(_LENGTH)[len(voice) :]
    babble = _babble(voices, len(voice), chance).translate(_quieter(_BABBLE_GAIN))
    hiss = chance.randbytes(len(voice)).translate(_quieter(_HISS_GAIN))
    clip_at = _clipping()
    return _wav(bytes([clip_at[a + b + c] for a, b, c in zip(voice, babble, hiss, strict=True)]))


def _shares(count: int, chance: random.Random) -> list[float]:
    """Uneven parts of one."""
    weights = [chance.uniform(0.7, 1.3) for _ in range(count)]
    return [weight / sum(weights) for weight in weights]


def _babble(voices: _Voices, length: int, chance: random.Random) -> bytes:
    """Digits backwards, one after the other, so that there is speech between and under the digits."""
    parts: list[bytes] = []
    have = 0
    while have < length:
        part = chance.choice(chance.choice(voices.digits))[::-1]
        parts.append(part)
        have += len(part)
    return b"".join(parts)[:length]


def _at_speed(clip: bytes, speed: float) -> bytes:
    """The clip faster and higher, or slower and deeper."""
    made = bytearray()
    for number in range(int((len(clip) - 1) / speed)):
        place = number * speed
        at = int(place)
        made.append(int(clip[at] + (clip[at + 1] - clip[at]) * (place - at)))
    return bytes(made)


def _silence(seconds: float) -> bytes:
    return bytes([_SILENCE]) * int(seconds * RATE)


@cache
def _quieter(gain: float) -> bytes:
    return bytes(round(_SILENCE + (value - _SILENCE) * gain) for value in range(256))


@cache
def _clipping() -> bytes:
    """The sum of three samples, each with its own 128, as one sample."""
    return bytes(min(max(total - 2 * _SILENCE, 0), 255) for total in range(3 * 256))


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(1)
        writer.setframerate(RATE)
        writer.writeframes(samples)
    return file.getvalue()


@cache
def _load(language: str) -> _Voices:
    folder = CLIPS / language
    return _Voices(
        digits=tuple(_read(folder, str(digit)) for digit in range(10)),
        sentences=_read(folder, "sentence"),
    )


def _read(folder: Path, name: str) -> tuple[bytes, ...]:
    found = []
    for path in sorted(folder.glob(f"{name}-*.wav")):
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 1, RATE):
                raise ValueError(f"{path.name}: 8 bits, mono, {RATE} samples a second are needed")
            found.append(file.readframes(file.getnframes()))
    if not found:
        raise ValueError(f"no clip {name}-*.wav in {folder.name}")
    return tuple(found)
