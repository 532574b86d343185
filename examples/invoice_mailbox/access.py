"""Who is at the browser, and what their access token lets them do, refreshed when it has ended."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import cast

from flask import session
from idp_kit import AccessToken, AccessTokenVerifier, ExpiredToken, InvalidToken
from idp_kit.flask_guard import Guard
from sqlalchemy import Engine

from invoice_mailbox.config import Config
from invoice_mailbox.sessions import REFRESH_LEASE, BrowserSession, Sessions
from invoice_mailbox.signin import Provider, ProviderUnavailable, SignInRefused
from invoice_mailbox.store import Store

log = logging.getLogger(__name__)


class NeedsSignIn(Exception):
    """Nobody is signed in here, or no longer."""


class Mailbox:
    """What the routes work with."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        verifier: AccessTokenVerifier,
        provider: Provider,
        clock: Callable[[], datetime],
        scan_interval: float,
    ) -> None:
        self.config = config
        self.engine = engine
        self.verifier = verifier
        self.provider = provider
        self.clock = clock
        self.store = Store(config.cfdi, engine, scan_interval=scan_interval)
        self.sessions = Sessions(engine, secure=config.is_secure, clock=clock)
        self.guard = Guard(verifier, clock=clock)

    def get_access(self) -> AccessToken:
        """The token of the person at the browser, verified as the API verifies one, refreshed when it has ended.

        Raises `NeedsSignIn`, `ProviderUnavailable`, and the kit's `KeysUnavailable` and `InvalidRetention`.
        """
        browser = get_browser()
        tokens = browser.tokens
        if tokens is None:
            raise NeedsSignIn
        try:
            return self.verifier.verify(tokens["access_token"], self.clock())
        except ExpiredToken:
            tokens = self._renew(browser, tokens)
        except InvalidToken:
            raise NeedsSignIn from None
        try:
            return self.verifier.verify(tokens["access_token"], self.clock())
        except InvalidToken:
            raise NeedsSignIn from None

    def _renew(self, browser: BrowserSession, ended: dict[str, str]) -> dict[str, str]:
        deadline = time.monotonic() + REFRESH_LEASE.total_seconds()
        while not self.sessions.claim_refresh(browser):
            if self.sessions.get_tokens(browser) is None:
                raise NeedsSignIn
            if time.monotonic() > deadline:
                raise ProviderUnavailable
            time.sleep(0.05)
        tokens = self.sessions.get_tokens(browser)
        try:
            # Another request of the same browser may have been first.
            if tokens is not None and tokens["access_token"] == ended["access_token"]:
                tokens = self.provider.refresh(tokens)
        except SignInRefused as refusal:
            log.info("a refresh was refused: %s", refusal.code)
            tokens = None
        finally:
            self.sessions.end_refresh(browser, tokens)
        if tokens is None:
            raise NeedsSignIn
        return tokens


def get_browser() -> BrowserSession:
    # `session` is a proxy; what stands behind it is ours.
    return cast(BrowserSession, session._get_current_object())  # type: ignore[attr-defined]
