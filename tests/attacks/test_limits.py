"""Too much, or no form, at the production server: what a body and headers may be before anything is done with them."""

import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

from idp.app import create_app
from idp.policy import FORM_BODY_MAX, HEADERS_MAX, PARAMETER_COUNT_MAX
from idp.settings import Settings
from tests.rig import Rig

FORM = "application/x-www-form-urlencoded"
PAGES = (
    "/login",
    "/logout",
    "/captcha/refresh",
    "/recover",
    "/recover/question",
    "/recover/sent",
    "/recover/password",
    "/password",
    "/activate",
    "/consent",
    "/oauth/authorize",
    "/oauth/logout",
    "/logout/confirm",
    "/device",
    "/device/confirm",
    "/account/password",
    "/account/question",
    "/account/profile",
    "/account/sessions",
    "/account/sessions/others",
    "/account/extend",
    "/account/applications/buzon",
)
MACHINES = (
    "/oauth/token",
    "/oauth/introspect",
    "/oauth/revoke",
    "/oauth/userinfo",
    "/oauth/par",
    "/oauth/device_authorization",
    "/oauth/register",
)
ODD_TYPES = (
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "Multipart/Form-Data; boundary=" + "x" * 200,
    "application/json",
    "text/plain",
    f"{FORM}x",
    "multipart/mixed; boundary=x",
    "\u00e9;;;=",
    ";",
)
FILE = (
    b"--x\r\nContent-Disposition: form-data; name=username; filename=a.txt\r\n\r\nEKU9003173C9\r\n"
    b"--x\r\nContent-Disposition: form-data; name=csrf_token; filename=b.txt\r\n\r\na\r\n--x--\r\n"
)


def _answer(rig: Rig, head: str, parts: Iterable[bytes]) -> int:
    """The status of the answer to exactly these bytes, however much of them the server takes."""
    with socket.create_connection(("127.0.0.1", rig.provider.port), timeout=20) as connection:
        try:
            connection.sendall(head.encode("latin-1"))
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has said enough
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def _chunks(body: bytes, size: int = 4096) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        part = body[start : start + size]
        yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


def _chunked(rig: Rig, path: str, body: bytes) -> int:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _answer(rig, head, _chunks(body))


@pytest.mark.spec("PW-2", "O-4")
@pytest.mark.enable_socket
@pytest.mark.parametrize("path", ["/login", "/recover", "/oauth/logout", *MACHINES])
def test_a_body_in_chunks_has_the_same_limit(rig: Rig, path: str) -> None:
    assert _chunked(rig, path, b"x" * FORM_BODY_MAX) in {303, 400, 401}
    assert _chunked(rig, path, b"x" * (FORM_BODY_MAX + 1)) == 413
    assert _chunked(rig, path, b"x" * 40 * FORM_BODY_MAX) == 413


@pytest.mark.spec("O-4")
@pytest.mark.enable_socket
@pytest.mark.parametrize("path", ["/login", "/oauth/token", "/oauth/introspect"])
def test_parameters_in_chunks_are_counted(rig: Rig, path: str) -> None:
    assert _chunked(rig, path, b"&".join(b"p%d=1" % each for each in range(PARAMETER_COUNT_MAX + 1))) == 413
    assert _chunked(rig, path, b"&".join(b"p%d=1" % each for each in range(PARAMETER_COUNT_MAX))) in {400, 401}


@pytest.mark.spec("P-1")
@pytest.mark.enable_socket
def test_a_form_in_chunks_is_read_like_any_other(rig: Rig) -> None:
    client = rig.own
    body = f"grant_type=refresh_token&refresh_token=x&client_id={client.client_id}&client_secret={client.client_secret}"
    answers = [
        requests.post(f"{rig.issuer}/oauth/token", data=data, headers={"Content-Type": FORM}, timeout=30).json()
        for data in (body, iter([body[:20].encode(), body[20:].encode()]))
    ]
    assert answers[0] == answers[1]
    assert answers[0]["error"] != "invalid_request"


@pytest.mark.spec("P-16", "O-4")
@pytest.mark.enable_socket
@pytest.mark.parametrize("path", ["/login", "/oauth/token", "/oauth/authorize"])
@pytest.mark.parametrize(
    ("length", "status"), [("5", {303, 400}), ("0" * 15 + "5", {303, 400}), ("0" * 5000 + "5", {400})]
)
def test_a_length_may_be_written_in_any_number_of_digits(rig: Rig, path: str, length: str, status: set[int]) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n"
    assert _answer(rig, head, [b"a=b&c"]) in status


@pytest.mark.spec("P-16", "L-2")
@pytest.mark.enable_socket
@pytest.mark.parametrize("missing", [0, 1, 40])
def test_a_form_that_ends_too_early_is_not_acted_on(rig: Rig, missing: int) -> None:
    """RFC 9112 section 8: who sent it may have been cut off in the middle of any value."""
    person, account = rig.person(), rig.add()
    form = person.visit("/login").forms["form-signin"].values
    body = urlencode({**form, "username": account.username, "password": account.password}).encode()
    cookies = "; ".join(f"{name}={value}" for name, value in person.http.cookies.items())
    head = f"POST /login HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nContent-Type: {FORM}\r\n"
    with socket.create_connection(("127.0.0.1", rig.provider.port), 20, (rig.address(), 0)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body) + missing}\r\n\r\n".encode() + body)
        if missing:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            assert int(answer.readline().split()[1]) == (400 if missing else 303)
    assert rig.provider.count_audit("account:signin:success", account.username) == (0 if missing else 1)


@pytest.mark.spec("O-4")
@pytest.mark.enable_socket
@pytest.mark.parametrize("place", ["one header", "many headers", "address"])
def test_headers_have_a_limit(rig: Rig, place: str) -> None:
    def ask(size: int) -> int:
        if place == "address":
            return _answer(rig, f"GET /health/live?{'x' * size} HTTP/1.1\r\nHost: localhost\r\n\r\n", ())
        each = size if place == "one header" else size // 20
        more = "".join(f"X-{number}: {'x' * each}\r\n" for number in range(size // each))
        return _answer(rig, f"GET /health/live HTTP/1.1\r\nHost: localhost\r\n{more}\r\n", ())

    assert ask(HEADERS_MAX * 3 // 4) == 200
    assert ask(HEADERS_MAX * 5 // 2) in {414, 431}
    assert ask(HEADERS_MAX * 5) in {414, 431}


@pytest.mark.spec("P-16")
def test_every_address_that_takes_a_form_is_tried_here(tmp_path: Path) -> None:
    app = create_app(Settings(secret_key="x" * 43, database_url=f"sqlite:///{tmp_path}/idp.db", keys_dir=tmp_path))
    found = {str(rule) for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    assert {each.replace("<client_id>", "buzon") for each in found} == {*PAGES, *MACHINES}


@pytest.mark.spec("P-16", "D-50")
@pytest.mark.enable_socket
@pytest.mark.parametrize("path", PAGES)
def test_a_page_takes_a_form_in_one_way_only(rig: Rig, path: str) -> None:
    person = rig.person()
    page = person.visit("/login")
    token = page.forms["form-signin"].values["csrf_token"]

    def send(kind: str | None, body: bytes) -> int:
        headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
        url = rig.issuer + path
        return person.http.post(url, data=body, headers=headers, timeout=30, allow_redirects=False).status_code

    for kind in ODD_TYPES[:-1]:
        assert send(kind, FILE) == 415, kind
    assert send(None, b"username=EKU9003173C9") == 415
    assert send(ODD_TYPES[-1], FILE) == 415
    # Without a body there is no form to take, and none in a wrong way.
    assert send(None, b"") in {200, 303, 400, 404}
    assert send(FORM, f"csrf_token={token}".encode()) in {200, 303, 400, 404}
    assert send(f"{FORM.upper()}; charset=utf-16", f"csrf_token={token}".encode()) in {200, 303, 400, 404}


@pytest.mark.spec("P-16", "P-3")
@pytest.mark.enable_socket
@pytest.mark.parametrize("path", MACHINES)
def test_machines_are_told_in_their_own_codes(rig: Rig, path: str) -> None:
    for kind in ODD_TYPES:
        answer = requests.post(
            rig.issuer + path, data=FILE, headers={"Content-Type": kind.encode("latin-1")}, timeout=30
        )
        assert answer.status_code in {400, 401}, kind
        assert answer.json()["error"] in {"invalid_request", "invalid_token"}


@pytest.mark.spec("P-16", "D-50")
@pytest.mark.enable_socket
@pytest.mark.parametrize("path", [*PAGES, *MACHINES])
def test_no_form_of_any_kind_is_a_fault(rig: Rig, path: str) -> None:
    person, account = rig.person(), rig.add()
    page = person.visit("/login")
    token = page.forms["form-signin"].values["csrf_token"]
    if path.startswith("/account"):
        person.try_password(account.username, account.password, page)
        token = person.visit("/account/profile").forms["form-profile"].values["csrf_token"]
    names = ("username", "password", "answer", "new_password", "new_password_repeat", "question", "new_answer")
    names += ("current_password", "name", "locale", "sid", "interaction", "decision", "captcha", "captcha_handle")
    names += ("token", "code", "grant_type", "client_id", "client_secret", "refresh_token", "post_logout_redirect_uri")
    for value in ("%00", "%ED%A0%80", "%FF%FE", "%F0%9F%94%91", "%", "=", "%0d%0a", "x" * 1200, "\u00e9", "\x00"):
        filled = "&".join(f"{name}={value}" for name in names)
        for body in (
            f"csrf_token={token}&{filled}",
            f"csrf_token={value}",
            f"{value[:9]}={value}&" * 40,
            f"{filled}&{filled}",
        ):
            answer = person.http.post(
                rig.issuer + path,
                data=body.encode("latin-1"),
                headers={"Content-Type": f"{FORM}; charset={'utf-16' if value == '%' else 'utf-8'}"},
                allow_redirects=False,
                timeout=30,
            )
            assert answer.status_code < 500, (value[:9], body[:60])
