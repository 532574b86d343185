"""Push an authorization request and take it back (RFC 9126)."""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from idp import policy
from idp.ephemeral import Ephemeral, Found
from idp.protocol.client_keys import ClientKeys
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import InteractionGone, InvalidRequest, InvalidRequestUri
from idp.protocol.requests import Asked, read_request, unwrap

_PREFIX = "urn:ietf:params:oauth:request_uri:"
_REQUEST_URI = re.compile(re.escape(_PREFIX) + r"[A-Za-z0-9_-]{43}")
_PUSHED = "pushed-request"
_CREDENTIALS = frozenset({"client_secret", "client_assertion", "client_assertion_type"})


def is_pushed(request_uri: str | None) -> bool:
    """Whether it looks like one that we gave; any other is never fetched."""
    return request_uri is not None and request_uri.startswith(_PREFIX)


class PushedRequests:
    """Requests that clients pushed, each for its client, for `PUSHED_REQUEST_LIFETIME`, and for one authorization."""

    def __init__(self, ephemeral: Ephemeral, clients: Clients, keys: ClientKeys, *, issuer: str) -> None:
        self._ephemeral = ephemeral
        self._clients = clients
        self._keys = keys
        self._issuer = issuer

    def push(self, client: Client, parameters: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """Keep a request of `client`, who has proved who it is; the body of the response (RFC 9126 section 2.2).

        Raises what the authorization endpoint would refuse (section 2.1).
        """
        if "request_uri" in parameters:
            raise InvalidRequest("A request_uri cannot be pushed.")  # RFC 9126 section 2.1
        if parameters.get("client_id", client.client_id) != client.client_id:
            raise InvalidRequest("The client_id is not that of the client.")
        own = {name: value for name, value in parameters.items() if name not in _CREDENTIALS}
        opened = unwrap({**own, "client_id": client.client_id}, client, self._keys, issuer=self._issuer, now=now)
        request_uri = _PREFIX + secrets.token_urlsafe(32)
        asked = Asked(opened.parameters, opened.is_signed, request_uri)
        read_request(asked, client)
        lifetime = policy.PUSHED_REQUEST_LIFETIME
        value = {
            "client_id": client.client_id,
            "parameters": dict(asked.parameters),
            "is_signed": asked.is_signed,
            "begins_until": (now + lifetime).isoformat(),
        }
        # Kept for as long as a person may take over it, so that it can be spent at the end.
        kept = lifetime + policy.INTERACTION_LIFETIME
        self._ephemeral.put(_PUSHED, request_uri, value, kept, now=now)
        return {"request_uri": request_uri, "expires_in": int(lifetime.total_seconds())}

    def find(self, request_uri: str, client_id: str | None, now: datetime) -> Asked:
        """The request, as pushed. `InvalidRequestUri` for another client's, one too old, one that is spent (P-11)."""
        value = self._ephemeral.get(_PUSHED, request_uri, now=now) if _REQUEST_URI.fullmatch(request_uri) else None
        if value is None or value["client_id"] != client_id or now >= datetime.fromisoformat(value["begins_until"]):
            raise InvalidRequestUri("The request_uri is unknown, spent, expired, or of another client.")
        return Asked(value["parameters"], value["is_signed"], request_uri)

    def spend(self, tx: Connection, request_uri: str, now: datetime) -> None:
        """The authorization is complete. `InteractionGone` if another one that began with it was so before."""
        if self._ephemeral.take(_PUSHED, request_uri, now=now, tx=tx).found is not Found.TAKEN:
            raise InteractionGone
