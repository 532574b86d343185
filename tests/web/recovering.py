"""Ways through the pages of recovery that several tests take."""

from typing import Any

from idp.accounts.permits import Means
from idp.web.current import now
from tests.web.conftest import (
    ANSWER,
    KNOWN,
    NEW_PASSWORD,
    Page,
    Services,
    Visitor,
)

BOTH = {"new_password": NEW_PASSWORD, "new_password_repeat": NEW_PASSWORD}


def ask(visitor: Visitor, name: str = KNOWN, address: str = "/recover") -> Page:
    """The page of the question."""
    return visitor.follow(visitor.fill("form-recover", address, username=name))


def answer(visitor: Visitor, text: str = ANSWER, name: str = KNOWN, address: str = "/recover") -> Page:
    """What follows upon an answer."""
    return visitor.follow(visitor.fill("form-question", ask(visitor, name, address), answer=text))


def begin(visitor: Visitor, services: Services) -> None:
    """Let this browser have a pending authorization request."""
    visitor.get("/login")
    services.protocol.add("handle", services.sessions.rows[visitor.cookie() or ""])


def hold(visitor: Visitor, services: Services, means: Means, **changed: Any) -> None:
    """Let this browser hold a permit that it came by in this way."""
    visitor.get("/login")
    permit = {**services.passwords.permit("id-1", KNOWN, means, now()).to_json(), **changed}
    held = {"permit": permit, "interaction": "", "prepared": None}
    services.sessions.rows[visitor.cookie() or ""].data["permits"] = [["handle", held]]
