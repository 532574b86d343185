"""A provider under load, whichever it is: where it listens, who may ask it, what its processes use."""

import json
import secrets
import subprocess
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

import requests

from tests.serving import cpu_seconds, provider_in

REDIRECT = "http://127.0.0.1:9/regreso"
SCOPE = "openid profile email"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PASSWORD_HASHED_ONCE = "Zq7-banco de pruebas"
USERNAMES = tuple(f"BNC0101{day:02}AB1" for day in range(1, 9))


@dataclass(slots=True)
class Side:
    """A running provider with a client, and browsers that are signed in there."""

    name: str
    port: int
    processes: list["subprocess.Popen[bytes]"]
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
    first_answer_after: float = 0.0
    """Seconds from the start of its processes; looked for ten times a second."""
    renew: Callable[[], None] | None = None
    """Signs its browsers in again before each load, for a peer that forgets what it has kept for long."""
    sign_in: Callable[[int], object] | None = None
    """Sign in with a password as a new browser; for peers that have passwords."""
    connections: int = 32
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

    def cpu_seconds(self) -> float:
        """What the whole process tree has used so far, its store included."""
        return sum(sum(cpu_seconds(process).values()) for process in self.processes)

    def memory_mib(self, kind: str = "Pss:") -> float:
        """Proportional set size of the whole tree: what would be free without it, since shared pages count once.

        `Rss:` counts them once for each process.
        """
        return sum(memory_of(process, kind) for process in self.processes)

    def fail(self, reason: str) -> None:
        """End the run with the last that the server wrote."""
        text = self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""
        raise SideFailed(f"{self.name} {reason}\n{text}")


class SideFailed(Exception):
    """A provider did not do what it was asked; the text says what came instead."""


def memory_of(process: "subprocess.Popen[bytes]", kind: str = "Pss:") -> float:
    """MiB of every process of this one's session."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) == process.pid:
                rollup = (stat.parent / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in rollup if line.startswith(kind))
    return total / 1024


def cookies_of(session: requests.Session) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)


@contextmanager
def ours(folder: Path, *, workers: int = 2, usernames: Sequence[str] = USERNAMES, **settings: str) -> Iterator[Side]:
    """`idp serve` as an operator starts it, over SQLite."""
    with provider_in(
        folder, **{"IDP_TRUSTED_PROXIES": "127.0.0.1/32", "IDP_TEST_CAPTCHA_SOCKET": "", **settings}
    ) as provider:
        made = json.loads(
            provider.idp(
                *("client", "add", "banco", "--redirect-uri", REDIRECT, "--first-party", "--json"),
                *("--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials"),
                *(word for scope in (*SCOPE.split(), "offline_access", "api:read") for word in ("--scope", scope)),
            )
        )
        for username in usernames:
            provider.add_account(username, password=PASSWORD_HASHED_ONCE)
        begun = time.perf_counter()
        provider.start(workers)
        started = time.perf_counter() - begun
        assert provider.process is not None
        side = Side(
            "llavero",
            provider.port,
            [provider.process],
            made["client_id"],
            made["client_secret"],
            folder / "server.log",
            host="localhost",
            machine_scope="api:read",
            refresh_scope=f"{SCOPE} offline_access",
        )
        side.first_answer_after = started
        side.sign_in = lambda number: sign_in_here(
            side, usernames[number % len(usernames)], f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        )
        side.learn()
        for number, username in enumerate(usernames):
            side.cookies.append(sign_in_here(side, username, f"10.9.{number}.1", and_look=True))
        yield side


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
