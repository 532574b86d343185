"""The door `ProtocolServer`: one method for each endpoint, plain values in and out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer
from idp_kit.errors import InvalidToken

from idp import audit, policy
from idp.keys import ALGORITHMS, KeyRing
from idp.protocol.authorize import Authorizations, Interaction
from idp.protocol.client_auth import authenticate_client
from idp.protocol.clients import IDENTITY_SCOPES, MAILBOX_SCOPES, Client, Clients
from idp.protocol.consents import Consents
from idp.protocol.errors import (
    BearerError,
    InsufficientScope,
    InvalidBearer,
    InvalidClient,
    InvalidRequest,
    OAuth2Error,
    UnsupportedGrantType,
)
from idp.protocol.grants import GRANTS, GrantServices, TokenRequest
from idp.protocol.logout import Logouts
from idp.protocol.messages import ProtocolRequest, ProtocolResponse, once, parse_pairs
from idp.protocol.profiles import PROFILES
from idp.protocol.requests import PROMPTS
from idp.protocol.subjects import SCOPE_CLAIMS, Authentication, claims_for

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_GRANT_TYPES = frozenset(grant.GRANT_TYPE for grant in GRANTS)


class _Engine(AuthorizationServer):  # type: ignore[misc]  # Authlib has no type hints
    """Authlib's framework-neutral core: it finds the grant and runs it; the grants are ours."""

    def __init__(self, services: GrantServices) -> None:
        super().__init__()
        self.services = services
        for grant in GRANTS:
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
    engine: _Engine

    @classmethod
    def over(cls, services: GrantServices, keys: KeyRing) -> "ProtocolServer":
        tokens = services.tokens
        return cls(
            services=services,
            keys=keys,
            authorizations=Authorizations(
                services.store, services.ephemeral, keys, services.clients, tokens, services.subjects
            ),
            logouts=Logouts(services.ephemeral, keys, services.clients, issuer=tokens.issuer),
            consents=Consents(services.store, tokens),
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
            parameters = _read_form(request)
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

    def introspect(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """RFC 7662, for a client that the token is meant for; `active: false` to every other (T-10)."""
        try:
            parameters = _read_form(request)
            client = self._authenticate_confidential(request, parameters, now)
            token = _require_token(parameters)
        except OAuth2Error as error:
            return error_response(error)
        body = self._introspect_access(token, client, now) or self._introspect_refresh(token, client, now)
        return ProtocolResponse(200, body or {"active": False}, dict(_NO_STORE))

    def revoke(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """RFC 7009. Another client's token, or none at all, is answered alike and changes nothing (T-10)."""
        try:
            parameters = _read_form(request)
            client = authenticate_client(request, parameters, self.services, now)
            token = _require_token(parameters)
        except OAuth2Error as error:
            return error_response(error)
        tokens = self.services.tokens
        claims = self._read_active(token, now)
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
        return ProtocolResponse(200, {}, dict(_NO_STORE))

    def userinfo(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """OIDC Core section 5.3, for any access token of ours with scope `openid`."""
        try:
            claims = self._read_bearer(request, now)
            scopes = str(claims["scope"]).split()
            if "openid" not in scopes:
                raise InsufficientScope("The access token has no scope openid.")
            subject = self.services.subjects.find_subject(claims["sub"])
            if subject is None:
                raise InvalidBearer("The access token is not active.")
        except OAuth2Error as error:
            return error_response(error)
        body = {"sub": subject.sub, **claims_for(scopes, subject)}
        if "mailbox" in claims:
            body["mailbox"] = claims["mailbox"]
        return ProtocolResponse(200, body, dict(_NO_STORE))

    # -- metadata ----------------------------------------------------------------------------------------------------

    def jwks(self, now: datetime) -> ProtocolResponse:
        max_age = int(policy.JWKS_CACHE_LIFETIME.total_seconds())
        return ProtocolResponse(200, self.keys.jwks(now), {"Cache-Control": f"public, max-age={max_age}"})

    def metadata(self) -> dict[str, Any]:
        """OIDC Discovery section 3 and RFC 8414 section 2, built from what is registered."""
        issuer = self.services.tokens.issuer
        methods = sorted(set[str]().union(*(each.token_endpoint_auth_methods for each in PROFILES.values())))
        confidential = [method for method in methods if method != "none"]
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/oauth/authorize",
            "token_endpoint": f"{issuer}/oauth/token",
            "userinfo_endpoint": f"{issuer}/oauth/userinfo",
            "jwks_uri": f"{issuer}/oauth/jwks",
            "introspection_endpoint": f"{issuer}/oauth/introspect",
            "revocation_endpoint": f"{issuer}/oauth/revoke",
            "end_session_endpoint": f"{issuer}/oauth/logout",
            "check_session_iframe": f"{issuer}/oauth/check_session",
            "frontchannel_logout_supported": True,
            "frontchannel_logout_session_supported": True,
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
            "scopes_supported": [*IDENTITY_SCOPES, *MAILBOX_SCOPES],
            "response_types_supported": sorted(set[str]().union(*(each.response_types for each in PROFILES.values()))),
            "response_modes_supported": sorted(set[str]().union(*(each.response_modes for each in PROFILES.values()))),
            "grant_types_supported": sorted(_GRANT_TYPES),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(ALGORITHMS),
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_methods_supported": confidential,
            "revocation_endpoint_auth_methods_supported": methods,
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": sorted(PROMPTS),
            "acr_values_supported": ["1"],
            "claim_types_supported": ["normal"],
            "claims_supported": ["sub", *dict.fromkeys(name for names in SCOPE_CLAIMS.values() for name in names)],
            "claims_parameter_supported": False,
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "ui_locales_supported": ["es-MX", "en"],
            "authorization_response_iss_parameter_supported": True,
            "mailbox_retention_days_default": self.services.subjects.deployment_retention_days,
            "mailbox_time_zone": policy.RETENTION_TIME_ZONE,
        }

    # -- inside ------------------------------------------------------------------------------------------------------

    def _authenticate_confidential(
        self, request: ProtocolRequest, parameters: Mapping[str, str], now: datetime
    ) -> Client:
        client = authenticate_client(request, parameters, self.services, now)
        if client.is_public:
            raise InvalidClient("Client authentication failed.")
        return client

    def _read_active(self, token: str, now: datetime) -> dict[str, Any] | None:
        try:
            return self.services.tokens.read_access_token(token, now=now)
        except InvalidToken:
            return None

    def _introspect_access(self, token: str, client: Client, now: datetime) -> dict[str, Any] | None:
        claims = self._read_active(token, now)
        if claims is None:
            return None
        if claims["client_id"] != client.client_id and claims["aud"] not in client.resources:
            return None
        return {"active": True, "token_type": "Bearer", **claims}

    def _introspect_refresh(self, token: str, client: Client, now: datetime) -> dict[str, Any] | None:
        with self.services.store.read() as connection:
            row = self.services.tokens.find_refresh_token(token, connection)
        if row is None or row.grant.client_id != client.client_id or row.is_spent:
            return None
        if row.grant.revoked_at is not None or row.expires_at <= now:
            return None
        if self.services.subjects.find_subject(row.grant.sub) is None:
            return None
        return {
            "active": True,
            "iss": self.services.tokens.issuer,
            "sub": row.grant.sub,
            "client_id": client.client_id,
            "scope": " ".join(row.scopes),
            "exp": int(row.expires_at.timestamp()),
        }

    def _read_bearer(self, request: ProtocolRequest, now: datetime) -> dict[str, Any]:
        """The claims of the one access token of the request: in the header, or in a form body (RFC 6750 section 2)."""
        if "access_token" in dict(parse_pairs(request.query)):
            # RFC 9700 section 4.3.2: it would stand in logs and histories.
            raise InvalidRequest("The access token must not be sent in the query.")
        in_form = None if request.form is None else once(parse_pairs(request.form)).get("access_token")
        scheme, _, token = (request.authorization or "").partition(" ")
        if request.authorization is not None and (in_form is not None or scheme.lower() != "bearer"):
            raise InvalidRequest("One access token, by one method.")
        token = in_form or token.strip()
        if not token:
            raise InvalidBearer("An access token is required.")
        claims = self._read_active(token, now)
        if claims is None:
            raise InvalidBearer("The access token is not active.")
        return claims


def error_response(error: OAuth2Error) -> ProtocolResponse:
    """RFC 6749 section 5.2 and RFC 6750 section 3: JSON, and with 401 the scheme to use."""
    headers = dict(_NO_STORE)
    if isinstance(error, BearerError):
        headers["WWW-Authenticate"] = f'Bearer error="{error.error}", error_description="{error.description}"'
    elif error.status_code == 401:
        headers["WWW-Authenticate"] = 'Basic realm="oauth", charset="UTF-8"'
    body = {"error": error.error, "error_description": error.description}
    return ProtocolResponse(error.status_code, body, headers)


def _read_form(request: ProtocolRequest) -> dict[str, str]:
    """The parameters of a POST, from its form body alone (P-3)."""
    if request.query:
        raise InvalidRequest("Parameters go in the body, not in the query.")
    if request.form is None:
        raise InvalidRequest("The body must be application/x-www-form-urlencoded.")
    return once(parse_pairs(request.form))


def _require_token(parameters: Mapping[str, str]) -> str:
    token = parameters.get("token")
    if token is None or len(token) > policy.TOKEN_LENGTH_MAX:
        raise InvalidRequest("The token is missing or too long.")
    return token
