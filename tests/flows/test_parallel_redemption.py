"""Single-use things presented many times at once to two worker processes: one success, and reuse kills its tokens."""

import secrets
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection
from json import loads
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.journeys import Person, parameters
from tests.rig import two_workers_work
from tests.serving import Client, Provider, provider_in

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("parallel-redemption")]

AT_ONCE = 20
ROUNDS = 30
REDIRECT_URI = "https://cliente.example/regreso"
USERNAME = "EKU9003173C9"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the token endpoint, or one beside it, said."""

    status: int
    json: Any


@dataclass
class RelyingParty:
    """A first-party client, and a person who stays signed in, so that each round begins with a fresh code."""

    provider: Provider
    client: Client
    person: Person
    password: str

    def post(self, path: str, form: dict[str, str], connection: HTTPConnection | None = None) -> Answer:
        """One authenticated call."""
        connection = connection or self.connect()
        secret = b64encode(f"{self.client.client_id}:{self.client.client_secret}".encode()).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {secret}"}
        connection.request("POST", path, urlencode(form), headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return Answer(response.status, loads(body) if body else None)

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.provider.port, timeout=60)

    def post_at_once(self, path: str, form: dict[str, str]) -> list[Answer]:
        """The same call `AT_ONCE` times in the same moment, each on a connection that is already open."""
        start = threading.Barrier(AT_ONCE)
        answers: list[Answer] = []

        def call() -> None:
            connection = self.connect()
            connection.connect()
            start.wait(30)
            answers.append(self.post(path, form, connection))

        threads = [threading.Thread(target=call) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(answers) == AT_ONCE
        return answers

    def new_code(self) -> dict[str, str]:
        """A fresh code, as the parameters that redeem it."""
        verifier = secrets.token_urlsafe(48)
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": "openid rfc offline_access",
            "state": secrets.token_urlsafe(8),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url = f"{self.provider.issuer}/oauth/authorize?{urlencode(query)}"
        callback = self.person.authorize(url, USERNAME, self.password)
        return {
            "grant_type": "authorization_code",
            "code": parameters(callback)["code"],
            "redirect_uri": REDIRECT_URI,
            "code_verifier": verifier,
        }

    def is_active(self, token: str) -> bool:
        answer = self.post("/oauth/introspect", {"token": token})
        assert answer.status == 200
        return bool(answer.json["active"])

    def userinfo_status(self, access_token: str) -> int:
        connection = self.connect()
        connection.request("GET", "/oauth/userinfo", headers={"Authorization": f"Bearer {access_token}"})
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelyingParty]:
    with provider_in(tmp_path_factory.mktemp("redemption")) as provider:
        password = provider.add_account(USERNAME)
        client = provider.add_client(
            *("Portal", REDIRECT_URI, "--first-party"),
            *("--grant", "authorization_code", "--grant", "refresh_token"),
            *("--scope", "openid", "--scope", "rfc", "--scope", "offline_access"),
        )
        provider.start(workers=2)
        yield RelyingParty(provider, client, Person(provider.issuer), password)


def the_one_success(answers: list[Answer]) -> dict[str, Any]:
    """The tokens of the only call that succeeded; all others were told `invalid_grant`."""
    won = [answer for answer in answers if answer.status == 200]
    assert len(won) == 1, [(answer.status, answer.json) for answer in answers]
    for answer in answers:
        if answer is not won[0]:
            assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    tokens: dict[str, Any] = won[0].json
    return tokens


def refresh_form(tokens: dict[str, Any]) -> dict[str, str]:
    """The request that spends the refresh token of this answer."""
    return {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}


def assert_dead(party: RelyingParty, tokens: dict[str, Any]) -> None:
    """Nothing that came of the grant works any more, at any endpoint."""
    assert not party.is_active(tokens["access_token"])
    assert not party.is_active(tokens["refresh_token"])
    assert party.userinfo_status(tokens["access_token"]) == 401
    again = party.post("/oauth/token", refresh_form(tokens))
    assert (again.status, again.json["error"]) == (400, "invalid_grant")


@pytest.mark.spec("P-7")
def test_tokens_of_a_code_redeemed_once_live(party: RelyingParty) -> None:
    """The success that differs in one value: without it the proofs below could pass on tokens that never worked."""
    tokens = party.post("/oauth/token", party.new_code()).json
    assert party.is_active(tokens["access_token"])
    assert party.is_active(tokens["refresh_token"])
    assert party.userinfo_status(tokens["access_token"]) == 200
    assert party.post("/oauth/token", refresh_form(tokens)).status == 200


@pytest.mark.spec("P-7")
def test_a_code_is_redeemed_once_however_many_ask_at_once(party: RelyingParty) -> None:
    with two_workers_work(party.provider):
        for _ in range(ROUNDS):
            assert_dead(party, the_one_success(party.post_at_once("/oauth/token", party.new_code())))


@pytest.mark.spec("T-8")
def test_a_refresh_token_is_spent_once_however_many_ask_at_once(party: RelyingParty) -> None:
    with two_workers_work(party.provider):
        for _ in range(ROUNDS):
            first = party.post("/oauth/token", party.new_code()).json
            assert_dead(party, the_one_success(party.post_at_once("/oauth/token", refresh_form(first))))
            assert not party.is_active(first["access_token"])
