"""The leave to set a password that this browser holds, between the page that got it and the form that uses it.

It stands in the browser's session on the server: no address, form or cookie carries or names it (R-1, R-2).
"""

from flask import Response, make_response, render_template, session

from idp.accounts.permits import Means, Permit

_PERMIT = "permit"


def hold(permit: Permit) -> None:
    """Keep `permit` for this browser, in the place of any earlier one."""
    session[_PERMIT] = permit.to_json()


def held(*means: Means) -> Permit | None:
    """The permit of this browser, if it was come by in one of these ways (in any, where none is named).

    Whether it is still good only `Recovery.check_permit` and the door that uses it can tell.
    """
    found = session.get(_PERMIT)
    if found is None:
        return None
    permit = Permit.from_json(found)
    return permit if not means or permit.means in means else None


def drop() -> None:
    """Used, or worth nothing any more."""
    session.pop(_PERMIT, None)


def dead_link_page(*, invitation: bool = False) -> Response:
    """S12: one page for a link or form that expired, was used, was voided or never was one."""
    page = make_response(render_template("recovery/link_dead.html", invitation=invitation), 410)
    page.headers["Referrer-Policy"] = "no-referrer"
    return page
