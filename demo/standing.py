"""How the demo's people stand now: whoever follows what the demo proposes changes what it had printed."""

import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from demo.people import USERS, DemoUser
from idp import policy
from idp.accounts.models import Account, State
from idp.accounts.passwords import Hasher
from idp.wiring import Services

_HASH = select(Account.password_hash)


class Standing(enum.StrEnum):
    """What there is to say about one of them, beside the password that was made for it."""

    GOOD = "good"
    EXPIRED = "expired"
    LOCKED = "locked"
    INVITED = "invited"
    CHANGED = "changed"
    """Another password than the one that was made for it: whoever tried the demo chose it and knows it."""
    DISABLED = "disabled"
    GONE = "gone"


def find_standings(users: Mapping[str, Mapping[str, Any]], services: Services) -> dict[str, Standing]:
    """By username; `users` is what `demo.people.read_users` gives. Counts as no attempt of anybody."""
    now = datetime.now(UTC)
    return {user.username: _stands(services, user, users[user.username]["password"], now) for user in USERS}


def _stands(services: Services, user: DemoUser, password: str, now: datetime) -> Standing:
    view = services.directory.find(user.username, now)
    if view is None:
        return Standing.GONE
    if view.state is not State.ACTIVE:
        return Standing(view.state.value)
    if view.locked:
        return Standing.LOCKED
    with services.store.read() as connection:
        hashed = connection.scalar(_HASH.where(Account.id == view.account_id))
    if not Hasher(1).verify(password, hashed):
        return Standing.CHANGED
    chosen = view.password_changed_at
    is_over = chosen is None or now >= chosen + policy.PASSWORD_LIFETIME
    return Standing.EXPIRED if is_over else Standing.GOOD
