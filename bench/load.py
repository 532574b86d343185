"""A closed-loop load generator for where wrk is not installed: as many requests in flight as there are connections."""

import json
import os
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Connection:
    """One kept-alive connection with one request in flight."""

    sock: socket.socket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def send(self, request: bytes) -> None:
        self.received.clear()
        self.sent_at = time.perf_counter()
        self.sock.sendall(request)

    def take(self) -> tuple[int, bytes] | None:
        """Read what came; status and body once the answer is whole."""
        part = self.sock.recv(65536)
        if not part:
            raise ConnectionError("the server closed a connection")
        self.received += part
        head, separator, body = bytes(self.received).partition(b"\r\n\r\n")
        if not separator:
            return None
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        return (int(lines[0].split()[1]), body) if len(body) >= length else None


def run(url: str, connections: int, seconds: float, request: bytes, answers: Path) -> dict[str, float]:
    """Load `url` and write every answer, status and body, to a line of `answers`."""
    parts = urlsplit(url)
    selector = selectors.DefaultSelector()
    begun = time.perf_counter()
    for _ in range(connections):
        sock = socket.create_connection((parts.hostname or "", parts.port or 80))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        selector.register(sock, selectors.EVENT_READ, connection)
        connection.send(request)
    took: list[float] = []
    errors = 0
    with answers.open("wb") as file:
        while time.perf_counter() - begun < seconds:
            for key, _ in selector.select(timeout=1):
                connection = key.data
                answer = connection.take()
                if answer is None:
                    continue
                took.append(time.perf_counter() - connection.sent_at)
                errors += answer[0] != 200
                file.write(b"%d %b\n" % (answer[0], answer[1].replace(b"\n", b" ").replace(b"\r", b" ")))
                connection.send(request)
    elapsed = time.perf_counter() - begun
    took.sort()
    return {
        "requests": len(took),
        "seconds": elapsed,
        "errors": errors,
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[int(len(took) * 0.99)] * 1e3,
    }


def main() -> None:
    url, connections, seconds = sys.argv[1:4]
    parts = urlsplit(url)
    form = os.environ["LOAD_FORM"].encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: {os.environ['LOAD_AUTHORIZATION']}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n"
    )
    answers = Path(os.environ["LOAD_ANSWERS"])
    print(json.dumps(run(url, int(connections), float(seconds), head.encode() + form, answers)))


if __name__ == "__main__":
    main()
