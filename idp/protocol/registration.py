"""Registration of clients: by operators, and by themselves (RFC 7591, RFC 7592, OIDC Registration)."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from idp_kit.jwks import parse_object
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from idp import audit, policy
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.protocol.client_secrets import digest_bytes, digest_secret, new_secret
from idp.protocol.clients import Client, Clients
from idp.protocol.details import ClientDetails
from idp.protocol.errors import ClientProblem, InvalidBearer, InvalidRequest, OAuth2Error
from idp.protocol.fetch import Fetcher, FetchProblem
from idp.protocol.logos import draw_logo
from idp.protocol.messages import NO_STORE, ProtocolResponse, error_response
from idp.protocol.metadata import IDENTITY_SCOPES, Registration, check_registration
from idp.protocol.metadata_json import GRANTS, read_metadata, write_metadata
from idp.protocol.models import RegistrationToken

_COUNTER = "registration-address"
_REFUSED = "The token is not good here."
# RFC 7592 section 2.2: what an update must not name.
_OURS = ("registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at")
_CLIENTS_OWN = (
    "client_name",
    "redirect_uris",
    "post_logout_redirect_uris",
    "backchannel_logout_uri",
    "scopes",
    "grant_types",
    "response_types",
    "token_endpoint_auth_method",
    "id_token_signed_response_alg",
    "details",
)
_UNSPENT = select(RegistrationToken.digest).where(
    RegistrationToken.digest == bindparam("digest"),
    RegistrationToken.uses_left > 0,
    RegistrationToken.expires_at > bindparam("now"),
)
_SPEND = (
    update(RegistrationToken)
    .where(
        RegistrationToken.digest == bindparam("a_digest"),
        RegistrationToken.uses_left > 0,
        RegistrationToken.expires_at > bindparam("a_now"),
    )
    .values(uses_left=RegistrationToken.uses_left - 1)
)


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What the endpoint was sent. `body` is None where it was no JSON by its content type."""

    body: bytes | None = None
    authorization: str | None = None
    address: str | None = None


class _TooMany(Exception):
    """The address asks too much; it may come back after this time."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__()
        self.retry_after = retry_after


class Registrations:
    """Who may register a client, and what is fetched before one is taken."""

    def __init__(
        self,
        store: Store,
        clients: Clients,
        ephemeral: Ephemeral,
        fetcher: Fetcher,
        *,
        issuer: str,
        mode: str = "off",
    ) -> None:
        """`mode` is for clients that register themselves: `off`, `token` (an initial access token) or `open`."""
        self._store = store
        self._clients = clients
        self._ephemeral = ephemeral
        self._fetcher = fetcher
        self._issuer = issuer
        self._mode = mode

    @property
    def is_served(self) -> bool:
        """Whether there is a registration endpoint at all."""
        return self._mode != "off"

    # -- operators ---------------------------------------------------------------------------------------------------

    def add(
        self, registration: Registration, *, now: datetime, secret_expires_at: datetime | None = None
    ) -> tuple[Client, str | None]:
        """Register as an operator says; the client and, this once, its secret. Raises `ClientProblem`."""
        completed, logo = self._complete(registration, None)
        return self._clients.add(completed, now=now, secret_expires_at=secret_expires_at, logo=logo)

    def update(self, client_id: str, changes: Mapping[str, Any], *, now: datetime) -> tuple[Client, str | None]:
        """Change what `changes` names of the registration, and give a secret where the client lacks one now."""
        client = self._clients.find(client_id)
        if client is None:
            raise ClientProblem("no client has this id")
        completed, logo = self._complete(replace(client.registration, **changes), client)
        changed = self._clients.update(client_id, {**changes, "details": completed.details}, now=now, logo=logo)
        if not changed.needs_secret:
            return changed, None
        secret = self._clients.rotate_secret(client_id, now=now)
        return self._clients.find(client_id) or changed, secret

    def issue_token(self, *, now: datetime, uses: int = 1, lifetime: timedelta | None = None) -> str:
        """An initial access token (RFC 7591 section 3), shown this once."""
        if not 0 < uses <= policy.REGISTRATION_TOKEN_USES_MAX:
            raise ClientProblem(f"a token is for 1 to {policy.REGISTRATION_TOKEN_USES_MAX} uses")
        token = new_secret()
        row = {
            "digest": digest_secret(token),
            "uses_left": uses,
            "expires_at": now + (lifetime or policy.REGISTRATION_TOKEN_LIFETIME),
            "created_at": now,
        }
        with self._store.write() as tx:
            tx.execute(insert(RegistrationToken), row)
            audit.record(tx, audit.Event.REGISTRATION_TOKEN_CREATE, now=now, detail={"uses": uses})
        return token

    def void(self, tx: Connection) -> None:
        """No initial access token is good any more: after a restore, which does not know how often each was used."""
        tx.execute(delete(RegistrationToken))

    def sweep(self, now: datetime) -> int:
        """Delete the tokens that are over or used up; how many went."""
        over = (RegistrationToken.expires_at <= now) | (RegistrationToken.uses_left <= 0)
        with self._store.write() as tx:
            return int(tx.execute(delete(RegistrationToken).where(over)).rowcount)

    # -- the endpoint ------------------------------------------------------------------------------------------------

    def register(self, request: RegistrationRequest, now: datetime) -> ProtocolResponse:
        """RFC 7591 section 3."""
        try:
            self._count(request.address, now)
            token = self._check_initial_token(request, now)
            completed, logo = self._complete(_own(read_metadata(_read_body(request))), None)
            management = new_secret()

            def spend(tx: Connection) -> None:
                # In the transaction of what it is for: of any number at once, as many succeed as it has uses (S-2).
                if token is not None and tx.execute(_SPEND, {"a_digest": token, "a_now": now}).rowcount != 1:
                    raise InvalidBearer(_REFUSED)

            client, secret = self._clients.add(
                completed, now=now, registration_token=management, logo=logo, first=spend
            )
        except (OAuth2Error, ClientProblem, _TooMany) as error:
            return _refuse(error)
        return ProtocolResponse(201, self._view(client, management, secret), dict(NO_STORE))

    def read(self, client_id: str, request: RegistrationRequest, now: datetime) -> ProtocolResponse:  # noqa: ARG002  # as its neighbours
        """RFC 7592 section 2.1. The secret is not said again: we keep its digest alone."""
        try:
            client, management = self._check_management(client_id, request)
        except OAuth2Error as error:
            return _refuse(error)
        return ProtocolResponse(200, self._view(client, management, None), dict(NO_STORE))

    def replace(self, client_id: str, request: RegistrationRequest, now: datetime) -> ProtocolResponse:
        """RFC 7592 section 2.2: what is left out goes back to its default; what an operator gave stays."""
        try:
            client, management = self._check_management(client_id, request)
            self._count(request.address, now)
            body = _read_body(request)
            _check_replacement(body, client, now)
            asked = _own(read_metadata(body), client)
            completed, logo = self._complete(asked, client)
            changes = {name: getattr(completed, name) for name in _CLIENTS_OWN}
            client = self._clients.update(client_id, changes, now=now, logo=logo, seen=client.registration)
            secret = None
            if client.needs_secret:
                secret = self._clients.rotate_secret(client_id, now=now)
                client = self._clients.find(client_id) or client
        except (OAuth2Error, ClientProblem, _TooMany) as error:
            return _refuse(error)
        return ProtocolResponse(200, self._view(client, management, secret), dict(NO_STORE))

    def remove(self, client_id: str, request: RegistrationRequest, now: datetime) -> ProtocolResponse:
        """RFC 7592 section 2.3."""
        try:
            self._check_management(client_id, request)
            self._clients.remove(client_id, now=now)
        except OAuth2Error as error:
            return _refuse(error)
        except ClientProblem:  # somebody else was faster
            return _refuse(InvalidBearer(_REFUSED))
        return ProtocolResponse(204, None, dict(NO_STORE))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_initial_token(self, request: RegistrationRequest, now: datetime) -> str | None:
        """The digest of the token that lets this client in, not spent yet; None where none is asked for."""
        if self._mode == "open":
            return None
        digest = digest_secret(_read_bearer(request))
        with self._store.read() as connection:
            if connection.execute(_UNSPENT, {"digest": digest, "now": now}).first() is None:
                raise InvalidBearer(_REFUSED)
        return digest

    def _check_management(self, client_id: str, request: RegistrationRequest) -> tuple[Client, str]:
        """The client and its registration access token. A client that is gone and a wrong token look alike."""
        token = _read_bearer(request)
        client = self._clients.find(client_id, anew=True)
        if client is None or not client.has_registration_token(token):
            raise InvalidBearer(_REFUSED)
        return client, token

    def _complete(self, registration: Registration, before: Client | None) -> tuple[Registration, bytes | None]:
        """What has to be fetched before a client is taken: its sector's list, and its logo, if it is a new one."""
        check_registration(registration)
        details = registration.details
        known = ClientDetails() if before is None else before.details
        addresses = () if before is None else before.redirect_uris
        sector_uri = details.sector_identifier_uri
        if sector_uri is not None and (sector_uri, registration.redirect_uris) != (
            known.sector_identifier_uri,
            addresses,
        ):
            self._check_sector(sector_uri, registration.redirect_uris)
        if details.logo_uri is not None and details.logo_uri == known.logo_uri and known.logo_digest is not None:
            return replace(registration, details=replace(details, logo_digest=known.logo_digest)), None
        logo = None if details.logo_uri is None else self._fetch_logo(details.logo_uri)
        digest = None if logo is None else digest_bytes(logo)
        return replace(registration, details=replace(details, logo_digest=digest)), logo

    def _check_sector(self, uri: str, redirect_uris: tuple[str, ...]) -> None:
        """OIDC Registration section 5: the addresses "MUST be included in the elements of the array"."""
        try:
            with self._fetcher.turn():
                listed = self._fetcher.get_json(uri)
        except FetchProblem as problem:
            raise ClientProblem("the sector_identifier_uri cannot be read") from problem
        if not isinstance(listed, list) or not all(uri in listed for uri in redirect_uris):
            raise ClientProblem("the sector_identifier_uri does not list every redirect URI")

    def _fetch_logo(self, uri: str) -> bytes | None:
        """The logo, or None: a picture that cannot be had keeps nobody from registering."""
        try:
            with self._fetcher.turn():
                image = self._fetcher.get_image(uri)
            return draw_logo(image)
        except FetchProblem:
            return None

    def _count(self, address: str | None, now: datetime) -> None:
        if address is None:
            return
        window = policy.REGISTRATION_WINDOW
        key = _network(address)
        if self._ephemeral.hit(_COUNTER, key, window, now=now) > policy.REGISTRATIONS_MAX:
            hits = self._ephemeral.hits(_COUNTER, key, now=now)
            raise _TooMany(window if hits is None else hits.ends_at - now)

    def _view(self, client: Client, management: str, secret: str | None) -> dict[str, Any]:
        body = write_metadata(client)
        if secret is not None:
            body["client_secret"] = secret
        body["registration_access_token"] = management
        body["registration_client_uri"] = f"{self._issuer}/oauth/register/{client.client_id}"
        return body


def _own(asked: Registration, before: Client | None = None) -> Registration:
    """What a client may have of what it asks, beside what an operator has given it (D-70)."""
    allowed = set(GRANTS) | (set() if before is None else before.grant_types)
    if not asked.grant_types or not allowed.issuperset(asked.grant_types):
        raise ClientProblem("a client has a grant; those for signing in are taken, others are an operator's to give")
    if before is None:
        return asked
    given = tuple(scope for scope in before.scopes if scope not in IDENTITY_SCOPES)
    return replace(
        asked,
        scopes=asked.scopes + given,
        resources=before.resources,
        profile=before.profile.name,
        organization_rfc=before.organization_rfc,
        retention_days=before.retention_days,
        first_party=before.first_party,
    )


def _check_replacement(body: Mapping[str, Any], client: Client, now: datetime) -> None:
    """RFC 7592 section 2.2."""
    if any(name in body for name in _OURS):
        raise InvalidRequest("The request names what is ours to say.")
    if body.get("client_id") != client.client_id:
        raise InvalidRequest("The client_id is missing or another.")
    secret = body.get("client_secret")
    if secret is not None and not (isinstance(secret, str) and client.has_secret(secret, now=now)):
        raise InvalidRequest("The client_secret is not the present one.")


def _read_body(request: RegistrationRequest) -> dict[str, Any]:
    if request.body is None:
        raise InvalidRequest("The body must be application/json.")
    try:
        return parse_object(request.body)
    except ValueError as error:
        raise InvalidRequest("The body must be one JSON object, each member once.") from error


def _read_bearer(request: RegistrationRequest) -> str:
    scheme, _, token = (request.authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > policy.TOKEN_LENGTH_MAX:
        raise InvalidBearer("A token is required.")
    return token


def _network(address: str) -> str:
    """The address itself, or of IPv6 the /64 that one customer has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ip if ip.version == 4 else ipaddress.ip_network((int(ip), 64), strict=False))


def _refuse(error: OAuth2Error | ClientProblem | _TooMany) -> ProtocolResponse:
    """RFC 7591 section 3.2.2, and RFC 6750 section 3 where a token is missing."""
    if isinstance(error, _TooMany):
        wait = {"Retry-After": str(max(1, int(error.retry_after.total_seconds())))}
        body = {"error": "temporarily_unavailable", "error_description": "Too many requests."}
        return ProtocolResponse(429, body, {**NO_STORE, **wait})
    if isinstance(error, ClientProblem):
        text = str(error)
        return ProtocolResponse(400, {"error": error.error, "error_description": text}, dict(NO_STORE))
    return error_response(error)
