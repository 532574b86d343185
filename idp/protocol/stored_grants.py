"""Grants and refresh tokens as they are stored: added, found, spent, revoked (security.md P-7, T-8)."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from idp import policy
from idp.db import Store
from idp.prepared import Prepared
from idp.protocol.models import Grant, RefreshToken
from idp.protocol.subjects import Authentication, Subject


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant, as tokens are minted from it."""

    id: str
    sub: str
    """The account, never a pairwise identifier."""
    client_id: str
    sid: str
    scopes: tuple[str, ...]
    resource: str | None
    auth_time: datetime
    amr: tuple[str, ...]
    acr: str
    created_at: datetime
    revoked_at: datetime | None
    claims: Mapping[str, Any] | None = None
    """What the `claims` parameter asked for: `userinfo` and `id_token`, each from a claim's name to how (OIDC Core
    section 5.5)."""


@dataclass(frozen=True, slots=True)
class LiveGrant:
    """Of a grant that was not revoked, what an access token is looked at with."""

    sub: str
    client_id: str
    claims: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class RefreshRow:
    """A refresh token with its grant. `scopes` is what it may still ask for."""

    digest: str
    grant: GrantRow
    scopes: tuple[str, ...]
    expires_at: datetime
    spent_at: datetime | None

    @property
    def is_spent(self) -> bool:
        return self.spent_at is not None


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
    _G.claims,
    _G.created_at,
    _G.revoked_at,
)
_FIND_GRANT = Prepared(select(*_GRANT_COLUMNS).where(_G.id == bindparam("grant_id")))
_FIND_LIVE = Prepared(
    select(_G.account_id, _G.client_id, _G.claims).where(_G.id == bindparam("grant_id"), _G.revoked_at.is_(None))
)
_FIND_REFRESH = Prepared(
    select(*_GRANT_COLUMNS, _R.scopes.label("token_scopes"), _R.expires_at.label("token_expires_at"), _R.spent_at)
    .join_from(_R, _G, _R.grant_id == _G.id)
    .where(_R.digest == bindparam("digest"))
)
_SPEND_REFRESH = Prepared(
    update(_R).where(_R.digest == bindparam("a_digest"), _R.spent_at.is_(None)).values(spent_at=bindparam("a_now"))
)
_REVOKE_GRANT = Prepared(
    update(_G).where(_G.id == bindparam("a_id"), _G.revoked_at.is_(None)).values(revoked_at=bindparam("a_now"))
)
_INSERT_GRANT = Prepared(
    insert(_G),
    inserts=(
        *("id", "account_id", "client_id", "sid", "scopes", "resource", "auth_time", "amr", "acr", "claims"),
        *("created_at", "expires_at", "revoked_at"),
    ),
)
_INSERT_REFRESH = Prepared(insert(_R), inserts=("digest", "grant_id", "scopes", "issued_at", "expires_at", "spent_at"))


class StoredGrants:
    """The rows behind the tokens."""

    def __init__(self, store: Store, *, refresh_key: bytes, refresh_grace: timedelta) -> None:
        self._store = store
        self._refresh_key = refresh_key
        self._refresh_grace = refresh_grace

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
        claims: Mapping[str, Any] | None = None,
        redeemable: timedelta = policy.AUTHORIZATION_CODE_LIFETIME,
    ) -> str:
        """Record what a person authorized; the id of the grant. `redeemable`: how long its code lives."""
        grant_id = secrets.token_urlsafe(16)
        lifetime: timedelta = (
            policy.REFRESH_TOKEN_LIFETIME if "offline_access" in scopes else redeemable + policy.ACCESS_TOKEN_LIFETIME
        )
        _INSERT_GRANT.run(
            tx,
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
                "claims": None if claims is None else dict(claims),
                "created_at": now,
                "expires_at": now + lifetime + policy.ACCESS_TOKEN_LIFETIME,
                "revoked_at": None,
            },
        )
        return grant_id

    def find_grant(self, grant_id: str, tx: Connection | None = None) -> GrantRow | None:
        """The grant, revoked or not."""
        values = {"grant_id": grant_id}
        row = self._store.first(_FIND_GRANT, values) if tx is None else _FIND_GRANT.first(tx, values)
        return None if row is None else _grant(row)

    def find_live_grant(self, grant_id: str) -> LiveGrant | None:
        """The grant as access tokens need it, or None: revoked, or there is none."""
        row = self._store.first(_FIND_LIVE, {"grant_id": grant_id})
        return None if row is None else LiveGrant(*row)

    def revoke_grant(self, tx: Connection, grant_id: str, *, now: datetime) -> None:
        """Kill the grant: its code, its refresh tokens and, at introspection and userinfo, its access tokens."""
        _REVOKE_GRANT.run(tx, {"a_id": grant_id, "a_now": now})

    def revoke_grants_of(self, tx: Connection, sub: str, *, now: datetime) -> int:
        """Kill every grant of a person: disabled, or a new password (W-4, L-5)."""
        return tx.execute(
            update(_G).where(_G.account_id == sub, _G.revoked_at.is_(None)).values(revoked_at=now)
        ).rowcount

    def void(self, tx: Connection, *, now: datetime) -> None:
        """Kill every grant there is: after a restore, which does not know which refresh tokens have been spent since.

        The rows stay, so that a token of before is told from one that never was.
        """
        tx.execute(update(_G).where(_G.revoked_at.is_(None)).values(revoked_at=now))

    def end_session(self, tx: Connection, sid: str, *, now: datetime) -> None:
        """Kill the grants of a session that ended, but those the person gave for offline use.

        OIDC Back-Channel Logout section 2.7: "Refresh tokens issued with the offline_access property normally SHOULD
        NOT be revoked."
        """
        rows = tx.execute(select(_G.id, _G.scopes).where(_G.sid == sid, _G.revoked_at.is_(None))).all()
        for row in rows:
            if "offline_access" not in row.scopes:
                self.revoke_grant(tx, row.id, now=now)

    def sweep(self, *, now: datetime) -> int:
        """Delete grants whose every token is over; refresh tokens go with them."""
        with self._store.write() as tx:
            return tx.execute(delete(_G).where(_G.expires_at <= now)).rowcount

    # -- refresh tokens ----------------------------------------------------------------------------------------------

    def add_refresh_token(
        self,
        tx: Connection,
        grant: GrantRow,
        subject: Subject,
        scopes: tuple[str, ...],
        *,
        now: datetime,
        after: str | None = None,
    ) -> str | None:
        """A new refresh token of this grant, the successor of `after`; None where it would already be over.

        It ends with the grant's absolute lifetime, and no later than the password (T-7).
        """
        expires_at = min(grant.created_at + policy.REFRESH_TOKEN_LIFETIME, subject.credentials_expire_at)
        if expires_at <= now:
            return None
        token = secrets.token_urlsafe(32) if after is None or not self._refresh_grace else self._successor(after)
        _INSERT_REFRESH.run(
            tx,
            {
                "digest": digest_token(token),
                "grant_id": grant.id,
                "scopes": list(scopes),
                "issued_at": now,
                "expires_at": expires_at,
                "spent_at": None,
            },
        )
        return token

    def find_refresh_token(self, token: str, tx: Connection | None = None) -> RefreshRow | None:
        """The refresh token with its grant, spent or not."""
        hashed = digest_token(token)
        values = {"digest": hashed}
        row = self._store.first(_FIND_REFRESH, values) if tx is None else _FIND_REFRESH.first(tx, values)
        if row is None:
            return None
        return RefreshRow(hashed, _grant(row), tuple(row.token_scopes), row.token_expires_at, row.spent_at)

    def spend_refresh_token(self, tx: Connection, row: RefreshRow, *, now: datetime) -> bool:
        """Spend it; True for one caller only (T-8)."""
        return _SPEND_REFRESH.run(tx, {"a_digest": row.digest, "a_now": now}) == 1

    def find_lost_successor(self, token: str, tx: Connection, *, now: datetime) -> tuple[str, RefreshRow] | None:
        """What a spent token was answered with, while the deployment's grace for lost answers lasts (T-8).

        None where there is no grace, where it is over, and where the successor has been used: then the answer was not
        lost, and somebody else holds the token.
        """
        row = self.find_refresh_token(token, tx) if self._refresh_grace else None
        if row is None or row.spent_at is None or now > row.spent_at + self._refresh_grace:
            return None
        successor = self._successor(token)
        found = self.find_refresh_token(successor, tx)
        return None if found is None or found.is_spent or found.grant.id != row.grant.id else (successor, found)

    def _successor(self, token: str) -> str:
        # Derived, so that the same one can be given again though only its digest is kept.
        raw = hmac.digest(self._refresh_key, token.encode("utf-8", "surrogatepass"), "sha256")
        return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def digest_token(token: str) -> str:
    """The form in which an opaque token is stored."""
    raw = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _grant(row: Any) -> GrantRow:
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
        claims=row.claims,
    )
