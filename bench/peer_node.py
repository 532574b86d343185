"""oidc-provider of npm, in memory and over Redis: installed, started, its browsers signed in."""

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import requests
from joserfc.jwk import ECKey

from bench.peers import MissingPart, run_quietly
from bench.processes import start_timed
from bench.sides import REDIRECT, SCOPE, Side, cookies_of
from tests.serving import ROOT, clean_environment, free_port, start_server, stop_server

_SOURCE = ROOT / "bench" / "peers" / "node"
NODE_AT_LEAST = 18
BROWSERS = 8


def install(place: Path) -> Path:
    """The locked packages and our glue in a folder of their own. `MissingPart` says what the machine lacks."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise MissingPart(f"node {NODE_AT_LEAST} or newer with npm is missing: apt-get install nodejs npm")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)", said)
    if found is None or int(found[1]) < NODE_AT_LEAST:
        raise MissingPart(f"node {NODE_AT_LEAST} or newer is needed, and there is {said.strip()}")
    folder = place / "node"
    folder.mkdir(parents=True, exist_ok=True)
    lock = (_SOURCE / "package-lock.json").read_bytes()
    stamp = folder / "installed.json"
    for source in _SOURCE.iterdir():
        shutil.copy(source, folder / source.name)
    if not stamp.exists() or stamp.read_bytes() != lock:
        run_quietly([npm, "ci", "--no-audit", "--no-fund", "--omit=dev"], folder)
        stamp.write_bytes(lock)
    return folder


@contextmanager
def in_memory(installed: Path, folder: Path) -> Iterator[Side]:
    """One process and its in-memory adapter: nothing outlives it."""
    with _serve("node-memory", installed, folder, None) as side:
        yield side


@contextmanager
def over_redis(installed: Path, folder: Path) -> Iterator[Side]:
    """Two processes over Redis as Redis comes: kept in memory, written out now and then."""
    server = shutil.which("redis-server")
    if server is None:
        raise MissingPart("redis-server is missing: apt-get install redis-server")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "redis.log").open("ab") as log:
        redis = start_server(
            [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)],
            folder=folder,
            environment=clean_environment({}),
            log=log,
        )
    try:
        with _serve("node-redis", installed, folder, f"redis://127.0.0.1:{port}", redis) as side:
            yield side
    finally:
        stop_server(redis)


@contextmanager
def _serve(
    name: str, installed: Path, folder: Path, redis_url: str | None, *beside: "subprocess.Popen[bytes]"
) -> Iterator[Side]:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "port": free_port(),
        "client_id": "banco",
        "client_secret": secrets.token_urlsafe(32),
        "redirect_uri": REDIRECT,
        "cookie_key": secrets.token_urlsafe(32),
        "jwk": ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, private=True, auto_kid=True).as_dict(
            private=True
        ),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    own = {"BENCH_SETTINGS": str(folder / "settings.json"), "NODE_ENV": "production"}
    if redis_url is not None:
        own["REDIS_URL"] = redis_url
    node = shutil.which("node")
    assert node is not None
    log_path, port = folder / "server.log", int(str(settings["port"]))
    command = [node, str(installed / "server.mjs")]
    with log_path.open("ab") as log:
        process, starts = start_timed(
            lambda: start_server(command, folder=installed, environment=clean_environment(own), log=log),
            f"http://127.0.0.1:{port}/.well-known/openid-configuration",
            log_path,
        )
    try:
        side = Side(
            name,
            port,
            [process.pid, *(each.pid for each in beside)],
            str(settings["client_id"]),
            str(settings["client_secret"]),
            log_path,
            machine_scope="api:read",
            refresh_scope=f"{SCOPE} keep",
            starts=starts,
        )
        side.learn()

        def renew() -> None:
            side.cookies = [_sign_in(side, f"persona{number}") for number in range(BROWSERS)]

        renew()
        # Its in-memory adapter holds a thousand values and drops the oldest; and a refresh token that comes twice ends
        # all that its browser has been granted.
        side.renew = renew
        yield side
    finally:
        stop_server(process)


def _sign_in(side: Side, login: str) -> str:
    """Through the pages that it brings for development: any name signs in, and consent is asked once."""
    with requests.Session() as session:
        query = side.authorization_query(side.refresh_scope, prompt="login consent")
        address, answer = side.url + query, None
        for _ in range(12):
            answer = session.get(address, allow_redirects=False, timeout=10)
            while 300 <= answer.status_code < 400:
                address = urljoin(address, answer.headers["Location"])
                if address.startswith(REDIRECT):
                    return cookies_of(session)
                answer = session.get(address, allow_redirects=False, timeout=10)
            found = re.search(r'action="([^"]+)"', answer.text)
            if answer.status_code != 200 or found is None:
                break
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            form = {"prompt": prompt[1] if prompt else "login", "login": login, "password": "cualquiera"}
            posted = session.post(urljoin(address, found[1]), data=form, allow_redirects=False, timeout=10)
            address = urljoin(address, posted.headers["Location"])
            if address.startswith(REDIRECT):
                return cookies_of(session)
        side.fail(f"did not sign in: {answer.status_code if answer is not None else ''} at {os.path.dirname(address)}")
        raise AssertionError
