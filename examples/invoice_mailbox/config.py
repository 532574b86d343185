"""What a deployment of the mailbox decides, read from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

COMPANY = "SERES de México"


class ConfigError(Exception):
    """A setting is missing or cannot be used. The text names it and never repeats its value."""


@dataclass(frozen=True, slots=True)
class Config:
    """The mailbox's settings; each is `MAILBOX_` and the name in capitals."""

    issuer: str
    """The provider, as it stands in its tokens."""
    client_id: str
    client_secret: str
    cfdi: Path
    """The folder of CFDI files, read with all folders below it."""
    instance: Path
    """Where the mailbox keeps its own database."""
    url: str
    """The mailbox's own address, without a slash at the end."""
    audience: str
    """What access tokens for this mailbox name as `aud`; the address unless told otherwise."""
    company: str = COMPANY
    """Who keeps the invoices in safekeeping."""

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the mailbox by https."""
        return self.url.startswith("https://")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Config":
        """Read and check. Raises `ConfigError`."""

        def get(name: str, default: str | None = None) -> str:
            value = environment.get(f"MAILBOX_{name}", "").strip() or default
            if not value:
                raise ConfigError(f"MAILBOX_{name} is missing")
            return value

        def get_address(name: str) -> str:
            value = get(name).rstrip("/")
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
                raise ConfigError(f"MAILBOX_{name} is not an address")
            return value

        url = get_address("URL")
        return cls(
            issuer=get_address("ISSUER"),
            client_id=get("CLIENT_ID"),
            client_secret=get("CLIENT_SECRET"),
            cfdi=Path(get("CFDI")).resolve(),
            instance=Path(get("INSTANCE")).resolve(),
            url=url,
            audience=get("AUDIENCE", url),
            company=get("COMPANY", COMPANY),
        )
