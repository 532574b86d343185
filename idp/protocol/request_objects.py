"""Request objects: the parameters of an authorization request in a JWT that its client signed (RFC 9101)."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from idp_kit.errors import InvalidToken
from idp_kit.jwks import PublicKey, parse_object
from idp_kit.tokens import check_times
from joserfc import jws
from joserfc.errors import JoseError

from idp import policy
from idp.protocol.clients import Client
from idp.protocol.errors import InvalidRequestObject, RequestNotSupported

ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
"""What a request object may be signed with. `none` and HMAC are not among them."""

_TYPES = frozenset({"oauth-authz-req+jwt", "jwt"})
"""RFC 9101 section 4, and what OIDC clients write."""
_HEADER_KNOWN = frozenset({"alg", "typ", "kid", "cty"})
_OF_THE_JWT = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "sub"})
_WRAPPED = frozenset({"request", "request_uri"})


class KeySource(Protocol):
    """Where a client's own keys are found: `client_keys.ClientKeys`, or what a test puts in its place."""

    def find_key(self, client: Client, *, kid: str | None, alg: str, use: str, now: datetime) -> Any | None:
        """The key, or None."""


def read_request_object(text: str, client: Client, keys: KeySource, *, issuer: str, now: datetime) -> dict[str, str]:
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


def _verify(text: str, client: Client, keys: KeySource, now: datetime) -> dict[str, Any]:
    segments = text.split(".")
    if len(segments) < 2 or len(text) > policy.TOKEN_LENGTH_MAX or not text.isascii():
        raise InvalidRequestObject("The request object is no JWT, or too long.")
    header = _read_json(segments[0])
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if alg == "none":
        raise RequestNotSupported("A request object must be signed.")
    registered = client.details.request_object_signing_alg
    if not isinstance(alg, str) or alg not in ((registered,) if registered else ALGORITHMS) or alg not in ALGORITHMS:
        raise InvalidRequestObject("The request object is not signed with an algorithm of this client.")
    # T-2: nothing in the header but these says how to verify; a member that we do not know is not passed over.
    if not _HEADER_KNOWN.issuperset(header) or not isinstance(kid, str | None):
        raise InvalidRequestObject("The request object has a header that is not accepted.")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
        raise InvalidRequestObject("The JWT is of another kind.")
    key: PublicKey | None = keys.find_key(client, kid=kid, alg=alg, use="sig", now=now)
    if key is None or len(segments) != 3:
        raise InvalidRequestObject("The request object is not signed by a key of this client.")
    try:
        jws.deserialize_compact(text, key, algorithms=[alg])
    except (JoseError, ValueError) as error:
        raise InvalidRequestObject("The request object is not signed by a key of this client.") from error
    return _read_json(segments[1])


def _read_json(segment: str) -> dict[str, Any]:
    try:
        return parse_object(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:
        raise InvalidRequestObject("The request object has a part that is no JSON object.") from error


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
