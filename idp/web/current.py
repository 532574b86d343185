"""What belongs to the present request: the services, the clock, the request's id."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from flask import current_app, request

from idp import audit

if TYPE_CHECKING:
    from idp.wiring import Services

EXTENSION = "llavero"
USER_AGENT_LENGTH_MAX = 200


def services() -> "Services":
    """The services that `create_app` was given."""
    return cast("Services", current_app.extensions[EXTENSION])


def now() -> datetime:
    """The one clock of the web layer: aware UTC."""
    return datetime.now(UTC)


def request_id() -> str:
    """The id of this request, which is also the *folio* on its error page and in the log."""
    return audit.origin.get().request_id or ""


def user_agent() -> str | None:
    """What the browser calls itself, cut to what is kept of it."""
    return request.user_agent.string[:USER_AGENT_LENGTH_MAX] or None
