"""What each profile demands of a client: one table, read by every check."""

from dataclasses import dataclass

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
"""RFC 8628 section 3.4."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The demands of one profile (product.md section 3)."""

    name: str
    requires_pkce: bool
    """Of every authorization request. Where it is not required, `plain` is still refused (P-5)."""
    response_types: frozenset[str]
    """Each with its values in alphabetical order, as `canonical_response_type` gives them."""
    response_modes: frozenset[str]
    default_response_modes: frozenset[str]
    """Those that a client has without registering them."""
    token_endpoint_auth_methods: frozenset[str]
    grant_types: frozenset[str]
    subject_types: frozenset[str]
    assertion_audience: str = "issuer"
    """What a client assertion may be for: the `issuer` alone, or the `token_endpoint` too."""


_GRANTS = frozenset({"authorization_code", "refresh_token", "client_credentials", DEVICE_CODE})
_AUTH_METHODS = frozenset({"client_secret_basic", "client_secret_post", "none", "private_key_jwt"})

PROFILES = {
    "modern": Profile(
        name="modern",
        requires_pkce=True,
        response_types=frozenset({"code"}),
        response_modes=frozenset({"query"}),
        default_response_modes=frozenset({"query"}),
        token_endpoint_auth_methods=_AUTH_METHODS,
        grant_types=_GRANTS,
        subject_types=frozenset({"public", "pairwise"}),
    ),
    # OpenID Connect Core as written, for older applications and for certification.
    "compat": Profile(
        name="compat",
        requires_pkce=False,
        response_types=frozenset(
            {"code", "id_token", "id_token token", "code id_token", "code token", "code id_token token"}
        ),
        response_modes=frozenset({"query", "fragment", "form_post"}),
        # P-4: form_post is for clients that registered it.
        default_response_modes=frozenset({"query", "fragment"}),
        token_endpoint_auth_methods=_AUTH_METHODS | {"client_secret_jwt"},
        grant_types=_GRANTS | {"implicit"},
        subject_types=frozenset({"public", "pairwise"}),
        # OIDC Core section 9: "The Audience SHOULD be the URL of the Authorization Server's Token Endpoint."
        assertion_audience="token_endpoint",
    ),
}


def canonical_response_type(response_type: str) -> str:
    """The values of a response type in one order: RFC 6749 section 3.1.1, "the order of values does not matter"."""
    return " ".join(sorted(response_type.split(" ")))
