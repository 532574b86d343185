"""The socket that solves CAPTCHAs for tests: in this process, and beside a real server."""

import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from idp.accounts.captcha import Captcha
from idp.captcha_media.image import ALPHABET
from idp.cli.captcha_socket import answer_to, serve_answers
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.policy import CAPTCHA_DIGITS, CAPTCHA_LENGTH
from tests.serving import provider_in

HANDLE = "AbC-_123" * 5 + "wxyz"


@pytest.fixture
def captcha() -> Captcha:
    return Captcha(Ephemeral(Store(create_engine("sqlite://"))), b"a key for tests")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the path of a Unix socket has room for about a hundred bytes."""
    made = Path(tempfile.mkdtemp(prefix="captcha-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def ask(path: Path, *questions: str) -> list[str]:
    """The answers, over one connection."""
    until = time.monotonic() + 20
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        while True:
            try:
                client.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
        with client.makefile("rw", encoding="utf-8", newline="\n") as lines:
            answers = []
            for question in questions:
                lines.write(question + "\n")
                lines.flush()
                answers.append(lines.readline())
    assert all(answer.endswith("\n") for answer in answers)
    return [answer[:-1] for answer in answers]


@contextmanager
def served(captcha: Captcha, path: Path) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=serve_answers, args=(captcha, path, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.spec("contract §3")
@pytest.mark.parametrize(
    "question",
    [
        HANDLE,
        f"/captcha/{HANDLE}.png",
        f"http://localhost:5000/captcha/{HANDLE}.png",
        f"https://llave.example/captcha/{HANDLE}.png?v=1#x",
        f"  {HANDLE}  ",
    ],
)
def test_handle_and_image_get_the_characters(captcha: Captcha, question: str) -> None:
    assert answer_to(captcha, question) == captcha.characters(HANDLE)


@pytest.mark.parametrize("question", [f"/captcha/{HANDLE}.wav", f"http://127.0.0.1:1/captcha/{HANDLE}.wav"])
def test_a_sound_gets_the_digits(captcha: Captcha, question: str) -> None:
    assert answer_to(captcha, question) == captcha.digits(HANDLE)


@pytest.mark.parametrize("question", ["", "two words", f"/elsewhere/{HANDLE}.png", f"{HANDLE}.gif", "ñ"])
def test_anything_else_gets_nothing(captcha: Captcha, question: str) -> None:
    assert answer_to(captcha, question) == ""


@pytest.mark.spec("contract §3")
def test_it_answers_line_by_line_and_leaves_nothing_behind(captcha: Captcha, folder: Path) -> None:
    path = folder / "socket"
    with served(captcha, path):
        image, sound = f"/captcha/{HANDLE}.png", f"/captcha/{HANDLE}.wav"
        assert ask(path, image, "?", sound) == [captcha.characters(HANDLE), "", captcha.digits(HANDLE)]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_socket_left_over_is_replaced_and_a_file_is_not(captcha: Captcha, folder: Path) -> None:
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_over:
        left_over.bind(str(path))
    with served(captcha, path):
        assert ask(path, HANDLE) == [captcha.characters(HANDLE)]
    path.write_text("somebody's")
    with pytest.raises(FileExistsError):
        serve_answers(captcha, path, threading.Event())
    assert path.read_text() == "somebody's"


@pytest.mark.enable_socket
@pytest.mark.spec("contract §3", "M3")
def test_it_runs_beside_the_server_and_ends_with_it(tmp_path: Path, folder: Path) -> None:
    path = folder / "socket"
    with provider_in(tmp_path / "provider", IDP_TEST_CAPTCHA_SOCKET=str(path)) as provider:
        provider.start(1)
        characters, digits = ask(path, HANDLE, f"{provider.issuer}/captcha/{HANDLE}.wav")
        assert re.fullmatch(f"[{ALPHABET}]{{{CAPTCHA_LENGTH}}}", characters), provider.log
        assert re.fullmatch(f"[0-9]{{{CAPTCHA_DIGITS}}}", digits), provider.log
        assert provider.process is not None
        os.kill(provider.process.pid, 15)
        assert provider.process.wait(20) == 0, provider.log
        until = time.monotonic() + 5
        while path.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not path.exists()
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            pytest.fail("somebody still answers")
