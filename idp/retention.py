"""Category → deadline, cut-off, claim: how long an invoice is shown, as the token says it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from idp_kit.retention import MailboxClaim, day_ends_at, first_visible_day, write_claim

from idp import policy

_ACTION_OF_SCOPE = {"mailbox:read": "read", "mailbox:download": "download"}

MAILBOX_SCOPES = frozenset(_ACTION_OF_SCOPE)
"""The scopes that bring a `mailbox` claim."""


def effective_days(deployment: int, organization: int | None, client: int | None) -> int:
    """The window in days: the organisation's contract where it has one, else the deployment's; then the client's.

    A client narrows, never widens (K-1).
    """
    window = deployment if organization is None else organization
    return window if client is None else min(window, client)


def mailbox_claim(
    rfc: str, scopes: Collection[str], retention_days: int, now: datetime
) -> tuple[dict[str, Any], datetime]:
    """The `mailbox` claim for these scopes, and the instant after which a token with it must not live.

    That instant is the next midnight in the claim's zone, so that `stamped_from` is exact for as long as the token
    lives (contract.md, section 6). Scopes without a mailbox scope raise `ValueError`.
    """
    actions = frozenset(action for scope, action in _ACTION_OF_SCOPE.items() if scope in scopes)
    if not actions:
        raise ValueError("no mailbox scope, no mailbox claim")
    zone = policy.RETENTION_TIME_ZONE
    claim = MailboxClaim(
        rfc=rfc,
        actions=actions,
        role=frozenset({"receiver"}),
        retention_days=retention_days,
        time_zone=zone,
        stamped_from=first_visible_day(now, retention_days, zone),
    )
    return write_claim(claim), day_ends_at(now, zone)
