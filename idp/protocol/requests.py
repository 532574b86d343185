"""Parse and validate an authorization request (RFC 6749 section 4.1.1, OIDC Core sections 3 and 6).

Client and redirect address are verified first; only then does an error go back to the client (P-2).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from idp import policy
from idp.protocol.client_keys import ClientKeys
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import (
    InvalidClient,
    InvalidRedirectUri,
    InvalidRequest,
    InvalidRequestObject,
    InvalidScope,
    InvalidTarget,
    OAuth2Error,
    RegistrationNotSupported,
    RequestUriNotSupported,
    UnsupportedResponseType,
)
from idp.protocol.profiles import canonical_response_type
from idp.protocol.request_claims import ASKABLE, ClaimsRequest
from idp.protocol.request_objects import read_request_object
from idp.protocol.responses import ReplyTo, choose_response_mode, is_response_mode_served
from idp.protocol.subjects import SCOPE_CLAIMS

PROMPTS = frozenset({"none", "login", "consent", "select_account", "create"})
ACR_VALUES = ("1",)
"""The authentication contexts that a sign-in reaches."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 section 4.2: base64url of a SHA-256
_MAX_AGE = re.compile(r"[0-9]{1,9}")
_HINT_LENGTH_MAX = 254
_UI_LOCALES_MAX = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a request, out of whatever they came in."""

    parameters: Mapping[str, str]
    is_signed: bool = False
    """By the client, in a request object."""
    pushed: str | None = None
    """The `request_uri` under which its client had pushed it (RFC 9126)."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request whose client and redirect address are verified and whose parameters are valid."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    """What the client asked and may have; the rest was dropped and `scope` in the answer says so (T-5)."""
    state: str | None
    nonce: str | None
    code_challenge: str | None
    prompt: tuple[str, ...]
    max_age: int | None
    login_hint: str | None
    id_token_hint: str | None
    ui_locales: str | None
    resource: str | None
    response_type: str = "code"
    """In canonical order."""
    response_mode: str = "query"
    claims: Mapping[str, Any] | None = None
    """What the `claims` parameter asks for that the client may have, as JSON holds it."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "AuthorizationRequest":
        """What `to_json` gave, of another release too."""
        known = {each.name for each in fields(cls)}
        values = {name: each for name, each in value.items() if name in known}
        return cls(**{**values, "scopes": tuple(value["scopes"]), "prompt": tuple(value["prompt"])})

    def asks_for(self, prompt: str) -> bool:
        return prompt in self.prompt

    def gives(self, kind: str) -> bool:
        """Whether the answer holds a `code`, an `id_token`, a `token`."""
        return kind in self.response_type.split()

    @property
    def claims_request(self) -> ClaimsRequest:
        return ClaimsRequest() if self.claims is None else ClaimsRequest.from_json(self.claims)

    @property
    def extra_claims(self) -> tuple[str, ...]:
        """The claims asked for by name that no scope asked for gives."""
        if self.claims is None:
            return ()
        given = {name for scope in self.scopes for name in SCOPE_CLAIMS.get(scope, ())}
        return tuple(name for name in self.claims_request.personal if name not in given)

    @property
    def reply_to(self) -> ReplyTo:
        return ReplyTo(self.redirect_uri, self.response_mode, self.state)


def find_client(parameters: Mapping[str, str], clients: Clients) -> Client:
    """The client that asks; `InvalidClient` where there is none that may."""
    client = clients.find(parameters.get("client_id", ""))
    if client is None or client.grant_types.isdisjoint({"authorization_code", "implicit"}):
        raise InvalidClient("The client is not registered for this endpoint.")
    return client


def unwrap(parameters: Mapping[str, str], client: Client, keys: ClientKeys, *, issuer: str, now: datetime) -> Asked:
    """The parameters out of their request object, if they came in one; errors as of `read_request`."""
    text = parameters.get("request")
    if text is None:
        return Asked(parameters)
    with _answering(client, parameters):
        if "request_uri" in parameters:
            raise InvalidRequest("One of request and request_uri, not both.")  # RFC 9101 section 5
        inside = read_request_object(text, client, keys, issuer=issuer, now=now)
        if client.profile.name != "compat":
            # RFC 9101 section 6.3: "The authorization server MUST only use the parameters in the Request Object, even
            # if the same parameter is provided in the query parameter" (P-11).
            return Asked(inside, is_signed=True)
        # OIDC Core section 6.1: what the object leaves out may stand beside it; these two "MUST match those in the
        # Request Object, if present".
        for name in ("client_id", "response_type"):
            if name in inside and parameters.get(name, inside[name]) != inside[name]:
                raise InvalidRequestObject(f"The {name} is not the one of the request object.")
        beside = {name: value for name, value in parameters.items() if name != "request"}
        return Asked({**beside, **inside}, is_signed=True)


def read_request(asked: Asked, client: Client) -> AuthorizationRequest:
    """The valid request.

    Raises an error of `errors.py`: with `reply_to` once client and address are verified, without before.
    """
    parameters = asked.parameters
    if "redirect_uri" not in parameters:
        raise InvalidRequest("The redirect_uri is missing.")
    if not client.has_redirect_uri(parameters["redirect_uri"]):
        raise InvalidRedirectUri("The redirect_uri is not registered for the client.")
    with _answering(client, parameters):
        _check_way(asked, client)
        return _read_verified(parameters, client)


@contextmanager
def _answering(client: Client, parameters: Mapping[str, str]) -> Iterator[None]:
    """Say where an error goes: to the address of `parameters`, if that is the client's."""
    try:
        yield
    except OAuth2Error as error:
        redirect_uri = parameters.get("redirect_uri", "")
        if client.has_redirect_uri(redirect_uri):
            response_type = parameters.get("response_type", "")
            mode = choose_response_mode(client, response_type, parameters.get("response_mode"))
            error.reply_to = ReplyTo(redirect_uri, mode, parameters.get("state"))
        raise


def _check_way(asked: Asked, client: Client) -> None:
    """Whether it came as it may and as this client has to."""
    if "request_uri" in asked.parameters:
        # Nothing is fetched (P-11, P-15); what a client pushed has been taken before.
        raise RequestUriNotSupported("Only a request_uri that was pushed here is supported.")
    if client.details.require_pushed_authorization_requests and asked.pushed is None:
        raise InvalidRequest("The client has to push its authorization requests.")  # RFC 9126 section 6
    if client.details.require_signed_request_object and not asked.is_signed:
        raise InvalidRequest("The client has to sign its authorization requests.")  # RFC 9101 section 10.5


def _read_verified(parameters: Mapping[str, str], client: Client) -> AuthorizationRequest:
    for check in _CHECKS:
        check(parameters, client)
    response_type = canonical_response_type(parameters["response_type"])
    max_age = parameters.get("max_age")
    return AuthorizationRequest(
        client_id=client.client_id,
        redirect_uri=parameters["redirect_uri"],
        scopes=_read_scopes(parameters, client, response_type),
        state=parameters.get("state"),
        nonce=parameters.get("nonce"),
        code_challenge=parameters.get("code_challenge"),
        prompt=_read_prompt(parameters),
        max_age=client.details.default_max_age if max_age is None else int(max_age),
        login_hint=parameters.get("login_hint", "")[:_HINT_LENGTH_MAX] or None,
        id_token_hint=parameters.get("id_token_hint"),
        ui_locales=" ".join(parameters.get("ui_locales", "").split()[:_UI_LOCALES_MAX]) or None,
        resource=parameters.get("resource") or (client.resources[0] if client.resources else None),
        response_type=response_type,
        response_mode=choose_response_mode(client, response_type, parameters.get("response_mode")),
        claims=_read_claims(parameters, client),
    )


def _check_registration(parameters: Mapping[str, str], _client: Client) -> None:
    if "registration" in parameters:
        raise RegistrationNotSupported("The registration parameter is not supported.")  # OIDC Core section 7.2.1


def _check_response_type(parameters: Mapping[str, str], client: Client) -> None:
    response_type = parameters.get("response_type")
    if response_type is None:
        raise InvalidRequest("The response_type is missing.")
    if not client.has_response_type(canonical_response_type(response_type)):
        # P-4: what a client did not register is for it as if it were not there.
        raise UnsupportedResponseType("The response_type is not supported for this client.")
    mode = parameters.get("response_mode")
    if mode is not None and not is_response_mode_served(client, response_type, mode):
        raise InvalidRequest("The response_mode is not supported for this client and response_type.")


def _check_nonce(parameters: Mapping[str, str], _client: Client) -> None:
    # OIDC Core sections 3.2.2.1 and 3.3.2.11: required wherever an ID token comes through the browser.
    if "id_token" in parameters["response_type"].split() and "nonce" not in parameters:
        raise InvalidRequest("The nonce is missing.")


def _check_pkce(parameters: Mapping[str, str], client: Client) -> None:
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if challenge is None and method is None and not client.profile.requires_pkce:
        return
    # RFC 7636 section 4.3 falls back to `plain` without a method; we do not (P-5, RFC 9700 section 2.1.1).
    if challenge is None or method != "S256":
        raise InvalidRequest("PKCE with code_challenge_method S256 is required.")
    if not _CHALLENGE.fullmatch(challenge):
        raise InvalidRequest("The code_challenge is not the base64url of a SHA-256.")


def _check_max_age(parameters: Mapping[str, str], _client: Client) -> None:
    max_age = parameters.get("max_age")
    if max_age is not None and not _MAX_AGE.fullmatch(max_age):
        raise InvalidRequest("The max_age is not a whole number of seconds.")


def _check_resource(parameters: Mapping[str, str], client: Client) -> None:
    resource = parameters.get("resource")
    if resource is not None and resource not in client.resources:
        raise InvalidTarget("The resource is not one of the client's.")


_CHECKS: tuple[Callable[[Mapping[str, str], Client], None], ...] = (
    _check_registration,
    _check_response_type,
    _check_nonce,
    _check_pkce,
    _check_max_age,
    _check_resource,
)


def _read_prompt(parameters: Mapping[str, str]) -> tuple[str, ...]:
    prompts = tuple(dict.fromkeys(parameters.get("prompt", "").split(" "))) if parameters.get("prompt") else ()
    if not PROMPTS.issuperset(prompts):
        raise InvalidRequest("The prompt has a value that is not supported.")
    if "none" in prompts and len(prompts) > 1:
        raise InvalidRequest("The prompt none stands alone.")
    return prompts


def _read_claims(parameters: Mapping[str, str], client: Client) -> dict[str, Any] | None:
    text = parameters.get("claims")
    if text is None:
        return None
    # T-5: a client asks by name for no more than its scopes could give it.
    allowed = {name for name, scope in ASKABLE.items() if scope in client.scopes}
    return ClaimsRequest.parse(text).within(allowed).to_json()


def _read_scopes(parameters: Mapping[str, str], client: Client, response_type: str) -> tuple[str, ...]:
    asked = split_scope(parameters.get("scope"))
    allowed = client.allowed_scopes(asked)
    kinds = response_type.split()
    # OIDC Core section 11: offline_access is for clients that may refresh, and where a code is given; else ignored.
    if "refresh_token" not in client.grant_types or "code" not in kinds:
        allowed = tuple(scope for scope in allowed if scope != "offline_access")
    if not allowed:
        raise InvalidScope("No scope that this client may have.")
    if "id_token" in kinds and "openid" not in allowed:
        raise InvalidScope("An ID token needs the scope openid.")
    return allowed


def split_scope(scope: str | None) -> tuple[str, ...]:
    """The scope values, each once, in order. `InvalidScope` for more than `SCOPE_COUNT_MAX` (O-4)."""
    values = tuple(dict.fromkeys((scope or "").split()))
    if len(values) > policy.SCOPE_COUNT_MAX:
        raise InvalidScope("Too many scope values.")
    return values
