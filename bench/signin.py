"""W7: sign in with a password, page and form; and how much of it is not the password hash."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

from bench.processes import settle
from bench.sides import Side
from bench.workloads import Round

IN_FLIGHT = 4
_numbers = count()
"""Of browsers: none comes twice, whichever round it is."""


def measure(side: Side, seconds: float) -> Round:
    """Sign in again and again from four browsers at once, each time as a new one."""
    assert side.sign_in is not None
    settle(side.roots)
    took: list[float] = []
    failed: list[Exception] = []
    deadline = time.perf_counter() + seconds
    before, begun, own = side.used(), time.perf_counter(), os.times()
    threads = [
        threading.Thread(target=_go_on, args=(side.sign_in, _numbers, deadline, took, failed)) for _ in range(IN_FLIGHT)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after, elapsed, own_after = side.used(), time.perf_counter() - begun, os.times()
    if failed:
        raise failed[0]
    took.sort()
    return Round(
        side.name,
        "W7",
        len(took),
        elapsed,
        after.seconds - before.seconds,
        own_after.user + own_after.system - own.user - own.system,
        took[len(took) // 2] * 1e3,
        took[int(len(took) * 0.99)] * 1e3,
        len(took),
        after.processes,
    )


def _go_on(
    sign_in: Callable[[int], object],
    numbers: Iterator[int],
    deadline: float,
    took: list[float],
    failed: list[Exception],
) -> None:
    while time.perf_counter() < deadline and not failed:
        begun = time.perf_counter()
        try:
            sign_in(next(numbers))
        except Exception as error:  # raised again where it is waited for
            failed.append(error)
            return
        took.append(time.perf_counter() - begun)


def besides_the_hash_ms(side: Side, seconds: float) -> float:
    """CPU of one sign-in at the same server, freshly started and warm, with a hash that costs next to nothing."""
    assert side.with_the_cheapest_hash is not None
    with side.with_the_cheapest_hash() as other:
        measure(other, seconds / 2)
        return measure(other, seconds).cpu_ms
