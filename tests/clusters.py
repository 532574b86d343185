"""Servers of the tests' own: PostgreSQL alone or with a standby, Redis. Each ends with its test, by its own pids."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WAIT = 30.0
QUICK = {
    # What a kill leaves is in the kernel's hands, which survive: only power loss asks for the flush.
    "fsync": "off",
    "max_connections": "200",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}


def find_postgresql() -> Path:
    """The folder of its programs; skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    anywhere = shutil.which("initdb")
    if not found and anywhere is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    return found[-1].parent if found else Path(str(anywhere)).parent


def find_redis() -> str:
    """Its server; skips where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is missing: apt-get install redis-server")
    return program


def processes_under(pid: int) -> list[int]:
    """`pid` and all that descend from it, parents first."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found.extend(child for child, parent in parents.items() if parent == each)
    return [each for each in found if each in parents]


def send(pids: list[int], number: int) -> None:
    """The signal to each of them that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass
class Cluster:
    """One PostgreSQL server in a folder of its own, reached by a socket in it."""

    folder: Path
    port: int = 5432
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://llavero@/postgres?host={self.folder}&port={self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's own programs, as the user that it insists on."""
        user = "postgres" if os.geteuid() == 0 else None
        done = subprocess.run(
            [str(find_postgresql() / program), *arguments],
            user=user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            log = self.folder / "log"
            raise AssertionError(f"{program}: {done.stderr}{log.read_text()[-2000:] if log.exists() else ''}")

    def make(self) -> None:
        options = ("--username", "llavero", "--auth", "trust", "--no-sync", "--encoding", "UTF8")
        self.run("initdb", "--pgdata", str(self.data), *options)

    def start(self) -> None:
        """Start, and return once it answers."""
        own = {**QUICK, **self.settings, "listen_addresses": "", "port": str(self.port)}
        options = " ".join(f"-c {name}='{value}'" for name, value in own.items())
        options += f" -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self.run("pg_ctl", "--pgdata", str(self.data), "--wait", "--options", options, "--log", log, "start")

    def restart(self, mode: str = "immediate") -> None:
        """`immediate` is a crash, and its recovery."""
        log = str(self.folder / "log")
        self.run("pg_ctl", "--pgdata", str(self.data), "--wait", "--mode", mode, "--log", log, "restart")

    def kill(self) -> None:
        """SIGKILL to all of it in the same moment; nothing of it is left when this returns."""
        pids = processes_under(self.pid)
        send(pids, signal.SIGSTOP)  # the postmaster shall not notice that its children end one by one
        send(pids, signal.SIGKILL)
        until = time.monotonic() + WAIT
        while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
            assert time.monotonic() < until, "PostgreSQL outlives SIGKILL"
            time.sleep(0.02)

    def freeze(self) -> list[int]:
        """SIGSTOP to all of it; the pids, for `thaw`."""
        pids = processes_under(self.pid)
        send(pids, signal.SIGSTOP)
        return pids

    def thaw(self, pids: list[int]) -> None:
        send(pids, signal.SIGCONT)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement, committed by itself, past everything that is tested."""
        import psycopg

        where = {"host": str(self.folder), "port": self.port, "user": "llavero", "dbname": "postgres"}
        with psycopg.connect(**where, autocommit=True) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(statement, values or None)
            return [] if cursor.description is None else cursor.fetchall()

    def stop(self) -> None:
        """End it, however it is doing."""
        with suppress(OSError, ValueError):  # it has never started
            pids = processes_under(self.pid)
            if not pids:
                return  # it was killed
            send(pids, signal.SIGCONT)
            self.run("pg_ctl", "--pgdata", str(self.data), "--mode", "immediate", "stop")


@contextmanager
def _own_folder(prefix: str) -> Iterator[Path]:
    # Short: the path of a Unix socket may have 107 bytes, which pytest's folders can exceed.
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid if prefix == "pg-" else 0, -1)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """A running server, empty."""
    find_postgresql()
    with _own_folder("pg-") as folder:
        made = Cluster(folder, settings=settings)
        made.make()
        try:
            made.start()
            yield made
        finally:
            made.stop()


@dataclass
class Pair:
    """A primary and its synchronous standby."""

    primary: Cluster
    standby: Cluster

    @property
    def url(self) -> str:
        """Both hosts; whoever connects finds the one that takes writes."""
        hosts = f"host={self.primary.folder},{self.standby.folder}&port={self.primary.port},{self.standby.port}"
        return f"postgresql+psycopg://llavero@/postgres?{hosts}&target_session_attrs=read-write"

    def promote(self) -> None:
        """Make the standby the primary. It has no standby then, and waits for none."""
        self.standby.run("pg_ctl", "--pgdata", str(self.standby.data), "--wait", "promote")


@contextmanager
def pair() -> Iterator[Pair]:
    """Both, running and in step: what the primary acknowledges, the standby has."""
    with cluster() as primary, _own_folder("pg-") as folder:
        standby = Cluster(folder, port=5433, settings={"primary_conninfo": f"{_conninfo(primary)} application_name=b"})
        standby.run("pg_basebackup", "-D", str(standby.data), "-d", _conninfo(primary), "--no-sync", "-c", "fast")
        (standby.data / "standby.signal").touch()
        # The options of `start` are the standby's own: promoted, it waits for nobody.
        try:
            standby.start()
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'b'")
            primary.execute("SELECT pg_reload_conf()")
            until = time.monotonic() + WAIT
            while primary.execute("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
                assert time.monotonic() < until, "the standby does not follow"
                time.sleep(0.05)
            yield Pair(primary, standby)
        finally:
            standby.stop()


@contextmanager
def pgbouncer(server: Cluster, mode: str) -> Iterator[str]:
    """A PgBouncer before `server` that lends a connection for one `mode`; the URL through it."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is missing: apt-get install pgbouncer")
    with _own_folder("pg-") as folder:
        (folder / "users").write_text('"llavero" ""\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host={server.folder} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {folder}\n"
            f"auth_type = trust\nauth_file = {folder}/users\npool_mode = {mode}\nmax_client_conn = 400\n"
            # Lent for a session, there must be as many as our processes keep.
            f"default_pool_size = {100 if mode == 'session' else 10}\n"
        )
        user = "postgres" if os.geteuid() == 0 else None  # it refuses to be root
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, str(folder / "ini")], user=user, stdout=log, stderr=log)
        try:
            until = time.monotonic() + WAIT
            while not (folder / ".s.PGSQL.6432").exists():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, "PgBouncer does not answer"
                time.sleep(0.02)
            yield f"postgresql+psycopg://llavero@/postgres?host={folder}&port=6432"
        finally:
            process.kill()
            process.wait(WAIT)


def _conninfo(server: Cluster) -> str:
    return f"host={server.folder} port={server.port} user=llavero"


@dataclass
class RedisServer:
    """A Redis on a socket of its own."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def start(self) -> None:
        """Start, and return once it answers. It keeps what it is told to, as many do: every change, once a second."""
        self.process = subprocess.Popen(
            [
                *(find_redis(), "--port", "0", "--unixsocket", str(self.folder / "redis.sock")),
                *("--dir", str(self.folder), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        until = time.monotonic() + WAIT
        while self.call("PING") != b"+PONG":
            assert time.monotonic() < until, "Redis does not answer"
            time.sleep(0.02)

    def call(self, command: str) -> bytes:
        """The first line of what it says to one command; empty where it says nothing."""
        with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
            connection.settimeout(5)
            connection.connect(str(self.folder / "redis.sock"))
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(4096).split(b"\r\n")[0]
        return b""

    def lines(self, command: str) -> list[str]:
        """What it says to one command, an item a line."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.folder / "redis.sock"))
            connection.sendall(command.encode() + b"\r\n")
            found = connection.recv(65536).decode().split("\r\n")
        return [line for line in found if line and line[0] not in "*$"]

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(WAIT)

    def signal(self, number: int) -> None:
        assert self.process is not None
        send([self.process.pid], number)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running one, empty."""
    find_redis()
    with _own_folder("rd-") as folder:
        server = RedisServer(folder)
        try:
            server.start()
            yield server
        finally:
            if server.process is not None:
                server.signal(signal.SIGCONT)
                server.kill()
