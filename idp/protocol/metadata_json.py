"""Client metadata as JSON: read from a registration request, written into the answer to it (RFC 7591 section 2)."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.errors import ClientProblem, RedirectUriProblem
from idp.protocol.key_sets import ENCRYPTION_METHODS, clean_key_set
from idp.protocol.metadata import IDENTITY_SCOPES, Registration
from idp.protocol.profiles import canonical_response_type

PROFILE = "compat"
"""OIDC Registration means OpenID Connect Core as written: `modern` is an operator's to give."""
GRANTS = ("authorization_code", "implicit", "refresh_token")
"""What registers itself signs people in, and does nothing else."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ClientProblem("a member that is a string by its definition is none")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ClientProblem("a member that is true or false by its definition is neither")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ClientProblem("a member that is a whole number by its definition is none")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ClientProblem("a member that is an array of strings by its definition is none")
    return tuple(dict.fromkeys(value))


def _key_set(value: object) -> Mapping[str, Any]:
    try:
        return clean_key_set(value)
    except ValueError as error:
        raise ClientProblem(str(error)) from error


_DETAILS: dict[str, Callable[[object], Any]] = {
    "application_type": _text,
    "contacts": _texts,
    "client_uri": _text,
    "logo_uri": _text,
    "policy_uri": _text,
    "tos_uri": _text,
    "jwks": _key_set,
    "jwks_uri": _text,
    "subject_type": _text,
    "sector_identifier_uri": _text,
    "response_modes": _texts,
    "id_token_encrypted_response_alg": _text,
    "id_token_encrypted_response_enc": _text,
    "userinfo_signed_response_alg": _text,
    "userinfo_encrypted_response_alg": _text,
    "userinfo_encrypted_response_enc": _text,
    "request_object_signing_alg": _text,
    "token_endpoint_auth_signing_alg": _text,
    "default_max_age": _whole,
    "require_auth_time": _flag,
    "default_acr_values": _texts,
    "initiate_login_uri": _text,
    "backchannel_logout_session_required": _flag,
    "frontchannel_logout_uri": _text,
    "frontchannel_logout_session_required": _flag,
    "require_pushed_authorization_requests": _flag,
    "require_signed_request_object": _flag,
    "software_id": _text,
    "software_version": _text,
}
"""Every member that a client may say of itself beyond the columns of its row. What is not here is ignored, as RFC 7591
section 2 asks, and so is everything that is the operator's to say (D-70)."""


def read_metadata(body: Mapping[str, Any]) -> Registration:
    """What the client says of itself, with the defaults of RFC 7591 and OIDC Registration, each section 2.

    `ClientProblem` where a member is not what its definition says. Whether the values may stand together is
    `check_registration`'s to say.
    """
    # RFC 7592 section 2.2: null is to be treated as omitted.
    given = {name: value for name, value in body.items() if value is not None}
    redirect_uris = _texts(given.get("redirect_uris", []))
    response_types = tuple(map(canonical_response_type, _texts(given.get("response_types", ["code"]))))
    details = _read_details(given)
    if details.application_type == "web":
        for uri in redirect_uris:
            if not uri.startswith(("https:", "http:")):
                raise RedirectUriProblem("a private scheme is for native applications")
    return Registration(
        client_name=_text(given["client_name"]) if "client_name" in given else _name_from(redirect_uris),
        redirect_uris=redirect_uris,
        post_logout_redirect_uris=_texts(given.get("post_logout_redirect_uris", [])),
        backchannel_logout_uri=_text(given["backchannel_logout_uri"]) if "backchannel_logout_uri" in given else None,
        scopes=_read_scopes(given),
        grant_types=_read_grants(given, response_types),
        profile=PROFILE,
        token_endpoint_auth_method=_text(given.get("token_endpoint_auth_method", "client_secret_basic")),
        # OIDC Registration section 2: "The default, if omitted, is RS256."
        id_token_signed_response_alg=_text(given.get("id_token_signed_response_alg", "RS256")),
        response_types=response_types,
        details=details,
    )


def write_metadata(client: Client) -> dict[str, Any]:
    """All that is registered of the client, as RFC 7591 section 3.2.1 wants it answered."""
    details = client.details.to_json()
    for ours in ("sector", "logo_digest"):
        details.pop(ours, None)
    body: dict[str, Any] = {
        "client_id": client.client_id,
        "client_name": client.client_name,
        "redirect_uris": list(client.redirect_uris),
        "response_types": sorted(client.response_types),
        "grant_types": sorted(client.grant_types),
        "application_type": client.details.application_type,
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "subject_type": client.details.subject_type,
        "id_token_signed_response_alg": client.id_token_signed_response_alg,
        "scope": " ".join(client.scopes),
        **details,
    }
    if client.post_logout_redirect_uris:
        body["post_logout_redirect_uris"] = list(client.post_logout_redirect_uris)
    if client.backchannel_logout_uri is not None:
        body["backchannel_logout_uri"] = client.backchannel_logout_uri
    if client.created_at is not None:
        body["client_id_issued_at"] = int(client.created_at.timestamp())
    if client.client_secret_digest is not None:
        ends = client.client_secret_expires_at
        body["client_secret_expires_at"] = 0 if ends is None else int(ends.timestamp())
    return body


def _read_details(given: Mapping[str, Any]) -> ClientDetails:
    values = {name: read(given[name]) for name, read in _DETAILS.items() if name in given}
    # No standard has a member for it: whoever registers itself gets all that the profile serves (OAuth 2.0 Form Post).
    values.setdefault("response_modes", ("form_post",))
    for kind in ("id_token", "userinfo"):
        if f"{kind}_encrypted_response_alg" in values:
            # OIDC Registration section 2: the default "is A128CBC-HS256".
            values.setdefault(f"{kind}_encrypted_response_enc", ENCRYPTION_METHODS[0])
    return ClientDetails(**values)


def _read_grants(given: Mapping[str, Any], response_types: tuple[str, ...]) -> tuple[str, ...]:
    if "grant_types" in given:
        return _texts(given["grant_types"])
    words = {word for each in response_types for word in each.split(" ")}
    needed = {"authorization_code": "code" in words, "implicit": bool(words & {"id_token", "token"})}
    return tuple(grant for grant, is_needed in needed.items() if is_needed)


def _read_scopes(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of the asked that are about a person: what a mailbox holds is an operator's to give."""
    if "scope" not in given:
        return IDENTITY_SCOPES
    asked = _text(given["scope"]).split()
    return tuple(scope for scope in IDENTITY_SCOPES if scope in asked)


def _name_from(redirect_uris: tuple[str, ...]) -> str:
    """Where it stands, for want of a name: it tells a person more than a client id."""
    for uri in redirect_uris:
        try:
            host = urlsplit(uri).hostname
        except ValueError:
            continue
        if host:
            return host[:100]
    return "-"
