"""Relying parties that are JavaScript files of this folder, run by Node."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.serving import clean_environment

FOLDER = Path(__file__).parent


class Script:
    """The JavaScript side: takes and gives one JSON value a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def tell(self, value: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self._process.communicate(timeout=10)[1])
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def script(node: str, name: str) -> Iterator[Script]:
    """The file `name` of this folder, running."""
    with subprocess.Popen(
        [node, str(FOLDER / name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment({}),
    ) as process:
        try:
            yield Script(process)
        finally:
            process.kill()
