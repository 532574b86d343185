"""A log record is one line, whatever is in it; it has its request's id, and no text that somebody typed."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from idp import audit
from idp.settings import Settings
from idp.web import logs
from tests.web.conftest import SECRET, Visitor, build

FORGED = 'x\n{"level": "info", "message": "all is well"}\r\x1b[2J\x85\u2028 end'


class Log:
    """What this process' log was given, in one of its forms."""

    def __init__(self, form: str, *, shows_texts: bool) -> None:
        logs.configure(form, shows_texts=shows_texts)
        handler = next(
            each for each in logging.getLogger().handlers if any(isinstance(f, logs.RequestId) for f in each.filters)
        )
        assert isinstance(handler, logging.StreamHandler)
        self.handler = handler
        self.stream = io.StringIO()
        handler.setStream(self.stream)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def cleared() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


pytestmark = pytest.mark.usefixtures("cleared")


@pytest.mark.spec("O-2")
@pytest.mark.spec("D-77")
def test_a_line_break_or_an_escape_stays_in_its_record() -> None:
    log = Log("json", shows_texts=False)
    logging.getLogger("a").warning("said: %s", FORGED)
    assert [record["message"] for record in log.records] == [f"said: {FORGED}"]
    console = Log("console", shows_texts=False)
    logging.getLogger("a").warning("said: %s", FORGED)
    assert len(console.lines) == 1
    assert "\x1b" not in console.lines[0]
    assert r"\n" in console.lines[0]


@pytest.mark.spec("D-77")
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_record_ends_somewhere(form: str) -> None:
    log = Log(form, shows_texts=False)
    logging.getLogger("a").warning("x" * 64 * 1024)
    logging.getLogger("a").warning("short")
    assert len(log.lines) == 2
    assert len(log.lines[0]) < logs.LENGTH_MAX + 500


@pytest.mark.spec("O-2")
def test_the_text_of_an_exception_is_for_this_machine_only() -> None:
    def fail() -> None:
        try:
            int("Sello.Digital.2026")
        except ValueError as error:
            raise KeyError("EKU9003173C9") from error

    def logged(*, shows_texts: bool) -> str:
        log = Log("json", shows_texts=shows_texts)
        try:
            fail()
        except KeyError:
            logging.getLogger("a").exception("it failed")
        return str(log.records[0]["exception"])

    hidden, shown = logged(shows_texts=False), logged(shows_texts=True)
    assert "Sello.Digital.2026" in shown
    assert "Sello.Digital.2026'" not in hidden
    assert "'EKU9003173C9'" not in hidden
    # Where it came from is there all the same, the cause included.
    assert "KeyError" in hidden
    assert "ValueError" in hidden
    assert "in fail" in hidden


def test_a_record_has_the_id_of_its_request() -> None:
    log = Log("json", shows_texts=False)
    before = audit.origin.set(audit.Origin(request_id="abcdef0123456789"))
    try:
        logging.getLogger("a").info("inside")
    finally:
        audit.origin.reset(before)
    logging.getLogger("a").info("outside")
    assert log.records[0]["request_id"] == "abcdef0123456789"
    assert "request_id" not in log.records[1]


def test_configuring_again_doubles_nothing() -> None:
    logs.configure("console", shows_texts=False)
    log = Log("json", shows_texts=False)
    logging.getLogger("a").info("once")
    assert len(log.lines) == 1


@pytest.mark.spec("L-7")
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
        ("6f1ed002-ab5c-4d6e-8f00-1234567890ab", "6f1ed002ab5c4d6e8f001234567890ab"),
        ("trace_A-9", "trace_A-9"),
        ("short", None),
        ("a" * 33, None),
        ("with space", None),
        ("../../etc", None),
    ],
)
def test_a_trusted_proxy_names_the_request_and_nobody_else(given: str, kept: str | None) -> None:
    visitor = Visitor(build(Settings(secret_key=SECRET, trusted_proxies=("10.0.0.0/8",))))

    def answered(address: str) -> str:
        page = visitor.get("/login", headers={"X-Request-Id": given}, environ_overrides={"REMOTE_ADDR": address})
        return str(page.response.headers["X-Request-Id"])

    from_proxy, from_stranger = answered("10.1.2.3"), answered("192.0.2.1")
    if kept is None:
        assert from_proxy != given
        assert len(from_proxy) == 16
    else:
        assert from_proxy == kept
    assert from_stranger not in {given, kept}
