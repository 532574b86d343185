"""Two nodes over one PostgreSQL, and Redis if given, behind a proxy: what the tests of many nodes share."""

import itertools
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import requests
from sqlalchemy import create_engine, text

from idp.protocol.clients import Registration
from tests.catcher import catching
from tests.nodes.proxy import Proxy
from tests.rig import CALLBACK, Rig
from tests.serving import (
    IDP,
    STOP_WAIT,
    Client,
    Provider,
    cpu_seconds,
    free_port,
    start_server,
    stop_server,
    wait_until_it_answers,
)


@dataclass
class ManyNodes(Provider):
    """A provider whose port is the proxy's; behind it each node is a server of its own."""

    nodes: dict[str, Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    workers: int = 1
    extra: dict[str, dict[str, str]] = field(default_factory=dict)
    """Environment of a node of its own, such as a clock."""
    _proxy: Proxy | None = None

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None
        return self._proxy

    def start(self, workers: int, *options: str) -> None:
        """Both nodes, then the proxy before them."""
        self.workers, self.options = workers, options
        for name in ("a", "b"):
            self.ports[name] = free_port()
            self.start_node(name, wait=False)
        for name in self.nodes:
            self.wait_for(name)
        self._proxy = Proxy(self.port, self.ports)
        self._proxy.start()

    def start_node(self, name: str, *, wait: bool = True) -> None:
        """This node, on the port that it always has."""
        command = [*IDP, "serve", "--host", "127.0.0.1", "--port", str(self.ports[name])]
        with (self.folder / f"node-{name}.log").open("ab") as log:
            self.nodes[name] = start_server(
                [*command, "--workers", str(self.workers), *self.options],
                folder=self.folder,
                environment=self.environment() | self.captcha_socket(name) | self.extra.get(name, {}),
                log=log,
            )
        if wait:
            self.wait_for(name)

    def captcha_socket(self, name: str) -> dict[str, str]:
        """Answers are derived, so that any node's socket knows them all: the first node's is asked."""
        path = self.settings["IDP_TEST_CAPTCHA_SOCKET"]
        return {"IDP_TEST_CAPTCHA_SOCKET": path if name == "a" else f"{path}-{name}"}

    def wait_for(self, name: str) -> None:
        url = f"http://127.0.0.1:{self.ports[name]}/health/live"
        wait_until_it_answers(url, self.nodes[name], self.folder / f"node-{name}.log")

    def kill_node(self, name: str) -> None:
        """SIGKILL to all of it in the same moment."""
        os.killpg(self.nodes[name].pid, signal.SIGKILL)
        self.nodes.pop(name).wait(10)
        # The first of its processes is gone; while another has the port, it takes what nobody will answer.
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.ports[name]), 1).close()
            except ConnectionRefusedError:
                return
            except OSError:
                pass  # reset while it dies
            time.sleep(0.01)
        raise AssertionError(f"node {name} listens after it was killed")

    def replace_node(self, name: str) -> None:
        """As docs/run.md has it: SIGTERM, the proxy sees that the node is not ready, another takes over.

        The nodes serve with `--drain-wait`: without, whatever has connected and was not yet heard is cut off.
        """
        node = self.nodes.pop(name)
        node.terminate()
        until = time.monotonic() + STOP_WAIT
        while requests.get(f"http://127.0.0.1:{self.ports[name]}/health/ready", timeout=10).status_code != 503:
            assert time.monotonic() < until, "it is told to end, and says that it is ready"
        self.proxy.passed_over.add(name)
        assert node.wait(STOP_WAIT) == 0
        stop_server(node)
        self.start_node(name)
        self.proxy.passed_over.discard(name)

    def stop(self) -> None:
        if self._proxy is not None:
            self._proxy.stop()
            self._proxy = None
        for node in self.nodes.values():
            node.terminate()  # all of them, before the first is waited for
        for name in list(self.nodes):
            stop_server(self.nodes.pop(name))

    def cpu_seconds(self) -> dict[int, float]:
        return {pid: spent for node in self.nodes.values() for pid, spent in cpu_seconds(node).items()}

    @property
    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("node-*.log")))

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database, on a connection of its own: the one that was used before may have been killed."""
        numbers = itertools.count()
        named = "".join(f":v{next(numbers)}" if part == "?" else part for part in _split(statement))
        engine = create_engine(self.settings["IDP_DATABASE_URL"])
        try:
            with engine.connect() as connection:
                rows = connection.execute(text(named), {f"v{number}": value for number, value in enumerate(values)})
                return [tuple(row) for row in rows]
        finally:
            engine.dispose()


def _split(statement: str) -> Iterator[str]:
    for part in statement.partition("?"):
        if part not in {"", "?"} and "?" in part:
            yield from _split(part)
        elif part:
            yield part


@contextmanager
def house_in(
    folder: Path,
    *,
    database: str,
    redis: str = "",
    options: tuple[str, ...] = ("--with-worker",),
    extra: dict[str, dict[str, str]] | None = None,
) -> Iterator[Rig]:
    """Two nodes, serving, with the clients and the people of the rig that attacks share.

    `extra` is what a node has in its environment beside what both have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sockets = Path(tempfile.mkdtemp(prefix="idp-"))
    with catching(free_port()) as catcher:
        own = {
            "IDP_DATABASE_URL": database,
            "IDP_SECRET_KEY": secrets.token_urlsafe(48),
            "IDP_TEST_CAPTCHA_SOCKET": str(sockets / "captcha"),
            "IDP_TRUSTED_PROXIES": "127.0.0.1/32",
            **({"IDP_REDIS_URL": redis} if redis else {}),
            **catcher.settings,
        }
        provider = ManyNodes(folder, free_port(), own)
        try:
            provider.idp("init")
            mine = _add_client(provider, "Portal", first_party=True)
            foreign = _add_client(provider, "Conciliador", first_party=False)
            provider.extra = extra or {}
            provider.start(1, *options)
            yield Rig(provider, catcher, mine, foreign)
        finally:
            with suppress(Exception):
                provider.close()
            shutil.rmtree(sockets, ignore_errors=True)


def _add_client(provider: Provider, name: str, *, first_party: bool) -> Client:
    """A client, made by the door that the command line opens, which is faster."""
    registration = Registration(
        client_name=name,
        redirect_uris=(CALLBACK,),
        first_party=first_party,
        grant_types=("authorization_code", "refresh_token"),
        scopes=("openid", "rfc", "offline_access"),
    )
    made, secret = provider.doors.protocol.clients.add(registration, now=datetime.now(UTC))
    return Client(made.client_id, secret or "", CALLBACK)


def nodes_of(rig: Rig) -> ManyNodes:
    """The nodes behind this rig."""
    assert isinstance(rig.provider, ManyNodes)
    return rig.provider
