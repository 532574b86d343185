"""Runs the load generator, wrk or `load.py`, over a plan; what it reports and what it cost itself."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.serving import ROOT, clean_environment

Mode = Literal["distinct", "repeat", "code", "refresh"]
"""`distinct`: the requests in turn, every answer another. `repeat`: the same, answers come again. `code`: each request
is answered by a redirect with a code, and each code is redeemed. `refresh`: each answer's refresh token is used next.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a plan; `body` is a form."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str = ""

    def line(self) -> str:
        headers = dict(self.headers)
        if self.body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return "\t".join((self.method, self.path, "|".join(f"{n}: {v}" for n, v in headers.items()), self.body))


@dataclass(frozen=True, slots=True)
class Plan:
    """What the generator sends, in turn; with `code` and `refresh`, `then` is sent with `{}` filled in."""

    mode: Mode
    requests: Sequence[Request] = ()
    then: Request | None = None
    seeds: Sequence[str] = ()

    def write(self, path: Path) -> None:
        lines = [self.mode, *(request.line() for request in self.requests)]
        if self.then is not None:
            lines.append("THEN" + self.then.line().removeprefix(self.then.method))
        lines += [f"SEED\t{seed}\t\t" for seed in self.seeds]
        path.write_text("\n".join(lines) + "\n")


@dataclass(frozen=True, slots=True)
class Report:
    """What the generator says of one run."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    """Its own."""


def name() -> str:
    """Which generator this machine has."""
    return "wrk" if shutil.which("wrk") else "bench/load.py"


def load(url: str, plan: Plan, connections: int, seconds: float, folder: Path) -> tuple[Report, Path]:
    """Run the plan against the server at `url`; the report, and the file with every answer."""
    planned, answers = folder / "plan", folder / "answers"
    plan.write(planned)
    wrk = shutil.which("wrk")
    if wrk is not None:
        command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "12s"]
        command += ["--latency", "-s", str(ROOT / "bench" / "load.lua"), url, "--", str(planned), str(answers)]
    else:
        command = [sys.executable, "-m", "bench.load", url, str(connections), str(seconds), str(planned), str(answers)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=clean_environment({}), capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"the load generator ended with {done.returncode}: {done.stderr[-2000:]}")
    report = json.loads(done.stdout.splitlines()[-1])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Report(**{**report, "requests": int(report["requests"])}, cpu_seconds=used), answers


def read_answers(path: Path) -> Iterator[tuple[int, str, int]]:
    """Every answer that was written whole, each different one once: status, text, and how often it came."""
    once: list[tuple[int, str]] = []
    times: dict[int, int] = {}
    with path.open(errors="replace") as file:
        for line in file:
            if not line.endswith("\n"):
                break  # cut off when the generator stopped
            status, _, text = line[:-1].partition("\t")
            if text.startswith("#"):
                times[int(text[1:]) - 1] = times.get(int(text[1:]) - 1, 1) + 1
            else:
                once.append((int(status), text))
    for number, (status, text) in enumerate(once):
        yield status, text, times.get(number, 1)
