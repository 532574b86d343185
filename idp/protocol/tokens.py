"""Mint, rotate, look up and revoke tokens: RFC 9068 access tokens, OIDC ID tokens, opaque refresh tokens.

An access token has no row. Its `jti` begins with the id of its grant, so that revoking the grant makes it inactive
at once; one revoked alone has its `jti` remembered until it ends.
"""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from idp_kit.errors import InvalidToken
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from idp import policy
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.keys import KeyRing, half_hash
from idp.protocol.models import Grant, RefreshToken
from idp.protocol.subjects import (
    Authentication,
    Subject,
    SubjectSource,
    claims_for,
    has_mailbox_scope,
    is_mailbox_scope,
)

if TYPE_CHECKING:
    from idp.protocol.clients import Client

_REVOKED = "revoked-jti"
_GRANT_ID_LENGTH = 22


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant, as tokens are minted from it."""

    id: str
    sub: str
    client_id: str
    sid: str
    scopes: tuple[str, ...]
    resource: str | None
    auth_time: datetime
    amr: tuple[str, ...]
    acr: str
    created_at: datetime
    revoked_at: datetime | None


_G, _R = Grant, RefreshToken
_GRANT_COLUMNS = (
    _G.id,
    _G.account_id,
    _G.client_id,
    _G.sid,
    _G.scopes,
    _G.resource,
    _G.auth_time,
    _G.amr,
    _G.acr,
    _G.created_at,
    _G.revoked_at,
)
_FIND_GRANT = select(*_GRANT_COLUMNS).where(_G.id == bindparam("grant_id"))
_FIND_REFRESH = (
    select(*_GRANT_COLUMNS, _R.scopes.label("token_scopes"), _R.expires_at.label("token_expires_at"), _R.spent_at)
    .join_from(_R, _G, _R.grant_id == _G.id)
    .where(_R.digest == bindparam("digest"))
)
_SPEND_REFRESH = (
    update(_R).where(_R.digest == bindparam("a_digest"), _R.spent_at.is_(None)).values(spent_at=bindparam("a_now"))
)
_REVOKE_GRANT = (
    update(_G).where(_G.id == bindparam("a_id"), _G.revoked_at.is_(None)).values(revoked_at=bindparam("a_now"))
)
_INSERT_GRANT, _INSERT_REFRESH = insert(_G), insert(_R)


@dataclass(frozen=True, slots=True)
class RefreshRow:
    """A refresh token with its grant. `scopes` is what it may still ask for."""

    digest: str
    grant: GrantRow
    scopes: tuple[str, ...]
    expires_at: datetime
    is_spent: bool


@dataclass(frozen=True, slots=True)
class Minted:
    """An access token and what the token response says of it."""

    access_token: str
    expires_in: int
    scopes: tuple[str, ...]


class Tokens:
    """Everything that makes, finds or kills a token."""

    def __init__(
        self, store: Store, ephemeral: Ephemeral, keys: KeyRing, subjects: SubjectSource, *, issuer: str
    ) -> None:
        self._store = store
        self._ephemeral = ephemeral
        self._keys = keys
        self._subjects = subjects
        self.issuer = issuer

    # -- mint --------------------------------------------------------------------------------------------------------

    def mint_for_person(
        self, grant: GrantRow, client: "Client", subject: Subject, scopes: tuple[str, ...], *, now: datetime
    ) -> Minted:
        """An access token for a person's grant: RFC 9068 section 2.2 and what the scopes add."""
        claims: dict[str, Any] = {
            "sub": subject.sub,
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
        self, grant: GrantRow, client: "Client", subject: Subject, nonce: str | None, access_token: str, now: datetime
    ) -> str:
        """OIDC Core sections 2 and 3.1.3.6."""
        issued_at = int(now.timestamp())
        claims = {
            "iss": self.issuer,
            "sub": subject.sub,
            "aud": client.client_id,
            "iat": issued_at,
            "exp": issued_at + int(policy.ID_TOKEN_LIFETIME.total_seconds()),
            "auth_time": int(grant.auth_time.timestamp()),
            "acr": grant.acr,
            "amr": list(grant.amr),
            "sid": grant.sid,
            "at_hash": half_hash(access_token),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        return self._keys.sign(claims, typ="JWT", alg=client.id_token_signed_response_alg, now=now)

    def add_refresh_token(
        self,
        tx: Connection,
        grant: GrantRow,
        subject: Subject,
        scopes: tuple[str, ...],
        *,
        now: datetime,
    ) -> str | None:
        """A new refresh token of this grant; None where it would already be over.

        It ends with the grant's absolute lifetime, and no later than the password (T-7).
        """
        expires_at = min(grant.created_at + policy.REFRESH_TOKEN_LIFETIME, subject.credentials_expire_at)
        if expires_at <= now:
            return None
        token = secrets.token_urlsafe(32)
        tx.execute(
            _INSERT_REFRESH,
            {
                "digest": digest_token(token),
                "grant_id": grant.id,
                "scopes": list(scopes),
                "issued_at": now,
                "expires_at": expires_at,
            },
        )
        return token

    # -- grants ------------------------------------------------------------------------------------------------------

    def add_grant(
        self,
        tx: Connection,
        *,
        client_id: str,
        authentication: Authentication,
        scopes: tuple[str, ...],
        resource: str | None,
        now: datetime,
    ) -> str:
        """Record what a person authorized; the id of the grant."""
        grant_id = secrets.token_urlsafe(16)
        lifetime: timedelta = (
            policy.REFRESH_TOKEN_LIFETIME
            if "offline_access" in scopes
            else policy.AUTHORIZATION_CODE_LIFETIME + policy.ACCESS_TOKEN_LIFETIME
        )
        tx.execute(
            _INSERT_GRANT,
            {
                "id": grant_id,
                "account_id": authentication.sub,
                "client_id": client_id,
                "sid": authentication.sid,
                "scopes": list(scopes),
                "resource": resource,
                "auth_time": authentication.auth_time,
                "amr": list(authentication.amr),
                "acr": authentication.acr,
                "created_at": now,
                "expires_at": now + lifetime + policy.ACCESS_TOKEN_LIFETIME,
            },
        )
        return grant_id

    def find_grant(self, grant_id: str, tx: Connection | None = None) -> GrantRow | None:
        """The grant, revoked or not."""
        if tx is not None:
            row = tx.execute(_FIND_GRANT, {"grant_id": grant_id}).first()
        else:
            with self._store.read() as connection:
                row = connection.execute(_FIND_GRANT, {"grant_id": grant_id}).first()
        return None if row is None else _grant(row)

    def find_refresh_token(self, token: str, tx: Connection) -> RefreshRow | None:
        """The refresh token with its grant, spent or not."""
        hashed = digest_token(token)
        row = tx.execute(_FIND_REFRESH, {"digest": hashed}).first()
        if row is None:
            return None
        return RefreshRow(hashed, _grant(row), tuple(row.token_scopes), row.token_expires_at, row.spent_at is not None)

    def spend_refresh_token(self, tx: Connection, row: RefreshRow, *, now: datetime) -> bool:
        """Spend it; True for one caller only (T-8)."""
        return tx.execute(_SPEND_REFRESH, {"a_digest": row.digest, "a_now": now}).rowcount == 1

    def revoke_grant(self, tx: Connection, grant_id: str, *, now: datetime) -> None:
        """Kill the grant: its code, its refresh tokens and, at introspection and userinfo, its access tokens."""
        tx.execute(_REVOKE_GRANT, {"a_id": grant_id, "a_now": now})

    def revoke_grants_of(self, tx: Connection, sub: str, *, now: datetime) -> int:
        """Kill every grant of a person: disabled, or a new password (W-4, L-5)."""
        return tx.execute(
            update(_G).where(_G.account_id == sub, _G.revoked_at.is_(None)).values(revoked_at=now)
        ).rowcount

    def end_session(self, tx: Connection, sid: str, *, now: datetime) -> None:
        """Kill the grants of a session that ended, but those the person gave for offline use.

        OIDC Back-Channel Logout section 2.7: "Refresh tokens issued with the offline_access property normally SHOULD
        NOT be revoked."
        """
        rows = tx.execute(select(_G.id, _G.scopes).where(_G.sid == sid, _G.revoked_at.is_(None))).all()
        for row in rows:
            if "offline_access" not in row.scopes:
                self.revoke_grant(tx, row.id, now=now)

    # -- look --------------------------------------------------------------------------------------------------------

    def read_access_token(self, token: str, *, now: datetime) -> dict[str, Any]:
        """The claims of an access token of ours that is still active; `InvalidToken` otherwise.

        Checked beside signature and time: that it was not revoked, that its grant lives, that its person may still
        have tokens (L-5).
        """
        claims = self._keys.verify(token, typ="at+jwt", now=now)
        jti = claims.get("jti")
        if claims.get("iss") != self.issuer or not isinstance(jti, str):
            raise InvalidToken("not of this issuer")
        if has_mailbox_scope(str(claims.get("scope", "")).split()) and claims["exp"] <= now.timestamp():
            raise InvalidToken("expired")  # T-3: no slack with a mailbox scope
        if self._ephemeral.get(_REVOKED, jti, now=now) is not None:
            raise InvalidToken("revoked")
        if claims.get("sub") == claims.get("client_id"):
            return claims
        grant = self.find_grant(jti[:_GRANT_ID_LENGTH])
        if grant is None or grant.revoked_at is not None or grant.sub != claims.get("sub"):
            raise InvalidToken("revoked")
        if self._subjects.find_subject(grant.sub) is None:
            raise InvalidToken("the person may have no tokens")
        return claims

    def revoke_access_token(self, claims: Mapping[str, Any], *, now: datetime, tx: Connection) -> None:
        """Remember the `jti` as revoked for as long as the token would live."""
        left = timedelta(seconds=max(1.0, float(claims["exp"]) - now.timestamp())) + policy.CLOCK_SKEW
        self._ephemeral.put(_REVOKED, str(claims["jti"]), 1, left, now=now, tx=tx)

    def sweep(self, *, now: datetime) -> int:
        """Delete grants whose every token is over; refresh tokens go with them."""
        with self._store.write() as tx:
            return tx.execute(delete(_G).where(_G.expires_at <= now)).rowcount


def read_id_token_hint(hint: str, keys: KeyRing, issuer: str, now: datetime) -> dict[str, Any] | None:
    """The claims of an ID token of ours, expired or not; None for anything else (T-1).

    OIDC Core section 3.1.2.1 and RP-Initiated Logout section 2: an expired one still names the person.
    """
    try:
        claims = keys.verify(hint, typ="JWT", now=now, leeway=policy.ID_TOKEN_HINT_LIFETIME)
    except InvalidToken:
        return None
    return claims if claims.get("iss") == issuer else None


def digest_token(token: str) -> str:
    """The form in which an opaque token is stored."""
    raw = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _grant(row: Row[Any]) -> GrantRow:
    return GrantRow(
        id=row.id,
        sub=row.account_id,
        client_id=row.client_id,
        sid=row.sid,
        scopes=tuple(row.scopes),
        resource=row.resource,
        auth_time=row.auth_time,
        amr=tuple(row.amr),
        acr=row.acr,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
