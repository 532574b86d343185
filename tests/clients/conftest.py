"""One serving provider for the real clients, with an account and a way to register."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.serving import Client, Provider, provider_in

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

    def register(self, auth: str, *options: str) -> Client:
        """A client that may refresh, with this authentication method."""
        return self.provider.add_client(
            f"Cliente {auth}",
            REDIRECT_URI,
            *("--auth", auth, "--post-logout-redirect-uri", POST_LOGOUT_REDIRECT_URI),
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
