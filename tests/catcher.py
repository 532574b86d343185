"""An SMTP server that keeps what it is sent, for tests to read."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

ARRIVES_WITHIN = 30.0


class Catcher:
    """The mails that arrived, oldest first, by recipient."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._mails: list[tuple[str, EmailMessage]] = []
        self._arrived = threading.Condition()
        self._controller: Controller | None = None

    def start(self) -> None:
        """Listen."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=30)
        self._controller.start()

    def stop(self) -> None:
        """Listen no more; what has arrived is kept."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    @property
    def settings(self) -> dict[str, str]:
        """What tells a provider to send its mail here."""
        return {"IDP_MAIL_SERVER": "127.0.0.1", "IDP_MAIL_PORT": str(self.port), "IDP_MAIL_TLS": "none"}

    # aiosmtpd decides the name and the arguments.
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Called by aiosmtpd once a mail is complete."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        with self._arrived:
            self._mails.extend((recipient, mail) for recipient in envelope.rcpt_tos)
            self._arrived.notify_all()
        return "250 2.0.0 kept"

    def mails_to(self, recipient: str, subject: str = "") -> list[EmailMessage]:
        """What has arrived for this address so far, with this in its subject."""
        with self._arrived:
            return self._found(recipient, subject)

    def wait_for(self, recipient: str, subject: str = "", *, number: int = 1) -> EmailMessage:
        """The mail of this number, counted from 1, to this address with this in its subject; waits for it."""
        deadline = time.monotonic() + ARRIVES_WITHIN
        with self._arrived:
            while len(self._found(recipient, subject)) < number:
                left = deadline - time.monotonic()
                subjects = [str(mail["Subject"]) for mail in self._found(recipient, "")]
                assert left > 0, f"no mail {number} to {recipient} with {subject!r} came; what did: {subjects}"
                self._arrived.wait(left)
            return self._found(recipient, subject)[number - 1]

    def link(self, recipient: str, subject: str, *, number: int = 1) -> str:
        """The link in that mail."""
        return link_in(self.wait_for(recipient, subject, number=number))

    def _found(self, recipient: str, subject: str) -> list[EmailMessage]:
        return [mail for to, mail in self._mails if to == recipient and subject in str(mail["Subject"])]


def link_in(mail: EmailMessage) -> str:
    """The link of a mail: it stands alone on its line in the text part, and there is one."""
    body = mail.get_body(preferencelist=("plain",))
    assert body is not None
    text = str(body.get_content())
    links = [line.strip() for line in text.splitlines() if line.strip().startswith(("http://", "https://"))]
    assert len(links) == 1, text
    return links[0]


@contextmanager
def catching(port: int) -> Iterator[Catcher]:
    """A catcher that listens on this port of loopback."""
    catcher = Catcher(port)
    catcher.start()
    try:
        yield catcher
    finally:
        catcher.stop()
