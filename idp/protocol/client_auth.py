"""Client authentication at the machine endpoints (RFC 6749 section 2.3, RFC 7523 section 3, OIDC Core section 9)."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_plus

from idp_kit.errors import InvalidToken
from idp_kit.tokens import check_times

from idp import policy
from idp.ephemeral import Ephemeral
from idp.protocol.client_keys import ClientKeys, Signed, read_signed_by_secret, read_unverified
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import InvalidClient
from idp.protocol.key_sets import SIGNATURE_ALGORITHMS
from idp.protocol.messages import ProtocolRequest

_REFUSED = "Client authentication failed."
SECRET_LENGTH_MAX = 1024
"""Characters; ours have 43."""

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
ASSERTION_METHODS = frozenset({"private_key_jwt", "client_secret_jwt"})
_REPLAY = "client-assertion"
_JTI_LENGTH_MAX = 256
# RFC 7519 section 5.1, and what draft-ietf-oauth-rfc7523bis asks for: no other kind of token is an assertion.
_TYPES = frozenset({None, "jwt", "client-authentication+jwt"})


class AuthenticationServices(Protocol):
    """What it takes to know a client."""

    @property
    def clients(self) -> Clients: ...

    @property
    def client_keys(self) -> ClientKeys: ...

    @property
    def ephemeral(self) -> Ephemeral: ...

    @property
    def audiences(self) -> tuple[str, str]:
        """What an assertion may be for: our issuer, and for profiles that say so our token endpoint."""


class _Presented(NamedTuple):
    """How a client presented itself; nothing of it is believed yet."""

    method: str
    client_id: str
    secret: str = ""
    assertion: str | None = None


def authenticate_client(
    request: ProtocolRequest, form: Mapping[str, str], services: AuthenticationServices, now: datetime
) -> Client:
    """The client that proved who it is, by the one method it registered (P-10).

    `InvalidClient` for everything else, in the same words: no client, unknown client, wrong secret, another method
    than the registered one, two methods at once, an assertion that is not good.
    """
    presented = _presented(request, form)
    client = services.clients.find(presented.client_id)
    if client is None:
        raise InvalidClient(_REFUSED)
    if presented.assertion is not None:
        _check_assertion(client, presented.assertion, services, now)
        return client
    if client.token_endpoint_auth_method != presented.method:
        raise InvalidClient(_REFUSED)
    if presented.method != "none" and not client.has_secret(presented.secret, now=now):
        raise InvalidClient(_REFUSED)
    return client


def _presented(request: ProtocolRequest, form: Mapping[str, str]) -> _Presented:
    in_form = form.get("client_secret")
    if "client_assertion" in form or "client_assertion_type" in form:
        # RFC 6749 section 2.3: "The client MUST NOT use more than one authentication method in each request."
        if request.authorization is not None or in_form is not None:
            raise InvalidClient(_REFUSED)
        return _present_assertion(form)
    if request.authorization is not None:
        client_id, secret = _read_basic(request.authorization)
        if in_form is not None or form.get("client_id", client_id) != client_id:
            raise InvalidClient(_REFUSED)
        return _Presented("client_secret_basic", client_id, secret)
    client_id = form.get("client_id", "")
    if not client_id:
        raise InvalidClient(_REFUSED)
    if in_form is None:
        return _Presented("none", client_id)
    if len(in_form) > SECRET_LENGTH_MAX:
        raise InvalidClient(_REFUSED)
    return _Presented("client_secret_post", client_id, in_form)


def _present_assertion(form: Mapping[str, str]) -> _Presented:
    assertion = form.get("client_assertion", "")
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise InvalidClient(_REFUSED)
    try:
        subject = read_unverified(assertion).get("sub")
    except InvalidToken as error:
        raise InvalidClient(_REFUSED) from error
    # RFC 7521 section 4.2: the client_id "is unnecessary", but "must identify the same client".
    if not isinstance(subject, str) or form.get("client_id", subject) != subject:
        raise InvalidClient(_REFUSED)
    return _Presented("", subject, assertion=assertion)


def _check_assertion(client: Client, assertion: str, services: AuthenticationServices, now: datetime) -> None:
    try:
        signed = _read_assertion(client, assertion, services, now)
        check_times(signed.claims, now=now, leeway=policy.CLOCK_SKEW)
    except InvalidToken as error:
        raise InvalidClient(_REFUSED) from error
    claims = signed.claims
    typ = signed.header.get("typ")
    if (typ.lower().removeprefix("application/") if isinstance(typ, str) else typ) not in _TYPES:
        raise InvalidClient(_REFUSED)
    # RFC 7523 section 3: iss and sub are the client_id.
    if claims.get("iss") != client.client_id or claims.get("sub") != client.client_id:
        raise InvalidClient(_REFUSED)
    if not _is_for_us(claims.get("aud"), client, services.audiences):
        raise InvalidClient(_REFUSED)
    ends = datetime.fromtimestamp(claims["exp"], UTC) + policy.CLOCK_SKEW
    if ends > now + policy.CLIENT_ASSERTION_LIFETIME_MAX + 2 * policy.CLOCK_SKEW:
        raise InvalidClient(_REFUSED)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _JTI_LENGTH_MAX:
        raise InvalidClient(_REFUSED)
    # The earliest that it can have been used: before, its end was too far ahead, or it was not made yet.
    earliest = ends - policy.CLIENT_ASSERTION_LIFETIME_MAX - 2 * policy.CLOCK_SKEW
    made = max(float(claims.get("iat", 0)), earliest.timestamp())
    known_since = datetime.fromtimestamp(made, UTC) - policy.CLOCK_SKEW
    # Last, and only for what the client itself has signed: nobody else can use up its names.
    key = f"{client.client_id} {jti}"
    if not services.ephemeral.claim(_REPLAY, key, ends - now, now=now, known_since=known_since):
        raise InvalidClient(_REFUSED)


def _read_assertion(client: Client, assertion: str, services: AuthenticationServices, now: datetime) -> Signed:
    """The assertion, its signature verified by what the client registered and nothing else (D-24, D-31)."""
    registered = client.details.token_endpoint_auth_signing_alg
    if client.token_endpoint_auth_method == "private_key_jwt":
        algorithms = SIGNATURE_ALGORITHMS if registered is None else (registered,)
        return services.client_keys.read_signed(client, assertion, algorithms=algorithms, now=now)
    if client.token_endpoint_auth_method == "client_secret_jwt" and client.has_live_secret(now):
        secret = services.clients.reveal_secret(client)
        if secret is not None:
            return read_signed_by_secret(secret, assertion)
    raise InvalidToken("another method")


def _is_for_us(aud: Any, client: Client, audiences: tuple[str, str]) -> bool:
    """P-10: the issuer, or for profiles that say so the token endpoint; never beside somebody else's name."""
    names = aud if isinstance(aud, list) else [aud]
    issuer, token_endpoint = audiences
    accepted = {issuer, token_endpoint} if client.profile.assertion_audience == "token_endpoint" else {issuer}
    return bool(names) and all(isinstance(name, str) and name in accepted for name in names)


def _read_basic(header: str) -> tuple[str, str]:
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic" or len(credentials) > 2 * SECRET_LENGTH_MAX:
        raise InvalidClient(_REFUSED)
    try:
        text = b64decode(credentials.strip(), validate=True).decode("utf-8")
        client_id, separator, secret = text.partition(":")
        # RFC 6749 section 2.3.1: both are form-urlencoded before they are joined.
        client_id = unquote_plus(client_id, errors="strict")
        secret = unquote_plus(secret, errors="strict")
    except (binascii.Error, ValueError) as error:
        raise InvalidClient(_REFUSED) from error
    if not separator or not client_id or not secret:
        raise InvalidClient(_REFUSED)
    return client_id, secret
