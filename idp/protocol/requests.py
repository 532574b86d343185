"""Parse and validate an authorization request (RFC 6749 section 4.1.1, OIDC Core section 3.1.2.1).

Client and redirect address are verified first; only then does an error go back to the client (P-2).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from idp import policy
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import (
    InvalidClient,
    InvalidRedirectUri,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    OAuth2Error,
    RegistrationNotSupported,
    RequestNotSupported,
    RequestUriNotSupported,
    UnauthorizedClient,
    UnsupportedResponseType,
)
from idp.protocol.messages import Pairs, once

PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 section 4.2: base64url of a SHA-256
_MAX_AGE = re.compile(r"[0-9]{1,9}")
_HINT_LENGTH_MAX = 254
_UI_LOCALES_MAX = 10


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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "AuthorizationRequest":
        return cls(**{**value, "scopes": tuple(value["scopes"]), "prompt": tuple(value["prompt"])})

    def asks_for(self, prompt: str) -> bool:
        return prompt in self.prompt


def read_request(pairs: Pairs, clients: Clients) -> tuple[AuthorizationRequest, Client]:
    """The valid request and its client.

    Raises an error of `errors.py`: with `redirect_uri` once client and address are verified, without before. The
    error's `state` is the request's.
    """
    parameters = once(pairs)
    client = clients.find(parameters.get("client_id", ""))
    if client is None or "authorization_code" not in client.grant_types:
        raise InvalidClient("The client is not registered for this endpoint.")
    redirect_uri = parameters.get("redirect_uri", "")
    if not client.has_redirect_uri(redirect_uri):
        raise InvalidRedirectUri("The redirect_uri is missing or not registered.")
    try:
        return _read_verified(parameters, client, redirect_uri), client
    except OAuth2Error as error:
        error.redirect_uri = redirect_uri
        error.state = parameters.get("state")
        raise


def _read_verified(parameters: Mapping[str, str], client: Client, redirect_uri: str) -> AuthorizationRequest:
    for check in _CHECKS:
        check(parameters, client)
    max_age = parameters.get("max_age")
    return AuthorizationRequest(
        client_id=client.client_id,
        redirect_uri=redirect_uri,
        scopes=_read_scopes(parameters, client),
        state=parameters.get("state"),
        nonce=parameters.get("nonce"),
        code_challenge=parameters.get("code_challenge"),
        prompt=_read_prompt(parameters),
        max_age=None if max_age is None else int(max_age),
        login_hint=parameters.get("login_hint", "")[:_HINT_LENGTH_MAX] or None,
        id_token_hint=parameters.get("id_token_hint"),
        ui_locales=" ".join(parameters.get("ui_locales", "").split()[:_UI_LOCALES_MAX]) or None,
        resource=parameters.get("resource") or (client.resources[0] if client.resources else None),
    )


def _check_objects(parameters: Mapping[str, str], _client: Client) -> None:
    # OIDC Core section 6: what is not supported is refused with its own code, and nothing is fetched (P-15).
    if "request" in parameters:
        raise RequestNotSupported("Request objects are not supported.")
    if "request_uri" in parameters:
        raise RequestUriNotSupported("The request_uri parameter is not supported.")
    if "registration" in parameters:
        raise RegistrationNotSupported("The registration parameter is not supported.")


def _check_response_type(parameters: Mapping[str, str], client: Client) -> None:
    response_type = parameters.get("response_type")
    if response_type is None:
        raise InvalidRequest("The response_type is missing.")
    if response_type not in client.profile.response_types:
        raise UnsupportedResponseType("The response_type is not supported.")
    if response_type not in client.response_types:
        raise UnauthorizedClient("The client is not registered for this response_type.")
    if parameters.get("response_mode", "query") not in client.profile.response_modes:
        raise InvalidRequest("The response_mode is not supported.")


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
    _check_objects,
    _check_response_type,
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


def _read_scopes(parameters: Mapping[str, str], client: Client) -> tuple[str, ...]:
    asked = split_scope(parameters.get("scope"))
    allowed = client.allowed_scopes(asked)
    # OIDC Core section 11: offline_access is for clients that may refresh; else it is ignored.
    if "refresh_token" not in client.grant_types:
        allowed = tuple(scope for scope in allowed if scope != "offline_access")
    if not allowed:
        raise InvalidScope("No scope that this client may have.")
    return allowed


def split_scope(scope: str | None) -> tuple[str, ...]:
    """The scope values, each once, in order. `InvalidScope` for more than `SCOPE_COUNT_MAX` (O-4)."""
    values = tuple(dict.fromkeys((scope or "").split()))
    if len(values) > policy.SCOPE_COUNT_MAX:
        raise InvalidScope("Too many scope values.")
    return values
