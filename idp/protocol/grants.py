"""The grants of the token endpoint, one class each: authorization code, refresh token, client credentials.

Each is an Authlib grant in its place and its dispatch, and ours in what it does: Authlib issues first and deletes or
revokes afterwards, so that a code or a refresh token used twice at once is honoured twice. Here the single-use thing
is spent by one statement, in the transaction that records what comes of it (security.md P-7, T-8).
"""

import hmac
import re
from abc import abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from authlib.oauth2.rfc6749 import OAuth2Request
from authlib.oauth2.rfc6749.grants.base import BaseGrant, TokenEndpointMixin
from sqlalchemy import Connection

from idp import audit
from idp.db import Store
from idp.ephemeral import Ephemeral, Found
from idp.prepared import VIOLATIONS
from idp.protocol.client_auth import authenticate_client
from idp.protocol.client_keys import ClientKeys
from idp.protocol.clients import IDENTITY_SCOPES, Client, Clients
from idp.protocol.errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    OAuth2Error,
    UnauthorizedClient,
)
from idp.protocol.messages import NO_STORE, ProtocolRequest
from idp.protocol.requests import split_scope
from idp.protocol.subjects import Subject, SubjectSource, is_mailbox_scope
from idp.protocol.tokens import GrantRow, Minted, Tokens

CODE = "authorization-code"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1
SPENT = "The authorization grant is invalid, spent, expired or revoked."


def code_key(client_id: str, code: str) -> str:
    """The key of a code in the ephemeral store. The client is part of it, so another's code is none at all (D-17)."""
    return f"{client_id} {code}"


@dataclass(frozen=True, slots=True)
class GrantServices:
    """What the grants work with."""

    store: Store
    ephemeral: Ephemeral
    clients: Clients
    tokens: Tokens
    subjects: SubjectSource
    client_keys: ClientKeys = field(default_factory=ClientKeys)

    @property
    def audiences(self) -> tuple[str, str]:
        """What a client assertion may be for (`client_auth.py`)."""
        return self.tokens.issuer, f"{self.tokens.issuer}/oauth/token"


class TokenRequest(OAuth2Request):  # type: ignore[misc]  # Authlib has no type hints
    """A token request, as Authlib's dispatch wants it."""

    def __init__(self, request: ProtocolRequest, parameters: Mapping[str, str], now: datetime) -> None:
        # Not super().__init__(): it judges the transport by the URL, which settings.py has done once and for all.
        self.method = request.method
        self.payload = self
        self.client: Client | None = None
        self.source = request
        self.parameters = parameters
        self.now = now

    @property
    def grant_type(self) -> str | None:
        return self.parameters.get("grant_type")


class TokenGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """What they have in common: who asks, whether it may, and what it gets for a person's grant."""

    request: TokenRequest

    @property
    def services(self) -> GrantServices:
        services: GrantServices = self.server.services
        return services

    def validate_token_request(self) -> None:
        request = self.request
        client = authenticate_client(request.source, request.parameters, self.services, request.now)
        if self.GRANT_TYPE not in client.grant_types:
            raise UnauthorizedClient("The client is not registered for this grant_type.")
        request.client = client

    def create_token_response(self) -> tuple[int, dict[str, Any], dict[str, str]]:
        client = self.request.client
        assert client is not None  # noqa: S101  # Authlib validates before it creates
        try:
            return 200, self.issue(client, self.request.parameters, self.request.now), NO_STORE
        except VIOLATIONS as error:
            # The client was removed at this moment, and the grant with it. What was spent here is taken back with the
            # transaction, and worth nothing either.
            raise InvalidGrant(SPENT) from error

    @abstractmethod
    def issue(self, client: Client, parameters: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """The body of the token response (RFC 6749 section 5.1)."""

    def check_resource(self, grant: GrantRow, parameters: Mapping[str, str]) -> InvalidTarget | None:
        """RFC 8707 section 2.2: a token request may name the resource again, and none but the one that was granted."""
        asked = parameters.get("resource")
        if asked is None or asked == (grant.resource or self.services.tokens.issuer):
            return None
        return InvalidTarget("The resource is not the one that was granted.")

    def answer_person(
        self, tx: Connection, grant: GrantRow, client: Client, subject: Subject, *, nonce: str | None, now: datetime
    ) -> dict[str, Any]:
        """The first tokens of a grant, recorded."""
        tokens = self.services.tokens
        minted = tokens.mint_for_person(grant, client, subject, grant.scopes, now=now)
        body = _body(minted)
        if "openid" in grant.scopes:
            body["id_token"] = tokens.mint_id_token(
                grant, client, subject, nonce=nonce, access_token=minted.access_token, now=now
            )
        if "offline_access" in grant.scopes and "refresh_token" in client.grant_types:
            refresh = tokens.add_refresh_token(tx, grant, subject, grant.scopes, now=now)
            if refresh is not None:
                body["refresh_token"] = refresh
        _record(tx, audit.Event.TOKEN_ISSUE, self.GRANT_TYPE, client, grant, now)
        return body


class AuthorizationCodeGrant(TokenGrant):
    """RFC 6749 section 4.1.3 with PKCE (RFC 7636 section 4.6)."""

    GRANT_TYPE = "authorization_code"

    def issue(self, client: Client, parameters: Mapping[str, str], now: datetime) -> dict[str, Any]:
        code = require(parameters, "code")
        # Before anything is spent: a client without a key to encrypt for loses nothing.
        self.services.tokens.sealing.prepare(client, now)
        outcome = self.services.store.apply(lambda tx: self._redeem(tx, code, client, parameters, now))
        # Raised only now: the code stays spent and what it led to stays revoked.
        if isinstance(outcome, OAuth2Error):
            raise outcome
        return outcome

    def _redeem(
        self, tx: Connection, code: str, client: Client, parameters: Mapping[str, str], now: datetime
    ) -> dict[str, Any] | OAuth2Error:
        services = self.services
        taken = services.ephemeral.take(CODE, code_key(client.client_id, code), now=now, tx=tx)
        if taken.found is Found.MISSING:
            return InvalidGrant(SPENT)
        grant_id = taken.value["grant"]
        if taken.found is Found.SPENT:
            # RFC 6749 section 4.1.2: "SHOULD revoke (when possible) all tokens previously issued based on that
            # authorization code"; we always do.
            services.tokens.revoke_grant(tx, grant_id, now=now)
            audit.record(tx, audit.Event.CODE_REUSE, now=now, client_id=client.client_id, detail={"grant": grant_id})
            return InvalidGrant(SPENT)
        grant = services.tokens.find_grant(grant_id, tx)
        subject = None if grant is None else services.subjects.find_subject(grant.sub)
        refused: OAuth2Error | None = _check_binding(taken.value, parameters)
        if subject is not None and subject.credentials_expire_at <= now:
            subject = None  # PW-6
        if refused is None and grant is not None:
            refused = self.check_resource(grant, parameters)
        if refused is not None or grant is None or grant.revoked_at is not None or subject is None:
            services.tokens.revoke_grant(tx, grant_id, now=now)
            return refused or InvalidGrant(SPENT)
        return self.answer_person(tx, grant, client, subject, nonce=taken.value["nonce"], now=now)


class RefreshTokenGrant(TokenGrant):
    """RFC 6749 section 6 with rotation (RFC 9700 section 4.14.2)."""

    GRANT_TYPE = "refresh_token"

    def issue(self, client: Client, parameters: Mapping[str, str], now: datetime) -> dict[str, Any]:
        token = require(parameters, "refresh_token")
        asked = split_scope(parameters.get("scope"))
        self.services.tokens.sealing.prepare(client, now)
        outcome = self.services.store.apply(lambda tx: self._rotate(tx, token, client, asked, parameters, now))
        if isinstance(outcome, OAuth2Error):
            raise outcome
        return outcome

    def _rotate(
        self,
        tx: Connection,
        token: str,
        client: Client,
        asked: tuple[str, ...],
        parameters: Mapping[str, str],
        now: datetime,
    ) -> dict[str, Any] | OAuth2Error:
        services = self.services
        row = services.tokens.find_refresh_token(token, tx)
        if row is None or row.grant.client_id != client.client_id:
            return InvalidGrant(SPENT)
        grant, successor = row.grant, None
        if row.is_spent:
            lost = services.tokens.find_lost_successor(token, tx, now=now)
            if lost is None:
                return self._revoke_family(tx, grant, client, now)
            successor, row = lost
        if grant.revoked_at is not None or row.expires_at <= now:
            return InvalidGrant(SPENT)
        # Checked before anything is spent: a slip costs the client nothing.
        if not set(row.scopes).issuperset(asked):
            return InvalidScope("The scope was not granted to this refresh token.")
        refused = self.check_resource(grant, parameters)
        if refused is not None:
            return refused
        subject = services.subjects.find_subject(grant.sub)
        if subject is None or subject.credentials_expire_at <= now:
            return InvalidGrant(SPENT)
        if successor is None and not services.tokens.spend_refresh_token(tx, row, now=now):
            # Somebody was faster: now it is a spent one.
            return self._rotate(tx, token, client, asked, parameters, now)
        # T-6: what a refresh token has lost, its successor does not have either. A scope that the client may no
        # longer have is dropped.
        scopes = client.allowed_scopes(asked or row.scopes)
        minted = services.tokens.mint_for_person(grant, client, subject, scopes, now=now)
        body = _body(minted)
        if "openid" in scopes:
            # OIDC Core section 12.2: the original auth_time, and no nonce.
            body["id_token"] = services.tokens.mint_id_token(
                grant, client, subject, nonce=None, access_token=minted.access_token, now=now
            )
        refresh = successor or services.tokens.add_refresh_token(tx, grant, subject, scopes, now=now, after=token)
        if refresh is not None:
            body["refresh_token"] = refresh
        _record(tx, audit.Event.TOKEN_REFRESH, self.GRANT_TYPE, client, grant, now)
        return body

    def _revoke_family(self, tx: Connection, grant: GrantRow, client: Client, now: datetime) -> InvalidGrant:
        self.services.tokens.revoke_grant(tx, grant.id, now=now)
        _record(tx, audit.Event.TOKEN_REUSE, self.GRANT_TYPE, client, grant, now)
        return InvalidGrant(SPENT)


class ClientCredentialsGrant(TokenGrant):
    """RFC 6749 section 4.4: the client acts for itself, never for a person."""

    GRANT_TYPE = "client_credentials"

    def issue(self, client: Client, parameters: Mapping[str, str], now: datetime) -> dict[str, Any]:
        own = tuple(scope for scope in client.scopes if scope not in IDENTITY_SCOPES)
        if client.organization_rfc is None:
            own = tuple(scope for scope in own if not is_mailbox_scope(scope))
        asked = split_scope(parameters.get("scope"))
        if not set(own).issuperset(asked):
            raise InvalidScope("The client may not have this scope for itself.")
        resource = parameters.get("resource")
        if resource is not None and resource not in client.resources:
            raise InvalidTarget("The resource is not one of the client's.")
        if resource is None and client.resources:
            resource = client.resources[0]
        minted = self.services.tokens.mint_for_client(client, asked or own, resource, now=now)
        self.services.store.apply(lambda tx: _record(tx, audit.Event.TOKEN_ISSUE, self.GRANT_TYPE, client, None, now))
        return _body(minted)


GRANTS: tuple[type[TokenGrant], ...] = (AuthorizationCodeGrant, RefreshTokenGrant, ClientCredentialsGrant)


def require(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name)
    if value is None:
        raise InvalidRequest(f"The {name} is missing.")
    return value


def _check_binding(code: Mapping[str, Any], parameters: Mapping[str, str]) -> InvalidGrant | None:
    """Redirect address and PKCE of a code just spent: a wrong one does not give it back (P-7)."""
    if parameters.get("redirect_uri") != code["redirect_uri"]:
        return InvalidGrant("The redirect_uri is not the one of the authorization request.")
    challenge, verifier = code["code_challenge"], parameters.get("code_verifier")
    if (challenge is None) != (verifier is None):
        return InvalidGrant("The code_verifier is missing or not expected.")
    if challenge is not None and verifier is not None:
        if not _VERIFIER.fullmatch(verifier):
            return InvalidGrant("The code_verifier does not match.")
        computed = urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")
        if not hmac.compare_digest(computed, challenge):
            return InvalidGrant("The code_verifier does not match.")
    return None


def _body(minted: Minted) -> dict[str, Any]:
    return {
        "access_token": minted.access_token,
        "token_type": "Bearer",
        "expires_in": minted.expires_in,
        "scope": " ".join(minted.scopes),
    }


def _record(
    tx: Connection, event: audit.Event, grant_type: str, client: Client, grant: GrantRow | None, now: datetime
) -> None:
    audit.record(
        tx,
        event,
        now=now,
        account_id=None if grant is None else grant.sub,
        client_id=client.client_id,
        detail={"grant_type": grant_type} if grant is None else {"grant_type": grant_type, "grant": grant.id},
    )
