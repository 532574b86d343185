"""Makes the spoken clips of the CAPTCHA with espeak-ng: `python -m tools.make_clips [FOLDER]`.

For each language ten digits by several voices and one sentence, as 8-bit mono WAV, silence cut off, equally loud.
People's voices are better than a synthesiser's: put recordings of the same form and names into the folder instead.
"""

import array
import math
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from idp.captcha_media.sound import CLIPS, RATE

LANGUAGES = {
    "es-MX": ("es-419", "Escriba los seis números.", "cero uno dos tres cuatro cinco seis siete ocho nueve"),
    "en": ("en-us", "Type the six digits.", "zero one two three four five six seven eight nine"),
}
VOICES = {"m1": "", "m3": "+m3", "f2": "+f2", "f4": "+f4"}
"""The name in the file, and espeak-ng's variant of the language's own voice."""

DIGIT_SPEED, SENTENCE_SPEED = 155, 170
"""Words a minute."""
LOUDNESS = 0.2
PEAK = 0.95
SILENCE = 0.005
TREBLE = 0.6
TAPS = 24
EDGE_SECONDS = 0.012


def synthesise(text: str, voice: str, speed: int, folder: Path) -> tuple[list[float], int]:
    """Samples from -1 to 1, and how many make a second."""
    path = folder / "spoken.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-w", str(path), text], check=True)
    with wave.open(str(path), "rb") as file:
        if (file.getsampwidth(), file.getnchannels()) != (2, 1):
            raise RuntimeError("espeak-ng is expected to write 16 bits, mono")
        samples = array.array("h", file.readframes(file.getnframes()))
        return [sample / 32768 for sample in samples], file.getframerate()


def resample(samples: list[float], rate: int) -> list[float]:
    """At `RATE`, by a windowed sinc that takes away what would fold back."""
    ratio = RATE / rate
    reach = TAPS / ratio
    made = []
    for number in range(int(len(samples) * ratio)):
        middle = number / ratio
        value = 0.0
        for at in range(max(0, math.ceil(middle - reach)), min(len(samples), int(middle + reach) + 1)):
            x = (at - middle) * ratio * 0.94
            window = 0.5 + 0.5 * math.cos(math.pi * (at - middle) / reach)
            value += samples[at] * window * (math.sin(math.pi * x) / (math.pi * x) if x else 1.0)
        made.append(value * ratio)
    return made


def brighten(samples: list[float]) -> list[float]:
    """Treble up: what 8 kHz leave of an s, with which three of the ten digits are told apart, is faint."""
    return [sample - TREBLE * before for before, sample in zip([0.0, *samples], samples, strict=False)]


def trim(samples: list[float]) -> list[float]:
    """Without the silence before and after, and with soft edges."""
    limit = SILENCE * max(map(abs, samples))
    loud = [number for number, sample in enumerate(samples) if abs(sample) > limit]
    kept = samples[loud[0] : loud[-1] + 1]
    edge = int(RATE * EDGE_SECONDS)
    for number in range(edge):
        kept[number] *= number / edge
        kept[-1 - number] *= number / edge
    return kept


def level(samples: list[float]) -> list[float]:
    """As loud as every other, peaks rounded off."""
    gain = LOUDNESS / math.sqrt(sum(sample * sample for sample in samples) / len(samples))
    return [PEAK * math.tanh(sample * gain / PEAK) for sample in samples]


def write(samples: list[float], path: Path) -> None:
    """As 8-bit WAV, whose silence is 128."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(bytes(round(128 + 127 * sample) for sample in samples))


def main() -> None:
    """Make every clip anew."""
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is missing: apt-get install espeak-ng")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else CLIPS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for language, (voice, sentence, words) in LANGUAGES.items():
            (target / language).mkdir(parents=True, exist_ok=True)
            wanted = [(f"sentence-{next(iter(VOICES))}", sentence, voice, SENTENCE_SPEED)]
            for digit, word in enumerate(words.split()):
                wanted += [(f"{digit}-{name}", word, voice + variant, DIGIT_SPEED) for name, variant in VOICES.items()]
            for number, (clip, text, spoken_by, speed) in enumerate(wanted, 1):
                samples = level(trim(brighten(resample(*synthesise(text, spoken_by, speed, folder)))))
                write(samples, target / language / f"{clip}.wav")
                print(f"\r{language}: {number} of {len(wanted)} clips ", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)


if __name__ == "__main__":
    main()
