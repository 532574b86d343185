"""W7: sign in with a password, page and form; how much of it is not the password hash."""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

from bench.sides import Side
from bench.workloads import Round
from idp.accounts.passwords import Hasher

IN_FLIGHT = 4


def measure(side: Side, rounds: int, seconds: float) -> Iterator[Round]:
    """Sign in again and again from four browsers at once, each time as a new one. The first round warms up."""
    assert side.sign_in is not None
    numbers = count()
    for turn in range(-1, rounds):
        took: list[float] = []
        deadline = time.perf_counter() + seconds
        cpu, begun, own = side.cpu_seconds(), time.perf_counter(), os.times()
        threads = [
            threading.Thread(target=_go_on, args=(side.sign_in, numbers, deadline, took)) for _ in range(IN_FLIGHT)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cpu, elapsed, after = side.cpu_seconds() - cpu, time.perf_counter() - begun, os.times()
        if not took:
            side.fail("signed nobody in")
        took.sort()
        if turn >= 0:
            yield Round(
                side.name,
                "W7",
                len(took),
                elapsed,
                cpu,
                after.user + after.system - own.user - own.system,
                took[len(took) // 2] * 1e3,
                took[int(len(took) * 0.99)] * 1e3,
                len(took),
            )


def _go_on(sign_in: Callable[[int], None], numbers: Iterator[int], deadline: float, took: list[float]) -> None:
    while time.perf_counter() < deadline:
        begun = time.perf_counter()
        sign_in(next(numbers))
        took.append(time.perf_counter() - begun)


def hash_cpu_ms(times: int = 20) -> float:
    """CPU of one password hash of ours, in this process, now."""
    hasher = Hasher(1)
    known = hasher.hash("Zq7-banco de pruebas")
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(times):
        assert hasher.verify("Zq7-banco de pruebas", known)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / times * 1000
