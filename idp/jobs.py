"""What runs on a clock: mail, logout notices, warnings before passwords end, the sweep of what is over."""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from idp import audit, delivery, meters, policy
from idp.db import StoreUnavailable
from idp.delivery import Delivered
from idp.outbox import Message, Template
from idp.wiring import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = logging.getLogger(__name__)

Send = Callable[[Message, str | None, datetime], None]
"""Writes a mail, with the link that it carries, and hands it to the mail server. Refuses with `NotTaken`."""

_WITH_LINK = frozenset({Template.REMINDER, Template.INVITATION})


def run(services: Services, send: Send, stop: threading.Event) -> None:
    """Do the clock work until `stop` is set; then end within seconds.

    Each job has its own thread, so that a slow mail server holds nothing else up. Nothing ends a job but `stop`.
    """
    postman = Postman(services, send, stop)
    jobs = [
        _Job("mail", policy.MAIL_POLL_INTERVAL, postman.turn),
        _Job("notices", policy.NOTICE_POLL_INTERVAL, lambda now: deliver_notices(services, now, stop)),
        _Job("warnings", policy.EXPIRY_WARNING_INTERVAL, lambda now: _warn(services, now)),
        _Job("sweep", policy.SWEEP_INTERVAL, lambda now: _sweep(services, now)),
    ]
    threads = [threading.Thread(target=job.run, args=(stop,), name=job.name, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    _log.info("worker: at work; mail is looked for every %s s", policy.MAIL_POLL_INTERVAL.total_seconds())
    stop.wait()
    _log.info("worker: told to stop, ends what it has begun")
    for thread in threads:
        thread.join(policy.MAIL_STOP_WAIT.total_seconds() * 2)
    _log.info("worker: stopped")


def deliver_due(
    services: Services,
    send: Send,
    now: datetime,
    *,
    limit: int = policy.MAIL_TURN_MAX,
    stop: threading.Event | None = None,
) -> Delivered:
    """Hand over the mail that is due at `now`. A link is made for the mail that carries it, and never kept (R-6)."""

    def deliver(message: Message, moment: datetime) -> bool:
        link = None
        if message.template in _WITH_LINK:
            link = services.links.address_for(message, moment)
            if link is None:
                return False
        if message.template is Template.PASSWORD_EXPIRES and not services.expiry_warnings.is_true(message, moment):
            return False
        send(message, link, moment)
        return True

    def on_sent(tx: "Connection", message: Message, moment: datetime) -> None:
        # a link lives from the moment at which the mail server took its mail.
        services.links.handed_over(tx, message.id, moment)

    return delivery.deliver_due(services.outbox, deliver, on_sent, now=now, limit=limit, stop=stop)


def deliver_notices(services: Services, now: datetime, stop: threading.Event | None = None) -> None:
    """Tell applications of the sessions that have ended (OIDC Back-Channel Logout)."""
    done = services.notices.deliver_due(now, stop=stop)
    if done:
        _log.info("notices: %s", ", ".join(f"{count} {outcome}" for outcome, count in sorted(done.items())))


def _warn(services: Services, now: datetime) -> None:
    warned = services.expiry_warnings.enqueue_due(now)
    if warned:
        _log.info("warnings: %d passwords are about to end", warned)


def _sweep(services: Services, now: datetime) -> None:
    gone = services.sweep(now)
    if any(gone.values()):
        _log.info("sweep: %s", ", ".join(f"{kind} {count}" for kind, count in gone.items() if count))


class Postman:
    """The mail job, which says once that the mail server is away and once that it is back."""

    def __init__(self, services: Services, send: Send, stop: threading.Event) -> None:
        self._services = services
        self._send = send
        self._stop = stop
        self._trouble: str | None = None

    def turn(self, now: datetime) -> None:
        done = deliver_due(self._services, self._send, now, stop=self._stop)
        for outcome, number in (("sent", done.sent), ("dropped", done.dropped), ("failed", done.failed)):
            if number:
                meters.count(meters.Counted.MAIL, outcome, number)
        if done.failed:
            _log.error("mail: %d messages are refused for good; see: idp mail status", done.failed)
        if done.sent:
            if self._trouble is not None:
                _log.warning("mail: the mail server takes messages again")
            self._trouble = None
            _log.info("mail: %d handed over", done.sent)
        elif done.trouble is not None and self._trouble is None:
            self._trouble = done.trouble
            _log.warning("mail: waiting for the mail server (%s); it is tried again", done.trouble)


@dataclass(slots=True)
class _Job:
    """One piece of clock work, again and again."""

    name: str
    every: timedelta
    work: Callable[[datetime], None]
    is_waiting: bool = False
    """For the store; said once."""

    def run(self, stop: threading.Event) -> None:
        while True:
            self._turn()
            if stop.wait(self.every.total_seconds()):
                return

    def _turn(self) -> None:
        # What a turn logs and records has one id, as what a request does.
        audit.origin.set(audit.Origin(request_id=f"{self.name}-{secrets.token_hex(4)}"))
        began = time.perf_counter()
        try:
            self.work(datetime.now(UTC))
        except StoreUnavailable:
            meters.count(meters.Counted.JOB_FAILURE, self.name)
            if not self.is_waiting:
                _log.warning("%s: waiting for the store, which does not answer", self.name)
            self.is_waiting = True
        except Exception:
            # A job that ended here would be missed only when its mails are.
            meters.count(meters.Counted.JOB_FAILURE, self.name)
            _log.exception("%s: failed, and is tried again", self.name)
        else:
            if self.is_waiting:
                _log.warning("%s: the store answers again", self.name)
            self.is_waiting = False
        meters.time(meters.Timed.JOB, time.perf_counter() - began, self.name)
