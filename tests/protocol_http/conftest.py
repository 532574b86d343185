"""One production server for what is asked of it from outside, with a client of each profile and a full account."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from tests.serving import Client, Provider, provider_in

REDIRECT_URI = "https://cliente.example/regreso"
POST_LOGOUT_REDIRECT_URI = "https://cliente.example/adios"
USERNAME = "EKU9003173C9"
CLAIMS = {
    "given_name": "Ana",
    "family_name": "Prueba",
    "middle_name": "de",
    "nickname": "ana",
    "preferred_username": "ana.prueba",
    "profile": "https://ana.example/",
    "picture": "https://ana.example/ana.png",
    "website": "https://ana.example/web",
    "gender": "female",
    "birthdate": "1990-02-28",
    "zoneinfo": "America/Mexico_City",
    "phone_number": "+525512345678",
    "phone_number_verified": True,
    "address": {"street_address": "Calle 1", "locality": "México", "postal_code": "06000", "country": "MX"},
}
"""Every standard claim that an operator gives (OIDC Core section 5.1)."""


@dataclass(frozen=True, slots=True)
class Office:
    """The provider, its person, and what it says of itself."""

    provider: Provider
    username: str
    password: str
    metadata: dict[str, Any]
    http: requests.Session = field(default_factory=requests.Session)

    def register(self, name: str, *options: str, redirect_uri: str = REDIRECT_URI) -> Client:
        return self.provider.add_client(name, redirect_uri, *options)

    def compat(self, *options: str, response_types: tuple[str, ...] = (), scope: str = "openid") -> Client:
        """A client of the profile that certification asks for."""
        return self.register(
            "Cliente de certificación",
            *("--profile", "compat", "--post-logout-redirect-uri", POST_LOGOUT_REDIRECT_URI),
            *("--grant", "authorization_code", "--grant", "refresh_token"),
            *(("--grant", "implicit") if any("token" in each.split() for each in response_types) else ()),
            *(part for each in response_types for part in ("--response-type", each)),
            *("--scope", scope),
            *options,
        )


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Whom the provider trusts: applications are asked and told over https."""
    return trustme.CA()


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    trusted = str(folder / "authority.pem")
    with provider_in(
        folder, IDP_REGISTRATION="open", IDP_ALLOW_LOOPBACK_CLIENTS="1", SSL_CERT_FILE=trusted
    ) as provider:
        claims = Path(folder) / "claims.json"
        claims.write_text(json.dumps(CLAIMS))
        password = provider.add_account(USERNAME, "--claims", str(claims))
        provider.start(workers=1)
        metadata = requests.get(f"{provider.issuer}/.well-known/openid-configuration", timeout=10).json()
        yield Office(provider, USERNAME, password, metadata)
