"""One serving provider for the real clients, with an account and a way to register."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from tests.clients.scripts import FOLDER
from tests.journeys import REDIRECTS_MAX, Person, parameters, read
from tests.serving import Client, Provider, provider_in, start_server, stop_server, wait_until_it_answers

REDIRECT_URI = "https://cliente.example/regreso"
POST_LOGOUT_REDIRECT_URI = "https://cliente.example/adios"
SCOPE = "openid profile email rfc offline_access mailbox:read"
USERNAME = "EKU9003173C9"


@dataclass(frozen=True, slots=True)
class House:
    """The provider, and the person who signs in at it."""

    provider: Provider
    username: str
    password: str

    def register(
        self,
        auth: str,
        *options: str,
        redirect_uri: str = REDIRECT_URI,
        post_logout_redirect_uri: str = POST_LOGOUT_REDIRECT_URI,
    ) -> Client:
        """A client that may refresh, with this method of RFC 7591 section 2."""
        return self.provider.add_client(
            f"Cliente {auth}",
            redirect_uri,
            *("--auth", auth.removeprefix("client_secret_"), "--post-logout-redirect-uri", post_logout_redirect_uri),
            *("--grant", "authorization_code", "--grant", "refresh_token"),
            *(part for scope in SCOPE.split() for part in ("--scope", scope)),
            *options,
        )


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with provider_in(tmp_path_factory.mktemp("clients")) as provider:
        password = provider.add_account(USERNAME)
        provider.start(workers=1)
        yield House(provider, USERNAME, password)


class Traveller(Person):
    """A person whose browser also goes to the applications: it stops at nothing on loopback."""

    def follow(self, response: requests.Response) -> requests.Response:
        for _ in range(REDIRECTS_MAX):
            if not response.is_redirect:
                return response
            target = urljoin(response.url, response.headers["Location"])
            assert urlsplit(target).hostname in {"localhost", "127.0.0.1"}, target
            response = self.http.get(target, allow_redirects=False, timeout=30)
        raise AssertionError(f"more than {REDIRECTS_MAX} redirects, the last to {response.headers['Location']}")

    def sign_in(self, response: requests.Response, house: House) -> requests.Response:
        """From the provider's sign-in page back to the application, consenting where asked."""
        page = read(response)
        assert page.screen == "signin", (response.url, response.text[:500])
        response = self.submit(page, "form-signin", username=house.username, password=house.password)
        return self.consent(response)

    def consent(self, response: requests.Response) -> requests.Response:
        page = read(response) if response.headers["Content-Type"].startswith("text/html") else None
        return self.submit(page, "form-consent") if page is not None and page.screen == "consent" else response

    def is_signed_in(self) -> bool:
        """Whether this browser has a session at the provider."""
        return read(self.open(self.issuer + "/login")).screen != "signin"


def assert_signs_out(person: Person, end_session_url: str) -> None:
    """The person is sent back to the client with its `state`, and nobody is signed in any more."""
    response = person.open(end_session_url)
    assert response.is_redirect, read(response).screen
    assert response.headers["Location"].split("?")[0] == POST_LOGOUT_REDIRECT_URI
    assert parameters(response.headers["Location"]) == {"state": "hasta-luego"}
    assert read(person.open(person.issuer + "/login")).screen == "signin"


@contextmanager
def application(command: Sequence[str], folder: Path, environment: Mapping[str, str], health: str) -> Iterator[None]:
    """A relying party as a server of its own, answering at the URL `health`."""
    log = folder / "application.log"
    with log.open("ab") as file:
        process = start_server(command, folder=folder, environment=environment, log=file)
    try:
        wait_until_it_answers(health, process, log)
        yield
    finally:
        stop_server(process)


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is missing: install it with `apt-get install nodejs npm`")
    if not (FOLDER / "node_modules" / "oauth4webapi").is_dir():
        pytest.skip("the JavaScript clients are missing: install them with `npm ci --prefix tests/clients`")
    return found
