"""The demo's mail inbox: an SMTP server that keeps what it is sent in memory, with a page to read it."""

import argparse
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

from aiosmtpd.controller import Controller
from flask import Flask, Response, abort, make_response, render_template
from werkzeug.serving import make_server

KEPT = 200
SIZE_MAX = 1024 * 1024
ZONE = ZoneInfo("America/Mexico_City")

PAGE_POLICY = "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
MAIL_POLICY = (
    # A mail is a stranger's HTML: no scripts, no forms, no loads; its links open beside it.
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
)


@dataclass(frozen=True, slots=True)
class Mail:
    """One received mail, taken apart for reading."""

    number: int
    received: str
    sender: str
    recipient: str
    subject: str
    message_id: str
    text: str
    html: str


class Inbox:
    """The last mails, newest first. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._mails: deque[Mail] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._clock = clock
        self._count = 0

    def put(self, content: bytes) -> None:
        """Keep a mail; the oldest goes once there are too many."""
        message = message_from_bytes(content, policy=policy.default)
        received = self._clock().astimezone(ZONE).strftime("%d/%m/%Y %H:%M:%S")
        with self._lock:
            self._count += 1
            mail = Mail(
                self._count,
                received,
                _header(message, "From"),
                _header(message, "To"),
                _header(message, "Subject") or "(sin asunto)",
                _header(message, "Message-ID"),
                _part(message, "plain"),
                _part(message, "html"),
            )
            self._mails.appendleft(mail)

    def list(self) -> list[Mail]:
        """All that are kept, newest first."""
        with self._lock:
            return list(self._mails)

    def find(self, number: int) -> Mail | None:
        """The mail with this number, if it is still kept."""
        return next((mail for mail in self.list() if mail.number == number), None)


class Receiver:
    """The SMTP side: whatever arrives goes into the inbox."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    # aiosmtpd decides the name and the arguments.
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802, ARG002
        """Called by aiosmtpd once a mail is complete."""
        self._inbox.put(envelope.content)
        return "250 2.0.0 kept"


def receive(inbox: Inbox, port: int) -> Controller:
    """An SMTP server into `inbox`, on loopback; the caller starts and stops it."""
    return Controller(Receiver(inbox), hostname="127.0.0.1", port=port, data_size_limit=SIZE_MAX)


def create_app(inbox: Inbox) -> Flask:
    """The pages over `inbox`."""
    app = Flask(__name__)
    # Mails hold links that let one in: a page of the web that points its own name at 127.0.0.1 must not read them.
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost"]

    @app.get("/")
    def show_list() -> str:
        return render_template("inbox.html", mails=inbox.list(), mail=None)

    @app.get("/mail/<int:number>")
    def show_mail(number: int) -> str:
        return render_template("inbox.html", mails=inbox.list(), mail=inbox.find(number) or abort(404))

    @app.get("/mail/<int:number>/html")
    def show_html(number: int) -> Response:
        mail = inbox.find(number) or abort(404)
        # `base` after the mail's own markup would come too late for its links; before it, only the doctype is lost.
        response = make_response('<!doctype html><base target="_blank">' + mail.html)
        response.headers["Content-Security-Policy"] = MAIL_POLICY
        return response

    @app.get("/health")
    def show_health() -> tuple[str, dict[str, str]]:
        return "ok\n", {"Content-Type": "text/plain"}

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def _header(message: EmailMessage, name: str) -> str:
    return str(message.get(name, ""))


def _part(message: EmailMessage, kind: str) -> str:
    body = message.get_body(preferencelist=(kind,))
    if body is None:
        return ""
    try:
        return str(body.get_content())
    except (LookupError, ValueError):  # a character set that nobody knows, or a broken encoding
        return bytes(body.get_payload(decode=True) or b"").decode("ascii", "replace")


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--smtp-port", type=int, required=True)
    arguments = parser.parse_args()
    inbox = Inbox()
    controller = receive(inbox, arguments.smtp_port)
    controller.start()
    try:
        make_server("127.0.0.1", arguments.port, create_app(inbox), threaded=True).serve_forever()
    finally:
        controller.stop()


if __name__ == "__main__":
    main()
