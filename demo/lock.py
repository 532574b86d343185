"""Locks a username as a stranger would: three wrong passwords at the door of the sign-in page."""

import secrets
import sys
from contextlib import suppress
from datetime import UTC, datetime

from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.errors import UsernameLocked, WrongCredentials
from idp.app import create_app
from idp.policy import LOCKOUT_ATTEMPTS
from idp.wiring import Services


def lock(services: Services, username: str) -> None:
    """Fail until the name is locked, answering the CAPTCHA from the second attempt on."""
    now = datetime.now(UTC)
    _cookie, browser = services.sessions.begin(now)
    for _ in range(LOCKOUT_ATTEMPTS):
        handle = services.captcha.issue(browser.browser, now)
        answer = CaptchaAnswer(handle, services.captcha.characters(handle))
        with suppress(WrongCredentials, UsernameLocked):
            services.sign_in.sign_in(
                username, secrets.token_urlsafe(12), attempt=Attempt(browser=browser, captcha=answer), now=now
            )


if __name__ == "__main__":
    app = create_app()
    lock(app.extensions["llavero"], sys.argv[1])
