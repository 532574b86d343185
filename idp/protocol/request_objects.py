"""Request objects: the parameters of an authorization request in a JWT that its client signed (RFC 9101)."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from idp_kit.errors import InvalidToken
from idp_kit.jwks import parse_object
from idp_kit.tokens import check_times

from idp import policy
from idp.protocol.client_keys import ClientKeys
from idp.protocol.clients import Client
from idp.protocol.errors import InvalidRequestObject, RequestNotSupported
from idp.protocol.key_sets import SIGNATURE_ALGORITHMS

_TYPES = frozenset({"oauth-authz-req+jwt", "jwt"})
"""RFC 9101 section 4, and what OIDC clients write."""
_OF_THE_JWT = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "sub"})
_WRAPPED = frozenset({"request", "request_uri"})


def read_request_object(text: str, client: Client, keys: ClientKeys, *, issuer: str, now: datetime) -> dict[str, str]:
    """The parameters in the object, as they would stand in a query; those of the JWT itself are left out.

    Raises `InvalidRequestObject` unless the client signed it, for us, and it is in time; `RequestNotSupported` for one
    that says it is not signed, which we never take (P-11).
    """
    claims = _verify(text, client, keys, now)
    strict = client.profile.name != "compat"
    _check_party(claims, "iss", client.client_id, required=strict)
    _check_party(claims, "aud", issuer, required=strict)
    _check_party(claims, "client_id", client.client_id, required=strict)
    if "sub" in claims:
        # RFC 9101 section 10.8: what may also be an assertion that authenticates the client is no request.
        raise InvalidRequestObject("The request object has a sub.")
    if strict or "exp" in claims:
        try:
            check_times(claims, now=now, leeway=policy.CLOCK_SKEW)
        except InvalidToken as error:
            raise InvalidRequestObject("The request object is not valid at this time.") from error
    if not _WRAPPED.isdisjoint(claims):
        raise InvalidRequestObject("A request object holds no other one.")  # RFC 9101 section 4
    return {name: _as_parameter(value) for name, value in claims.items() if name not in _OF_THE_JWT}


def _verify(text: str, client: Client, keys: ClientKeys, now: datetime) -> dict[str, Any]:
    if _is_unsigned(text):
        raise RequestNotSupported("A request object must be signed.")
    registered = client.details.request_object_signing_alg
    try:
        signed = keys.read_signed(
            client, text, algorithms=(registered,) if registered else SIGNATURE_ALGORITHMS, now=now
        )
    except InvalidToken as error:
        raise InvalidRequestObject("The request object is not one that this client signed.") from error
    typ = signed.header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
        raise InvalidRequestObject("The JWT is of another kind.")
    return signed.claims


def _is_unsigned(text: str) -> bool:
    """Whether it says so itself; what cannot be read does not."""
    segment = text.partition(".")[0]
    try:
        return parse_object(urlsafe_b64decode(segment + "=" * (-len(segment) % 4))).get("alg") == "none"
    except ValueError:
        return False


def _check_party(claims: Mapping[str, Any], name: str, expected: str, *, required: bool) -> None:
    """`compat` takes an object without: OIDC Core section 6.1 says that `iss` and `aud` SHOULD be there."""
    value = claims.get(name)
    if value is None and not required:
        return
    if value != expected and not (name == "aud" and isinstance(value, list) and expected in value):
        raise InvalidRequestObject(f"The request object has another {name} than it must, or none.")


def _as_parameter(value: Any) -> str:
    """RFC 9101 section 4: numbers and objects stand as JSON, `claims` and `max_age` among them."""
    if value is None or isinstance(value, bool | float | list):
        raise InvalidRequestObject("The request object has a parameter of a wrong type.")
    try:
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        text.encode()
    except (UnicodeEncodeError, RecursionError) as error:
        # What no query could hold is no parameter either.
        raise InvalidRequestObject("The request object has a parameter that cannot be read.") from error
    return text
