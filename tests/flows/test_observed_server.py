"""A server under observation: the numbers of all its processes on one port, and a log that machines read."""

import json
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.serving import Provider, free_port, provider_in

pytestmark = pytest.mark.enable_socket


@pytest.mark.spec("O-3")
@pytest.mark.spec("D-76")
@pytest.mark.spec("O-2")
def test_numbers_of_all_processes_and_a_log_that_machines_read(tmp_path: Path) -> None:
    port = free_port()
    with provider_in(tmp_path / "provider", IDP_LOG_FORMAT="json", IDP_LOG_REQUESTS="1") as provider:
        provider.start(2, "--with-worker", "--metrics", f"127.0.0.1:{port}")
        for _ in range(30):
            assert _status(provider, "/oauth/jwks") == 200
        assert _status(provider, "/metrics") == 404
        sample = 'llavero_requests_total{endpoint="jwks",status="200"} 30.0'
        for _ in range(6):  # whichever process answers
            assert sample in _metrics(port)
        deadline = time.monotonic() + 20
        while 'llavero_job_seconds_count{job="mail"}' not in _metrics(port):
            assert time.monotonic() < deadline, "the worker's numbers are missing"
            time.sleep(0.2)
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=5)
        with urllib.request.urlopen(f"{provider.issuer}/oauth/jwks?usuario=EKU9003173C9", timeout=5) as answer:
            request_id = answer.headers["X-Request-Id"]
        provider.stop()
        records = [json.loads(line) for line in provider.log.splitlines() if line.startswith("{")]
        (record,) = [each for each in records if each.get("request_id") == request_id]
        assert (record["endpoint"], record["status"]) == ("jwks", 200)
        # The worker's words are there in the same form, and nobody's name is.
        assert any(each["logger"] == "idp.jobs" for each in records)
        assert "EKU9003173C9" not in provider.log


def _status(provider: Provider, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{provider.port}{path}", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        with closing(error):
            return error.code


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())
