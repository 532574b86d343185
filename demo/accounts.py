"""Makes the demo's accounts as far as they are missing, with the past that each is to have; prints whom it made."""

import secrets
from contextlib import suppress
from datetime import UTC, datetime

import click

from demo.people import ANSWER, ORGANIZATION, QUESTION, USERS, DemoUser, read_users
from demo.places import Places
from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.errors import UsernameLocked, WrongCredentials
from idp.accounts.models import State
from idp.app import create_app
from idp.policy import LOCKOUT_ATTEMPTS
from idp.web.current import EXTENSION
from idp.wiring import Services


def main() -> None:
    """All of `USERS`. Who has not taken the invitation gets it again, as the inbox forgets its mails."""
    services: Services = create_app().extensions[EXTENSION]
    users = read_users(Places.from_environment())
    for user in USERS:
        found = services.directory.find(user.username, datetime.now(UTC))
        if found is None:
            click.echo(user.username)
            add(services, user, users[user.username]["password"])
        elif found.state is State.INVITED:
            services.lifecycle.invite(user.username, datetime.now(UTC))


def add(services: Services, user: DemoUser, password: str) -> None:
    """One account, and what has happened to it."""
    now = datetime.now(UTC)
    secret = {} if user.invited else {"password": password, "question": QUESTION, "answer": ANSWER}
    services.lifecycle.create(
        user.username,
        email=user.mailbox,
        name=user.name,
        organization_rfc=ORGANIZATION if user.employed else None,
        role=user.role,
        password_changed_at=None if user.invited else now - user.password_age,
        now=now,
        **secret,
    )
    if user.locked:
        lock(services, user.username)


def lock(services: Services, username: str) -> None:
    """Three wrong passwords at the door of the sign-in page, as a stranger would; the lock's mail goes out as well."""
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
    main()
