"""The real provider on loopback for a test: own folder, settings by environment, the rest by its command line."""

import atexit
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from idp.app import create_app
from idp.cli.captcha_socket import answer_to
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import Services
from tests.clock import MovableClock
from tests.command import Done, run_here

ROOT = Path(__file__).resolve().parent.parent
IDP = (sys.executable, "-c", "import sys; sys.argv[0] = 'idp'; from idp.cli.main import main; main()")
"""The `idp` command of this very checkout, installed or not."""

START_WAIT = 30.0
STOP_WAIT = 30.0


@dataclass(frozen=True, slots=True)
class Client:
    """A registered relying party, with the secret that was printed once."""

    client_id: str
    client_secret: str
    redirect_uri: str


@dataclass
class Provider:
    """A provider that may be configured, and that serves between `start` and `stop`."""

    folder: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    clock: MovableClock | None = None
    process: subprocess.Popen[bytes] | None = None
    _services: Services | None = None

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "idp.db"

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def environment(self) -> dict[str, str]:
        """Ours and nothing of the developer's: no other `IDP_` setting reaches the server."""
        return clean_environment(
            {
                "IDP_ISSUER": self.issuer,
                "IDP_DATABASE_URL": f"sqlite:///{self.database}",
                "IDP_KEYS_DIR": str(self.folder / "keys"),
                **(self.clock.environment() if self.clock else {}),
                **self.settings,
            }
        )

    def idp(self, *arguments: str, stdin: str = "") -> str:
        """Run one `idp` command to its end and give what it printed; fails with its own words."""
        # In this process, where its imports are there already, unless the clock says that it needs one of its own.
        run = _run_apart if self.clock is not None and self.clock.is_moved else run_here
        done = run(arguments, folder=self.folder, environment=self.environment(), stdin=stdin)
        if done.exit_code:
            raise AssertionError(f"idp {' '.join(arguments)}: exit {done.exit_code}\n{done.errors}{done.output}")
        return done.output

    def add_account(
        self,
        username: str,
        *options: str,
        email: str = "persona@cliente.example",
        password: str | None = None,
        question: tuple[str, str] | None = None,
    ) -> str:
        """An active account, with the question and answer if given; gives its password."""
        password = password or make_password()
        lines = [password]
        if question is not None:
            options = (*options, "--question", question[0], "--answer-stdin")
            lines.append(question[1])
        self.idp(
            *("account", "add", username, "--email", email, "--name", "Cuenta de prueba"),
            *("--password-stdin", "--active"),
            *options,
            stdin="".join(line + "\n" for line in lines),
        )
        return password

    def add_client(self, name: str, redirect_uri: str, *options: str) -> Client:
        """A client with these options of `idp client add`."""
        made = json.loads(self.idp("client", "add", name, "--redirect-uri", redirect_uri, *options, "--json"))
        return Client(made["client_id"], made.get("client_secret") or "", redirect_uri)

    def start(self, workers: int, *options: str) -> None:
        """Serve, and return once the server answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = start_server(
                [*IDP, "serve", "--host", "127.0.0.1", "--port", str(self.port), "--workers", str(workers), *options],
                folder=self.folder,
                environment=self.environment(),
                log=log,
            )
        wait_until_it_answers(f"http://127.0.0.1:{self.port}/health/live", self.process, self.folder / "server.log")

    def stop(self) -> None:
        """End the server as an operator would, and what is left of it by force."""
        if self.process is not None:
            stop_server(self.process)
            self.process = None

    def solve(self, challenge: str) -> str:
        """What a person would read in the CAPTCHA of this handle or image, or hear of this audio."""
        # `IDP_TEST_CAPTCHA_SOCKET` would say the same (test_captcha_socket.py), for a process more beside each server.
        answer = answer_to(self.doors.captcha, challenge)
        assert answer, f"nobody knows the challenge {challenge}"
        return answer

    @property
    def doors(self) -> Services:
        """The services of this provider in this very process, over the same database: for what HTTP cannot arrange."""
        if self._services is None:
            own = {name: value for name, value in self.environment().items() if name.startswith("IDP_")}
            app = create_app(Settings.from_environment(own, folder=self.folder))
            self._services = cast(Services, app.extensions[EXTENSION])
        return self._services

    def close(self) -> None:
        """Stop, and let go of the database."""
        self.stop()
        if self._services is not None:
            self._services.store.engine.dispose()
            self._services = None

    def cpu_seconds(self) -> dict[int, float]:
        """CPU time of each process of the server so far; shows which of the workers have worked."""
        assert self.process is not None
        return cpu_seconds(self.process)

    def count_audit(self, event: str, username: str | None = None) -> int:
        """Rows of this event, or those of them that are about this account.

        Audit rows are what tells from outside how often something happened.
        """
        statement, values = "SELECT count(*) FROM audit_event WHERE event = ?", [event]
        if username is not None:
            statement += " AND account_id = (SELECT id FROM account WHERE username = ?)"
            values.append(username)
        return int(self.query(statement, *values)[0][0])

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database, which changes nothing."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as connection:
            return list(connection.execute(statement, values))


@contextmanager
def provider_in(folder: Path, *, clock: MovableClock | None = None, **settings: str) -> Iterator[Provider]:
    """A provider with keys and tables in `folder`, not yet serving; `settings` are `IDP_` names. Stopped at the end.

    With a `clock`, the server and its commands live by it. CAPTCHAs can be solved by `Provider.solve`.
    """
    shutil.copytree(initialized(), folder, ignore=shutil.ignore_patterns("idp.db-*"), dirs_exist_ok=True)
    provider = Provider(folder, free_port(), {"IDP_SECRET_KEY": secrets.token_urlsafe(48), **settings}, clock)
    try:
        if "IDP_DATABASE_URL" in settings:
            provider.idp("init")
        yield provider
    finally:
        provider.close()


@cache
def initialized() -> Path:
    """What `idp init` leaves behind, to be copied: it runs once for each process of the tests."""
    folder = Path(tempfile.mkdtemp(prefix="idp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    provider = Provider(folder, 0, {"IDP_SECRET_KEY": secrets.token_urlsafe(48)})
    provider.idp("init")
    with closing(sqlite3.connect(provider.database)) as connection:
        # All of it into the one file that is copied.
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    return folder


def _run_apart(arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdin: str) -> Done:
    """`run_here` in a process of its own."""
    done = subprocess.run(
        [*IDP, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        env=dict(environment),
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def make_password() -> str:
    """A random password that keeps every rule."""
    return f"Zq7-{secrets.token_urlsafe(12)}"


def clean_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment for a server under test: what a program needs to run, and `own`."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR", "VIRTUAL_ENV") if name in os.environ}
    places = (ROOT / "kit", ROOT / "examples", ROOT)
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONUNBUFFERED": "1", **own}


_given: deque[int] = deque(maxlen=100)
"""Ports that somebody may be about to listen on."""


def free_port() -> int:
    """A port on which nobody listens, and that was not given a while ago; below those that outgoing connections take.

    The production server binds with `SO_REUSEPORT`, so that a port taken twice would not fail but mix two servers:
    each process of a parallel run looks in a range of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = 20000 + worker % 40 * 300
    candidates = list(range(start, start + 300))
    secrets.SystemRandom().shuffle(candidates)
    for port in candidates:
        if port in _given:
            continue
        with socket.socket() as probe:
            # Another server of ours may have closed connections here a moment ago; that is no listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given.append(port)
                return port
    raise RuntimeError(f"no free port from {start} to {start + 299}")


def start_server(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Any
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that all its workers can be found and ended by its pid."""
    return subprocess.Popen(
        list(command),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM and time to finish; afterwards nothing of its session is left."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_WAIT)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_WAIT)


def cpu_seconds(process: subprocess.Popen[bytes]) -> dict[int, float]:
    """Time on a core of every process of the server's session, by pid, to the nanosecond."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # The second field, the name, may hold spaces; what follows its closing bracket does not.
        with suppress(OSError):  # a process or a thread that ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[3]) == process.pid:
                pid = int(stat.parent.name)
                # Its clock (clock_getcpuclockid(3)) counts the threads that have ended, too.
                found[pid] = time.clock_gettime((~pid << 3) | 2)
    return found


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once `url` answers 200; fail with the log if the server ends, or does not answer in `START_WAIT`."""
    assert urlsplit(url).hostname in {"127.0.0.1", "localhost"}
    deadline = time.monotonic() + START_WAIT
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    state = "does not answer" if process.poll() is None else f"ended with {process.returncode}"
    stop_server(process)
    raise AssertionError(f"the server {state}:\n{log.read_text(errors='replace')[-4000:]}")
