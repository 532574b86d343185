"""An application on loopback of which the provider fetches and which it tells: key sets, sectors, logos, sign-outs."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from urllib.parse import parse_qs

import trustme


@dataclass
class Application:
    """What it serves by path, as content type and body; and the forms that were posted to it, with their paths."""

    origin: str
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    posted: "SimpleQueue[tuple[str, dict[str, list[str]]]]" = field(default_factory=SimpleQueue)


@contextmanager
def listening(authority: trustme.CA) -> Iterator[Application]:
    """Over https, by a certificate of this authority, until the end."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content_type, body = found.pages.get(self.path, ("text/plain", b""))
            self._answer(200 if body else 404, content_type, body)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
            found.posted.put((self.path, parse_qs(form, keep_blank_values=True)))
            self._answer(200, "text/plain", b"")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        found = Application(f"https://localhost:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()
