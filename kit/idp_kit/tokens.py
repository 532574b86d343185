"""Verify an access token of the issuer: its signature, its kind, its time (RFC 7515, RFC 7519, RFC 8725, RFC 9068)."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from idp_kit.errors import ExpiredToken, InsufficientScope, InvalidRetention, InvalidToken
from idp_kit.jwks import PublicKey, parse_object
from idp_kit.retention import MailboxClaim, read_claim

TOKEN_LENGTH_MAX = 16 * 1024
"""Characters; a longer token is refused before it is looked at."""

FindKey = Callable[[str], PublicKey | None]
"""From a `kid` to the public key of that name, which says its one algorithm in `alg`, or None."""

ALGORITHMS_KNOWN = frozenset({"ES256", "RS256", "PS256", "EdDSA"})
"""Signatures by a public key. `none` and HMAC are not among them, and cannot be asked for."""

LEEWAY_MAX = timedelta(seconds=30)
"""More slack for another machine's clock is refused (security.md T-3)."""


class SignatureRegistry(JWSRegistry):
    """The algorithms it was made with and no others, without joserfc's advice on their names.

    It would rather have RFC 9864's "Ed25519" than "EdDSA", which is what clients register and libraries expect.
    """

    def get_alg(self, name: str) -> Any:
        if not self.allowed or name not in self.allowed:
            return super().get_alg(name)
        return self.algorithms[name]


_REGISTRIES = {alg: SignatureRegistry(algorithms=[alg]) for alg in ALGORITHMS_KNOWN}
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
        jws.deserialize_compact(token, key, registry=_REGISTRIES[alg])
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


class KeySource(Protocol):
    """Where a verifier finds the issuer's keys: `JwksCache`, or what a test puts in its place."""

    def find_key(self, kid: str) -> PublicKey | None:
        """The public key of that name, or None. Raises `KeysUnavailable` where nobody can say."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that was verified: whom it is for, what it allows, and until when."""

    sub: str
    client_id: str
    scopes: frozenset[str]
    claims: Mapping[str, Any] = field(repr=False)
    mailbox: MailboxClaim | None
    """What the mailbox scopes allow; None where there is no such scope."""
    expires_at: datetime

    def get_mailbox(self) -> MailboxClaim:
        """The mailbox claim; `InvalidRetention` where the token has none."""
        if self.mailbox is None:
            raise InvalidRetention("a token without a mailbox scope")
        return self.mailbox

    def check_scopes(self, *needed: str) -> None:
        """Raise `InsufficientScope` unless every one was given and, if it is a mailbox scope, the claim agrees."""
        if not self.scopes.issuperset(needed):
            raise InsufficientScope("a scope is missing")
        for scope in needed:
            if scope.startswith(_MAILBOX) and not _agrees(self.get_mailbox(), scope):
                raise InsufficientScope("the mailbox claim allows less than the scope")


class AccessTokenVerifier:
    """Tells access tokens of one issuer for one resource server from everything else (RFC 9068 section 4)."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: KeySource,
        algorithms: Collection[str] = ("ES256", "RS256"),
        *,
        leeway: timedelta = LEEWAY_MAX,
    ) -> None:
        """`audience` is the name under which this resource server is known to the issuer (RFC 8707).

        `ValueError` for an algorithm that is not a signature by a public key, and for more slack than 30 seconds.
        """
        if not algorithms or not ALGORITHMS_KNOWN.issuperset(algorithms):
            raise ValueError("algorithms must be some of " + ", ".join(sorted(ALGORITHMS_KNOWN)))
        if not timedelta() <= leeway <= LEEWAY_MAX:
            raise ValueError("leeway must lie between none and 30 seconds")
        if not issuer or not audience:
            raise ValueError("a verifier needs an issuer and an audience")
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._algorithms = frozenset(algorithms)
        self._leeway = leeway

    def verify(self, token: str, now: datetime) -> AccessToken:
        """The token, read, or `InvalidToken`; `KeysUnavailable` while the issuer's keys cannot be had.

        A token with a mailbox scope gets no slack on `exp`, and `InvalidRetention` is raised where its `mailbox`
        claim is missing or cannot be obeyed. A sender-constrained token (`cnf`) is refused: this version of the kit
        does not verify the proof that must come with it.
        """
        claims = verify_jwt(
            token,
            find_key=self._keys.find_key,
            algorithms=self._algorithms,
            typ="at+jwt",
            now=now,
            leeway=self._leeway,
        )
        # RFC 9068 section 2.2: the claims that every access token has; `exp` has been read already.
        if not all(isinstance(claims.get(name), str) and claims[name] for name in ("sub", "client_id", "jti")):
            raise InvalidToken("a claim is missing that every access token has")
        if claims.get("iss") != self._issuer or "iat" not in claims:
            raise InvalidToken("another issuer, or no iat")
        if not names_audience(claims.get("aud"), self._audience):
            raise InvalidToken("for another audience")
        if "cnf" in claims:
            raise InvalidToken("bound to a key of which no proof was verified")
        scopes = _read_scopes(claims.get("scope", ""))
        mailbox = None
        if any(scope.startswith(_MAILBOX) for scope in scopes):
            check_times({"exp": claims["exp"]}, now=now, leeway=timedelta())
            mailbox = read_claim(claims.get("mailbox"))
        return AccessToken(
            sub=claims["sub"],
            client_id=claims["client_id"],
            scopes=scopes,
            claims=MappingProxyType(claims),
            mailbox=mailbox,
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )


_MAILBOX = "mailbox:"


def _agrees(claim: MailboxClaim, scope: str) -> bool:
    match scope.removeprefix(_MAILBOX):
        case "read" | "download" as action:
            return action in claim.actions
        case "issued":
            return "issuer" in claim.role
        case "archive":
            return claim.archive
    return False


def names_audience(aud: object, audience: str) -> bool:
    """Whether an `aud` claim names `audience`: one string, or an array of them (RFC 7519 section 4.1.3)."""
    if isinstance(aud, list):
        return all(isinstance(each, str) for each in aud) and audience in aud
    return aud == audience


def _read_scopes(scope: object) -> frozenset[str]:
    if not isinstance(scope, str):
        raise InvalidToken("scope is not a string")
    return frozenset(scope.split(" ")) - {""}


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
        return parse_object(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:
        raise InvalidToken("a segment that is no JSON object") from error
