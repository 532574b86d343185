"""Client metadata: registered by operators, read through a short cache, redirect addresses matched exactly."""

import hashlib
import hmac
import re
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row, bindparam, delete, insert, select, update

from idp import audit, policy
from idp.db import Store
from idp.protocol.details import ClientDetails
from idp.protocol.errors import ClientProblem
from idp.protocol.models import ClientRecord
from idp.protocol.profiles import PROFILES, Profile, canonical_response_type

IDENTITY_SCOPES = ("openid", "profile", "email", "address", "phone", "rfc", "offline_access")
"""Scopes about a person: never given to a client acting for itself (D-72)."""
MAILBOX_SCOPES = ("mailbox:read", "mailbox:download")
_UNSERVED_SCOPES = frozenset({"mailbox:archive", "mailbox:issued"})

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}")  # RFC 6749 section 3.3: scope-token
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

    @property
    def is_public(self) -> bool:
        return self.token_endpoint_auth_method == "none"

    @property
    def remembers_consent(self) -> bool:
        """P-9: anyone can pretend to be a public client, so its person is asked each time."""
        return not self.is_public

    def has_secret(self, secret: str) -> bool:
        """Whether `secret` is this client's, in constant time."""
        return self.client_secret_digest is not None and hmac.compare_digest(
            self.client_secret_digest, digest_secret(secret)
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

    def has_response_type(self, response_type: str) -> bool:
        """Whether it registered this response type, given in canonical order."""
        return response_type in self.profile.response_types and response_type in self.response_types

    def allows_response_mode(self, mode: str) -> bool:
        """Whether its answers may come in this mode: the profile's by default, others where registered (P-4)."""
        return mode in self.profile.response_modes and (
            mode in self.profile.default_response_modes or mode in self.details.response_modes
        )

    def allowed_scopes(self, asked: Collection[str]) -> tuple[str, ...]:
        """Those of `asked` that this client may have, in the order asked (T-5)."""
        return tuple(scope for scope in asked if scope in self.scopes)


@dataclass(frozen=True, slots=True)
class Registration:
    """What an operator says of a new client."""

    client_name: str
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None
    scopes: tuple[str, ...] = ("openid",)
    grant_types: tuple[str, ...] = ("authorization_code",)
    resources: tuple[str, ...] = ()
    profile: str = "modern"
    token_endpoint_auth_method: str = "client_secret_basic"
    id_token_signed_response_alg: str = "ES256"
    organization_rfc: str | None = None
    retention_days: int | None = None
    first_party: bool = False
    response_types: tuple[str, ...] = ("code",)
    details: ClientDetails = ClientDetails()


_FIND = select(ClientRecord).where(ClientRecord.client_id == bindparam("client_id"))
_UNKNOWN_ID = re.compile(r"[^A-Za-z0-9._~-]")


class Clients:
    """The registered clients."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: dict[str, tuple[float, Client]] = {}
        self._lock = threading.Lock()

    def find(self, client_id: str) -> Client | None:
        """The client of this id, at most `CLIENT_CACHE_LIFETIME` out of date, or None."""
        cached = self._cache.get(client_id)
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

    def add(self, registration: Registration, *, now: datetime) -> tuple[Client, str | None]:
        """Register; the client and, this once, its secret. `ClientProblem` says what is wrong."""
        _check(registration)
        client_id = secrets.token_hex(12)
        public = registration.token_endpoint_auth_method == "none"
        secret = None if public else secrets.token_urlsafe(32)
        row = {
            **_to_row(registration),
            "client_id": client_id,
            "client_secret_digest": None if secret is None else digest_secret(secret),
            "created_at": now,
            "updated_at": now,
        }
        with self._store.write() as tx:
            tx.execute(insert(ClientRecord), row)
            audit.record(tx, audit.Event.CLIENT_CREATE, now=now, client_id=client_id)
        client = self.find(client_id)
        assert client is not None  # noqa: S101  # written one line above
        return client, secret

    def update(self, client_id: str, changes: dict[str, Any], *, now: datetime) -> Client:
        """Change what `changes` names of the registration; the rest stays."""
        client = self._get(client_id)
        registration = replace(_registration(client), **changes)
        _check(registration)
        with self._store.write() as tx:
            tx.execute(
                update(ClientRecord)
                .where(ClientRecord.client_id == client_id)
                .values(**_to_row(registration), updated_at=now)
            )
            audit.record(
                tx, audit.Event.CLIENT_UPDATE, now=now, client_id=client_id, detail={"changed": sorted(changes)}
            )
        self._cache.pop(client_id, None)
        return self._get(client_id)

    def rotate_secret(self, client_id: str, *, now: datetime) -> str:
        """A new secret, shown this once; the old one is dead at once."""
        if self._get(client_id).is_public:
            raise ClientProblem("a public client has no secret")
        secret = secrets.token_urlsafe(32)
        with self._store.write() as tx:
            tx.execute(
                update(ClientRecord)
                .where(ClientRecord.client_id == client_id)
                .values(client_secret_digest=digest_secret(secret), updated_at=now)
            )
            audit.record(tx, audit.Event.CLIENT_SECRET_ROTATE, now=now, client_id=client_id)
        self._cache.pop(client_id, None)
        return secret

    def remove(self, client_id: str, *, now: datetime) -> None:
        """Forget the client, and with it its consents, grants and refresh tokens."""
        self._get(client_id)
        with self._store.write() as tx:
            tx.execute(delete(ClientRecord).where(ClientRecord.client_id == client_id))
            audit.record(tx, audit.Event.CLIENT_REMOVE, now=now, client_id=client_id)
        self._cache.pop(client_id, None)

    def _get(self, client_id: str) -> Client:
        client = self.find(client_id)
        if client is None:
            raise ClientProblem("no client has this id")
        return client


def digest_secret(secret: str) -> str:
    """SHA-256, base64url: enough for 256 random bits, and any text has one."""
    raw = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


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
    )


def _registration(client: Client) -> Registration:
    return Registration(
        client_name=client.client_name,
        redirect_uris=client.redirect_uris,
        post_logout_redirect_uris=client.post_logout_redirect_uris,
        backchannel_logout_uri=client.backchannel_logout_uri,
        scopes=client.scopes,
        grant_types=tuple(sorted(client.grant_types)),
        resources=client.resources,
        profile=client.profile.name,
        token_endpoint_auth_method=client.token_endpoint_auth_method,
        id_token_signed_response_alg=client.id_token_signed_response_alg,
        organization_rfc=client.organization_rfc,
        retention_days=client.retention_days,
        first_party=client.first_party,
        response_types=tuple(sorted(client.response_types)),
        details=client.details,
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
        "response_types": [canonical_response_type(each) for each in registration.response_types]
        if {"authorization_code", "implicit"}.intersection(registration.grant_types)
        else [],
        "details": registration.details.to_json(),
        "scopes": list(registration.scopes),
        "resources": list(registration.resources),
        "id_token_signed_response_alg": registration.id_token_signed_response_alg,
        "organization_rfc": registration.organization_rfc,
        "retention_days": registration.retention_days,
    }


def _check(registration: Registration) -> None:
    profile = PROFILES.get(registration.profile)
    if profile is None:
        raise ClientProblem("this profile is not served yet; served: " + ", ".join(PROFILES))
    if not registration.client_name.strip() or len(registration.client_name) > 100:
        raise ClientProblem("a client needs a name of 1 to 100 characters")
    if not registration.client_name.isprintable():
        raise ClientProblem("the name has a character that cannot be printed")
    if registration.token_endpoint_auth_method not in profile.token_endpoint_auth_methods:
        raise ClientProblem("this authentication method is not served for the profile")
    for grant in registration.grant_types:
        if grant not in profile.grant_types:
            raise ClientProblem("this grant is not served for the profile")
    public = registration.token_endpoint_auth_method == "none"
    if public and "client_credentials" in registration.grant_types:
        raise ClientProblem("client_credentials needs a client that can authenticate")
    if "authorization_code" in registration.grant_types and not registration.redirect_uris:
        raise ClientProblem("authorization_code needs at least one redirect URI")
    if "refresh_token" in registration.grant_types and "authorization_code" not in registration.grant_types:
        raise ClientProblem("refresh_token needs authorization_code beside it")
    for uri in (*registration.redirect_uris, *registration.post_logout_redirect_uris):
        _check_redirect_uri(uri)
    if public and registration.first_party:
        for uri in registration.redirect_uris:
            if not uri.startswith("https://"):
                raise ClientProblem("a first-party public client takes https redirect URIs only")
    for scope in registration.scopes:
        if scope in _UNSERVED_SCOPES or not _SCOPE.fullmatch(scope):
            raise ClientProblem("a scope that is not served or not well formed")
    for resource in registration.resources:
        parts = urlsplit(resource)
        if not parts.scheme or parts.fragment or "#" in resource or not resource.isascii() or len(resource) > 2000:
            raise ClientProblem("a resource is an absolute URI without fragment (RFC 8707 section 2)")
    if registration.id_token_signed_response_alg not in {"ES256", "RS256"}:
        raise ClientProblem("ID tokens are signed with ES256 or RS256")
    if registration.retention_days is not None and registration.retention_days < 1:
        raise ClientProblem("a window has at least one day")
    if registration.backchannel_logout_uri is not None:
        _check_redirect_uri(registration.backchannel_logout_uri)


def _check_redirect_uri(uri: str) -> None:
    """RFC 6749 section 3.1.2, RFC 8252 sections 7 and 8.4, RFC 9700 section 2.1."""
    parts = urlsplit(uri)
    if len(uri) > 2000 or not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        raise ClientProblem("a redirect URI is plain ASCII of up to 2000 characters")
    if "#" in uri or parts.username is not None or not parts.scheme:
        raise ClientProblem("a redirect URI is absolute, without fragment and without user")
    if parts.scheme == "https":
        if not parts.hostname:
            raise ClientProblem("an https redirect URI names a host")
    elif parts.scheme == "http":
        if parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise ClientProblem("an http redirect URI is for loopback only; write https")
    elif "." not in parts.scheme:
        # RFC 8252 section 7.1: a private-use scheme is a domain name under the app's control, in reverse order.
        raise ClientProblem("a private scheme has a dot, such as mx.example.app:")
