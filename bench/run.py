"""`make bench`: ours and its peers do the same work in one run on loopback, W1 to W8; a table, JSON, a page, a chart.

    python -m bench.run [--rounds 3] [--seconds 4] [--only node-redis] [--work W1,W4] [--peers FOLDER] [--write-docs]
    python -m bench.run --filled [SQLite,PostgreSQL] [--tokens 5000000]

All of them run at a time, and are loaded in turn, one after the other in each round, so that whatever else the machine
does meets all alike; who is not loaded does nothing. CPU is that of the whole process tree, store included. Every
answer is checked. What a machine lacks is said, and the run goes on without it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench import generator, peer_node, peer_python, report, signin
from bench.fill import NOTHING, Amounts
from bench.machine import describe
from bench.peers import MissingPart
from bench.sides import Side, SideFailed, ours
from bench.workloads import WORKLOADS, Round, Workload, measure
from tests.serving import ROOT

RESULTS = ROOT / "bench" / "results"
WORK = (*(workload.name for workload in WORKLOADS), "W7")
FILLED_WORK = ("W1", "W2", "W3", "W4", "W5")
WARM_UP_SECONDS = 1.0
Open = Callable[[Path], AbstractContextManager[Side]]


@dataclass(frozen=True, slots=True)
class Entrant:
    """Somebody who is measured: a name, and what installs it and says how it is started in a folder."""

    name: str
    install: Callable[[], Open]


def peers(place: Path) -> list[Entrant]:
    """Those that `make bench` compares with, installed below `place`."""

    def node(start: Callable[[Path, Path], AbstractContextManager[Side]]) -> Callable[[], Open]:
        return lambda: partial(start, peer_node.install(place))

    def python(name: str, start: Callable[[Path, Path], AbstractContextManager[Side]]) -> Callable[[], Open]:
        return lambda: partial(start, peer_python.install(name, place))

    return [
        Entrant("node-memory", node(peer_node.in_memory)),
        Entrant("node-redis", node(peer_node.over_redis)),
        Entrant("django-oauth-toolkit", python("django", peer_python.django_oauth_toolkit)),
        Entrant("canaille", python("canaille", peer_python.canaille)),
    ]


def empty_and_filled(kinds: list[str], amounts: Amounts) -> list[Entrant]:
    """Ours over each kind of database, with next to nothing in it and with much."""

    def entrant(kind: str, suffix: str, held: Amounts) -> Entrant:
        name = f"{kind} {suffix}"
        open_it: Any = partial(ours, name=name, kind=kind, amounts=held, say=say)
        return Entrant(name, lambda: open_it)

    return [entrant(kind, suffix, held) for kind in kinds for suffix, held in (("empty", NOTHING), ("filled", amounts))]


_IDLE_BEFORE = 4.0  # seconds from what prepared a side to the look at its memory


class Run:
    """The figures of one run, and the ways they come to be."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._begun = time.perf_counter()
        self._done, self._steps = 0, 1
        self.rounds: list[dict[str, Any]] = []
        self.idle: dict[str, dict[str, float]] = {}
        self.besides_hash: dict[str, list[float]] = {}
        self.missing: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun

    def go(self, entrants: list[Entrant]) -> None:
        """Start all, do all the work in turn, and look at what they take afterwards."""
        with ExitStack() as stack:
            sides = [side for entrant in entrants if (side := self._open(stack, entrant)) is not None]
            work = [name for name in WORK if name in self._options.work]
            self._steps = len(work) * len(sides) * (self._options.rounds + 1)
            for name in work:
                self._work(name, list(sides))
            for side in sides:
                self.idle[side.name]["after_load_mib"] = side.memory_mib()[0]

    def _open(self, stack: ExitStack, entrant: Entrant) -> Side | None:
        say(f"{self.seconds:4.0f} s  {entrant.name}: installed if need be, prepared, started")
        place = self._folder / entrant.name.replace(" ", "-")
        try:
            side = stack.enter_context(entrant.install()(place))
        except (MissingPart, SideFailed, AssertionError, OSError) as error:
            self.missing[entrant.name] = str(error)[:600]
            say(f"  left out: {error}")
            return None
        time.sleep(_IDLE_BEFORE)
        proportional, resident = side.memory_mib()
        self.idle[side.name] = {
            "memory_mib": proportional,
            "resident_mib": resident,
            "first_answer_s": side.first_answer_after,
        }
        say(
            f"  {proportional:.0f} MiB ({resident:.0f} resident), {side.used().processes} processes, "
            f"first answer after {side.first_answer_after:.2f} s"
        )
        return side

    def _work(self, name: str, sides: list[Side]) -> None:
        """One kind of work: each side warms up, and then each in each round."""
        workload = next((each for each in WORKLOADS if each.name == name), None)
        if workload is None:
            for side in [each for each in sides if each.sign_in is None]:
                self.missing[f"{side.name} {name}"] = "it comes without passwords"
                sides.remove(side)
        for turn in range(-1, self._options.rounds):
            is_warm = turn >= 0
            seconds = self._options.seconds if is_warm else min(WARM_UP_SECONDS, self._options.seconds)
            for side in list(sides):
                self._done += 1
                try:
                    found = self._one(side, workload, seconds, is_warm)
                except (SideFailed, OSError, KeyError, RuntimeError, ValueError) as error:
                    reason = str(error).splitlines()[0]
                    self.missing[f"{side.name} {name}"] = reason[:300]
                    say(f"  {name} {side.name}, left out: {reason[:160]}")
                    sides.remove(side)
                    continue
                if is_warm:
                    self.rounds.append(
                        {
                            **asdict(found),
                            "cpu_ms": found.cpu_ms,
                            "per_second": found.per_second,
                            "generator_share": found.generator_share,
                        }
                    )
                    self._say(f"{row(found)}")
                else:
                    self._say(f"{name} {side.name} warmed up")

    def _one(self, side: Side, workload: Workload | None, seconds: float, is_warm: bool) -> Round:
        if workload is not None:
            found = measure(side, workload, seconds, self._folder)
            if workload.prove is not None and not is_warm:
                workload.prove(side)
            return found
        found = signin.measure(side, seconds)
        if is_warm and side.with_the_cheapest_hash is not None:
            self.besides_hash.setdefault(side.name, []).append(signin.besides_the_hash_ms(side, seconds))
        return found

    def _say(self, text: str) -> None:
        say(f"{self.seconds:4.0f} s {self._done / self._steps:4.0%}  {text}")


def row(each: Round) -> str:
    """One line; `load` is the share of one core that the generator took."""
    remark = "  the generator is the limit" if each.generator_share > report.LIMIT else ""
    remark += "  too few operations for the clock" if each.is_coarse else ""
    return (
        f"{each.workload} {each.side:<21}{each.operations:>8}{each.per_second:>8.0f}/s{each.cpu_ms:>9.3f} ms CPU"
        f"{each.p50_ms:>8.1f}{each.p99_ms:>8.1f} ms{each.generator_share:>6.0%} load{remark}"
    )


def say(text: str) -> None:
    print(text, flush=True)


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each side is loaded (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (%(default)s)")
    parser.add_argument("--only", type=_words, help="peers, by name; `none` for ours alone")
    parser.add_argument("--work", type=_words, help="kinds of work, as W1,W4")
    parser.add_argument("--peers", type=Path, default=ROOT / ".bench", help="where they are installed (%(default)s)")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md and its chart anew")
    parser.add_argument(
        "--filled",
        type=_words,
        nargs="?",
        const=["SQLite", "PostgreSQL"],
        metavar="SQLite,PostgreSQL",
        help="ours with a filled store against ours with an empty one, in place of the peers",
    )
    amounts = Amounts()
    parser.add_argument("--accounts", type=int, default=amounts.accounts, help="in a filled store (%(default)s)")
    parser.add_argument("--clients", type=int, default=amounts.clients, help="in a filled store (%(default)s)")
    parser.add_argument("--tokens", type=int, default=amounts.tokens, help="in a filled store (%(default)s)")
    options = parser.parse_args(arguments)
    known = FILLED_WORK if options.filled else WORK
    options.work = options.work or known
    for name in options.work:
        if name not in known:
            parser.error(f"no kind of work: {name}; there are {', '.join(known)}")
    for name in options.filled or ():
        if name not in ("SQLite", "PostgreSQL"):
            parser.error(f"no kind of database: {name}")
    names = [entrant.name for entrant in peers(options.peers)]
    for name in options.only or ():
        if name not in (*names, "none"):
            parser.error(f"no peer: {name}; there are {', '.join(names)}")
    return options


def main() -> int:
    options, load_before = parse_options(), os.getloadavg()[0]
    options.peers.mkdir(parents=True, exist_ok=True)
    if options.filled:
        entrants = empty_and_filled(options.filled, Amounts(options.accounts, options.clients, options.tokens))
    else:
        known = peers(options.peers.resolve())
        entrants = [Entrant("llavero", lambda: lambda folder: ours(folder))]
        entrants += [entrant for entrant in known if not options.only or entrant.name in options.only]
    loads = len(options.work) * len(entrants)
    # Around each load: tokens for it, a look at its answers, and waiting until the side is quiet.
    minutes = loads * ((options.rounds + 1) * 1.5 + options.rounds * options.seconds) / 60
    say(f"{len(entrants)} sides, about {minutes + 1:.0f} minutes; {generator.name()} is the load generator")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        run = Run(options, Path(name))
        run.go(entrants)
    record = {
        "kind": "filled" if options.filled else "peers",
        "machine": describe(options.peers, load_before),
        "rounds_each": options.rounds,
        "seconds_each": options.seconds,
        "seconds": round(run.seconds),
        "store": {"accounts": options.accounts, "clients": options.clients, "tokens": options.tokens},
        "idle": run.idle,
        "besides_hash_cpu_ms": {side: median(values) for side, values in run.besides_hash.items()},
        "missing": run.missing,
        "rounds": run.rounds,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime(f"{record['kind']}-%Y%m%dT%H%M%SZ.json", time.gmtime())
    path.write_text(json.dumps(record, indent=2) + "\n")
    say("\n" + report.text(record))
    say(f"kept in {path.relative_to(ROOT)}")
    if options.write_docs:
        report.write_docs(record)
    return 0 if run.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
