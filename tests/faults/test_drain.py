"""SIGTERM under load: what was begun is finished and answered, nothing is lost, and the end comes soon."""

import http.client
import os
import signal
import threading
import time
import urllib.request
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

import pytest

from tests.serving import Client, Provider, provider_in

pytestmark = pytest.mark.enable_socket

CALLERS = 8
LOADED_FOR = 1.5  # seconds under load before the signal
ENDS_WITHIN = 30.0  # security.md F-16 says 25; the interpreters' own end included, on a busy machine


class Caller(threading.Thread):
    """Asks for tokens on connections of its own until nobody listens; counts what came of it."""

    def __init__(self, provider: Provider, client: Client, *, keeps: bool) -> None:
        super().__init__()
        self.port, self.keeps = provider.port, keeps
        secret = b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
        self.headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/x-www-form-urlencoded"}
        self.answered = 0
        self.cut: list[str] = []
        """Answers that began and did not end."""

    def run(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ENDS_WITHIN)) as connection:
            self._ask_on(connection)

    def _ask_on(self, connection: http.client.HTTPConnection) -> None:
        body = urlencode({"grant_type": "client_credentials"})
        while True:
            try:
                connection.request("POST", "/oauth/token", body, self.headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException):
                return  # not taken: nobody listens any more, or the kept connection was closed between two requests
            try:
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.cut.append(repr(error))
                return
            assert response.status == 200
            self.answered += 1
            if not self.keeps:
                connection.close()


@pytest.mark.spec("F-16")
@pytest.mark.parametrize(
    "keeps",
    [pytest.param(True, id="kept connections", marks=pytest.mark.slow), pytest.param(False, id="new connections")],
)
def test_every_token_that_was_made_reached_its_caller(tmp_path: Path, keeps: bool) -> None:
    with provider_in(tmp_path / "provider") as provider:
        client = provider.add_client("Lote", "https://cliente.example/regreso", "--grant", "client_credentials")
        provider.start(2)
        assert provider.process is not None
        callers = [Caller(provider, client, keeps=keeps) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        until = time.monotonic() + ENDS_WITHIN
        while sum(caller.answered for caller in callers) <= CALLERS:  # each of them is at work, however slow the disk
            assert time.monotonic() < until, provider.log
            time.sleep(0.02)
        time.sleep(LOADED_FOR)
        began = time.monotonic()
        provider.process.send_signal(signal.SIGTERM)
        assert provider.process.wait(ENDS_WITHIN) == 0, provider.log
        assert time.monotonic() - began < ENDS_WITHIN
        for caller in callers:
            caller.join(ENDS_WITHIN)
        answered = sum(caller.answered for caller in callers)
        assert answered > CALLERS
        assert [cut for caller in callers for cut in caller.cut] == []
        # The audit trail is the oracle: a token that was made is a token that came.
        assert provider.count_audit("client:token:issue") == answered
        provider.process = None


@pytest.mark.spec("F-16")
def test_a_worker_that_gets_no_core_meanwhile_drains_all_the_same(tmp_path: Path) -> None:
    """Which of its threads the kernel gives the signal to is chance, and after a stop seldom the one that waits."""
    with provider_in(tmp_path / "provider") as provider:
        client = provider.add_client("Lote", "https://cliente.example/regreso", "--grant", "client_credentials")
        provider.start(2)
        assert provider.process is not None
        workers = [pid for pid in provider.cpu_seconds() if pid != provider.process.pid]
        callers = [Caller(provider, client, keeps=False) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        until = time.monotonic() + ENDS_WITHIN
        while sum(caller.answered for caller in callers) <= CALLERS:
            assert time.monotonic() < until, provider.log
            time.sleep(0.02)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        provider.process.send_signal(signal.SIGTERM)
        time.sleep(1)  # until the server has told its workers
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        assert provider.process.wait(ENDS_WITHIN) == 0, provider.log
        for caller in callers:
            caller.join(ENDS_WITHIN)
        assert "refused to gracefully stop" not in provider.log
        assert provider.count_audit("client:token:issue") == sum(caller.answered for caller in callers)
        provider.process = None


@pytest.mark.spec("F-16")
@pytest.mark.spec("O-3")
def test_a_balancer_is_told_before_the_door_closes(tmp_path: Path) -> None:
    with provider_in(tmp_path / "provider") as provider:
        provider.start(2, "--drain-wait", "30")
        assert provider.process is not None
        assert _status(provider, "/health/ready") == 200
        provider.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        while _status(provider, "/health/ready") != 503 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _status(provider, "/health/ready") == 503
        # It is alive, and serves whoever has not heard yet.
        assert _status(provider, "/health/live") == 200
        assert _status(provider, "/oauth/jwks") == 200
        provider.process.send_signal(signal.SIGTERM)  # who is told twice waits no longer
        assert provider.process.wait(ENDS_WITHIN) == 0, provider.log
        provider.process = None


def _status(provider: Provider, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{provider.port}{path}", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        with closing(error):
            return error.code
    except (URLError, TimeoutError, ConnectionResetError):
        return 0
