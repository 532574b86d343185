"""The applications that a person has let in: what they may do, and how to send them away."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update

from idp import audit
from idp.db import Store
from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.messages import with_parameters
from idp.protocol.models import ClientRecord, Consent, Grant, RefreshToken
from idp.protocol.tokens import Tokens

_CLIENT_ID_LENGTH_MAX = 64

_CONSENTS = (
    select(Consent.client_id, ClientRecord.client_name, ClientRecord.details, Consent.scopes, Consent.granted_at)
    .join_from(Consent, ClientRecord, Consent.client_id == ClientRecord.client_id)
    .where(Consent.account_id == bindparam("sub"))
)
_IS_LIVE = (Grant.account_id == bindparam("sub"), Grant.revoked_at.is_(None))
_GRANTS = (
    select(Grant.client_id, ClientRecord.client_name, ClientRecord.details, Grant.scopes, Grant.created_at)
    .join_from(Grant, ClientRecord, Grant.client_id == ClientRecord.client_id)
    .where(*_IS_LIVE)
    .order_by(Grant.created_at)
)
_REFRESHED = (
    select(Grant.client_id, func.max(RefreshToken.issued_at).label("at"))
    .join_from(Grant, RefreshToken, RefreshToken.grant_id == Grant.id)
    .where(*_IS_LIVE)
    .group_by(Grant.client_id)
)
_FIND = select(Consent.scopes, Consent.claims).where(
    Consent.account_id == bindparam("account_id"), Consent.client_id == bindparam("client_id")
)
_LOCK_CONSENT = _FIND.with_for_update()
_HOLD_CONSENT = _FIND.with_for_update(read=True)
_OF_CLIENT = select(Grant.id).where(*_IS_LIVE, Grant.client_id == bindparam("client_id"))


@dataclass(frozen=True, slots=True)
class Application:
    """A client that may act for a person."""

    client_id: str
    client_name: str
    scopes: tuple[str, ...]
    since: datetime
    last_used_at: datetime | None
    """When it was last given a code, or refreshed a token, of what is still alive; None: nothing is."""
    start_url: str | None = None
    """Where it begins a sign-in by itself, told who asks for it; None where it registered no `initiate_login_uri`."""


class Consents:
    """A person's own consents and grants; `sub` is who is signed in, and nobody else's can be reached (W-9)."""

    def __init__(self, store: Store, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens

    def list_for(self, sub: str) -> tuple[Application, ...]:
        """Every client that has a consent of this person or a grant that lives, in the order of their names.

        A first-party client asks for no consent; its grants show that it may act all the same.
        """
        found: dict[str, Application] = {}
        with self._store.read() as connection:
            for row in connection.execute(_CONSENTS, {"sub": sub}):
                scopes = tuple(row.scopes)
                found[row.client_id] = Application(
                    row.client_id, row.client_name, scopes, row.granted_at, None, self._start_url(row.details)
                )
            for row in connection.execute(_GRANTS, {"sub": sub}):
                start_url = self._start_url(row.details)
                new = Application(row.client_id, row.client_name, (), row.created_at, None, start_url)
                known = found.get(row.client_id, new)
                scopes = tuple(dict.fromkeys((*known.scopes, *row.scopes)))
                since = min(known.since, row.created_at)
                found[row.client_id] = replace(known, scopes=scopes, since=since, last_used_at=row.created_at)
            for row in connection.execute(_REFRESHED, {"sub": sub}):
                used = found.get(row.client_id)
                if used is not None and used.last_used_at is not None:
                    found[row.client_id] = replace(used, last_used_at=max(used.last_used_at, row.at))
        return tuple(sorted(found.values(), key=lambda each: (each.client_name.casefold(), each.client_id)))

    def _start_url(self, details: Mapping[str, Any] | None) -> str | None:
        """OIDC Core section 4. No `login_hint`: the application asks us, and we know who is signed in."""
        uri = ClientDetails.from_json(details or {}).initiate_login_uri
        return None if uri is None else with_parameters(uri, {"iss": self._tokens.issuer})

    def find(self, sub: str, client_id: str) -> tuple[frozenset[str], frozenset[str]]:
        """The scopes that this person has allowed the client, and the claims beyond them."""
        with self._store.read() as connection:
            row = connection.execute(_FIND, {"account_id": sub, "client_id": client_id}).first()
        return (frozenset(), frozenset()) if row is None else (frozenset(row.scopes), frozenset(row.claims or ()))

    def hold(
        self, tx: Connection, sub: str, client: Client, scopes: Collection[str], claims: Collection[str] = ()
    ) -> bool:
        """Whether this person's consent covers all that; if so, nobody takes it back before `tx` has ended.

        Who takes it back comes to the row first and to the grants afterwards, and so finds what was given in `tx`.
        """
        if client.first_party:
            return True
        row = tx.execute(_HOLD_CONSENT, {"account_id": sub, "client_id": client.client_id}).first()
        return row is not None and set(row.scopes).issuperset(scopes) and set(row.claims or ()).issuperset(claims)

    def remember(
        self,
        tx: Connection,
        sub: str,
        client: Client,
        scopes: Collection[str],
        now: datetime,
        *,
        claims: Collection[str] = (),
    ) -> None:
        """Add what a person has just allowed a client, and record it; what was allowed before stays allowed.

        For a public client there is no consent to come back to, but it is shown among the applications (P-9).
        """
        key = {"account_id": sub, "client_id": client.client_id}
        # First the row, then the union under its lock: two consents at once lose nothing.
        first = self._store.insert(Consent).values(**key, scopes=[], granted_at=now).on_conflict_do_nothing()
        tx.execute(first)
        known = tx.execute(_LOCK_CONSENT, key).one()
        union = {
            "scopes": list(dict.fromkeys((*known.scopes, *scopes))),
            "claims": list(dict.fromkeys((*(known.claims or ()), *claims))) or None,
        }
        tx.execute(
            update(Consent)
            .where(Consent.account_id == sub, Consent.client_id == client.client_id)
            .values(**union, granted_at=now)
        )
        detail = {"scope": " ".join(scopes)} | ({"claims": " ".join(claims)} if claims else {})
        audit.record(tx, audit.Event.CONSENT_GRANT, now=now, account_id=sub, client_id=client.client_id, detail=detail)

    def revoke(self, sub: str, client_id: str, now: datetime) -> bool:
        """Take the consent back and kill what came of it; False where this person has nothing of such a client."""
        if len(client_id) > _CLIENT_ID_LENGTH_MAX or not (client_id.isascii() and client_id.isprintable()):
            return False  # nobody's; and PostgreSQL would not even compare some of them
        with self._store.write() as tx:
            consent = delete(Consent).where(Consent.account_id == sub, Consent.client_id == client_id)
            had_consent = tx.execute(consent).rowcount == 1
            grants = list(tx.scalars(_OF_CLIENT, {"sub": sub, "client_id": client_id}))
            for grant_id in grants:
                self._tokens.revoke_grant(tx, grant_id, now=now)
            if not had_consent and not grants:
                return False
            detail = {"grants": len(grants)}
            audit.record(tx, audit.Event.CONSENT_REVOKE, now=now, account_id=sub, client_id=client_id, detail=detail)
        return True
