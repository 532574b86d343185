"""The leaves to set a password that this browser holds, between the page that got one and the form that uses it.

They stand in the browser's session on the server: no address, form or cookie carries one (R-1, R-2). A form names its
own by a random handle, so that it sets the password of the account that its page shows, or none, whatever other tabs
of the browser have opened meanwhile.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flask import Response, make_response, render_template, request

from idp.accounts.permits import Means, Permit
from idp.web.interactions import Waiting, address_of, find_waiting, waiting
from idp.web.shelf import Shelf

_FIELD = "permit_handle"
_HANDLE_BYTES = 16
_shelf = Shelf("permits")


@dataclass(frozen=True, slots=True)
class Held:
    """One of this browser's permits."""

    handle: str
    permit: Permit
    interaction: str = ""
    """The handle of the authorization request that waits for this person, where one does."""
    prepared: str | None = None
    """Of an activation: the hash of the password chosen in the first step, until the second one is done."""
    field: str = _FIELD

    def waiting(self) -> Waiting | None:
        """The request that goes on afterwards: the one that the address names, or else this person's own."""
        return waiting() or find_waiting(self.interaction)

    def address_of(self, endpoint: str, **more: Any) -> str:
        """The address of a page of ours for this permit, even where another one is newer."""
        return address_of(endpoint, self.waiting(), **{_FIELD: self.handle}, **more)


def hold(permit: Permit, found: Waiting | None) -> Held:
    """Keep `permit` for this browser beside those it holds; `found` is what its person does afterwards."""
    held = Held(secrets.token_urlsafe(_HANDLE_BYTES), permit, "" if found is None else found.handle)
    _keep(held)
    return held


def keep_prepared(held: Held, prepared: str) -> None:
    """Keep the result of the first step of an activation with the permit that it was taken for."""
    _keep(replace(held, prepared=prepared))


def shown(*means: Means) -> Held | None:
    """The permit that a page is to show: the one that its address names, or else the newest come by in these ways.

    Whether it is still good only `Recovery.check_permit` and the door that uses it can tell.
    """
    named = request.args.get(_FIELD)
    if named is not None:
        return _find(named, means)
    return next((held for held in _all() if held.permit.means in means), None)


def sent(*means: Means) -> Held | None:
    """The permit that the form of this request names, if this browser holds it and came by it in one of these ways."""
    return _find(request.form.get(_FIELD, ""), means)


def names_one() -> bool:
    """Whether the form of this request names a permit, held or not: then it came from a page that showed one."""
    return bool(request.form.get(_FIELD))


def holds_any(now: datetime) -> bool:
    """Whether a page that sets a password is open in this browser."""
    return not all(held.permit.is_over(now) for held in _all())


def drop(held: Held) -> None:
    """Used, left, or worth nothing any more: with it go the others of its account, which are worth no more."""
    _shelf.drop(*(each.handle for each in _all() if each.permit.account_id == held.permit.account_id))


def dead_link_page(*, invitation: bool = False) -> Response:
    """S12: one page for a link or form that expired, was used, was voided or never was one."""
    page = make_response(render_template("recovery/link_dead.html", invitation=invitation), 410)
    page.headers["Referrer-Policy"] = "no-referrer"
    return page


# -- inside ----------------------------------------------------------------------------------------------------------


def _keep(held: Held) -> None:
    value = {"permit": held.permit.to_json(), "interaction": held.interaction, "prepared": held.prepared}
    _shelf.put(held.handle, value)


def _find(handle: str, means: tuple[Means, ...]) -> Held | None:
    value = _shelf.find(handle)
    held = None if value is None else _read(handle, value)
    return held if held is not None and held.permit.means in means else None


def _all() -> list[Held]:
    return [_read(handle, value) for handle, value in _shelf.all()]


def _read(handle: str, value: dict[str, Any]) -> Held:
    return Held(handle, Permit.from_json(value["permit"]), value["interaction"], value["prepared"])
