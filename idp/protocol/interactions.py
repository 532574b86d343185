"""Authorization requests that wait for a person, each found by a random handle and bound to its browser (W-6)."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from idp import policy
from idp.ephemeral import Ephemeral, Found
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import InteractionGone
from idp.protocol.par import PushedRequests
from idp.protocol.requests import AuthorizationRequest
from idp.protocol.subjects import Subject, scopes_for

_INTERACTION = "interaction"
_POSTED = "posted-request"


@dataclass(frozen=True, slots=True)
class Pending:
    """A valid request on its way; `handle` once it waits."""

    request: AuthorizationRequest
    client: Client
    started_at: datetime
    pushed: str | None = None
    """The `request_uri` that is spent when the authorization completes."""
    handle: str | None = None

    @property
    def asks_again(self) -> bool:
        """Whether who is signed in already may have to prove it once more."""
        request = self.request
        return request.max_age is not None or any(map(request.asks_for, ("login", "select_account", "create")))

    def for_person(self, subject: Subject) -> "Pending":
        """The request as this person may answer it. What waits stays as it was asked: another may come to answer."""
        scopes = scopes_for(subject, self.request.scopes)
        return replace(self, request=replace(self.request, scopes=scopes))


class Interactions:
    """The requests that wait."""

    def __init__(self, ephemeral: Ephemeral, clients: Clients, pushed_requests: PushedRequests) -> None:
        self._ephemeral = ephemeral
        self._clients = clients
        self._pushed_requests = pushed_requests

    def keep(self, pending: Pending, browser: Callable[[], str], now: datetime) -> str:
        """The handle under which the request waits for this browser."""
        if pending.handle is not None:
            return pending.handle
        handle = secrets.token_urlsafe(24)
        value = {
            "browser": browser(),
            "request": pending.request.to_json(),
            "started_at": pending.started_at.isoformat(),
            "pushed": pending.pushed,
        }
        self._ephemeral.put(_INTERACTION, handle, value, policy.INTERACTION_LIFETIME, now=now)
        return handle

    def find(self, handle: str, browser: str | None, now: datetime) -> Pending:
        """The request; `InteractionGone` where this browser has none such."""
        value = self._ephemeral.get(_INTERACTION, handle, now=now)
        if value is None or browser is None or value["browser"] != browser:
            raise InteractionGone
        request = AuthorizationRequest.from_json(value["request"])
        client = self._clients.find(request.client_id)
        if client is None:
            raise InteractionGone
        pending = Pending(request, client, datetime.fromisoformat(value["started_at"]), value.get("pushed"))
        return replace(pending, handle=handle)

    def finish(self, tx: Connection, pending: Pending, now: datetime) -> None:
        """Spend what the request came of, in the transaction that answers it; `InteractionGone` if it is spent."""
        if pending.handle is not None:
            taken = self._ephemeral.take(_INTERACTION, pending.handle, now=now, tx=tx)
            if taken.found is not Found.TAKEN:
                raise InteractionGone
        if pending.pushed is not None:
            self._pushed_requests.spend(tx, pending.pushed, now)

    def keep_posted(self, parameters: Mapping[str, str], now: datetime) -> str:
        """The handle under which parameters that came by POST are brought by the browser itself."""
        handle = secrets.token_urlsafe(24)
        self._ephemeral.put(_POSTED, handle, dict(parameters), policy.POSTED_REQUEST_LIFETIME, now=now)
        return handle

    def take_posted(self, handle: str, now: datetime) -> dict[str, str]:
        """Those parameters, once; `InteractionGone` where there are none."""
        taken = self._ephemeral.take(_POSTED, handle, now=now)
        if taken.found is not Found.TAKEN:
            raise InteractionGone
        found: dict[str, str] = taken.value
        return found
