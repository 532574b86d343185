"""The providers that ours is measured against: what each is installed from, and our glue to start it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.serving import clean_environment


class MissingPart(Exception):
    """A peer cannot run on this machine; the text says what is missing and how to get it."""


def run_quietly(command: Sequence[str], folder: Path, **own: str) -> str:
    """Run to its end and give what it printed; `MissingPart` with its last words where it fails."""
    done = subprocess.run(
        list(command), cwd=folder, env=clean_environment({}) | own, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = (done.stderr or done.stdout)[-1500:]
        raise MissingPart(f"{' '.join(command[:3])} ended with {done.returncode}: {words}")
    return done.stdout
