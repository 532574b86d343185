"""Connections to addresses in a client's registration, and to no others (P-15).

Nothing that a request or a token supplies is ever fetched (D-31). An address is https; it is resolved once, every
answer must be a public address, and the connection goes to that very answer, with the name for TLS and `Host`. No
redirect is followed, no proxy asked, five seconds are the end and 64 KiB the most.
"""

import http.client
import ipaddress
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from idp import policy
from idp.places import aside

Resolve = Callable[[str, int], list[str]]
"""From host and port to the IP addresses, in the order to be tried. `OSError` where there is none."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 section 2.1: an IPv4 address stands in the last 32 bits
_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291 section 2.4: all that is assigned for the public net
_REFUSED = tuple(
    map(
        ipaddress.ip_network,
        (
            # IANA's special purpose registries, where releases of Python differ: protocol assignments, of which one is
            # a cloud's metadata; relays and tunnels to anywhere (6to4, Teredo); documentation.
            *("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20"),
            # Azure's inside, the one such address that looks public.
            "168.63.129.16/32",
        ),
    )
)
_RESOLVERS = threading.BoundedSemaphore(16)
_CHUNK = 16 * 1024


class FetchProblem(Exception):
    """The address gave no answer that we take; the text says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    content_type: str
    body: bytes


def is_allowed(address: str, *, loopback: bool = False) -> bool:
    """Whether we connect to this IP address: a public one, or one of this machine where `loopback` says so."""
    ip = ipaddress.ip_address(address)
    if any(ip in each for each in _REFUSED):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_allowed(str(ip.ipv4_mapped), loopback=loopback)
        if ip in _NAT64:
            return is_allowed(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.is_loopback:
            return loopback
        return ip in _UNICAST and ip.is_global
    if ip.is_loopback:
        return loopback
    return ip.is_global and not ip.is_multicast


def resolve_by_system(host: str, port: int) -> list[str]:
    """What the system's resolver says, each address once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Fetcher:
    """Fetches what a registration names. Thread-safe; keeps nothing."""

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        resolve: Resolve = resolve_by_system,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`allow_loopback` is for tests and demonstrations: this machine may be asked, by http too."""
        self._allow_loopback = allow_loopback
        self._resolve = resolve
        self._own_tls = tls
        self._turns = threading.BoundedSemaphore(policy.FETCHES_AT_ONCE)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Made when it is first asked for: to read the system's certificates takes as long as all the rest of a start's
        # services, and most servers never fetch anything.
        return self._own_tls or ssl.create_default_context()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A place among the few requests that may wait for somebody else's server; `FetchProblem` where all are taken.

        A dozen clients whose addresses take their five seconds would otherwise hold every thread there is (O-4).
        """
        if not self._turns.acquire(blocking=False):
            raise FetchProblem("too many addresses are being asked")
        try:
            yield
        finally:
            self._turns.release()

    def get_json(self, url: str) -> Any:
        """The JSON document at `url`. Raises `FetchProblem`."""
        answer = self._ask("GET", url, {"Accept": "application/json"}, None)
        mimetype = answer.content_type
        if answer.status != 200:
            raise FetchProblem("the answer is not 200")
        if mimetype != "application/json" and not (mimetype.startswith("application/") and mimetype.endswith("+json")):
            raise FetchProblem("the answer is not JSON by its content type")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise FetchProblem("the answer is not JSON") from error

    def get_image(self, url: str) -> bytes:
        """The bytes of the image at `url`, of whatever format. Raises `FetchProblem`."""
        answer = self._ask("GET", url, {"Accept": "image/png, image/webp, image/jpeg, image/gif"}, None)
        if answer.status != 200 or not answer.content_type.startswith("image/"):
            raise FetchProblem("the answer is no image")
        return answer.body

    def post_form(self, url: str, fields: Mapping[str, str]) -> int:
        """POST the fields as a form; the status that came back. Raises `FetchProblem` where none came."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return self._ask("POST", url, headers, urlencode(fields).encode("ascii")).status

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        with aside():
            return self._ask_and_wait(method, url, headers, body)

    def _ask_and_wait(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        ends = time.monotonic() + policy.FETCH_DEADLINE.total_seconds()
        parts = _read_address(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = self._find_addresses(parts, port, ends)
        connection = _Pinned(str(parts.hostname), port, addresses, ends, self._tls if parts.scheme == "https" else None)
        # Timeouts of the socket begin anew with each byte; this one does not.
        watchdog = threading.Timer(max(0.0, ends - time.monotonic()), connection.cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, body, {**headers, "Accept-Encoding": "identity", "Connection": "close"})
            with connection.getresponse() as response:
                return _read(response, ends)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchProblem(f"no answer: {type(error).__name__}") from error
        finally:
            watchdog.cancel()
            connection.close()

    def _find_addresses(self, parts: SplitResult, port: int, ends: float) -> list[str]:
        addresses = self._resolve_until(str(parts.hostname), port, ends)
        plain = parts.scheme == "http"
        for address in addresses:
            if not is_allowed(address, loopback=self._allow_loopback):
                raise FetchProblem("the name stands for an address that is not public")
            if plain and not ipaddress.ip_address(address).is_loopback:
                raise FetchProblem("an address begins with https")
        return addresses

    def _resolve_until(self, host: str, port: int, ends: float) -> list[str]:
        """The system's resolver has its own idea of patience; we do not wait for it longer than for all the rest."""
        found: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        if not _RESOLVERS.acquire(blocking=False):
            raise FetchProblem("too many names are being resolved")

        def resolve() -> None:
            try:
                found.put(self._resolve(host, port))
            except (OSError, ValueError):  # UnicodeError, of a name that IDNA does not take, is one
                found.put([])
            finally:
                _RESOLVERS.release()

        threading.Thread(target=resolve, daemon=True).start()
        try:
            addresses = found.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            addresses = []
        if not addresses:
            raise FetchProblem("the name cannot be resolved")
        return addresses


class _Pinned(http.client.HTTPConnection):
    """A connection to addresses that were checked, under the name they were asked by."""

    def __init__(self, host: str, port: int, addresses: list[str], ends: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        if tls is not None:
            self.default_port = 443  # so that `Host` names no port where it need not
        self._addresses = addresses
        self._ends = ends
        self._tls = tls
        self._raw: socket.socket | None = None

    def connect(self) -> None:
        self._raw = self._connect_first()
        if self._tls is None:
            self.sock = self._raw
        else:
            self.sock = self._tls.wrap_socket(self._raw, server_hostname=self.host)

    def cut(self) -> None:
        """End it from another thread: whoever reads or writes gets an error."""
        for each in (self.sock, self._raw):
            if each is not None:
                with suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

    def _connect_first(self) -> socket.socket:
        failure: OSError = TimeoutError()
        for address in self._addresses:
            left = self._ends - time.monotonic()
            if left <= 0:
                break
            try:
                return socket.create_connection((address, self.port), timeout=left)
            except OSError as error:
                failure = error
        raise failure


def _read_address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise FetchProblem("the address cannot be read") from error
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username is not None:
        raise FetchProblem("an address begins with https and names a host")
    return parts


def _read(response: http.client.HTTPResponse, ends: float) -> Answer:
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        # Unpacked it could be a thousand times as large.
        raise FetchProblem("the answer is compressed")
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read(_CHUNK):
        size += len(chunk)
        if size > policy.FETCH_BYTES_MAX:
            raise FetchProblem("the answer is too large")
        if time.monotonic() > ends:
            raise FetchProblem("the answer takes too long")
        chunks.append(chunk)
    content_type = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
    return Answer(response.status, content_type, b"".join(chunks))
