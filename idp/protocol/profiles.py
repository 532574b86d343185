"""What each profile demands of a client: one table, read by every check."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """The demands of one profile (product.md section 3)."""

    name: str
    requires_pkce: bool
    response_types: frozenset[str]
    response_modes: frozenset[str]
    token_endpoint_auth_methods: frozenset[str]
    grant_types: frozenset[str]


PROFILES = {
    "modern": Profile(
        name="modern",
        requires_pkce=True,
        response_types=frozenset({"code"}),
        response_modes=frozenset({"query"}),
        token_endpoint_auth_methods=frozenset({"client_secret_basic", "client_secret_post", "none"}),
        grant_types=frozenset({"authorization_code", "refresh_token", "client_credentials"}),
    ),
}
