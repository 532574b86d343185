"""SIGKILL, power loss, a full disk, on SQLite: what a client saw acknowledged is there, and nothing is spent twice."""

import os
import random
import re
import resource
import signal
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from idp import policy
from tests.nodes.load import UNANSWERED, under_load
from tests.rig import Rig, rig_in
from tests.serving import Provider

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("kills"), pytest.mark.timeout(1800)]

WAIT = 30.0
READY_WITHIN = 5.0


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_in(tmp_path_factory.mktemp("killed"), mail=False) as rig:
        yield rig


def processes(provider: Provider) -> list[int]:
    """The workers of the server, and whatever else stands beside its first process."""
    assert provider.process is not None
    return sorted(pid for pid in provider.cpu_seconds() if pid != provider.process.pid)


def wait_until_ready(provider: Provider) -> None:
    until = time.monotonic() + WAIT
    while ready(provider) != 200:
        assert time.monotonic() < until, provider.log[-3000:]
        time.sleep(0.05)


def ready(provider: Provider) -> int:
    try:
        return requests.get(f"http://127.0.0.1:{provider.port}/health/ready", timeout=30).status_code
    except requests.ConnectionError:
        return 0


def is_whole(provider: Provider) -> bool:
    with closing(sqlite3.connect(provider.database, timeout=30)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.spec("F-1", "S-1", "P-7", "T-8")
@pytest.mark.parametrize("times", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_under_load_lose_nothing_acknowledged(
    rig: Rig, times: int, record_property: Callable[[str, object], None]
) -> None:
    provider = rig.provider
    chance = random.Random(times)  # no secret: when to kill
    took = []
    with under_load(rig, people=1, allowed=frozenset({503, UNANSWERED})) as load:
        for number in range(times):
            load.wait_for_success(since=time.monotonic(), within=WAIT)
            time.sleep(chance.uniform(0, 0.3))
            assert provider.process is not None
            if number % 3 < 2:
                # One of its workers, which the server replaces.
                os.kill(chance.choice(processes(provider)), signal.SIGKILL)
                continue
            os.killpg(provider.process.pid, signal.SIGKILL)
            provider.process.wait(WAIT)
            began = time.monotonic()
            provider.start(2)
            wait_until_ready(provider)
            took.append(time.monotonic() - began)
        load.wait_for_success(since=time.monotonic(), within=WAIT)
    assert load.told.in_doubt > 0, "nobody noticed"
    # Of many starts the middle one counts, since each shares its cores with the load; of the short form's one start,
    # which shares them with other tests too, that it comes at all.
    assert statistics.median(took) < (READY_WITHIN if len(took) > 9 else WAIT), sorted(took)
    record_property("seconds until ready, longest", round(max(took), 1))
    assert is_whole(provider)


@pytest.mark.spec("F-1")
def test_a_worker_that_dies_again_at_once_takes_no_other_with_it(rig: Rig) -> None:
    provider = rig.provider
    assert provider.process is not None
    first, spared = processes(provider)
    victim = first
    for _ in range(3):
        os.kill(victim, signal.SIGKILL)
        until = time.monotonic() + WAIT
        while not (after := [pid for pid in processes(provider) if pid not in {victim, spared}]):
            assert time.monotonic() < until, provider.log[-3000:]
            time.sleep(0.05)
        (victim,) = after
    assert provider.process.poll() is None
    assert spared in processes(provider)
    wait_until_ready(provider)  # a worker may still believe its look of while another test had the disk full


@pytest.mark.spec("F-2", "S-1")
def test_the_disk_has_it_before_the_client_is_told(rig: Rig, tmp_path: Path) -> None:
    people = [(rig.person(), rig.add()) for _ in range(3)]
    forms = []
    for person, account in people:
        tokens = rig.tokens(person, account)
        forms.append({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
    with traced(processes(rig.provider), tmp_path / "trace", "fsync,fdatasync,sendto,write,writev") as trace:
        for form in forms:
            assert rig.call("/oauth/token", rig.own, **form)[0] == 200
    synced, told = 0, 0
    for line in trace.read_text(errors="replace").splitlines():
        if re.search(r"f(data)?sync(\(| resumed>).*= 0", line):
            synced += 1
        elif "HTTP/1.1 200" in line:
            told += 1
            assert synced > 0, "told before it was on the disk"
            synced = 0
    assert told == len(forms)


@contextmanager
def traced(pids: list[int], output: Path, calls: str) -> Iterator[Path]:
    """What these processes ask of the kernel inside, a line a call; skips where nobody may look."""
    arguments = [part for pid in pids for part in ("-p", str(pid))]
    try:
        tracer = subprocess.Popen(
            ["strace", "-f", "-s", "64", "-e", f"trace={calls}", "-o", str(output), *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("strace is missing: apt-get install strace")
    assert tracer.stderr is not None
    for _ in pids:  # a line each, once all its threads are attached
        line = tracer.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"optional: strace may not look at other processes here: {line.strip()}")
    try:
        yield output
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=WAIT)


@contextmanager
def full_disk(provider: Provider) -> Iterator[None]:
    """No process of the server can write a byte to a file inside: as if the disk were full, to this server only."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in processes(provider)}
    for pid, (_, most) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@pytest.mark.spec("F-3", "O-3", "O-5")
def test_a_full_disk_refuses_and_passes(rig: Rig) -> None:
    provider, person, account = rig.provider, rig.person(), rig.add()
    tokens = rig.tokens(person, account)
    stranger, victim = rig.person(), rig.add()
    page = stranger.visit("/login")
    pids = processes(provider)
    with full_disk(provider):
        time.sleep(policy.READY_KEPT.total_seconds())  # a worker may have seen a moment ago that the disk is free
        assert rig.refresh(tokens)[0] == 503
        # Refused, and not compared: nobody guesses for nothing while the counter cannot be written.
        guess = stranger.post(page, "form-signin", username=victim.username, password=victim.password)
        assert guess.status_code == 503
        assert ready(provider) == 503
        assert requests.get(f"{rig.issuer}/health/live", timeout=30).status_code == 200
        # What only reads goes on.
        assert requests.get(f"{rig.issuer}/oauth/jwks", timeout=30).status_code == 200
        assert rig.is_active(tokens["access_token"])
    wait_until_ready(provider)
    assert processes(provider) == pids, "it came back by a restart"
    assert rig.provider.count_audit("account:signin:success", victim.username) == 0
    assert rig.refresh(tokens)[0] == 200
    assert rig.person().try_password(victim.username, victim.password).screen == "account"
    assert is_whole(provider)
