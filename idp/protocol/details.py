"""Client metadata beyond the columns of the table, by their registered names, each with its default."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class ClientDetails:
    """RFC 7591 section 2, OIDC Registration section 2, the logout specifications, RFC 9126 section 6.

    Values are what `metadata.py` let through: checked when registered, believed afterwards.
    """

    application_type: str = "web"
    contacts: tuple[str, ...] = ()
    client_uri: str | None = None
    logo_uri: str | None = None
    logo_digest: str | None = None
    """Of the logo as we serve it; part of its address, so that browsers may keep it."""
    policy_uri: str | None = None
    tos_uri: str | None = None
    jwks: Mapping[str, Any] | None = None
    jwks_uri: str | None = None
    subject_type: str = "public"
    sector_identifier_uri: str | None = None
    sector: str | None = None
    """The host that pairwise subjects are computed for (OIDC Core section 8.1)."""
    response_modes: tuple[str, ...] = ()
    """Those beyond the profile's `default_response_modes`."""
    id_token_encrypted_response_alg: str | None = None
    id_token_encrypted_response_enc: str | None = None
    userinfo_signed_response_alg: str | None = None
    userinfo_encrypted_response_alg: str | None = None
    userinfo_encrypted_response_enc: str | None = None
    request_object_signing_alg: str | None = None
    token_endpoint_auth_signing_alg: str | None = None
    default_max_age: int | None = None
    require_auth_time: bool = False
    default_acr_values: tuple[str, ...] = ()
    initiate_login_uri: str | None = None
    backchannel_logout_session_required: bool = False
    frontchannel_logout_uri: str | None = None
    frontchannel_logout_session_required: bool = False
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    software_id: str | None = None
    software_version: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What is not its default, as JSON holds it."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        default = type(self)()
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
            if value != getattr(default, name)
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ClientDetails":
        """What `to_json` gave; names of a newer release are left out."""
        known = {each.name for each in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in value.items() if name in known
        }
        return cls(**values)
