"""The provider behind the nginx of the example, over TLS: cookies, addresses and refusals are as they should be."""

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
import trustme

from tests.journeys import Person, parameters, read
from tests.rig import CALLBACK
from tests.serving import Client, Provider, free_port, make_password, provider_in

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("nginx"), pytest.mark.timeout(180)]

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy/nginx/nginx.conf"
USERNAME = "EKU9003173C9"


class Fronted(Provider):
    """A provider whose address is that of the proxy."""

    front: int = 0

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.front}"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.skip("nginx is missing: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    front, plain = free_port(), free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    for pem in made.cert_chain_pems:
        pem.write_to_path(str(folder / "fullchain.pem"), append=True)
    issuer = f"https://localhost:{front}"
    with provider_in(folder / "idp", IDP_ISSUER=issuer, IDP_TRUSTED_PROXIES="127.0.0.1/32") as made_provider:
        fronted = Fronted(made_provider.folder, made_provider.port, made_provider.settings)
        fronted.front = front
        text = EXAMPLE.read_text()
        text = text.replace("listen 443 ssl;\n        http2 on;", "listen 443 ssl http2;")
        text = re.sub(r"listen 443\b", f"listen 127.0.0.1:{front}", text)
        text = text.replace("listen 80 ", f"listen 127.0.0.1:{plain} ")
        text = text.replace("/etc/nginx/tls", str(folder)).replace("/run/nginx.pid", str(folder / "pid"))
        text = text.replace("/dev/stdout", str(folder / "access.log")).replace("cuenta.example.com", "localhost")
        text = text.replace("server node-a:8000", f"server 127.0.0.1:{fronted.port}")
        text = re.sub(r"\s+server node-b:8000[^;]*;", "", text)
        (folder / "nginx.conf").write_text(f"daemon off;\nuser root;\n{text}")
        process = None
        try:
            fronted.start(1)
            with (folder / "nginx.log").open("wb") as log:
                process = subprocess.Popen(
                    [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], stdout=log, stderr=log
                )
            _wait_until_it_listens(front, process, folder / "nginx.log")
            yield fronted
        finally:
            if process is not None:
                process.terminate()
                process.wait(20)
            fronted.close()


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 2):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text(errors="replace"))


def person(provider: Fronted) -> Person:
    found = Person(provider.issuer)
    found.http.verify = str(provider.folder.parent / "ca.pem")
    return found


@pytest.mark.spec("L-7", "W-1", "W-7")
def test_a_sign_in_comes_through_with_the_address_that_nginx_saw(provider: Fronted) -> None:
    password = provider.add_account(USERNAME)
    client: Client = provider.add_client("Portal", CALLBACK, "--first-party", "--scope", "openid")
    browser = person(provider)
    browser.http.headers["X-Forwarded-For"] = "203.0.113.9"
    browser.http.headers["Forwarded"] = "for=203.0.113.9;host=evil.example"
    browser.http.headers["X-Forwarded-Host"] = "evil.example"
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636 appendix B
    url = (
        f"/oauth/authorize?response_type=code&client_id={client.client_id}&redirect_uri={CALLBACK}"
        f"&scope=openid&state=abc&code_challenge={challenge}&code_challenge_method=S256"
    )
    callback = parameters(browser.authorize(url, USERNAME, password))
    assert callback["iss"] == provider.issuer
    cookies = {cookie.name: cookie for cookie in browser.http.cookies}
    assert any(name.startswith("__Host-") for name in cookies)
    assert all(cookie.secure for name, cookie in cookies.items() if name.startswith("__Host-"))
    addresses = {row[0] for row in provider.query("SELECT address FROM audit_event WHERE event LIKE 'account:signin%'")}
    assert addresses == {"127.0.0.1"}


@pytest.mark.spec("O-3", "R-7")
def test_what_is_for_neighbours_and_what_is_secret_does_not_come_out(provider: Fronted) -> None:
    browser = person(provider)
    for path in ("/metrics", "/health/ready", "/health/live"):
        assert browser.http.get(provider.issuer + path, timeout=10).status_code == 404
    page = read(browser.http.get(f"{provider.issuer}/request/codedAccess?code={'A' * 40}", timeout=10))
    assert page.screen == "link-dead"
    until, written = time.monotonic() + 5, ""
    while "/request/codedAccess" not in written:  # nginx writes a line once it has answered
        assert time.monotonic() < until, written
        written = "".join((provider.folder.parent / name).read_text() for name in ("access.log", "nginx.log"))
    assert "AAAA" not in written


@pytest.mark.spec("PW-2", "O-4")
def test_a_body_that_is_too_long_is_refused_before_a_node_sees_it(provider: Fronted) -> None:
    browser = person(provider)
    page = browser.visit("/login")
    # A name of nobody: a failure of the known one would ask the other tests for an image.
    more = {"username": "XIA190128J61", "password": make_password()}
    assert browser.post(page, "form-signin", **more).status_code in {303, 200}
    answer = requests.post(
        f"{provider.issuer}/login", data=b"x" * 200_000, verify=browser.http.verify, timeout=10, allow_redirects=False
    )
    assert answer.status_code == 413


@pytest.mark.spec("O-6", "F-13")
def test_bodies_that_never_come_hold_no_thread_of_a_node(provider: Fronted) -> None:
    context = ssl.create_default_context(cafile=str(provider.folder.parent / "ca.pem"))
    start = (
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 900\r\n\r\nusername="
    )
    with ExitStack() as held:
        for _ in range(60):  # the node has sixteen threads
            raw = held.enter_context(socket.create_connection(("127.0.0.1", provider.front), 10))
            held.enter_context(context.wrap_socket(raw, server_hostname="localhost")).sendall(start)
        began = time.monotonic()
        assert person(provider).visit("/login").screen == "signin"
        assert time.monotonic() - began < 8
