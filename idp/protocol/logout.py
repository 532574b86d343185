"""RP-initiated logout, and the `session_state` of session management (the OpenID Connect specifications of both)."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from idp import policy
from idp.ephemeral import Ephemeral
from idp.keys import KeyRing
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import InteractionGone, InvalidIdTokenHint, InvalidRedirectUri, InvalidRequest
from idp.protocol.messages import once, parse_pairs, with_parameters
from idp.protocol.subjects import Authentication
from idp.protocol.tokens import read_id_token_hint

_LOGOUT = "logout"


@dataclass(frozen=True, slots=True)
class EndSession:
    """End the session of this browser now, then go to `return_uri`, or show that it is done."""

    return_uri: str | None
    client_name: str | None


@dataclass(frozen=True, slots=True)
class NeedsConfirmation:
    """Ask the person first; the request waits under this handle."""

    logout: str
    client_name: str | None


LogoutDecision = EndSession | NeedsConfirmation


class Logouts:
    """The end session endpoint."""

    def __init__(self, ephemeral: Ephemeral, keys: KeyRing, clients: Clients, *, issuer: str) -> None:
        self._ephemeral = ephemeral
        self._keys = keys
        self._clients = clients
        self._issuer = issuer

    def begin(
        self, query: str, *, authentication: Authentication | None, browser: Callable[[], str], now: datetime
    ) -> LogoutDecision:
        """Answer a request of a client, or of nobody in particular.

        It proceeds by itself only with an `id_token_hint` of this very session, or where nobody is signed in;
        otherwise a person confirms (P-12): a hint of another session or person, one that is none of ours, or none.
        Returns lead only to an address that the client registered, to the letter; a request that names another one
        is refused with `InvalidRedirectUri`, or, if it does not say whose it is, with `InvalidIdTokenHint`, and nobody
        is signed out.
        `logout_hint` says who is meant, which matters to a provider that keeps several people at one browser.
        """
        parameters = once(parse_pairs(query))
        hint = parameters.get("id_token_hint")
        claims = None if hint is None else read_id_token_hint(hint, self._keys, self._issuer, now)
        client = self._find_client(parameters.get("client_id"), claims)
        uri = parameters.get("post_logout_redirect_uri")
        if uri is not None and claims is None and "client_id" not in parameters:
            raise InvalidIdTokenHint(
                "Whose post_logout_redirect_uri it is: no id_token_hint says it, and no client_id."
            )
        if uri is not None and (client is None or uri not in client.post_logout_redirect_uris):
            raise InvalidRedirectUri("The post_logout_redirect_uri is not registered for the client.")
        return_uri = None if uri is None else with_parameters(uri, {"state": parameters.get("state")})
        client_name = None if client is None else client.client_name
        # By the session and not by `sub`, which is another one for each client where it is pairwise.
        if authentication is None or (claims is not None and claims.get("sid") == authentication.sid):
            return EndSession(return_uri, client_name)
        handle = secrets.token_urlsafe(24)
        value = {"browser": browser(), "return_uri": return_uri, "client_name": client_name}
        self._ephemeral.put(_LOGOUT, handle, value, policy.INTERACTION_LIFETIME, now=now)
        return NeedsConfirmation(handle, client_name)

    def confirm(self, handle: str, *, browser: str | None, now: datetime) -> EndSession:
        """The person has confirmed. `InteractionGone` if no such request of this browser waits."""
        waiting = None if browser is None else self.describe(handle, browser=browser, now=now)
        if waiting is None:
            raise InteractionGone
        self._ephemeral.drop(_LOGOUT, handle)
        return waiting

    def describe(self, handle: str, *, browser: str, now: datetime) -> EndSession | None:
        """What would happen if the person confirmed; None where this browser has no such request."""
        value = self._ephemeral.get(_LOGOUT, handle, now=now)
        if value is None or value["browser"] != browser:
            return None
        return EndSession(value["return_uri"], value["client_name"])

    def _find_client(self, client_id: str | None, claims: dict[str, Any] | None) -> Client | None:
        """The client that asks. RP-Initiated Logout section 2: `client_id` and the hint's audience must agree."""
        audience = None if claims is None else claims.get("aud")
        if client_id is not None and audience is not None and client_id != audience:
            raise InvalidRequest("The client_id is not the one of the id_token_hint.")
        named = client_id or audience
        return self._clients.find(named) if isinstance(named, str) else None


def session_state(client_id: str, redirect_uri: str, op_browser_state: str) -> str:
    """What an authorization response says of the browser's session at the provider (OIDC Session Management section 2).

    Salted anew each time. `static/check_session.js` computes the same, from the state as it is then.
    """
    salt = secrets.token_urlsafe(12)
    text = " ".join((client_id, _origin(redirect_uri), op_browser_state, salt))
    return f"{sha256(text.encode()).hexdigest()}.{salt}"


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _origin(uri: str) -> str:
    """The origin as a browser writes it (RFC 6454 section 6.2): in lower case, without the scheme's own port."""
    parts = urlsplit(uri)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _DEFAULT_PORTS:
        return "null"
    host = f"[{host}]" if ":" in host else host
    is_usual = parts.port is None or parts.port == _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if is_usual else f"{scheme}://{host}:{parts.port}"
