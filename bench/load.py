"""A closed-loop load generator for where wrk is not installed: as many requests in flight as there are connections.

    python -m bench.load URL CONNECTIONS SECONDS PLAN ANSWERS

It does what `load.lua` does for wrk, over the same plan (`generator.py` says what stands in one), and writes the same
lines: the status and, behind a tab, the body; of a body that came before, `#` and which one it was.
"""

import json
import re
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_CODE = re.compile(rb"[?&]code=([^&#\r\n]+)")
_REFRESH = re.compile(rb'"refresh_token"\s*:\s*"([^"]+)"')
_BREAKS = bytes.maketrans(b"\r\n\t", b"   ")


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

    def take(self) -> tuple[int, bytes, bytes] | None:
        """Read what came; status, head and body once the answer is whole."""
        part = self.sock.recv(262144)
        if not part:
            raise ConnectionError("the server closed a connection")
        self.received += part
        head, separator, body = bytes(self.received).partition(b"\r\n\r\n")
        if not separator:
            return None
        status, lower = int(head[9:12]), head.lower()
        at = lower.find(b"content-length:")
        if at >= 0:
            return (status, head, body) if len(body) >= int(lower[at + 15 :].split(b"\r\n", 1)[0]) else None
        if b"transfer-encoding: chunked" in lower:
            return (status, head, _join_chunks(body)) if body.endswith(b"0\r\n\r\n") else None
        return status, head, b""


class Plan:
    """What to send next, and what to make of an answer."""

    def __init__(self, path: Path, host: str) -> None:
        lines = path.read_text().splitlines()
        self.mode, self._entries, self._at = lines[0], list[bytes](), -1
        self._waiting: deque[bytes] = deque()
        self._then: Callable[[bytes], bytes] | None = None
        for line in lines[1:]:
            method, target, headers, body = line.split("\t")
            if method == "SEED":
                self._waiting.append(target.encode())
            elif method == "THEN":
                self._then = _filler(target, host, headers, body)
            else:
                self._entries.append(_format(method, target, host, headers, body.encode()))

    def next(self) -> bytes:
        if self._then is not None and self._waiting:
            return self._then(self._waiting.popleft())
        self._at = (self._at + 1) % len(self._entries)
        return self._entries[self._at]

    def learn(self, status: int, head: bytes, body: bytes) -> bytes:
        """Keep what the next request needs; what of the answer is worth writing down."""
        if self.mode == "code" and 300 <= status < 400:
            location = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"location:"))
            found = _CODE.search(location)
            if found:
                self._waiting.append(found[1])
            return location[9:].strip()
        if self.mode == "refresh":
            found = _REFRESH.search(body)
            if found:
                self._waiting.append(found[1])
        return body


def _join_chunks(body: bytes) -> bytes:
    joined, rest = b"", body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        joined, rest = joined + rest[:length], rest[length + 2 :]
        if not length:
            break
    return joined


def _format(method: str, target: str, host: str, headers: str, body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(line for line in headers.split("|") if line)]
    if not any(line.lower().startswith("host:") for line in lines):
        lines.append(f"Host: {host}")
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _filler(target: str, host: str, headers: str, template: str) -> Callable[[bytes], bytes]:
    before, after = (part.encode() for part in template.split("{}"))
    return lambda value: _format("POST", target, host, headers, before + value + after)


def run(url: str, connections: int, seconds: float, plan_path: Path, answers: Path) -> dict[str, float]:
    """Load `url` by the plan and write every answer down."""
    parts = urlsplit(url)
    plan = Plan(plan_path, parts.netloc)
    selector = selectors.DefaultSelector()
    begun = time.perf_counter()
    for _ in range(connections):
        sock = socket.create_connection((parts.hostname or "", parts.port or 80))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        selector.register(sock, selectors.EVENT_READ, connection)
        connection.send(plan.next())
    took: list[float] = []
    errors, seen = 0, dict[bytes, int]()
    with answers.open("wb") as file:
        while time.perf_counter() - begun < seconds:
            for key, _ in selector.select(timeout=1):
                connection = key.data
                answer = connection.take()
                if answer is None:
                    continue
                took.append(time.perf_counter() - connection.sent_at)
                errors += answer[0] >= 400
                text = plan.learn(*answer)
                if plan.mode == "repeat" and text in seen:
                    file.write(b"%d\t#%d\n" % (answer[0], seen[text]))
                else:
                    if plan.mode == "repeat":
                        seen[text] = len(seen) + 1
                    file.write(b"%d\t%b\n" % (answer[0], text.translate(_BREAKS)))
                connection.send(plan.next())
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
    url, connections, seconds, plan, answers = sys.argv[1:6]
    print(json.dumps(run(url, int(connections), float(seconds), Path(plan), Path(answers))))


if __name__ == "__main__":
    main()
