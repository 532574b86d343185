"""Django OAuth Toolkit and Canaille, of PyPI: installed, started, their browsers signed in."""

import json
import secrets
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.peers import MissingPart, run_quietly
from bench.processes import start_timed
from bench.sides import FLOWS_AT_ONCE, PASSWORD_HASHED_ONCE, REDIRECT, USERNAMES, Side, cookies_of, csrf_token
from tests.serving import ROOT, clean_environment, free_port, start_server, stop_server

_SOURCE = ROOT / "bench" / "peers"
IN_FLIGHT = 8
"""Connections: what two workers of four threads work on at once. More would only wait, and make every answer late."""
# Its access tokens have no `jti`: two of one second for one person are the same, and it answers 500. Among so many
# nobody comes twice in a second, since it does some hundred a second on two cores.
_CANAILLE_USERNAMES = tuple(f"persona{number:03}" for number in range(160))


def install(name: str, place: Path) -> Path:
    """The locked packages of `bench/peers/NAME.txt` in a virtual environment of their own."""
    folder = place / name
    locked = _SOURCE / f"{name}.txt"
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_bytes() == locked.read_bytes():
        return folder
    run_quietly([sys.executable, "-m", "venv", "--clear", str(folder)], place)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(locked)]
    run_quietly(pip, place, PIP_DISABLE_PIP_VERSION_CHECK="1")
    stamp.write_bytes(locked.read_bytes())
    return folder


def _rsa_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@contextmanager
def django_oauth_toolkit(installed: Path, folder: Path, *, workers: int = 2) -> Iterator[Side]:
    """gunicorn with two workers, over SQLite that keeps what ours keeps."""
    folder.mkdir(parents=True, exist_ok=True)
    source, python = _SOURCE / "django", installed / "bin" / "python"
    settings = {
        "secret_key": secrets.token_urlsafe(48),
        "rsa_key": _rsa_pem(),
        "client_id": "banco",
        "client_secret": secrets.token_urlsafe(32),
        "redirect_uri": REDIRECT,
        "usernames": USERNAMES,
        "password": PASSWORD_HASHED_ONCE,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    own = {"BENCH_FOLDER": str(folder), "DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": str(source)}
    run_quietly([str(python), str(source / "site_prepare.py")], folder, **own)
    port = free_port()
    command = [str(python), "-m", "gunicorn", "--workers", str(workers), "--bind", f"127.0.0.1:{port}"]
    # Threads keep connections open, as every other side does; gunicorn's plain workers would not.
    command += ["--worker-class", "gthread", "--threads", "4", "--keep-alive", "75"]
    command += ["django.core.wsgi:get_wsgi_application()"]
    with _serve(
        "django-oauth-toolkit",
        command,
        folder,
        own,
        port,
        "/o/.well-known/openid-configuration",
        settings,
    ) as side:
        side.machine_client = f"{side.client_id}-maquina"
        side.machine_scope = "api:read"
        side.paths |= {"authorize": "/o/authorize/", "introspect": "/o/introspect/"}
        side.introspection_needs_scope = "introspection"
        side.learn()
        side.connections = IN_FLIGHT
        side.sign_in = lambda number: django_sign_in(side, USERNAMES[number % len(USERNAMES)])
        side.cookies = [django_sign_in(side, username) for username in USERNAMES]
        yield side


def django_sign_in(side: Side, username: str) -> str:
    """Through Django's own page; the cookies."""
    with requests.Session() as session:
        address = f"{side.url}/accounts/login/"
        form = {
            "csrfmiddlewaretoken": csrf_token(session.get(address, timeout=30).text, "csrfmiddlewaretoken"),
            "username": username,
            "password": PASSWORD_HASHED_ONCE,
        }
        answer = session.post(address, data=form, allow_redirects=False, timeout=30)
        if answer.status_code != 302:
            side.fail(f"did not sign in: {answer.status_code}")
        return cookies_of(session)


@contextmanager
def canaille(installed: Path, folder: Path, *, workers: int = 2) -> Iterator[Side]:
    """Its own server with two workers, over SQLite as it sets that up."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    secret = secrets.token_urlsafe(32)
    key = json.dumps(_rsa_pem())
    (folder / "canaille.toml").write_text(
        f'SECRET_KEY = "{secrets.token_urlsafe(32)}"\n'
        f'SERVER_NAME = "127.0.0.1:{port}"\nPREFERRED_URL_SCHEME = "http"\nSESSION_COOKIE_SECURE = false\n'
        f'[CANAILLE]\nDATABASE = "sql"\nLOGGING = {{version = 1}}\n'
        f'[CANAILLE_SQL]\nDATABASE_URI = "sqlite:///{folder}/canaille.db"\n'
        f"[CANAILLE_OIDC]\nACTIVE_JWKS = [{key}]\n"
    )
    tool = str(installed / "bin" / "canaille")
    own = {"CANAILLE_CONFIG": str(folder / "canaille.toml")}
    settings = {
        "client_id": "banco",
        "client_secret": secret,
        "redirect_uri": REDIRECT,
        "usernames": _CANAILLE_USERNAMES,
        "password": PASSWORD_HASHED_ONCE,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    run_quietly([tool, "install"], folder, **own)
    python = str(installed / "bin" / "python")
    run_quietly([python, str(_SOURCE / "canaille_prepare.py"), str(folder / "settings.json")], folder, **own)
    command = [tool, "run", "--workers", str(workers), "--bind", f"127.0.0.1:{port}"]
    with _serve("canaille", command, folder, own, port, "/.well-known/openid-configuration", settings) as side:
        side.machine_scope = "openid profile"
        side.readers = len(USERNAMES)
        side.connections = IN_FLIGHT
        side.learn()
        side.sign_in = lambda number: canaille_sign_in(side, _CANAILLE_USERNAMES[number % len(_CANAILLE_USERNAMES)])
        with ThreadPoolExecutor(FLOWS_AT_ONCE) as pool:
            side.cookies = list(pool.map(lambda username: canaille_sign_in(side, username), _CANAILLE_USERNAMES))
        yield side


def canaille_sign_in(side: Side, username: str) -> str:
    """Through its two pages, name and then password; the cookies."""
    with requests.Session() as session:
        address = f"{side.url}/login"
        page = session.get(address, timeout=30).text
        for field, value in (("login", username), ("password", PASSWORD_HASHED_ONCE)):
            form = {"csrf_token": csrf_token(page), field: value}
            answer = session.post(address, data=form, allow_redirects=False, timeout=30)
            if answer.status_code != 302:
                side.fail(f"did not sign in: {answer.status_code}")
            address = urljoin(address, answer.headers["Location"])
            if field == "login":
                page = session.get(address, timeout=30).text
        return cookies_of(session)


@contextmanager
def _serve(
    name: str,
    command: list[str],
    folder: Path,
    own: Mapping[str, str],
    port: int,
    discovery: str,
    settings: Mapping[str, object],
) -> Iterator[Side]:
    log_path = folder / "server.log"
    with log_path.open("ab") as log:
        try:
            process, starts = start_timed(
                lambda: start_server(command, folder=folder, environment=clean_environment(own) | own, log=log),
                f"http://127.0.0.1:{port}{discovery}",
                log_path,
            )
        except AssertionError as error:
            raise MissingPart(f"{name} does not start: {error}") from error
    try:
        yield Side(
            name,
            port,
            [process.pid],
            str(settings["client_id"]),
            str(settings["client_secret"]),
            log_path,
            discovery=discovery,
            starts=starts,
        )
    finally:
        stop_server(process)
