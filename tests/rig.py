"""A provider of two workers, its mail caught, accounts in every state, clients: what attacks and flows share."""

import itertools
import json
import secrets
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import requests

from tests.catcher import Catcher, catching
from tests.clock import MovableClock
from tests.journeys import Page, Person, parameters
from tests.serving import Client, Provider, free_port, make_password, provider_in

CALLBACK = "https://cliente.example/regreso"
QUESTION, ANSWER = "teacher", "Doña Refugio la Güera"
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
AT_ONCE_WAIT = 90.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody with an account, and all that only they know."""

    username: str
    password: str
    email: str
    answer: str = ANSWER
    question: str = QUESTION


@dataclass(frozen=True, slots=True)
class Request:
    """An authorization request, and what its client keeps of it."""

    url: str
    verifier: str
    state: str
    client: Client


@dataclass
class Rig:
    """The provider, its mail, two clients: one of the house, which asks no consent, and one that does."""

    provider: Provider
    catcher: Catcher
    own: Client
    foreign: Client
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    @property
    def issuer(self) -> str:
        return self.provider.issuer

    def person(self, address: str | None = None) -> Person:
        """A fresh browser, from an address of its own unless told: no test meets the throttle of another (L-7)."""
        return Person(self.issuer, solve=self.provider.solve, address=address or self.address())

    def address(self) -> str:
        """One of 127.0.0.0/8 from which nobody came so far."""
        number = next(self._addresses)
        return f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def username(self, prefix: str = "") -> str:
        """A username that nobody has; it has the shape of one."""
        number = next(self._numbers)
        letters = "".join(LETTERS[number // len(LETTERS) ** place % len(LETTERS)] for place in range(4))
        return f"{prefix}{letters}850101{secrets.choice(LETTERS)}{secrets.choice(LETTERS)}{number % 10}"

    def add(self, prefix: str = "", *, changed_at: datetime | None = None, answer: str | None = ANSWER) -> Account:
        """An active account, made by the door that the command line opens, which is faster."""
        return self.invite(prefix, password=make_password(), changed_at=changed_at, answer=answer)

    def invite(
        self,
        prefix: str = "",
        *,
        password: str | None = None,
        changed_at: datetime | None = None,
        answer: str | None = None,
    ) -> Account:
        """An account without a password, to whom the invitation is mailed; with one, an active account."""
        username = self.username(prefix)
        email = f"buzon-{username.rpartition('.')[2].lower()}@cliente.example"
        more: dict[str, Any] = {} if changed_at is None else {"password_changed_at": changed_at}
        if prefix == "CT.":
            more["organization_rfc"] = self.add().username
        self.provider.doors.lifecycle.create(
            username,
            email=email,
            now=datetime.now(UTC),
            name="Cuenta de prueba",
            password=password,
            question=QUESTION if password and answer else None,
            answer=answer if password else None,
            **more,
        )
        return Account(username, password or "", email, answer or "")

    def disable(self, account: Account) -> None:
        self.provider.doors.lifecycle.disable(account.username, datetime.now(UTC))

    def enable(self, account: Account) -> None:
        self.provider.doors.lifecycle.enable(account.username, datetime.now(UTC))

    def request(self, client: Client | None = None, **more: str) -> Request:
        """A fresh authorization request."""
        client = client or self.own
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(12)
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "scope": "openid rfc offline_access",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **more,
        }
        return Request(f"{self.issuer}/oauth/authorize?{urlencode(query)}", verifier, state, client)

    def tokens(self, person: Person, account: Account, client: Client | None = None, **more: str) -> dict[str, Any]:
        """Sign in at a client and redeem its code."""
        asked = self.request(client, **more)
        callback = parameters(person.authorize(asked.url, account.username, account.password))
        status, answer = self.call(
            "/oauth/token",
            asked.client,
            grant_type="authorization_code",
            code=callback["code"],
            redirect_uri=asked.client.redirect_uri,
            code_verifier=asked.verifier,
        )
        assert status == 200, answer
        return answer

    def refresh(self, tokens: dict[str, Any], client: Client | None = None) -> tuple[int, dict[str, Any]]:
        """Spend the refresh token of this answer."""
        return self.call(
            "/oauth/token", client or self.own, grant_type="refresh_token", refresh_token=tokens["refresh_token"]
        )

    def is_active(self, token: str, client: Client | None = None) -> bool:
        """What introspection says to the client that it is for."""
        return bool(self.call("/oauth/introspect", client or self.own, token=token)[1]["active"])

    def call(self, path: str, client: Client, **form: str) -> tuple[int, dict[str, Any]]:
        """One authenticated call of a client."""
        secret = b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
        response = requests.post(
            self.issuer + path, data=form, headers={"Authorization": f"Basic {secret}"}, timeout=60
        )
        return response.status_code, json.loads(response.content or b"null")

    def link(self, account: Account, *, number: int = 1) -> str:
        """The link of the recovery mail of this number that this account was sent."""
        return self.catcher.link(account.email, "Cambio de contraseña", number=number)


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Do all of it in the same moment; what each gave, in order."""
    start = threading.Barrier(len(calls))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(number: int, call: Callable[[], T]) -> None:
        try:
            start.wait(AT_ONCE_WAIT)
            results[number] = call()
        except BaseException as error:  # it is raised below, where the test sees it
            errors.append(error)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(AT_ONCE_WAIT)
    if errors:
        raise errors[0]
    assert len(results) == len(calls), "not all of them came back"
    return [results[number] for number in range(len(calls))]


@contextmanager
def two_workers_work(provider: Provider) -> Iterator[None]:
    """What happens inside happens in two processes at least, or proves nothing about them."""
    before = provider.cpu_seconds()
    yield
    worked = [pid for pid, spent in provider.cpu_seconds().items() if spent - before.get(pid, 0) > 0.005]
    assert len(worked) >= 2, "one worker alone proves nothing about two"


def alert_or_screen(page: Page) -> str:
    """The screen, and whether the alert stands over it."""
    return page.screen + (" alert" if "alert" in page.ids else "")


@contextmanager
def rig_in(
    folder: Path, *, workers: int = 2, clock: MovableClock | None = None, mail: bool = True, **settings: str
) -> Iterator[Rig]:
    """All of it, serving. Without `mail` no worker runs beside, and nothing is sent."""
    with catching(free_port()) as catcher, provider_in(folder, clock=clock, **catcher.settings, **settings) as provider:
        grants = ("--grant", "authorization_code", "--grant", "refresh_token")
        scopes = ("--scope", "openid", "--scope", "rfc", "--scope", "offline_access")
        leaving = ("--post-logout-redirect-uri", f"{CALLBACK}/adios")
        own = provider.add_client("Portal", CALLBACK, "--first-party", *grants, *scopes, *leaving)
        foreign = provider.add_client("Conciliador", CALLBACK, *grants, *scopes)
        provider.start(workers, *(("--with-worker",) if mail else ()))
        yield Rig(provider, catcher, own, foreign)
