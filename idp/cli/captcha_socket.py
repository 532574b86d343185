"""Answers CAPTCHAs for tests and the demo, over a Unix socket; settings refuse it unless the issuer is on loopback.

A client writes a challenge's handle, or the address of its image or sound, and a newline, and reads the answer and a
newline: the digits for a sound, otherwise the characters. A line that is neither gets an empty one.
"""

import re
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path

from idp.accounts.captcha import Captcha

_QUESTION = re.compile(r"(?:[^\s?#]*/captcha/)?(?P<handle>[A-Za-z0-9_-]{1,64})(?P<suffix>\.png|\.wav)?(?:[?#]\S*)?")
_LINE_LENGTH_MAX = 2048
_LOOKS_UP_EVERY = 0.2
_SILENT_CLIENT_LEAVES_AFTER = 30.0


def serve_answers(captcha: Captcha, path: Path, stop: threading.Event) -> None:
    """Answer whoever asks at `path` until `stop` is set; only this user may. A socket left there is replaced.

    Raises `OSError` where `path` is something else, or cannot be a socket.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there and is no socket")
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        # Before it listens: there is no moment in which others could connect.
        path.chmod(0o600)
        listener.listen()
        listener.settimeout(_LOOKS_UP_EVERY)
        try:
            while not stop.is_set():
                with suppress(TimeoutError):
                    client, _ = listener.accept()
                    threading.Thread(target=_serve, args=(captcha, client), daemon=True).start()
        finally:
            path.unlink(missing_ok=True)


def answer_to(captcha: Captcha, question: str) -> str:
    """The answer to a handle or to the address of an image or sound; empty for anything else."""
    found = _QUESTION.fullmatch(question.strip())
    if found is None:
        return ""
    return captcha.digits(found["handle"]) if found["suffix"] == ".wav" else captcha.characters(found["handle"])


def _serve(captcha: Captcha, client: socket.socket) -> None:
    # A client may ask several things, each in a line of its own; one that goes away is no error.
    with client, suppress(OSError):
        client.settimeout(_SILENT_CLIENT_LEAVES_AFTER)
        with client.makefile("rw", encoding="utf-8", errors="replace", newline="\n") as lines:
            while line := lines.readline(_LINE_LENGTH_MAX):
                lines.write(answer_to(captcha, line) + "\n")
                lines.flush()
