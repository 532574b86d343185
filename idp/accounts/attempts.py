"""What comes along with a password or a secret answer: from which browser and address, with which CAPTCHA answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idp.accounts.sessions import Browser


@dataclass(frozen=True, slots=True)
class CaptchaAnswer:
    """What was typed for the challenge of this handle: the characters of its image or the digits of its sound."""

    handle: str
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """The circumstances of one attempt. Nothing here is believed: each is looked up where it counts."""

    browser: "Browser | None" = None
    address: str | None = None
    """Of the client, as configured proxies tell it; None where there is none, as on the command line."""
    user_agent: str | None = None
    device: str | None = None
    """The device cookie (L-6)."""
    captcha: CaptchaAnswer | None = None
    captcha_due: bool = False
    """This browser has failed before, on whatever username (C-1)."""
