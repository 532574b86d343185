"""`make bench`: ours and its peers do the same work in one run on loopback, W1 to W8; a table, JSON, a page, a chart.

    python -m bench.run [--rounds 3] [--seconds 5] [--only llavero,node-redis] [--work W1,W4] [--peers FOLDER]

Two providers run at a time, ours and one peer, and are loaded in turn, so that whatever else the machine does meets
both alike; each peer's figures are divided by those of ours that were taken beside them. CPU is that of the whole
process tree, store included. Every answer is checked. What a machine lacks is said, and the run goes on without it.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench import chart, generator, peer_node, peer_python, signin
from bench.peers import MissingPart
from bench.sides import Side, SideFailed, ours
from bench.workloads import WORKLOADS, Round, measure
from tests.serving import ROOT

RESULTS = ROOT / "bench" / "results"
Open = Callable[[Path], AbstractContextManager[Side]]


def peers(place: Path) -> dict[str, Callable[[], Open]]:
    """Each peer's name, and what installs it and says how it is started."""

    def node(start: Callable[[Path, Path], AbstractContextManager[Side]]) -> Callable[[], Open]:
        def install() -> Open:
            installed = peer_node.install(place)
            return lambda folder: start(installed, folder)

        return install

    def python(name: str, start: Callable[[Path, Path], AbstractContextManager[Side]]) -> Callable[[], Open]:
        def install() -> Open:
            installed = peer_python.install(name, place)
            return lambda folder: start(installed, folder)

        return install

    return {
        "node-memory": node(peer_node.in_memory),
        "node-redis": node(peer_node.over_redis),
        "django-oauth-toolkit": python("django", peer_python.django_oauth_toolkit),
        "canaille": python("canaille", peer_python.canaille),
    }


def _ours(folder: Path) -> AbstractContextManager[Side]:
    return ours(folder)


class Run:
    """The figures of one run, and the ways they come to be."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self.rounds: list[dict[str, Any]] = []
        self.idle: list[dict[str, Any]] = []
        self.hashes: list[float] = []
        self.missing: dict[str, str] = {}

    def pair(self, name: str, open_peer: Open | None) -> None:
        """Ours beside this peer, in turn, at each kind of work."""
        with ExitStack() as stack:
            place = self._folder / name
            sides = []
            for own_name, start in (("llavero", _ours), (name, open_peer)):
                if start is None:
                    continue
                side = stack.enter_context(start(place / own_name))
                started = side.first_answer_after
                time.sleep(1)
                self.idle.append(
                    {
                        "pair": name,
                        "side": own_name,
                        "memory_mib": round(side.memory_mib(), 1),
                        "resident_mib": round(side.memory_mib("Rss:"), 1),
                        "first_answer_s": round(started, 3),
                    }
                )
                say(f"  {own_name}: {self.idle[-1]['memory_mib']:.0f} MiB, first answer after {started:.2f} s")
                sides.append(side)
            for workload in WORKLOADS:
                if self._options.work and workload.name not in self._options.work:
                    continue
                working = list(sides)
                for turn in range(-1, self._options.rounds):
                    for side in list(working):
                        seconds = self._options.seconds
                        try:
                            found = measure(side, workload, seconds, self._folder)
                        except (SideFailed, OSError, KeyError, RuntimeError, ValueError) as error:
                            self.missing[f"{side.name} {workload.name}"] = str(error).splitlines()[0][:300]
                            say(f"  {workload.name} {side.name}: {str(error).splitlines()[0][:160]}")
                            working.remove(side)
                            continue
                        if turn >= 0:  # the first turn warms up
                            self._keep(name, found)
            if not self._options.work or "W7" in self._options.work:
                for side in sides:
                    if side.name == "llavero":
                        self.hashes.append(signin.hash_cpu_ms())
                    if side.sign_in is not None:
                        for found in signin.measure(side, self._options.rounds, self._options.seconds):
                            self._keep(name, found)

    def _keep(self, pair: str, found: Round) -> None:
        self.rounds.append({"pair": pair, "cpu_ms": found.cpu_ms, "per_second": found.per_second, **asdict(found)})
        say(row(found))


def row(each: Round) -> str:
    """One line; `load` is the share of one core that the generator took."""
    return (
        f"  {each.workload} {each.side:<21}{each.operations:>8}{each.per_second:>8.0f}/s{each.cpu_ms:>9.3f} ms CPU"
        f"{each.p50_ms:>8.1f}{each.p99_ms:>8.1f} ms{each.generator_cpu / each.seconds:>6.0%} load"
    )


def say(text: str) -> None:
    print(text, flush=True)


def summarize(rounds: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """By kind of work and peer: medians of both sides, and the peer's CPU as a multiple of ours in the same run."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for workload in sorted({each["workload"] for each in rounds}):
        for pair in dict.fromkeys(each["pair"] for each in rounds):
            here = [each for each in rounds if each["workload"] == workload and each["pair"] == pair]
            by_side = {
                side: {
                    figure: median(each[figure] for each in here if each["side"] == side)
                    for figure in ("cpu_ms", "per_second", "p50_ms", "p99_ms")
                }
                for side in dict.fromkeys(each["side"] for each in here)
            }
            if not by_side:
                continue
            entry = found.setdefault(workload, {})
            for side, figures in by_side.items():
                key = side if side != "llavero" else f"llavero beside {pair}"
                entry[key] = figures
                if side != "llavero" and "llavero" in by_side:
                    figures["times_ours"] = figures["cpu_ms"] / by_side["llavero"]["cpu_ms"]
    return found


def describe_machine() -> dict[str, Any]:
    packages = ("authlib", "flask", "sqlalchemy", "granian", "joserfc", "cryptography", "argon2-cffi")
    found = shutil.which("node")
    node = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout if found else ""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "node": node.strip(),
        "generator": generator.name(),
        "versions": {package: version(package) for package in packages},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each side is loaded (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="length of a round (%(default)s)")
    parser.add_argument("--only", type=lambda text: text.split(","), help="peers, by name; `none` for ours alone")
    parser.add_argument("--work", type=lambda text: text.split(","), help="kinds of work, as W1,W4")
    parser.add_argument("--peers", type=Path, default=ROOT / ".bench", help="where they are installed (%(default)s)")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md and its chart anew")
    options = parser.parse_args()
    options.peers.mkdir(parents=True, exist_ok=True)
    available = peers(options.peers.resolve())
    wanted = [name for name in available if not options.only or name in options.only]
    begun = time.perf_counter()
    each = len(WORKLOADS) * 2 * (options.rounds + 1) * options.seconds
    say(f"{len(wanted)} peers, about {each / 60 + 1:.0f} minutes each; {generator.name()} is the load generator")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        run = Run(options, Path(name))
        for peer in wanted or ["alone"]:
            say(f"{peer}, {time.perf_counter() - begun:.0f} s so far")
            try:
                run.pair(peer, available[peer]() if peer in available else None)
            except (MissingPart, SideFailed, AssertionError) as error:
                run.missing[peer] = str(error)[:600]
                say(f"  left out: {error}")
    record = {
        "machine": describe_machine(),
        "rounds_each": options.rounds,
        "seconds_each": options.seconds,
        "seconds": round(time.perf_counter() - begun),
        "idle": run.idle,
        "hash_cpu_ms": round(median(run.hashes), 3) if run.hashes else None,
        "missing": run.missing,
        "medians": summarize(run.rounds),
        "rounds": run.rounds,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime("bench-%Y%m%dT%H%M%SZ.json", time.gmtime())
    path.write_text(json.dumps(record, indent=2) + "\n")
    say("\n" + chart.table(record))
    say(f"kept in {path.relative_to(ROOT)}")
    if options.write_docs:
        chart.write_docs(record)
    return 0 if run.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
