"""Which addresses we connect to, and how much of what stands there we take (P-15)."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from idp import policy
from idp.protocol.fetch import Fetcher, FetchProblem, is_allowed

pytestmark = pytest.mark.spec("P-15")

PRIVATE = (
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1"),
    *("2001::1", "2001:db8::1", "2002:7f00:1::", "fc00::1", "fd00:ec2::254", "fe80::1"),
    *("fe80::1%eth0", "fec0::1", "ff02::1"),
)
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_one_is(address: str) -> None:
    assert is_allowed(address)


@pytest.mark.parametrize(("address", "allowed"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False)])
def test_loopback_only_where_it_is_said(address: str, allowed: bool) -> None:
    assert is_allowed(address, loopback=True) is allowed
    assert not is_allowed(address)


@dataclass
class Site:
    """An https server on this machine, and what it was asked."""

    port: int
    trust: ssl.SSLContext
    answer: Callable[[BaseHTTPRequestHandler], None] = lambda _: None
    heard: list[tuple[str, str, str | None, bytes]] = field(default_factory=list)

    def fetcher(self, **changes: Any) -> Fetcher:
        values = {"allow_loopback": True, "resolve": lambda *_: ["127.0.0.1"], "tls": self.trust} | changes
        return Fetcher(**values)

    @property
    def url(self) -> str:
        return f"https://rp.example:{self.port}/keys?a=b"


@pytest.fixture(scope="module")
def certificates() -> tuple[trustme.CA, trustme.LeafCert]:
    authority = trustme.CA()
    return authority, authority.issue_cert("rp.example")


@pytest.fixture
def site(certificates: tuple[trustme.CA, trustme.LeafCert]) -> Iterator[Site]:
    authority, certificate = certificates
    trust, serving = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(trust)
    certificate.configure_cert(serving)

    class Handler(BaseHTTPRequestHandler):
        def _hear(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            found.heard.append((self.command, self.path, self.headers.get("Host"), body))
            found.answer(self)

        do_GET = do_POST = _hear  # noqa: N815  # names of the standard library

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    server.socket = serving.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found = Site(server.server_address[1], trust)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def says(
    body: bytes, content_type: str | None = "application/json", status: int = 200, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if content_type is not None:
            handler.send_header("Content-Type", content_type)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.enable_socket
def test_the_checked_address_is_the_one_that_is_asked_by_its_name(site: Site) -> None:
    site.answer = says(b'{"keys":[]}', "application/jwk-set+json; charset=utf-8")
    looked_up: list[Any] = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append((host, port))
        # A second look would go elsewhere, as names under an attacker's hand do.
        return ["127.0.0.1"] if len(looked_up) == 1 else ["10.0.0.1"]

    assert site.fetcher(resolve=resolve).get_json(site.url) == {"keys": []}
    assert looked_up == [("rp.example", site.port)]
    assert site.heard == [("GET", "/keys?a=b", f"rp.example:{site.port}", b"")]


@pytest.mark.enable_socket
def test_a_form_is_posted_and_the_status_comes_back(site: Site) -> None:
    site.answer = says(b"", None, 400)
    assert site.fetcher().post_form(site.url, {"logout_token": "a.b+c"}) == 400
    assert site.heard[0][3] == b"logout_token=a.b%2Bc"


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    "answer",
    [
        says(b"", status=302, Location="https://rp.example/other"),
        says(b"", status=307, Location="http://169.254.169.254/latest"),
        says(b"{}", status=500),
        says(b"{}", status=404),
        says(b"{}", "text/html"),
        says(b"{}", None),
        says(b"{"),
        says(b"[" * 60_000),
        says(b" " * policy.FETCH_BYTES_MAX + b"{}"),
        says(b"{}", Content_Encoding="gzip"),
    ],
    ids=["302", "307", "500", "404", "html", "no type", "no JSON", "deep", "large", "compressed"],
)
def test_an_answer_that_is_not_what_was_asked_is_not_taken(
    site: Site, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    site.answer = says(b"{}")
    assert site.fetcher().get_json(site.url) == {}
    site.answer = answer
    with pytest.raises(FetchProblem):
        site.fetcher().get_json(site.url)
    assert len(site.heard) == 2


@pytest.mark.enable_socket
def test_who_drips_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FETCH_DEADLINE", policy.FETCH_DEADLINE / 10)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        with suppress(OSError):  # whoever asked has gone
            for _ in range(1000):
                handler.wfile.write(b"a")
                handler.wfile.flush()
                time.sleep(0.05)

    site.answer = drip
    began = time.monotonic()
    with pytest.raises(FetchProblem):
        site.fetcher().get_json(site.url)
    assert time.monotonic() - began < 20


@pytest.mark.enable_socket
def test_a_certificate_for_another_name_is_refused(site: Site) -> None:
    site.answer = says(b"{}")
    with pytest.raises(FetchProblem):
        site.fetcher().get_json(site.url.replace("rp.example", "other.example"))
    with pytest.raises(FetchProblem):
        site.fetcher(tls=ssl.create_default_context()).get_json(site.url)
    assert site.heard == []


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], []]
)
def test_a_name_that_stands_for_the_inside_is_not_asked(site: Site, addresses: list[str]) -> None:
    with pytest.raises(FetchProblem):
        site.fetcher(allow_loopback=False, resolve=lambda *_: addresses).get_json(site.url)
    assert site.heard == []


@pytest.mark.parametrize(
    "url",
    [
        "http://rp.example/",
        "ftp://rp.example/",
        "file:///etc/passwd",
        "https://user@rp.example/",
        "https://",
        "https://[",
        "https://rp.example:99999/",
        "//rp.example/",
        "",
    ],
)
def test_an_address_that_is_not_https_is_not_asked(url: str) -> None:
    def resolve(*_: Any) -> list[str]:
        return ["1.1.1.1"]

    with pytest.raises(FetchProblem):
        Fetcher(resolve=resolve).get_json(url)
    with pytest.raises(FetchProblem):
        Fetcher(resolve=resolve, allow_loopback=True).get_json(url)


def test_a_name_that_takes_its_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FETCH_DEADLINE", policy.FETCH_DEADLINE / 20)
    slow = threading.Event()

    def resolve(*_: Any) -> list[str]:
        slow.wait(60)
        return []

    began = time.monotonic()
    with pytest.raises(FetchProblem):
        Fetcher(resolve=resolve).get_json("https://rp.example/")
    assert time.monotonic() - began < 20
    slow.set()


def test_nothing_but_these_files_fetches() -> None:
    """D-31: no other file opens a connection, but for the doctor, who is asked to, and what listens."""
    folder = Path(__file__).parents[2] / "idp"
    opens = ("import socket", "http.client", "urllib.request", "import requests", "urllib3", "create_connection")
    found = {path.name for path in folder.rglob("*.py") if any(word in path.read_text() for word in opens)}
    words_of_codes = {"machine.py", "at_once.py"}  # http.client.responses
    assert found <= {"fetch.py", "mailing.py", "captcha_socket.py", "doctor.py", "observing.py", *words_of_codes}
