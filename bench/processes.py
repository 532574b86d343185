"""What a server's processes use, CPU and memory of the whole tree, and how long it takes to its first answer."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tests.serving import START_WAIT, stop_server

TICK = 1 / os.sysconf("SC_CLK_TCK")
"""In what steps the kernel says what a process used. It counts in nanoseconds, so that one process is wrong by one."""
_LOOK_EVERY = 0.005


class _Process(NamedTuple):
    parent: int
    session: int
    ticks: int


class Used(NamedTuple):
    """CPU of a tree so far."""

    seconds: float
    processes: int


def _all() -> dict[int, _Process]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # The second field, the name, may hold spaces; what follows its closing bracket does not.
        with suppress(OSError):  # it ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            # User and system time, and that of the children that have ended.
            found[int(stat.parent.name)] = _Process(int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])))
    return found


def _trees(roots: Iterable[int], found: dict[int, _Process]) -> list[int]:
    """The roots, what descends from them, and what shares their session: PostgreSQL's processes have one each."""
    members = [root for root in roots if root in found]
    sessions = set(members)
    members += [pid for pid, each in found.items() if each.session in sessions and pid not in sessions]
    known = set(members)
    for member in members:
        children = [pid for pid, each in found.items() if each.parent == member and pid not in known]
        members += children
        known.update(children)
    return members


def cpu_of(roots: Iterable[int]) -> Used:
    """User and system time of these trees so far, ended children with them."""
    found = _all()
    members = _trees(roots, found)
    return Used(sum(found[pid].ticks for pid in members) * TICK, len(members))


def memory_of(roots: Iterable[int]) -> tuple[float, float]:
    """MiB of these trees: proportional, shared pages counted once; and resident, counted once for each process."""
    totals = {"Pss:": 0, "Rss:": 0}
    for pid in _trees(roots, _all()):
        with suppress(OSError):  # it ended meanwhile
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in totals:
                    totals[name] += int(rest[0])
    return totals["Pss:"] / 1024, totals["Rss:"] / 1024


def settle(roots: Iterable[int], at_most: float = 3.0) -> None:
    """Wait until these trees do next to nothing: what was in flight when the load ended is worked off."""
    roots, before, until = list(roots), -1.0, time.monotonic() + at_most
    while time.monotonic() < until and (now := cpu_of(roots).seconds) - before > TICK:
        before = now
        time.sleep(0.1)


def start_timed(
    start: Callable[[], "subprocess.Popen[bytes]"], url: str, log: Path, times: int = 3
) -> tuple["subprocess.Popen[bytes]", list[float]]:
    """Start a server that many times, and leave the last running; the seconds from each start to its first answer.

    `AssertionError` with its log where it ends, or does not answer in `START_WAIT`.
    """
    took: list[float] = []
    while True:
        begun = time.perf_counter()
        process = start()
        while not _answers(url):
            over = time.perf_counter() - begun > START_WAIT
            if over or process.poll() is not None:
                stop_server(process)
                raise AssertionError(f"the server does not answer:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(_LOOK_EVERY)
        took.append(time.perf_counter() - begun)
        if len(took) == times:
            return process, took
        stop_server(process)


def _answers(url: str) -> bool:
    with suppress(OSError, HTTPException), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False
