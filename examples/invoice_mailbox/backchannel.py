"""What the provider calls when a session has ended there (OpenID Connect Back-Channel Logout 1.0)."""

import logging
from collections.abc import Callable

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from idp_kit import InvalidToken, LogoutTokenVerifier

from invoice_mailbox.access import Mailbox

log = logging.getLogger(__name__)


def add_backchannel_logout(
    app: Flask, mailbox: Mailbox, verifier: LogoutTokenVerifier
) -> Callable[[], ResponseReturnValue]:
    """Add `/backchannel-logout`; the view. Only a token that the provider signed for this very client is obeyed."""

    @app.post("/backchannel-logout")
    def backchannel_logout() -> ResponseReturnValue:
        tokens = request.form.getlist("logout_token")
        try:
            if len(tokens) != 1:
                raise InvalidToken("not one logout token")
            token = verifier.verify(tokens[0], mailbox.clock())
        except InvalidToken as error:
            log.info("a logout token was refused: %s", error)
            return _refuse()
        ended = mailbox.sessions.end_for(token)
        if ended is None:
            log.info("a logout token came twice")
            return _refuse()
        log.info("the provider ended %d sessions", ended)
        return "", 200

    return backchannel_logout


def _refuse() -> ResponseReturnValue:
    # Section 2.8: 400, whatever was wrong.
    return jsonify(error="invalid_request", error_description="The logout token is not valid."), 400
