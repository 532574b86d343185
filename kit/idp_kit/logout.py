"""Verify a logout token of the issuer (OpenID Connect Back-Channel Logout 1.0 section 2.6)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from idp_kit.errors import InvalidToken
from idp_kit.tokens import ALGORITHMS_KNOWN, LEEWAY_MAX, KeySource, names_audience, verify_jwt

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TYP = "logout+jwt"


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Whose session has ended at the issuer: that of `sid`, or each one of `sub` where there is no `sid`."""

    sub: str | None
    sid: str | None
    jti: str
    replayable_until: datetime
    """Until when a second token with this `jti` has to be refused; afterwards this verifier refuses it by itself."""


class LogoutTokenVerifier:
    """Tells logout tokens of one issuer for one client from everything else, ID and access tokens included."""

    def __init__(
        self, issuer: str, client_id: str, keys: KeySource, algorithms: Collection[str] = ("ES256", "RS256")
    ) -> None:
        """`ValueError` for an algorithm that is not a signature by a public key."""
        if not algorithms or not ALGORITHMS_KNOWN.issuperset(algorithms):
            raise ValueError("algorithms must be some of " + ", ".join(sorted(ALGORITHMS_KNOWN)))
        if not issuer or not client_id:
            raise ValueError("a verifier needs an issuer and a client id")
        self._issuer = issuer
        self._client_id = client_id
        self._keys = keys
        self._algorithms = frozenset(algorithms)

    def verify(self, token: str, now: datetime) -> LogoutToken:
        """The token, read, or `InvalidToken`; `KeysUnavailable` while the issuer's keys cannot be had.

        That it is the first with its `jti` is for the caller to see to, who has a place to remember it.
        """
        claims = verify_jwt(
            token,
            find_key=self._keys.find_key,
            algorithms=self._algorithms,
            typ=LOGOUT_TYP,
            now=now,
            leeway=LEEWAY_MAX,
        )
        if claims.get("iss") != self._issuer or not names_audience(claims.get("aud"), self._client_id):
            raise InvalidToken("another issuer, or for another client")
        jti = claims.get("jti")
        if "iat" not in claims or not isinstance(jti, str) or not jti:
            raise InvalidToken("a claim is missing that every logout token has")
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
            raise InvalidToken("not the event of a logout")
        if "nonce" in claims:
            # Section 2.4: so that a logout token is of no use as an ID token.
            raise InvalidToken("a logout token has no nonce")
        sub, sid = _read_name(claims, "sub"), _read_name(claims, "sid")
        if sub is None and sid is None:
            raise InvalidToken("names neither a person nor a session")
        return LogoutToken(sub, sid, jti, datetime.fromtimestamp(claims["exp"], UTC) + LEEWAY_MAX)


def _read_name(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if name in claims and (not isinstance(value, str) or not value):
        raise InvalidToken(f"{name} is not a name")
    return value
