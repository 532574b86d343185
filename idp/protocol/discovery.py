"""What the provider says of itself: OIDC Discovery section 3 and RFC 8414 section 2."""

from collections.abc import Iterable
from typing import Any

from idp import policy
from idp.keys import ALGORITHMS
from idp.protocol.clients import IDENTITY_SCOPES, MAILBOX_SCOPES
from idp.protocol.key_sets import ENCRYPTION_ALGORITHMS, ENCRYPTION_METHODS, SIGNATURE_ALGORITHMS
from idp.protocol.profiles import PROFILES
from idp.protocol.requests import ACR_VALUES, PROMPTS
from idp.protocol.subjects import SCOPE_CLAIMS


def build_metadata(
    issuer: str, *, grant_types: Iterable[str], retention_days: int, registration: bool = False
) -> dict[str, Any]:
    """The document, built from the tables that the checks read."""
    profiles = PROFILES.values()
    methods = _union(each.token_endpoint_auth_methods for each in profiles)
    # Of assertions: HS256 is for client_secret_jwt (OIDC Discovery section 3, RFC 8414 section 2).
    assertion_algs = [*SIGNATURE_ALGORITHMS, "HS256"]
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth/par",
        "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
        "end_session_endpoint": f"{issuer}/oauth/logout",
        "check_session_iframe": f"{issuer}/oauth/check_session",
        "frontchannel_logout_supported": True,
        "frontchannel_logout_session_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "scopes_supported": [*IDENTITY_SCOPES, *MAILBOX_SCOPES],
        "response_types_supported": _union(each.response_types for each in profiles),
        "response_modes_supported": _union(each.response_modes for each in profiles),
        "grant_types_supported": sorted(grant_types),
        "subject_types_supported": _union(each.subject_types for each in profiles),
        "id_token_signing_alg_values_supported": list(ALGORITHMS),
        "id_token_encryption_alg_values_supported": list(ENCRYPTION_ALGORITHMS),
        "id_token_encryption_enc_values_supported": list(ENCRYPTION_METHODS),
        "userinfo_signing_alg_values_supported": list(ALGORITHMS),
        "userinfo_encryption_alg_values_supported": list(ENCRYPTION_ALGORITHMS),
        "userinfo_encryption_enc_values_supported": list(ENCRYPTION_METHODS),
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": [method for method in methods if method != "none"],
        "revocation_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": assertion_algs,
        "introspection_endpoint_auth_signing_alg_values_supported": assertion_algs,
        "revocation_endpoint_auth_signing_alg_values_supported": assertion_algs,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": sorted(PROMPTS),
        "acr_values_supported": list(ACR_VALUES),
        "claim_types_supported": ["normal"],
        "claims_supported": [
            *("sub", "auth_time", "acr", "amr", "sid"),
            *dict.fromkeys(name for names in SCOPE_CLAIMS.values() for name in names),
        ],
        "claims_parameter_supported": True,
        "display_values_supported": ["page", "popup", "touch", "wap"],
        "request_parameter_supported": True,
        "request_object_signing_alg_values_supported": list(SIGNATURE_ALGORITHMS),
        # RFC 9126 section 5: one that was pushed may be used "regardless of" this.
        "request_uri_parameter_supported": False,
        "require_pushed_authorization_requests": False,
        "ui_locales_supported": ["es-MX", "en"],
        "authorization_response_iss_parameter_supported": True,
        "mailbox_retention_days_default": retention_days,
        "mailbox_time_zone": policy.RETENTION_TIME_ZONE,
    }
    if registration:
        document["registration_endpoint"] = f"{issuer}/oauth/register"
    return document


def _union(sets: Iterable[frozenset[str]]) -> list[str]:
    return sorted(set[str]().union(*sets))
