"""The port through which the protocol knows a person, and which claims of theirs a scope gives."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection


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

    deployment_retention_days: int
    """The window that the deployment gives where no contract says otherwise."""

    def find_subject(self, sub: str) -> Subject | None:
        """The person, or None where there is none who may have tokens: unknown, disabled, not yet activated."""

    def is_signed_in(self, authentication: Authentication, tx: "Connection") -> bool:
        """Whether that sign-in stands; if so, it does until `tx` has ended. What is given for it is given in `tx`."""

    def find_organization_retention(self, rfc: str) -> int:
        """The window in days of the organisation with this RFC, or the deployment's own."""

    def mailbox_claim(
        self, rfc: str, scopes: Collection[str], retention_days: int, now: datetime
    ) -> tuple[dict[str, Any], datetime]:
        """The `mailbox` claim for these scopes, and the instant after which a token with it must not live."""


SCOPE_CLAIMS: Mapping[str, tuple[str, ...]] = {
    # OIDC Core section 5.4, and contract.md section 6 for `rfc`.
    "profile": (
        "name",
        "family_name",
        "given_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "updated_at",
    ),
    "email": ("email", "email_verified"),
    "address": ("address",),
    "phone": ("phone_number", "phone_number_verified"),
    "rfc": ("rfc", "account_kind", "organization"),
}


def claims_for(scopes: Iterable[str], subject: Subject) -> dict[str, Any]:
    """The claims of this person that these scopes give; those we do not know are left out."""
    names = (name for scope in scopes for name in SCOPE_CLAIMS.get(scope, ()))
    return {name: subject.claims[name] for name in names if subject.claims.get(name) is not None}


def requested_claims(requested: Mapping[str, Any], allowed_scopes: Collection[str], subject: Subject) -> dict[str, Any]:
    """What the `claims` parameter asks for of this person (OIDC Core section 5.5), `requested` being one member of it.

    Only claims that one of `allowed_scopes` would give, those the client may have (T-5): a claim asked for by name
    opens nothing that its scope would not. One that is asked for with a value is given where it has it.
    """
    allowed = {name for scope in allowed_scopes for name in SCOPE_CLAIMS.get(scope, ())}
    found = {name: subject.claims.get(name) for name in requested if name in allowed}
    return {name: value for name, value in found.items() if value is not None and _is_asked(requested[name], value)}


def _is_asked(how: Any, value: Any) -> bool:
    if not isinstance(how, Mapping):
        return True
    if "value" in how:
        return bool(how["value"] == value)
    values = how.get("values")
    return not isinstance(values, list | tuple) or value in values


def is_mailbox_scope(scope: str) -> bool:
    return scope.startswith("mailbox:")


def scopes_for(subject: Subject, scopes: Iterable[str]) -> tuple[str, ...]:
    """Those of the scopes that this person may give: who has no mailbox is not asked for one (product.md section 2)."""
    return tuple(scope for scope in scopes if subject.mailbox_rfc is not None or not is_mailbox_scope(scope))


def has_mailbox_scope(scopes: Iterable[str]) -> bool:
    return any(is_mailbox_scope(scope) for scope in scopes)
