"""Hands over the mail that is due: several messages at once, each by one worker, each once."""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue

from idp import policy
from idp.db import StoreUnavailable
from idp.outbox import Message, OnSent, Outbox, Outcome

_log = logging.getLogger(__name__)


class NotTaken(Exception):
    """A message was not handed over. `reason` is kept and shown to operators: no address, nothing of the mail."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


Deliver = Callable[[Message, datetime], bool]
"""Hands one message over: True once the mail server has it, False where there is no reason to send it any more.
Refuses with `NotTaken`. Called from several threads at once."""


@dataclass(slots=True)
class Delivered:
    """What one `deliver_due` did."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0
    deferred: int = 0
    """Tried, and waiting for the next try."""
    trouble: str | None = None
    """Why the last of them was deferred."""


def deliver_due(
    outbox: Outbox,
    deliver: Deliver,
    on_sent: OnSent,
    *,
    now: datetime,
    limit: int = policy.MAIL_TURN_MAX,
    stop: threading.Event | None = None,
) -> Delivered:
    """Hand over what is due, `limit` messages at most; returns when nothing more is due.

    Any number of workers may do so at the same time. Once `stop` is set no further message is begun, and what is in
    the air gets a few seconds. Raises `StoreUnavailable`; what was begun by then comes to its end.
    """
    return _Delivery(outbox, deliver, on_sent, now, stop or threading.Event()).run(limit)


class _Delivery:
    """One run over what is due. A message is taken when a thread is free for it: its lease begins with the try."""

    def __init__(self, outbox: Outbox, deliver: Deliver, on_sent: OnSent, now: datetime, stop: threading.Event) -> None:
        self._outbox = outbox
        self._deliver = deliver
        self._on_sent = on_sent
        self._now = now
        self._began = time.monotonic()
        self._stop = stop
        self._ended: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
        self._count = Delivered()

    def run(self, left: int) -> Delivered:
        running = 0
        lost: StoreUnavailable | None = None
        patience: float | None = None
        while True:
            begun = 0
            if lost is None and not self._stop.is_set():
                try:
                    begun, dropped = self._begin(min(policy.MAIL_PARALLEL_MAX - running, left))
                except StoreUnavailable as error:
                    lost = error
                else:
                    running += begun
                    left -= begun + dropped
                    begun += dropped
            if running == 0 and begun == 0:
                break
            if self._stop.is_set():
                patience = patience or time.monotonic() + policy.MAIL_STOP_WAIT.total_seconds()
                if time.monotonic() > patience:
                    break
            running -= self._collect()
        if lost is not None:
            raise lost
        return self._count

    def _clock(self) -> datetime:
        return self._now + timedelta(seconds=time.monotonic() - self._began)

    def _begin(self, room: int) -> tuple[int, int]:
        if room <= 0:
            return 0, 0
        messages, dropped = self._outbox.take(self._clock(), room)
        self._count.dropped += dropped
        for message in messages:
            # A daemon, so that a mail server that does not answer cannot keep a stopped worker alive.
            threading.Thread(
                target=copy_context().run, args=(self._work, message), name=f"mail {message.id}", daemon=True
            ).start()
        return len(messages), dropped

    def _collect(self) -> int:
        """Wait a moment for messages in the air to end; how many did."""
        ended = 0
        try:
            what, trouble = self._ended.get(timeout=policy.MAIL_POLL_INTERVAL.total_seconds())
            while True:
                ended += 1
                setattr(self._count, what, getattr(self._count, what) + 1)
                self._count.trouble = trouble or self._count.trouble
                what, trouble = self._ended.get_nowait()
        except Empty:
            return ended

    def _work(self, message: Message) -> None:
        self._ended.put(self._attempt(message))

    def _attempt(self, message: Message) -> tuple[str, str | None]:
        began = time.monotonic()
        try:
            outcome = Outcome.SENT if self._deliver(message, self._clock()) else Outcome.DROPPED
        except NotTaken as refusal:
            moment, reason = self._clock(), refusal.reason
            if refusal.permanent or self._is_hopeless(message, moment):
                self._settle(began, lambda: self._outbox.end(message, Outcome.FAILED, moment, error=reason))
                return "failed", None
            self._settle(began, lambda: self._outbox.defer(message, moment, reason))
            return "deferred", reason
        except StoreUnavailable:
            # It could not even be looked up whether it is still to be sent; the lease ends by itself.
            return "deferred", "the store does not answer"
        except Exception as error:
            reason = _log_surprise(message, error)
            self._settle(began, lambda: self._outbox.defer(message, self._clock(), reason))
            return "deferred", reason
        moment = self._clock()
        try:
            self._settle(began, lambda: self._outbox.end(message, outcome, moment, on_sent=self._on_sent))
        except Exception as error:
            # The mail server has it. Not to mark it would send it again and again.
            _log_surprise(message, error)
            self._settle(began, lambda: self._outbox.end(message, outcome, moment))
        return outcome.value, None

    def _is_hopeless(self, message: Message, now: datetime) -> bool:
        # Not by age alone: after days without a worker, or an operator's retry, each message has its tries.
        tried = message.attempts > len(policy.MAIL_RETRIES)
        return tried and now - message.created_at >= policy.MAIL_GIVE_UP

    def _settle(self, began: float, write: Callable[[], None]) -> None:
        """Write how it went, again and again while the lease lasts: whoever gets it afterwards sends a twin."""
        lease = policy.MAIL_LEASE.total_seconds()
        while True:
            try:
                write()
            except StoreUnavailable:
                if time.monotonic() - began > lease or self._stop.wait(policy.MAIL_POLL_INTERVAL.total_seconds()):
                    _log.warning(
                        "mail %s: the store does not answer, how it went is lost", threading.current_thread().name
                    )
                    return
            else:
                return


def _log_surprise(message: Message, error: Exception) -> str:
    """Name and place of an error of our own; its text may hold an address or a link (O-2)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    _log.error("mail %s (%s): %s%s", message.id, message.template, type(error).__name__, place)
    return f"our own error: {type(error).__name__}"
