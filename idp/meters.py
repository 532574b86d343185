"""What the layers below the web measure: counts and durations, which go nowhere until somebody listens.

Like logging, it belongs to the process and is nobody's argument. Without a listener a call costs what a call costs.
"""

import enum
from collections.abc import Callable
from time import perf_counter
from typing import Protocol


class Counted(enum.StrEnum):
    """What is counted; the label of each is one of few fixed words, never a person's."""

    EVENT = "event"
    """An audit event, by its tag. It is counted when it is written, so one that is rolled back is counted too: the
    audit trail is what happened, this is how fast."""
    TOKENS = "tokens"
    """A successful token answer, by its grant type."""
    CAPTCHA = "captcha"
    MAIL = "mail"
    JOB_FAILURE = "job failure"


class Timed(enum.StrEnum):
    """What is timed, in seconds."""

    COMMIT = "commit"
    HASH_WAIT = "hash wait"
    """For a free slot, before a password is hashed or compared (L-10)."""
    JOB = "job"
    """One turn of a job of the worker, by its name."""


class Listener(Protocol):
    """Who is told. It must be quick, safe in any thread, and never raise."""

    def count(self, what: Counted, label: str, number: int) -> None: ...

    def time(self, what: Timed, label: str, seconds: float) -> None: ...


_listeners: tuple[Listener, ...] = ()


def listen(listener: Listener) -> None:
    """Tell `listener` from now on."""
    global _listeners
    _listeners = (*_listeners, listener)


def stop_listening(listener: Listener) -> None:
    """Tell it no more; nothing happens if it was not told."""
    global _listeners
    _listeners = tuple(each for each in _listeners if each is not listener)


def count(what: Counted, label: str = "", number: int = 1) -> None:
    for listener in _listeners:
        listener.count(what, label, number)


def time(what: Timed, seconds: float, label: str = "") -> None:
    for listener in _listeners:
        listener.time(what, label, seconds)


def timed(what: Timed, work: Callable[[], None]) -> None:
    """Do the work, and tell how long it took."""
    began = perf_counter()
    work()
    time(what, perf_counter() - began)
