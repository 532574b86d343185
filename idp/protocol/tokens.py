"""Mint, look up and revoke tokens: RFC 9068 access tokens, OIDC ID tokens, over the grants that are stored.

An access token has no row. Its `jti` begins with the id of its grant, so that revoking the grant makes it inactive
at once; one revoked alone has its `jti` remembered until it ends.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from idp_kit.errors import InvalidToken
from sqlalchemy import Connection

from idp import installation, policy
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.keys import KeyRing, half_hash
from idp.protocol.sealing import ClientKeySource, Sealing
from idp.protocol.stored_grants import GrantRow, LiveGrant, RefreshRow, StoredGrants, digest_token
from idp.protocol.subjects import (
    Subject,
    SubjectSource,
    claims_for,
    has_mailbox_scope,
    is_mailbox_scope,
    requested_claims,
)

if TYPE_CHECKING:
    from idp.protocol.clients import Client

_REVOKED = "revoked-jti"
_GRANT_ID_LENGTH = 22
NO_GRACE = timedelta()


@dataclass(frozen=True, slots=True)
class Minted:
    """An access token and what the token response says of it."""

    access_token: str
    expires_in: int
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActiveToken:
    """An access token that may be used now: what it says, and what stands behind it."""

    claims: dict[str, Any]
    grant: LiveGrant | None
    """None where the client acts for itself; then there is no person either."""
    subject: Subject | None


class Tokens(StoredGrants):
    """Everything that makes, finds or kills a token."""

    def __init__(
        self,
        store: Store,
        ephemeral: Ephemeral,
        keys: KeyRing,
        subjects: SubjectSource,
        *,
        issuer: str,
        pairwise_key: bytes,
        refresh_key: bytes,
        refresh_grace: timedelta = NO_GRACE,
        client_keys: ClientKeySource | None = None,
    ) -> None:
        super().__init__(store, refresh_key=refresh_key, refresh_grace=refresh_grace)
        self._ephemeral = ephemeral
        self._keys = keys
        self._subjects = subjects
        self._pairwise_key = pairwise_key
        self._restored: int | None = None
        self.sealing = Sealing(keys, client_keys)
        self.issuer = issuer

    # -- who ---------------------------------------------------------------------------------------------------------

    def sub_for(self, client: "Client", account_id: str) -> str:
        """The person's `sub`, as this client sees it (OIDC Core section 8): in whatever is told to it.

        Pairwise: the same for all clients of one sector, of no use to those of another, and nobody finds the account
        from it without the key (section 8.1). An account's id is never given again, so neither is its `sub` (T-4).
        """
        if client.details.subject_type != "pairwise":
            return account_id
        sector = client.details.sector or _sector_of(client)
        raw = hmac.digest(self._pairwise_key, f"{sector}\n{account_id}".encode(), "sha256")
        return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

    # -- mint --------------------------------------------------------------------------------------------------------

    def mint_for_person(
        self, grant: GrantRow, client: "Client", subject: Subject, scopes: tuple[str, ...], *, now: datetime
    ) -> Minted:
        """An access token for a person's grant: RFC 9068 section 2.2 and what the scopes add."""
        claims: dict[str, Any] = {
            "sub": self.sub_for(client, subject.sub),
            "auth_time": int(grant.auth_time.timestamp()),
            "acr": grant.acr,
            "amr": list(grant.amr),
            "sid": grant.sid,
        }
        if "rfc" in scopes:
            claims.update(claims_for(("rfc",), subject))
        return self._mint(
            claims,
            client,
            scopes,
            audience=grant.resource,
            rfc=subject.mailbox_rfc,
            retention_days=subject.retention_days,
            jti=f"{grant.id}.{secrets.token_urlsafe(12)}",
            now=now,
        )

    def mint_for_client(
        self, client: "Client", scopes: tuple[str, ...], resource: str | None, *, now: datetime
    ) -> Minted:
        """An access token for the client itself (RFC 6749 section 4.4): `sub` is the client id."""
        rfc = client.organization_rfc if has_mailbox_scope(scopes) else None
        days = (
            self._subjects.deployment_retention_days if rfc is None else self._subjects.find_organization_retention(rfc)
        )
        return self._mint(
            {"sub": client.client_id},
            client,
            scopes,
            audience=resource,
            rfc=rfc,
            retention_days=days,
            jti=secrets.token_urlsafe(16),
            now=now,
        )

    def _mint(
        self,
        claims: dict[str, Any],
        client: "Client",
        scopes: tuple[str, ...],
        *,
        audience: str | None,
        rfc: str | None,
        retention_days: int,
        jti: str,
        now: datetime,
    ) -> Minted:
        issued_at = int(now.timestamp())
        expires_at = issued_at + int(policy.ACCESS_TOKEN_LIFETIME.total_seconds())
        if has_mailbox_scope(scopes):
            if rfc is None:
                # Mailbox scopes are for an RFC's own mailbox, never for staff (product.md section 2).
                scopes = tuple(scope for scope in scopes if not is_mailbox_scope(scope))
            else:
                days = retention_days if client.retention_days is None else min(retention_days, client.retention_days)
                claims["mailbox"], not_after = self._subjects.mailbox_claim(rfc, scopes, days, now)
                expires_at = min(expires_at, ceil(not_after.timestamp()))
        claims.update(
            iss=self.issuer,
            aud=audience or self.issuer,
            client_id=client.client_id,
            iat=issued_at,
            exp=expires_at,
            jti=jti,
            scope=" ".join(scopes),
        )
        token = self._keys.sign(claims, typ="at+jwt", alg="ES256", now=now)
        return Minted(token, expires_at - issued_at, scopes)

    def mint_id_token(
        self,
        grant: GrantRow,
        client: "Client",
        subject: Subject,
        *,
        nonce: str | None,
        now: datetime,
        access_token: str | None = None,
        code: str | None = None,
        state: str | None = None,
        claims_requested: Mapping[str, Any] | None = None,
    ) -> str:
        """OIDC Core sections 2, 3.1.3.6 and 3.3.2.11, signed and encrypted as the client registered.

        `at_hash`, `c_hash` and `s_hash` (FAPI 1.0 part 2, section 5.1) stand where their value is given.
        `claims_requested` is the `id_token` member of the `claims` parameter; by default what the grant keeps of it.
        """
        issued_at, alg = int(now.timestamp()), client.id_token_signed_response_alg
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": self.sub_for(client, subject.sub),
            "aud": client.client_id,
            "iat": issued_at,
            "exp": issued_at + int(policy.ID_TOKEN_LIFETIME.total_seconds()),
            "auth_time": int(grant.auth_time.timestamp()),
            "acr": grant.acr,
            "amr": list(grant.amr),
            "sid": grant.sid,
        }
        if nonce is not None:
            claims["nonce"] = nonce
        for name, value in (("at_hash", access_token), ("c_hash", code), ("s_hash", state)):
            if value is not None:
                claims[name] = half_hash(value, alg)
        if access_token is None and code is None:
            # OIDC Core section 5.4: "when no Access Token is issued (which is the case for the response_type value
            # id_token), the resulting Claims are returned in the ID Token".
            claims.update(claims_for(grant.scopes, subject))
        requested = claims_requested if claims_requested is not None else (grant.claims or {}).get("id_token")
        if requested:
            claims.update(requested_claims(requested, client.scopes, subject))
        return self.sealing.seal_id_token(claims, client, now)

    # -- look --------------------------------------------------------------------------------------------------------

    def read_access_token(self, token: str, *, now: datetime) -> ActiveToken:
        """An access token of ours that is still active; `InvalidToken` otherwise.

        Checked beside signature and time: that it was not revoked, that its grant lives, that its person may still
        have tokens (L-5).
        """
        claims = self._keys.verify(token, typ="at+jwt", now=now)
        jti = claims.get("jti")
        if claims["iat"] < self._restored_at():
            # Whether it was revoked meanwhile is not known any more.
            raise InvalidToken("issued before a restore")
        if claims.get("iss") != self.issuer or not isinstance(jti, str):
            raise InvalidToken("not of this issuer")
        if has_mailbox_scope(str(claims.get("scope", "")).split()) and claims["exp"] <= now.timestamp():
            raise InvalidToken("expired")  # T-3: no slack with a mailbox scope
        if self._ephemeral.get(_REVOKED, jti, now=now) is not None:
            raise InvalidToken("revoked")
        if claims.get("sub") == claims.get("client_id"):
            return ActiveToken(claims, None, None)
        grant = self.find_live_grant(jti[:_GRANT_ID_LENGTH])
        if grant is None or grant.client_id != claims.get("client_id"):
            raise InvalidToken("revoked")
        subject = self._subjects.find_subject(grant.sub)
        if subject is None:
            raise InvalidToken("the person may have no tokens")
        return ActiveToken(claims, grant, subject)

    def _restored_at(self) -> int:
        """The first second whose tokens no restore has made void. Asked once: it happens while no process runs."""
        if self._restored is None:
            found = installation.find_restored_at(self._store)
            # `iat` is in whole seconds: what was issued in the second of the restore counts as issued before it.
            self._restored = 0 if found is None else int(found.timestamp()) + 1
        return self._restored

    def revoke_access_token(self, claims: Mapping[str, Any], *, now: datetime, tx: Connection) -> None:
        """Remember the `jti` as revoked for as long as the token would live."""
        left = timedelta(seconds=max(1.0, float(claims["exp"]) - now.timestamp())) + policy.CLOCK_SKEW
        self._ephemeral.put(_REVOKED, str(claims["jti"]), 1, left, now=now, tx=tx)


def read_id_token_hint(hint: str, keys: KeyRing, issuer: str, now: datetime) -> dict[str, Any] | None:
    """The claims of an ID token of ours, expired or not; None for anything else (T-1).

    OIDC Core section 3.1.2.1 and RP-Initiated Logout section 2: an expired one still names the person.
    """
    try:
        claims = keys.verify(hint, typ="JWT", now=now, leeway=policy.ID_TOKEN_HINT_LIFETIME)
    except InvalidToken:
        return None
    return claims if claims.get("iss") == issuer else None


def _sector_of(client: "Client") -> str:
    # OIDC Core section 8.1: "the host component of the registered redirect_uri is used".
    return (urlsplit(client.redirect_uris[0]).hostname if client.redirect_uris else None) or client.client_id


__all__ = [
    "ActiveToken",
    "GrantRow",
    "Minted",
    "RefreshRow",
    "Tokens",
    "digest_token",
    "read_id_token_hint",
]
