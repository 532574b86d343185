"""The door `ProtocolServer`: one method for each endpoint, plain values in and out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer
from idp_kit.errors import InvalidToken

from idp import audit, policy
from idp.keys import KeyRing
from idp.protocol.authorize import Authorizations, Interaction
from idp.protocol.client_auth import authenticate_client
from idp.protocol.clients import Client, Clients
from idp.protocol.consents import Consents
from idp.protocol.device import DeviceAuthorizations, DeviceCodeGrant
from idp.protocol.discovery import build_metadata
from idp.protocol.errors import InvalidClient, InvalidRequest, OAuth2Error, UnsupportedGrantType
from idp.protocol.grants import GRANTS, GrantServices, TokenGrant, TokenRequest
from idp.protocol.logout import Logouts
from idp.protocol.messages import NO_STORE, ProtocolRequest, ProtocolResponse, error_response, read_form
from idp.protocol.par import PushedRequests
from idp.protocol.registration import Registrations
from idp.protocol.subjects import Authentication
from idp.protocol.tokens import ActiveToken
from idp.protocol.userinfo import answer_userinfo

_GRANTS: tuple[type[TokenGrant], ...] = (*GRANTS, DeviceCodeGrant)
_GRANT_TYPES = frozenset(grant.GRANT_TYPE for grant in _GRANTS)


class _Engine(AuthorizationServer):  # type: ignore[misc]  # Authlib has no type hints
    """Authlib's framework-neutral core: it finds the grant and runs it; the grants are ours."""

    def __init__(self, services: GrantServices) -> None:
        super().__init__()
        self.services = services
        for grant in _GRANTS:
            self.register_grant(grant)

    def create_oauth2_request(self, request: TokenRequest) -> TokenRequest:
        return request

    def handle_response(self, status: int, body: dict[str, Any], headers: Mapping[str, str]) -> ProtocolResponse:
        return ProtocolResponse(status, body, dict(headers))

    def handle_error_response(self, _request: TokenRequest, error: OAuth2Error) -> ProtocolResponse:
        return error_response(error)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""


@dataclass(frozen=True, slots=True)
class ProtocolServer:
    """Every endpoint of the provider. Built once, by wiring; holds nothing of a request."""

    services: GrantServices
    keys: KeyRing
    authorizations: Authorizations
    logouts: Logouts
    consents: Consents
    pushed_requests: PushedRequests
    devices: DeviceAuthorizations
    registrations: Registrations
    engine: _Engine

    @classmethod
    def over(cls, services: GrantServices, keys: KeyRing, *, registration: str = "off") -> "ProtocolServer":
        """`registration`: who may register a client by itself (`Registrations`)."""
        tokens = services.tokens
        consents = Consents(services.store, tokens)
        pushed_requests = PushedRequests(
            services.ephemeral, services.clients, services.client_keys, issuer=tokens.issuer
        )
        return cls(
            services=services,
            keys=keys,
            authorizations=Authorizations(
                services.store,
                services.ephemeral,
                keys,
                services.clients,
                services.client_keys,
                tokens,
                services.subjects,
                consents,
                pushed_requests,
            ),
            logouts=Logouts(services.ephemeral, keys, services.clients, issuer=tokens.issuer),
            consents=consents,
            pushed_requests=pushed_requests,
            devices=DeviceAuthorizations(services, consents),
            registrations=Registrations(
                services.store,
                services.clients,
                services.ephemeral,
                services.client_keys.fetcher,
                issuer=tokens.issuer,
                mode=registration,
            ),
            engine=_Engine(services),
        )

    @property
    def clients(self) -> Clients:
        return self.services.clients

    def describe_interaction(
        self, handle: str, *, browser: str | None, now: datetime, authentication: Authentication | None = None
    ) -> Interaction | None:
        """What a page may show of a pending request; None where this browser has none such (W-6)."""
        return self.authorizations.describe(handle, authentication=authentication, browser=browser, now=now)

    # -- machine endpoints -------------------------------------------------------------------------------------------

    def token(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """RFC 6749 section 3.2."""
        try:
            parameters = read_form(request)
            grant_type = parameters.get("grant_type")
            if grant_type is None:
                raise InvalidRequest("The grant_type is missing.")
            if grant_type not in _GRANT_TYPES:
                # Before Authlib's dispatch, whose words repeat what was sent.
                raise UnsupportedGrantType("The grant_type is not supported.")
        except OAuth2Error as error:
            return error_response(error)
        response: ProtocolResponse = self.engine.create_token_response(TokenRequest(request, parameters, now))
        return response

    def par(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """RFC 9126 section 2."""
        try:
            parameters = read_form(request)
            client = authenticate_client(request, parameters, self.services, now)
            body = self.pushed_requests.push(client, parameters, now)
        except OAuth2Error as error:
            return error_response(error)
        return ProtocolResponse(201, body, dict(NO_STORE))

    def device_authorization(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """RFC 8628 section 3.1."""
        try:
            return self.devices.begin(request, now)
        except OAuth2Error as error:
            return error_response(error)

    def introspect(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """RFC 7662, for a client that the token is meant for; `active: false` to every other (T-10)."""
        try:
            parameters = read_form(request)
            client = self._authenticate_confidential(request, parameters, now)
            token = _require_token(parameters)
        except OAuth2Error as error:
            return error_response(error)
        body = self._introspect_access(token, client, now) or self._introspect_refresh(token, client, now)
        return ProtocolResponse(200, body or {"active": False}, dict(NO_STORE))

    def revoke(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """RFC 7009. Another client's token, or none at all, is answered alike and changes nothing (T-10)."""
        try:
            parameters = read_form(request)
            client = authenticate_client(request, parameters, self.services, now)
            token = _require_token(parameters)
        except OAuth2Error as error:
            return error_response(error)
        tokens = self.services.tokens
        active = self._read_active(token, now)
        claims = None if active is None else active.claims
        with self.services.store.write() as tx:
            if claims is not None:
                if claims.get("client_id") == client.client_id:
                    tokens.revoke_access_token(claims, now=now, tx=tx)
                    audit.record(tx, audit.Event.TOKEN_REVOKE, now=now, client_id=client.client_id)
            else:
                row = tokens.find_refresh_token(token, tx)
                if row is not None and row.grant.client_id == client.client_id and row.grant.revoked_at is None:
                    # RFC 7009 section 2.1: with a refresh token, everything based on the same grant.
                    tokens.revoke_grant(tx, row.grant.id, now=now)
                    audit.record(
                        tx, audit.Event.TOKEN_REVOKE, now=now, client_id=client.client_id, account_id=row.grant.sub
                    )
        return ProtocolResponse(200, {}, dict(NO_STORE))

    def userinfo(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """OIDC Core section 5.3, for any access token of ours with scope `openid`."""
        return answer_userinfo(request, self.services.tokens, self.clients, now)

    # -- metadata ----------------------------------------------------------------------------------------------------

    def jwks(self, now: datetime) -> ProtocolResponse:
        max_age = int(policy.JWKS_CACHE_LIFETIME.total_seconds())
        return ProtocolResponse(200, self.keys.jwks(now), {"Cache-Control": f"public, max-age={max_age}"})

    def metadata(self) -> dict[str, Any]:
        """OIDC Discovery section 3 and RFC 8414 section 2, built from what is registered."""
        return build_metadata(
            self.services.tokens.issuer,
            # `implicit` has no business at the token endpoint: RFC 7591 section 2.1.
            grant_types=_GRANT_TYPES | {"implicit"},
            retention_days=self.services.subjects.deployment_retention_days,
            registration=self.registrations.is_served,
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _authenticate_confidential(
        self, request: ProtocolRequest, parameters: Mapping[str, str], now: datetime
    ) -> Client:
        client = authenticate_client(request, parameters, self.services, now)
        if client.is_public:
            raise InvalidClient("Client authentication failed.")
        return client

    def _read_active(self, token: str, now: datetime) -> ActiveToken | None:
        try:
            return self.services.tokens.read_access_token(token, now=now)
        except InvalidToken:
            return None

    def _introspect_access(self, token: str, client: Client, now: datetime) -> dict[str, Any] | None:
        active = self._read_active(token, now)
        if active is None:
            return None
        claims = active.claims
        if claims["client_id"] != client.client_id and claims["aud"] not in client.resources:
            return None
        if self.clients.find(claims["client_id"]) is None:
            return None  # the client is gone, and a token of its own has no grant that went with it
        return {"active": True, "token_type": "Bearer", **claims}

    def _introspect_refresh(self, token: str, client: Client, now: datetime) -> dict[str, Any] | None:
        row = self.services.tokens.find_refresh_token(token)
        if row is None or row.grant.client_id != client.client_id or row.is_spent:
            return None
        if "refresh_token" not in client.grant_types:
            return None  # it could not be used
        if row.grant.revoked_at is not None or row.expires_at <= now:
            return None
        if self.services.subjects.find_subject(row.grant.sub) is None:
            return None
        return {
            "active": True,
            "iss": self.services.tokens.issuer,
            "sub": self.services.tokens.sub_for(client, row.grant.sub),
            "client_id": client.client_id,
            "scope": " ".join(row.scopes),
            "exp": int(row.expires_at.timestamp()),
        }


def _require_token(parameters: Mapping[str, str]) -> str:
    token = parameters.get("token")
    if token is None or len(token) > policy.TOKEN_LENGTH_MAX:
        raise InvalidRequest("The token is missing or too long.")
    return token
