"""A provider under load, whichever it is: where it listens, who may ask it, what its processes use."""

import json
import secrets
import shutil
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

import pytest
import requests

from bench import processes
from bench.fill import Amounts, fill
from bench.peers import MissingPart
from bench.processes import start_timed
from tests.clusters import cluster, find_postgresql
from tests.serving import IDP, Provider, provider_in, start_server, stop_server

REDIRECT = "http://127.0.0.1:9/regreso"
SCOPE = "openid profile email"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PASSWORD_HASHED_ONCE = "Zq7-banco de pruebas"
FLOWS_AT_ONCE = 4
"""How many browsers at once are signed in, or given tokens, before a load."""
USERNAMES = tuple(f"BNC0101{day:02}AB1" for day in range(1, 9))


@dataclass(slots=True)
class Side:
    """A running provider with a client, and browsers that are signed in there."""

    name: str
    port: int
    roots: list[int]
    """Its processes and those of its store, each with all that descends from it."""
    client_id: str
    client_secret: str
    log: Path
    host: str = "127.0.0.1"
    """By which name its sessions' cookies and its issuer know it."""
    machine_scope: str | None = None
    refresh_scope: str = SCOPE
    refresh_parameters: Mapping[str, str] = field(default_factory=dict)
    """What the authorization request needs beside, so that a refresh token comes of it."""
    paths: dict[str, str] = field(default_factory=dict)
    """By endpoint; what discovery does not say is given."""
    discovery: str = "/.well-known/openid-configuration"
    cookies: list[str] = field(default_factory=list)
    """Of signed-in browsers, as they are sent."""
    issuer: str = ""
    starts: list[float] = field(default_factory=list)
    """Seconds from each start of its processes to the first answer."""
    renew: Callable[[], None] | None = None
    """Signs its browsers in again before each load, for a peer that forgets what it has kept for long."""
    sign_in: Callable[[int], object] | None = None
    """Sign in with a password as a new browser; for peers that have passwords."""
    with_the_cheapest_hash: Callable[[], AbstractContextManager["Side"]] | None = None
    """The same server, freshly started, whose password hash costs next to nothing."""
    connections: int = 32
    readers: int | None = None
    """How many of its browsers' access tokens W4 and W5 are about; None for all."""
    machine_client: str | None = None
    """Where a client has one grant type only: the id of the one for W1, of the same secret."""
    introspection_needs_scope: str | None = None
    """Where introspection asks for a token of this scope instead of the client's secret."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def basic(self) -> str:
        return self._basic(self.client_id)

    @property
    def machine_basic(self) -> str:
        return self._basic(self.machine_client or self.client_id)

    def _basic(self, client_id: str) -> str:
        return "Basic " + b64encode(f"{client_id}:{self.client_secret}".encode()).decode()

    def learn(self) -> None:
        """Read the addresses from its discovery document."""
        with urlopen(f"{self.url}{self.discovery}", timeout=10) as answer:
            document = json.load(answer)
        self.issuer = document["issuer"]
        for name, endpoint in (
            ("authorize", "authorization_endpoint"),
            ("token", "token_endpoint"),
            ("userinfo", "userinfo_endpoint"),
            ("jwks", "jwks_uri"),
            ("introspect", "introspection_endpoint"),
        ):
            if name not in self.paths:
                self.paths[name] = urlsplit(document[endpoint]).path

    def keys(self) -> dict[str, Any]:
        with urlopen(f"{self.url}{self.paths['jwks']}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def authorization_query(self, scope: str, **more: str) -> str:
        return (
            self.paths["authorize"]
            + "?"
            + urlencode(
                {
                    "response_type": "code",
                    "client_id": self.client_id,
                    "redirect_uri": REDIRECT,
                    "scope": scope,
                    "state": "estado",
                    "nonce": "una-vez",
                    "code_challenge": CHALLENGE,
                    "code_challenge_method": "S256",
                    **more,
                }
            )
        )

    def redemption(self, code: str) -> str:
        fixed = {"grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
        return f"{urlencode(fixed)}&code={code}"

    def sign_in_tokens(self, number: int, *, refresh: bool = False) -> dict[str, Any]:
        """What one flow gives the browser of this number."""
        cookie = self.cookies[number % len(self.cookies)]
        query = (
            self.authorization_query(self.refresh_scope, **self.refresh_parameters)
            if refresh
            else (self.authorization_query(SCOPE))
        )
        answer = requests.get(self.url + query, headers={"Cookie": cookie}, allow_redirects=False, timeout=10)
        location = answer.headers.get("Location", "")
        codes = parse_qs(urlsplit(location).query).get("code")
        if not codes or not location.startswith(REDIRECT):
            self.fail(f"gave no code but {answer.status_code} {location} {answer.text[:1000]}")
        answer = requests.post(
            self.url + self.paths["token"],
            data=self.redemption(codes[0]),
            headers={"Authorization": self.basic, "Content-Type": "application/x-www-form-urlencoded"},
            timeout=10,
        )
        if answer.status_code != 200:
            self.fail(f"gave no tokens but {answer.status_code} {answer.text[:1000]}")
        found: dict[str, Any] = answer.json()
        return found

    @property
    def first_answer_after(self) -> float:
        """Seconds from its start, which had been started before: what Python compiles once is compiled."""
        return median(self.starts)

    def used(self) -> processes.Used:
        """What the whole process tree has used so far, its store included."""
        return processes.cpu_of(self.roots)

    def memory_mib(self) -> tuple[float, float]:
        """Proportional set size of the whole tree: what would be free without it, since shared pages count once.

        And its resident size, which counts them once for each process.
        """
        return processes.memory_of(self.roots)

    def fail(self, reason: str) -> NoReturn:
        """End the run with the last that the server wrote."""
        text = self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""
        raise SideFailed(f"{self.name} {reason}\n{text}")


class SideFailed(Exception):
    """A provider did not do what it was asked; the text says what came instead."""


def cookies_of(session: requests.Session) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)


Kind = Literal["SQLite", "PostgreSQL"]


@contextmanager
def ours(
    folder: Path,
    *,
    name: str = "llavero",
    kind: Kind = "SQLite",
    workers: int = 2,
    amounts: Amounts | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Side]:
    """`idp serve` as an operator starts it, over SQLite or a PostgreSQL of its own, with `amounts` in its store."""
    with ExitStack() as stack:
        settings, roots = {"IDP_TRUSTED_PROXIES": "127.0.0.1/32"}, []
        if kind == "PostgreSQL":
            try:
                find_postgresql()
            except pytest.skip.Exception as error:
                raise MissingPart(str(error)) from error
            # As PostgreSQL comes, but for the memory that its documentation asks to be given.
            server = stack.enter_context(cluster(fsync="on", autovacuum="on", shared_buffers="512MB"))
            settings["IDP_DATABASE_URL"] = server.url
            roots.append(server.pid)
        provider = stack.enter_context(provider_in(folder, **settings))
        side = _with_client(provider, name, folder / "server.log")
        for username in USERNAMES if amounts is None else USERNAMES[:1]:
            provider.add_account(username, password=PASSWORD_HASHED_ONCE)
        usernames = USERNAMES
        if amounts is not None:
            with _serving(provider, 1) as (pid, _):
                side.roots = [pid, *roots]
                side.learn()
                side.cookies = [sign_in_here(side, USERNAMES[0], "10.9.0.1", and_look=True)]
                side.sign_in_tokens(0, refresh=True)
            usernames = tuple(fill(provider.environment()["IDP_DATABASE_URL"], amounts, say))
        pid, side.starts = stack.enter_context(_serving(provider, workers, times=1 if amounts else 3))
        side.roots = [pid, *roots]
        side.learn()
        side.sign_in = lambda number: sign_in_here(
            side, usernames[number % len(usernames)], f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        )
        if amounts is None:
            side.with_the_cheapest_hash = lambda: _with_the_cheapest_hash(folder.with_name("cheapest-hash"), workers)
        side.cookies = [
            sign_in_here(side, username, f"10.{number >> 8}.{number & 255}.1", and_look=True)
            for number, username in enumerate(usernames, start=9 << 8)
        ]
        yield side


# Argon2's own floor: a hash of some hundredths of a millisecond.
_CHEAPEST = "from idp import policy; policy.ARGON2_MEMORY_KIB, policy.ARGON2_TIME_COST = 8, 1; "
_FEW = 4


@contextmanager
def _with_the_cheapest_hash(folder: Path, workers: int) -> Iterator[Side]:
    """Ours, but for what Argon2 is told to spend: what a sign-in costs here is all that is not the hash.

    To measure the hash by itself and take it off would leave the difference of two large figures, which is noise.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with provider_in(folder, IDP_TRUSTED_PROXIES="127.0.0.1/32") as provider:
        for username in USERNAMES[:_FEW]:
            provider.add_account(username, password=PASSWORD_HASHED_ONCE)
        side = Side("cheapest hash", provider.port, [], "", "", folder / "server.log", host="localhost")
        python, option, program = IDP
        with _serving(provider, workers, program=(python, option, _CHEAPEST + program)) as (pid, side.starts):
            side.roots = [pid]
            side.sign_in = lambda number: sign_in_here(
                side, USERNAMES[number % _FEW], f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            )
            for number in range(_FEW):
                # The first sign-in makes the stored hash anew, as cheap as the server's are.
                side.sign_in(number)
            yield side


def _with_client(provider: Provider, name: str, log: Path) -> Side:
    made = json.loads(
        provider.idp(
            *("client", "add", "banco", "--redirect-uri", REDIRECT, "--first-party", "--json"),
            *("--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials"),
            *(word for scope in (*SCOPE.split(), "offline_access", "api:read") for word in ("--scope", scope)),
        )
    )
    return Side(
        name,
        provider.port,
        [],
        made["client_id"],
        made["client_secret"],
        log,
        host="localhost",
        machine_scope="api:read",
        refresh_scope=f"{SCOPE} offline_access",
    )


@contextmanager
def _serving(
    provider: Provider, workers: int, times: int = 1, program: Sequence[str] = IDP
) -> Iterator[tuple[int, list[float]]]:
    """Its pid, and how long each start took."""
    command = [*program, "serve", "--host", "127.0.0.1", "--port", str(provider.port), "--workers", str(workers)]
    log_path = provider.folder / "server.log"
    with log_path.open("ab") as log:
        process, took = start_timed(
            lambda: start_server(command, folder=provider.folder, environment=provider.environment(), log=log),
            f"http://127.0.0.1:{provider.port}/.well-known/openid-configuration",
            log_path,
            times,
        )
    try:
        yield process.pid, took
    finally:
        stop_server(process)


def sign_in_here(side: Side, username: str, address: str, *, and_look: bool = False) -> str:
    """Sign in at ours as a browser of this address does; the cookies, with `and_look` as the next page left them."""
    with requests.Session() as session:
        session.headers["X-Forwarded-For"] = address
        page = session.get(f"{side.url}/login", timeout=30).text
        form = {"csrf_token": csrf_token(page), "username": username, "password": PASSWORD_HASHED_ONCE}
        answer = session.post(f"{side.url}/login", data=form, allow_redirects=False, timeout=30)
        if answer.status_code != 303 or answer.headers["Location"] != "/account":
            side.fail(f"did not sign in: {answer.status_code} {answer.headers.get('Location')}")
        if and_look:
            session.get(f"{side.url}/account", timeout=30)
        return cookies_of(session)


def csrf_token(page: str, name: str = "csrf_token") -> str:
    """The value of the hidden field of this name."""
    tag = next(part for part in page.split("<input") if f'name="{name}"' in part.split(">")[0])
    return tag.split('value="')[1].split('"')[0]
