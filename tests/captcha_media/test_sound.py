"""The sound: its form, what it may cost, and that the digits are in it, twice."""

import io
import statistics
import time
import wave
from pathlib import Path

import pytest

from idp.captcha_media import sound
from idp.captcha_media.sound import CLIPS, RATE, speak
from idp.policy import CAPTCHA_DIGITS

BYTES_MAX = 100_000
SECONDS_MAX = 0.15
LANGUAGES = ["es-MX", "en"]
DIGITS = ["314159", "000000", "555777", "909090", "123456", "876543"]


def samples(content: bytes) -> bytes:
    with wave.open(io.BytesIO(content), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 1, RATE)
        return file.readframes(file.getnframes())


@pytest.mark.spec("C-6")
@pytest.mark.parametrize("language", LANGUAGES)
def test_its_length_is_within_bounds_and_tells_nothing(language: str) -> None:
    lengths = {len(speak(digits, language, bytes([number]))) for number, digits in enumerate(DIGITS)}
    assert len(lengths) == 1
    assert max(lengths) <= BYTES_MAX


@pytest.mark.spec("C-5")
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sound_takes_less_than_150_milliseconds(language: str) -> None:
    speak("000000", language, b"clips loaded")
    spent = []
    for number, digits in enumerate(DIGITS):
        began = time.process_time()
        speak(digits, language, bytes([number]))
        spent.append(time.process_time() - began)
    assert statistics.median(spent) < SECONDS_MAX


def test_the_same_noise_gives_the_same_sound() -> None:
    assert speak("314159", "en", b"one") == speak("314159", "en", b"one")
    assert speak("314159", "en", b"one") != speak("314159", "en", b"two")
    assert speak("314159", "en", b"one") != speak("314150", "en", b"one")
    assert speak("314159", "en", b"one") != speak("314159", "es-MX", b"one")


@pytest.mark.spec("C-6")
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_the_sentence_and_each_digit_twice(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    voices = sound._load(language)
    said: list[int] = []
    at_speed = sound._at_speed

    def listen(clip: bytes, speed: float) -> bytes:
        said.extend(digit for digit, clips in enumerate(voices.digits) if clip in clips)
        return at_speed(clip, speed)

    monkeypatch.setattr(sound, "_at_speed", listen)
    # Without voices and noise beneath, the clips are there sample by sample.
    monkeypatch.setattr(sound, "_quieter", lambda gain: bytes([128]) * 256)
    monkeypatch.setattr(sound, "_SPEED_MIN", 1.0)
    monkeypatch.setattr(sound, "_SPEED_MAX", 1.0)
    heard = samples(speak("314159", language, b"noise"))
    assert said == [3, 1, 4, 1, 5, 9] * 2
    assert any(sentence in heard for sentence in voices.sentences)
    place = 0
    for digit in said:
        found = [heard.find(clip[:-1], place) for clip in voices.digits[digit]]
        place = min(at for at in found if at >= 0)
    assert len(said) == 2 * CAPTCHA_DIGITS


def test_speech_stands_out_of_what_is_beneath() -> None:
    def power(content: bytes) -> float:
        return statistics.pstdev(samples(content))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound, "_quieter", lambda gain: bytes([128]) * 256)
        clean = power(speak("314159", "es-MX", b"noise"))
    loud = power(speak("314159", "es-MX", b"noise"))
    beneath = (loud**2 - clean**2) ** 0.5
    assert 0.1 < beneath / clean < 0.5


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_several_voices_for_each_digit(language: str) -> None:
    voices = sound._load(language)
    assert len(voices.digits) == 10
    assert all(len(set(clips)) >= 3 for clips in voices.digits)
    assert voices.sentences


def test_the_clips_stay_small() -> None:
    assert sum(path.stat().st_size for path in CLIPS.rglob("*.wav")) < 700_000


def test_recordings_of_another_form_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "CLIPS", tmp_path)
    folder = tmp_path / "es-XX"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no clip 0-\*\.wav"):
        speak("000000", "es-XX", b"")
    with wave.open(str(folder / "0-a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(b"\0\0")
    with pytest.raises(ValueError, match="8 bits, mono, 8000"):
        speak("000000", "es-XX", b"")
