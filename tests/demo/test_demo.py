"""`make demo`, without make: everything answers, the users work, Ctrl-C ends it, the next run keeps the data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from honcho.environ import parse

from demo.commands import run_idp, with_tools
from demo.people import USERS, make_password
from demo.places import ROOT, Places, check_ports
from idp.accounts.passwords import check_new_password
from idp.accounts.usernames import parse_username

PATIENCE = 90.0


def test_passwords_keep_the_rules() -> None:
    passwords = {make_password(USERS[0].username) for _ in range(200)}
    assert len(passwords) == 200
    for password in passwords:
        assert re.fullmatch(r"[A-Z][a-z]{5}-\d{4}-[A-Z][a-z]{5}", password)
        check_new_password(password, username=parse_username(USERS[0].username), brand_words=["llavero"])


def test_a_password_never_names_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    # By chance the first words are the name of this one.
    chosen = iter("demobi" + "kalasa" + "rutope" + "kalasa")
    monkeypatch.setattr("demo.people.secrets.choice", lambda _letters: next(chosen))
    monkeypatch.setattr("demo.people.secrets.randbelow", lambda _end: 2847)
    assert make_password("adm.demo") == "Rutope-2847-Kalasa"


@contextmanager
def _demo(environment: dict[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "demo.run"], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE
            while b"Begin anew" not in output.read_bytes():
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.05)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            finally:
                _end_what_is_left(environment["DEMO_INSTANCE"])


def _end_what_is_left(instance: str) -> None:
    """Kill whatever of this demo still runs: its parts outlive it if it dies, and know each other by its folder."""
    mark = f"DEMO_INSTANCE={instance}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # a process that ended meanwhile, or somebody else's
            if mark in environ.read_bytes().split(b"\0"):
                os.kill(int(environ.parent.name), signal.SIGKILL)


def _get(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
        assert response.status == 200
        return str(response.read().decode())


def _wait_for_mail(places: Places) -> None:
    """The mails of those with a past arrive by themselves: invited, locked, about to expire."""
    wanted = {user.mailbox for user in USERS if user.kind in {"invited", "locked", "expiring"}}
    assert len(wanted) == 3
    deadline = time.monotonic() + PATIENCE
    while missing := {mailbox for mailbox in wanted if mailbox not in _get(places.inbox)}:
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)


@pytest.mark.enable_socket
@pytest.mark.xdist_group("demo")
@pytest.mark.timeout(300)
def test_the_demo_starts_twice(tmp_path: Path, free_port: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("IDP_", "DEMO_"))}
    environment |= {"DEMO_PORT": str(free_port), "DEMO_INSTANCE": str(tmp_path / "instance")}
    places = Places.from_environment(environment)
    output = tmp_path / "output"

    with _demo(environment, output) as process:
        shown = output.read_text()
        users = json.loads(places.users_file.read_text())
        settings = places.env_file.read_text()
        for user in USERS:
            assert user.username in shown
            assert user.invited or users[user.username]["password"] in shown
        for address in (places.provider, places.mailbox, places.inbox):
            assert address in shown
        discovery = json.loads(_get(f"{places.provider}/.well-known/openid-configuration"))
        assert discovery["issuer"] == places.provider
        assert 'id="username"' in _get(f"{places.mailbox}/login")  # led on to the provider's sign-in page
        _wait_for_mail(places)
    assert process.returncode == 0, output.read_text()
    assert "Everything has ended" in output.read_text()
    check_ports(places)
    for path in (places.users_file, places.env_file):
        assert path.stat().st_mode & 0o077 == 0, path

    by_kind = {user.kind: user.username for user in USERS}
    run_idp(["account", "unlock", by_kind["locked"]], with_tools(parse(settings)))
    with _demo(environment, output):
        shown = output.read_text()
        assert f"{by_kind['locked']} was until you opened it" in shown
        assert users[by_kind["locked"]]["password"] in shown
        assert json.loads(places.users_file.read_text()) == users
        assert places.env_file.read_text() == settings
        assert "account" not in shown.split("──", 1)[0]


@pytest.mark.enable_socket
@pytest.mark.xdist_group("demo")
def test_a_lost_database_is_made_anew(tmp_path: Path, free_port: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("IDP_", "DEMO_"))}
    environment |= {"DEMO_PORT": str(free_port), "DEMO_INSTANCE": str(tmp_path)}
    places = Places.from_environment(environment)
    places.users_file.write_text(json.dumps({USERS[0].username: {"kind": "client", "password": "x"}}))
    places.env_file.write_text("MAILBOX_CLIENT_ID=gone\nMAILBOX_CLIENT_SECRET=gone\n")
    with _demo(environment, tmp_path / "output"):
        users = json.loads(places.users_file.read_text())
        assert set(users) == {user.username for user in USERS}
        assert users[USERS[0].username]["password"] != "x"
        assert "gone" not in places.env_file.read_text()
