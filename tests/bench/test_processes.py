"""What a server uses is told of all its processes, whichever session they are in.

A process is told in hundredths of a second: what is asserted leaves room for one of each.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.processes import cpu_of, memory_of

_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
_KEEP = "kept = bytearray(b'x') * (40 << 20)\n"
_SAY_AND_WAIT = "import sys\nprint(flush=True)\nsys.stdin.read()\n"


@contextmanager
def parent_of(*children: str, session: bool, own: str = "") -> Iterator[int]:
    """The pid of a process with these programs as its children, each of which has come to its end."""
    code = f"import subprocess, sys\n{own}for code in {children!r}:\n"
    code += "    child = subprocess.Popen([sys.executable, '-c', code], stdin=0, stdout=subprocess.PIPE, "
    code += f"start_new_session={session})\n    child.stdout.readline()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code + _SAY_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.communicate()


def test_cpu_is_that_of_children_too_even_in_sessions_of_their_own() -> None:
    with parent_of(_BURN + _SAY_AND_WAIT, _BURN + _SAY_AND_WAIT, session=True) as pid:
        used = cpu_of([pid])

    assert used.processes == 3
    assert used.seconds > 0.5


def test_cpu_of_children_that_have_ended_counts() -> None:
    ended = f"subprocess.run([sys.executable, '-c', {_BURN!r}])\n"
    with parent_of(session=False, own=ended) as pid:
        used = cpu_of([pid])

    assert used.processes == 1
    assert used.seconds > 0.25


def test_memory_is_that_of_the_whole_tree() -> None:
    with parent_of(_KEEP + _SAY_AND_WAIT, session=False) as pid:
        proportional, resident = memory_of([pid])

    assert 40 < proportional <= resident
