"""Who may compute: a few threads of a process at once, since more of them only take the interpreter from each other.

SQLite lets go of the interpreter at every statement, for some microseconds. Each time, another thread that waits for it
is woken, and the one that let go waits in its turn: with sixteen threads at work that is ten switches a query. Here a
thread waits before it begins, where nobody wakes it in vain, and steps aside while it waits for something else.

It is a courtesy and no lock: whoever has waited for `PATIENCE` goes ahead, however few may.
"""

import threading
from collections import deque

PATIENCE = 0.25
"""Seconds. Who computes for longer than that holds nobody up."""

_mine = threading.local()


class Places:
    """Room for `requests` that have begun, of which `computing` compute at once. Used as a context: enter and leave.

    Who comes back from a wait goes before who begins.
    """

    def __init__(self, requests: int, computing: int) -> None:
        self._mutex = threading.Lock()
        self._room = requests
        self._free = computing
        """Negative where somebody has lost patience."""
        self._returning: deque[threading.Lock] = deque()
        self._arriving: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._mutex:
            if self._free > 0 and self._room > 0:
                self._free -= 1
                self._room -= 1
                turn = None
            else:
                turn = _stand_in(self._arriving)
        while turn is not None and not turn.acquire(timeout=PATIENCE):
            with self._mutex:
                if self._room > 0 and _leave_line(self._arriving, turn):
                    self._free -= 1
                    self._room -= 1
                    break
        _mine.places = self

    def __exit__(self, *_error: object) -> None:
        _mine.places = None
        with self._mutex:
            self._room += 1
            self._free += 1
            self._pass_on()

    def step_aside(self) -> None:
        """This thread goes to wait for something."""
        with self._mutex:
            self._free += 1
            self._pass_on()

    def come_back(self) -> None:
        """It has what it waited for: return once it may compute again."""
        with self._mutex:
            if self._free > 0:
                self._free -= 1
                return
            turn = _stand_in(self._returning)
        self.wait_for(turn)

    def call_back(self, turn: threading.Lock) -> None:
        """Release `turn`, on which a thread waits that has stepped aside, once there is a place for it."""
        with self._mutex:
            if self._free > 0:
                self._free -= 1
                turn.release()
            else:
                self._returning.append(turn)

    def wait_for(self, turn: threading.Lock) -> None:
        """Wait until `turn` is released; a place comes with it."""
        while not turn.acquire(timeout=PATIENCE):
            with self._mutex:
                if _leave_line(self._returning, turn):
                    self._free -= 1
                    return

    def _pass_on(self) -> None:
        while self._free > 0:
            if self._returning:
                turn = self._returning.popleft()
            elif self._arriving and self._room > 0:
                self._room -= 1
                turn = self._arriving.popleft()
            else:
                return
            self._free -= 1
            turn.release()


class Word:
    """What one thread waits for and another says, once. Made by the one that waits."""

    def __init__(self) -> None:
        self._said = threading.Lock()
        self._said.acquire()
        self._places: Places | None = getattr(_mine, "places", None)

    def wait(self) -> None:
        """Return once it was said, and this thread may compute again."""
        if self._places is None:
            self._said.acquire()
        else:
            self._places.step_aside()
            self._places.wait_for(self._said)

    def say(self) -> None:
        """Let it go on: woken once, when there is a place for it, and not in between."""
        if self._places is None:
            self._said.release()
        else:
            self._places.call_back(self._said)


class aside:  # noqa: N801  # reads as what it does: `with aside():`
    """Around whatever waits, for a commit, a password hash, another server: others compute meanwhile.

    Nothing where this thread has no place to give up, or has given it up already.
    """

    def __enter__(self) -> None:
        self._places: Places | None = getattr(_mine, "places", None)
        if self._places is not None:
            _mine.places = None
            self._places.step_aside()

    def __exit__(self, *_error: object) -> None:
        if self._places is not None:
            self._places.come_back()
            _mine.places = self._places


def _stand_in(line: deque[threading.Lock]) -> threading.Lock:
    turn = threading.Lock()
    turn.acquire()
    line.append(turn)
    return turn


def _leave_line(line: deque[threading.Lock], turn: threading.Lock) -> bool:
    """Whether it stood there still."""
    try:
        line.remove(turn)
    except ValueError:
        return False
    return True
