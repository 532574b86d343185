"""Client metadata: registered by operators, read through a short cache, redirect addresses matched exactly."""

import hmac
import re
import secrets
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from idp import audit, policy
from idp.db import Store
from idp.protocol.client_secrets import digest_secret, new_secret, seal, unseal
from idp.protocol.details import ClientDetails
from idp.protocol.errors import ClientProblem
from idp.protocol.metadata import IDENTITY_SCOPES as IDENTITY_SCOPES
from idp.protocol.metadata import MAILBOX_SCOPES as MAILBOX_SCOPES
from idp.protocol.metadata import Registration as Registration
from idp.protocol.metadata import check_registration, has_secret, sector_of
from idp.protocol.models import ClientLogo, ClientRecord, Grant, RefreshToken
from idp.protocol.profiles import PROFILES, Profile

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\])(?::([0-9]{1,5}))?((?:/.*)?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client, as every check sees it; names of RFC 7591 section 2."""

    client_id: str
    client_name: str
    profile: Profile
    first_party: bool
    client_secret_digest: str | None
    token_endpoint_auth_method: str
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    backchannel_logout_uri: str | None
    grant_types: frozenset[str]
    response_types: frozenset[str]
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    id_token_signed_response_alg: str
    organization_rfc: str | None
    retention_days: int | None
    details: ClientDetails = ClientDetails()
    client_secret_expires_at: datetime | None = None
    client_secret_encrypted: str | None = None
    previous_secret_digest: str | None = None
    previous_secret_expires_at: datetime | None = None
    registration_token_digest: str | None = None
    created_at: datetime | None = None

    @property
    def is_public(self) -> bool:
        return self.token_endpoint_auth_method == "none"

    @property
    def registration(self) -> Registration:
        """What it would be registered with, to be as it is."""
        return Registration(
            client_name=self.client_name,
            redirect_uris=self.redirect_uris,
            post_logout_redirect_uris=self.post_logout_redirect_uris,
            backchannel_logout_uri=self.backchannel_logout_uri,
            scopes=self.scopes,
            grant_types=tuple(sorted(self.grant_types)),
            resources=self.resources,
            profile=self.profile.name,
            token_endpoint_auth_method=self.token_endpoint_auth_method,
            id_token_signed_response_alg=self.id_token_signed_response_alg,
            organization_rfc=self.organization_rfc,
            retention_days=self.retention_days,
            first_party=self.first_party,
            response_types=tuple(sorted(self.response_types)),
            details=self.details,
        )

    @property
    def remembers_consent(self) -> bool:
        """P-9: anyone can pretend to be a public client, so its person is asked each time."""
        return not self.is_public

    def has_secret(self, secret: str, *, now: datetime) -> bool:
        """Whether `secret` is this client's at `now`, in constant time. After a rotation two may be for a while."""
        digest = digest_secret(secret)
        if self.client_secret_digest is not None and hmac.compare_digest(self.client_secret_digest, digest):
            return self.has_live_secret(now)
        if self.previous_secret_digest is None or self.previous_secret_expires_at is None:
            return False
        return hmac.compare_digest(self.previous_secret_digest, digest) and now < self.previous_secret_expires_at

    def has_live_secret(self, now: datetime) -> bool:
        """Whether its present secret has not ended."""
        return self.client_secret_expires_at is None or now < self.client_secret_expires_at

    @property
    def needs_secret(self) -> bool:
        """Whether its method asks for a secret that it has not got yet: `rotate_secret` gives one."""
        method = self.token_endpoint_auth_method
        sealed = self.client_secret_encrypted is not None or method != "client_secret_jwt"
        return has_secret(method) and not (sealed and self.client_secret_digest is not None)

    @property
    def logo_path(self) -> str | None:
        """Where we serve its logo, or None."""
        digest = self.details.logo_digest
        return None if digest is None else f"/oauth/logo/{self.client_id}/{digest}.png"

    def has_registration_token(self, token: str) -> bool:
        """Whether `token` is its registration access token (RFC 7592), in constant time."""
        known = self.registration_token_digest
        return known is not None and hmac.compare_digest(known, digest_secret(token))

    def has_response_type(self, canonical: str) -> bool:
        """Whether it registered the response type, given as `canonical_response_type` gives it."""
        return canonical in self.response_types

    def allows_response_mode(self, mode: str) -> bool:
        """Whether answers may go to it this way: by its profile, or because it registered the mode (P-4)."""
        profile = self.profile
        return mode in profile.default_response_modes or (
            mode in profile.response_modes and mode in self.details.response_modes
        )

    def has_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether the address is registered, character by character (P-1).

        Only the port of a loopback IP address may differ (RFC 8252 section 7.3).
        """
        if redirect_uri in self.redirect_uris:
            return True
        asked = _LOOPBACK.fullmatch(redirect_uri)
        if asked is None or (asked[2] is not None and not 0 < int(asked[2]) < 65536):
            return False
        known = (_LOOPBACK.fullmatch(uri) for uri in self.redirect_uris)
        return any(each is not None and (each[1], each[3]) == (asked[1], asked[3]) for each in known)

    def allowed_scopes(self, asked: Collection[str]) -> tuple[str, ...]:
        """Those of `asked` that this client may have, in the order asked (T-5)."""
        return tuple(scope for scope in asked if scope in self.scopes)


_FIND = select(ClientRecord).where(ClientRecord.client_id == bindparam("client_id"))
_HOLD = _FIND.with_for_update()
_FIND_LOGO = select(ClientLogo.png).where(ClientLogo.client_id == bindparam("client_id"))
_CHANGE = update(ClientRecord).where(ClientRecord.client_id == bindparam("the_id"))
_UNKNOWN = "no client has this id"
_UNKNOWN_ID = re.compile(r"[^A-Za-z0-9._~-]")


class Clients:
    """The registered clients."""

    def __init__(self, store: Store, *, sealing_key: bytes | None = None) -> None:
        """`sealing_key`, of 32 bytes, keeps the secrets that are needed again; without it no client can have one."""
        self._store = store
        self._sealing_key = sealing_key
        self._cache: dict[str, tuple[float, Client]] = {}
        self._lock = threading.Lock()

    def find(self, client_id: str, *, anew: bool = False) -> Client | None:
        """The client of this id, at most `CLIENT_CACHE_LIFETIME` out of date unless it is read anew, or None."""
        cached = None if anew else self._cache.get(client_id)
        if cached is not None and monotonic() < cached[0]:
            return cached[1]
        if len(client_id) > 64 or _UNKNOWN_ID.search(client_id):
            return None
        with self._store.read() as connection:
            row = connection.execute(_FIND, {"client_id": client_id}).first()
        with self._lock:
            if row is None:
                self._cache.pop(client_id, None)
                return None
            client = _from_row(row)
            self._cache[client_id] = (monotonic() + policy.CLIENT_CACHE_LIFETIME.total_seconds(), client)
        return client

    def list(self) -> list[Client]:
        with self._store.read() as connection:
            return [_from_row(row) for row in connection.execute(select(ClientRecord).order_by(ClientRecord.client_id))]

    def add(
        self,
        registration: Registration,
        *,
        now: datetime,
        secret_expires_at: datetime | None = None,
        registration_token: str | None = None,
        logo: bytes | None = None,
        first: Callable[[Connection], None] | None = None,
    ) -> tuple[Client, str | None]:
        """Register; the client and, this once, its secret. `ClientProblem` says what is wrong.

        `first` is done in the same transaction, before; what it raises undoes all.
        """
        check_registration(registration)
        client_id = secrets.token_hex(12)
        secret = new_secret() if has_secret(registration.token_endpoint_auth_method) else None
        row = {
            **_to_row(registration),
            **self._secret_columns(client_id, registration.token_endpoint_auth_method, secret, secret_expires_at),
            "client_id": client_id,
            "registration_token_digest": None if registration_token is None else digest_secret(registration_token),
            "created_at": now,
            "updated_at": now,
        }
        with self._store.write() as tx:
            if first is not None:
                first(tx)
            tx.execute(insert(ClientRecord), row)
            _keep_logo(tx, client_id, logo)
            by = "operator" if registration_token is None else "itself"
            audit.record(tx, audit.Event.CLIENT_CREATE, now=now, client_id=client_id, detail={"by": by})
        return self._read_again(client_id), secret

    def update(
        self,
        client_id: str,
        changes: dict[str, Any],
        *,
        now: datetime,
        logo: bytes | None = None,
        seen: Registration | None = None,
    ) -> Client:
        """Change what `changes` names of the registration; the rest stays.

        A client that changes to a method with a secret has none until `rotate_secret` makes one. `logo` is the image
        that the details' `logo_digest` is of, where it is a new one. `seen` is the registration that the changes were
        made from: `ClientProblem` where it is another one now, which they would take back.
        """
        with self._store.write() as tx:
            client = _get(tx, client_id)
            if seen is not None and client.registration != seen:
                raise ClientProblem("the client was changed meanwhile; read it again")
            registration = replace(client.registration, **changes)
            check_registration(registration)
            values = _to_row(registration)
            if registration.token_endpoint_auth_method != client.token_endpoint_auth_method:
                values |= self._columns_for_method(client, registration.token_endpoint_auth_method)
            tx.execute(_CHANGE.values(**values, updated_at=now), {"the_id": client_id})
            if logo is not None or registration.details.logo_digest is None:
                _keep_logo(tx, client_id, logo)
            audit.record(
                tx, audit.Event.CLIENT_UPDATE, now=now, client_id=client_id, detail={"changed": sorted(changes)}
            )
        return self._read_again(client_id)

    def rotate_secret(
        self,
        client_id: str,
        *,
        now: datetime,
        keep: timedelta | None = None,
        secret_expires_at: datetime | None = None,
    ) -> str:
        """A new secret, shown this once; the old one is dead at once, or after `keep`."""
        if keep is not None and not timedelta() < keep <= policy.CLIENT_SECRET_KEPT_MAX:
            raise ClientProblem(f"an old secret is kept for {policy.CLIENT_SECRET_KEPT_MAX.days} days at most")
        secret = new_secret()
        with self._store.write() as tx:
            client = _get(tx, client_id)
            method = client.token_endpoint_auth_method
            if not has_secret(method):
                raise ClientProblem("this client's authentication method has no secret")
            if keep is not None and method == "client_secret_jwt":
                raise ClientProblem("client_secret_jwt knows one secret at a time")
            values = self._secret_columns(client_id, method, secret, secret_expires_at)
            if keep is not None and client.client_secret_digest is not None:
                ends = now + keep
                if client.client_secret_expires_at is not None:
                    ends = min(ends, client.client_secret_expires_at)
                values |= {"previous_secret_digest": client.client_secret_digest, "previous_secret_expires_at": ends}
            tx.execute(_CHANGE.values(**values, updated_at=now), {"the_id": client_id})
            audit.record(tx, audit.Event.CLIENT_SECRET_ROTATE, now=now, client_id=client_id)
        self._cache.pop(client_id, None)
        return secret

    def reveal_secret(self, client: Client) -> str | None:
        """The client's secret itself, for those whose method needs it; None for all others."""
        if client.client_secret_encrypted is None or self._sealing_key is None:
            return None
        return unseal(self._sealing_key, client.client_id, client.client_secret_encrypted)

    def find_logo(self, client_id: str) -> bytes | None:
        """The client's logo, a PNG that we drew anew, or None."""
        with self._store.read() as connection:
            png: bytes | None = connection.execute(_FIND_LOGO, {"client_id": client_id}).scalar()
        return png

    def remove(self, client_id: str, *, now: datetime) -> None:
        """Forget the client, and with it its consents, grants and refresh tokens."""
        with self._store.write() as tx:
            _get(tx, client_id)
            # By itself, and the tokens first: else a refresh that goes on and this would wait for each other's rows.
            own = Grant.client_id == client_id
            tx.execute(update(Grant).where(own, Grant.revoked_at.is_(None)).values(revoked_at=now))
        with self._store.write() as tx:
            tx.execute(delete(RefreshToken).where(RefreshToken.grant_id.in_(select(Grant.id).where(own))))
            tx.execute(delete(ClientRecord).where(ClientRecord.client_id == client_id))
            audit.record(tx, audit.Event.CLIENT_REMOVE, now=now, client_id=client_id)
        self._cache.pop(client_id, None)

    def _secret_columns(
        self, client_id: str, method: str, secret: str | None, expires_at: datetime | None
    ) -> dict[str, Any]:
        sealed = None
        if secret is not None and method == "client_secret_jwt":
            if self._sealing_key is None:
                raise ClientProblem("there is no key to seal this client's secret with")
            sealed = seal(self._sealing_key, client_id, secret)
        return {
            "client_secret_digest": None if secret is None else digest_secret(secret),
            "client_secret_encrypted": sealed,
            "client_secret_expires_at": None if secret is None else expires_at,
            "previous_secret_digest": None,
            "previous_secret_expires_at": None,
        }

    def _columns_for_method(self, client: Client, method: str) -> dict[str, Any]:
        """What becomes of the secret when the method changes: kept only between the two that send it."""
        sent = {"client_secret_basic", "client_secret_post"}
        if {method, client.token_endpoint_auth_method} <= sent:
            return {}
        return self._secret_columns(client.client_id, method, None, None)

    def _read_again(self, client_id: str) -> Client:
        self._cache.pop(client_id, None)
        client = self.find(client_id)
        if client is None:
            raise ClientProblem(_UNKNOWN)
        return client


def _get(tx: Connection, client_id: str) -> Client:
    """The client as it stands, past the cache; nobody else changes it before this transaction has ended."""
    row = tx.execute(_HOLD, {"client_id": client_id}).first()
    if row is None:
        raise ClientProblem(_UNKNOWN)
    return _from_row(row)


def _from_row(row: Row[Any]) -> Client:
    return Client(
        client_id=row.client_id,
        client_name=row.client_name,
        profile=PROFILES[row.profile],
        first_party=row.first_party,
        client_secret_digest=row.client_secret_digest,
        token_endpoint_auth_method=row.token_endpoint_auth_method,
        redirect_uris=tuple(row.redirect_uris),
        post_logout_redirect_uris=tuple(row.post_logout_redirect_uris),
        backchannel_logout_uri=row.backchannel_logout_uri,
        grant_types=frozenset(row.grant_types),
        response_types=frozenset(row.response_types),
        scopes=tuple(row.scopes),
        resources=tuple(row.resources),
        id_token_signed_response_alg=row.id_token_signed_response_alg,
        organization_rfc=row.organization_rfc,
        retention_days=row.retention_days,
        details=ClientDetails.from_json(row.details or {}),
        client_secret_expires_at=row.client_secret_expires_at,
        client_secret_encrypted=row.client_secret_encrypted,
        previous_secret_digest=row.previous_secret_digest,
        previous_secret_expires_at=row.previous_secret_expires_at,
        registration_token_digest=row.registration_token_digest,
        created_at=row.created_at,
    )


def _to_row(registration: Registration) -> dict[str, Any]:
    return {
        "client_name": registration.client_name,
        "profile": registration.profile,
        "first_party": registration.first_party,
        "token_endpoint_auth_method": registration.token_endpoint_auth_method,
        "redirect_uris": list(registration.redirect_uris),
        "post_logout_redirect_uris": list(registration.post_logout_redirect_uris),
        "backchannel_logout_uri": registration.backchannel_logout_uri,
        "grant_types": list(registration.grant_types),
        "response_types": list(registration.canonical_response_types),
        "details": replace(registration.details, sector=sector_of(registration)).to_json(),
        "scopes": list(registration.scopes),
        "resources": list(registration.resources),
        "id_token_signed_response_alg": registration.id_token_signed_response_alg,
        "organization_rfc": registration.organization_rfc,
        "retention_days": registration.retention_days,
    }


def _keep_logo(tx: Connection, client_id: str, logo: bytes | None) -> None:
    tx.execute(delete(ClientLogo).where(ClientLogo.client_id == client_id))
    if logo is not None:
        tx.execute(insert(ClientLogo), {"client_id": client_id, "png": logo})
