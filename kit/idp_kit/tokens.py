"""Verify a JSON Web Token of the issuer: its signature, its kind, its time (RFC 7515, RFC 7519, RFC 8725, RFC 9068)."""

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from idp_kit.errors import ExpiredToken, InvalidToken

TOKEN_LENGTH_MAX = 16 * 1024
"""Characters; a longer token is refused before it is looked at."""

PublicKey = ECKey | RSAKey | OKPKey
FindKey = Callable[[str], PublicKey | None]
"""From a `kid` to the public key of that name, which says its one algorithm in `alg`, or None."""

_HEADER_KNOWN = frozenset({"alg", "typ", "kid", "cty"})


def verify_jwt(
    token: str,
    *,
    find_key: FindKey,
    algorithms: Collection[str],
    typ: str,
    now: datetime,
    leeway: timedelta,
) -> dict[str, Any]:
    """The claims of a token that one of our keys signed, that is of kind `typ`, and that is valid at `now`.

    `exp` is required; `nbf` and `iat` are checked where they stand; each with `leeway`. Refused besides: any header
    member but `alg`, `typ`, `kid` and `cty` (so `jwk`, `jku`, `x5u` and `crit` never decide anything), an algorithm
    that is not in `algorithms` or not the key's own, a member that stands twice. Raises `InvalidToken`, or
    `ExpiredToken` where only `exp` is wrong.
    """
    if not isinstance(token, str) or len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        raise InvalidToken("not a compact JWS")
    segments = token.split(".")
    if len(segments) != 3 or not all(segments):
        raise InvalidToken("not a compact JWS")
    header = _read_object(segments[0])
    if not _HEADER_KNOWN.issuperset(header):
        raise InvalidToken("a header member that this verifier does not take")
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or alg not in algorithms or not isinstance(kid, str):
        raise InvalidToken("algorithm or key id not accepted")
    if not is_typ(header.get("typ"), typ):
        raise InvalidToken("another kind of token")
    key = find_key(kid)
    # RFC 8725 section 3.1: a key is used with exactly one algorithm.
    if key is None or key.alg != alg:
        raise InvalidToken("unknown key")
    try:
        jws.deserialize_compact(token, key, algorithms=[alg])
    except (JoseError, ValueError) as error:
        raise InvalidToken("bad signature") from error
    claims = _read_object(segments[1])
    check_times(claims, now=now, leeway=leeway)
    return claims


def is_typ(value: object, expected: str) -> bool:
    """Whether the `typ` header names `expected`; case and the `application/` prefix do not count (RFC 7515 4.1.9)."""
    return isinstance(value, str) and value.lower().removeprefix("application/") == expected.lower()


def check_times(claims: dict[str, Any], *, now: datetime, leeway: timedelta) -> None:
    """Refuse a token that is not valid at `now`: `exp` is exclusive (RFC 7519 section 4.1.4)."""
    instant, slack = now.timestamp(), leeway.total_seconds()
    expires = _read_instant(claims, "exp")
    if expires is None:
        raise InvalidToken("no exp")
    for name in ("nbf", "iat"):
        begins = _read_instant(claims, name)
        if begins is not None and begins > instant + slack:
            raise InvalidToken(f"{name} is in the future")
    if expires <= instant - slack:
        raise ExpiredToken("expired")


def _read_instant(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    # bool is an int to Python, and JSON's 1e400 is infinite.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise InvalidToken(f"{name} is not a time")
    return float(value)


def _read_object(segment: str) -> dict[str, Any]:
    try:
        raw = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        value = json.loads(raw, object_pairs_hook=_refuse_doubles, parse_constant=_refuse_constant)
    except (Base64Error, ValueError, RecursionError) as error:
        raise InvalidToken("a segment that is no JSON object") from error
    if not isinstance(value, dict):
        raise InvalidToken("a segment that is no JSON object")
    return value


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
