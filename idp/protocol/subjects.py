"""The port through which the protocol knows a person: `Subject`, `Authentication`, `SubjectSource`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Subject:
    """A person who may have tokens at this moment."""

    sub: str
    claims: Mapping[str, Any]
    """Every claim we could give of this person, by its registered name; scopes decide which are given."""
    credentials_expire_at: datetime
    """When the password ends, and with it every refresh token (T-7)."""
    mailbox_rfc: str | None
    """The RFC whose invoices are this person's own; None for staff (product.md section 2)."""
    retention_days: int
    """The window that policy gives this person's mailbox, before a client narrows it."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """Who is signed in at this browser, since when and by which means (OIDC Core section 2)."""

    sub: str
    sid: str
    auth_time: datetime
    amr: tuple[str, ...]
    acr: str


class SubjectSource(Protocol):
    """Answered by accounts, through wiring."""

    def find_subject(self, sub: str, now: datetime) -> Subject | None:
        """The person, or None where there is none who may have tokens: unknown, disabled, not yet activated."""

    def find_organization_retention(self, rfc: str) -> int:
        """The window in days of the organisation with this RFC, or the deployment's own."""

    def mailbox_claim(
        self, rfc: str, scopes: Collection[str], retention_days: int, now: datetime
    ) -> tuple[dict[str, Any], datetime]:
        """The `mailbox` claim for these scopes, and the instant after which a token with it must not live."""
