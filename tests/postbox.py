"""A mail server on loopback that keeps what it takes, and can be down, busy, slow, rude or gone at the worst moment."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.serving import free_port

TAKES = "250 2.0.0 taken"


@dataclass(frozen=True, slots=True)
class Taken:
    """One message that arrived, to the byte."""

    raw: bytes
    sender: str
    recipients: tuple[str, ...]
    at: float
    """By the monotonic clock."""

    @property
    def mail(self) -> EmailMessage:
        """As a mail program reads it."""
        found = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def id(self) -> str:
        return str(self.mail["Message-ID"])

    def part(self, kind: str) -> str:
        """The text or the HTML."""
        found = self.mail.get_body((kind,))
        assert found is not None
        return str(found.get_content()).replace("\r\n", "\n")


@dataclass
class Postbox:
    """What the server does is changed while it runs."""

    port: int = field(default_factory=free_port)
    at_recipient: str = "250 2.1.5 known"
    at_data: str = TAKES
    wait: float = 0.0
    """Seconds before the answer to the mail itself."""
    cuts: int = 0
    """So many mails are taken without an answer: the line is cut."""
    eight_bit: bool = True
    taken: list[Taken] = field(default_factory=list)
    most_at_once: int = 0
    _talking: int = 0
    _controller: Controller | None = None

    def start(self, **options: Any) -> None:
        """Listen; `options` are aiosmtpd's."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=30, **options)
        self._controller.start()

    def stop(self) -> None:
        """Be down."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def ids(self) -> list[str]:
        """The Message-ID of each message, in the order of arrival."""
        return [each.id for each in self.taken]

    def wait_for(self, count: int, seconds: float = 20.0) -> bool:
        """Whether `count` messages have arrived by then."""
        until = time.monotonic() + seconds
        while len(self.taken) < count and time.monotonic() < until:
            time.sleep(0.02)
        return len(self.taken) >= count

    # -- called by aiosmtpd --------------------------------------------------------------------------------------------

    async def handle_EHLO(  # noqa: N802  # aiosmtpd's names
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return responses if self.eight_bit else [each for each in responses if "8BITMIME" not in each]

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.at_recipient.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.at_recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self._talking += 1
        self.most_at_once = max(self.most_at_once, self._talking)
        try:
            if self.at_data == TAKES:
                raw = envelope.original_content or b""
                self.taken.append(Taken(raw, envelope.mail_from or "", tuple(envelope.rcpt_tos), time.monotonic()))
            await asyncio.sleep(self.wait)
            if self.cuts:
                self.cuts -= 1
                assert server.transport is not None
                server.transport.abort()
            return self.at_data
        finally:
            self._talking -= 1


@contextmanager
def postbox(**options: Any) -> Iterator[Postbox]:
    """A server that takes everything, stopped at the end."""
    found = Postbox()
    found.start(**options)
    try:
        yield found
    finally:
        found.stop()


@contextmanager
def dripping_server(every: float = 0.05) -> Iterator[int]:
    """The port of a server that never ends its greeting, and never falls silent either."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            line, _ = listener.accept()
            with line:
                line.sendall(b"220 ready\r\n")
                line.recv(1000)
                while not over.wait(every):
                    line.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        listener.close()
        thread.join(5)
