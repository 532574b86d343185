"""A proxy before the nodes that a test steers: which node gets the next request, and what each has answered."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
UPSTREAM_WAIT = 60.0


class Proxy:
    """Sends each request to the next node in turn, or to the one that `only` names.

    As a real one does, it takes another node where the connection itself is refused; what was sent once is not sent
    again, and whose node dies over it gets 502.
    """

    def __init__(self, port: int, nodes: dict[str, int]) -> None:
        self.nodes = nodes
        self.only: str | None = None
        self.passed_over: set[str] = set()
        """Nodes that get nothing new, as those that are not ready do."""
        self.answered: Counter[tuple[str, int]] = Counter()
        """By node and status."""
        self._turn = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.proxy = self

    def served_by(self, name: str) -> int:
        """Answers of this node so far."""
        return sum(count for (node, _), count in self.answered.items() if node == name)

    @contextmanager
    def through(self, name: str) -> Iterator[None]:
        """Inside, this node answers all."""
        self.only = name
        try:
            yield
        finally:
            self.only = None

    def candidates(self) -> list[str]:
        """The nodes to try for one request, in order."""
        if self.only is not None:
            return [self.only]
        with self._lock:
            self._turn += 1
            names = [name for name in self.nodes if name not in self.passed_over]
            return names[self._turn % len(names) :] + names[: self._turn % len(names)]

    def note(self, name: str, status: int) -> None:
        with self._lock:
            self.answered[name, status] += 1

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_any(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        headers["X-Forwarded-For"] = self.client_address[0]
        headers["X-Forwarded-Proto"] = "http"
        headers["Content-Length"] = str(len(body))
        for name in proxy.candidates():
            upstream = HTTPConnection("127.0.0.1", proxy.nodes[name], timeout=UPSTREAM_WAIT)
            try:
                upstream.connect()
            except OSError:
                continue
            try:
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                content = answer.read()
            except (OSError, HTTPException):
                proxy.note(name, 502)
                self._answer(502, [], b"")
                return
            finally:
                upstream.close()
            proxy.note(name, answer.status)
            self._answer(answer.status, answer.getheaders(), content)
            return
        self._answer(502, [], b"")

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = handle_any  # noqa: N815  # the server's names

    def log_message(self, format: str, *args: Any) -> None:  # the server's name
        """Nothing: tests read `answered`."""
