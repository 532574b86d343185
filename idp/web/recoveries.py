"""The recoveries that are going on in this browser, each known by the username that its pages show.

A form of a recovery says whose question it answers, and is refused where this browser began none for that username:
an answer typed for one person is never compared with another's, whatever other tabs have asked meanwhile.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import request

from idp.accounts.usernames import Username, parse_username
from idp.policy import REMINDER_INTERVAL
from idp.web.interactions import Waiting, find_waiting
from idp.web.shelf import Shelf

_FIELD = "username"
_SENT_AT, _INTERACTION = "sent_at", "interaction"
_shelf = Shelf("recoveries")


@dataclass(frozen=True, slots=True)
class Recovering:
    """One of them."""

    username: Username
    sent_at: datetime | None = None
    """When a reminder was asked for; asking again too soon sends none, so the wait goes on from the first."""


def begin(username: Username, found: Waiting | None) -> Recovering:
    """From the page that asks for the username. `found` waits until this person signs in."""
    # Who begins twice had the first reminder, and still has the request inside which they began.
    before = _shelf.find(username.canonical) or {_INTERACTION: ""}
    _shelf.put(username.canonical, before if found is None else {**before, _INTERACTION: found.handle})
    return _read(username.canonical, before)


def shown() -> Recovering | None:
    """The one that a page is to show: the one that this browser last did something about."""
    newest = next(iter(_shelf.all()), None)
    return None if newest is None else _read(*newest)


def sent() -> Recovering | None:
    """The one that the form of this request names."""
    name = request.form.get(_FIELD, "")
    value = _shelf.find(name)
    return None if value is None else _read(name, value)


def names_one() -> bool:
    """Whether the form of this request names one, going on or not: then it came from a page that showed one."""
    return bool(request.form.get(_FIELD))


def turn_to(recovering: Recovering) -> None:
    """The next page is to show this one, not one that another tab began later."""
    _change(recovering)


def note_sent(recovering: Recovering, now: datetime) -> None:
    """A reminder was asked for."""
    before = recovering.sent_at
    if before is None or now >= before + REMINDER_INTERVAL:
        _change(recovering, **{_SENT_AT: now.isoformat()})
    else:
        turn_to(recovering)


def waiting_for(username: str) -> Waiting | None:
    """The authorization request inside which this browser began to recover the access of `username`."""
    value = _shelf.find(username)
    return None if value is None else find_waiting(value[_INTERACTION])


def end(username: str) -> None:
    """It has come to its end."""
    _shelf.drop(username)


# -- inside ----------------------------------------------------------------------------------------------------------


def _change(recovering: Recovering, **changed: Any) -> None:
    name = recovering.username.canonical
    _shelf.put(name, {**(_shelf.find(name) or {_INTERACTION: ""}), **changed})


def _read(name: str, value: dict[str, Any]) -> Recovering:
    at = value.get(_SENT_AT)
    # Written by `begin` alone, in the canonical spelling.
    return Recovering(parse_username(name), None if at is None else datetime.fromisoformat(at))
