"""`Guard.require`: a Flask view behind an access token (RFC 6750).

An extra: `idp-kit[flask]`. The package itself never imports this file.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec

from flask import Response, current_app, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue

from idp_kit.errors import InsufficientScope, InvalidRetention, InvalidToken, KeysUnavailable
from idp_kit.tokens import AccessTokenVerifier

_View = ParamSpec("_View")

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1: b64token
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_RETRY_AFTER = 5  # seconds


class Guard:
    """Lets requests pass whose bearer token a verifier accepts, and answers all others itself."""

    def __init__(
        self, verifier: AccessTokenVerifier, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`clock` gives the present, aware. It is this server's own: nothing in a request moves it."""
        self._verifier = verifier
        self._clock = clock

    def require(self, *scopes: str) -> Callable[[Callable[_View, ResponseReturnValue]], Callable[_View, Response]]:
        """Run the view with the verified token in `g.access_token`, if it has every one of `scopes`.

        For a mailbox scope, the token's `mailbox` claim must agree: `g.access_token.get_mailbox()` is what to obey.
        The answer of the view is not to be stored, unless it says otherwise: its window may close tomorrow.
        """
        if not all(_SCOPE.fullmatch(scope) for scope in scopes):
            raise ValueError("not a scope")

        def decorate(view: Callable[_View, ResponseReturnValue]) -> Callable[_View, Response]:
            @wraps(view)
            def guarded(*args: _View.args, **kwargs: _View.kwargs) -> Response:
                refusal = self._refuse(scopes)
                if refusal is not None:
                    return refusal
                response: Response = make_response(current_app.ensure_sync(view)(*args, **kwargs))
                response.headers.setdefault("Cache-Control", "no-store")
                return response

            return guarded

        return decorate

    def _refuse(self, scopes: tuple[str, ...]) -> Response | None:
        """The answer to a request that may not pass; None, and `g.access_token` set, for one that may."""
        g.pop("access_token", None)
        # RFC 6750 section 2.2 and 2.3 allow both; RFC 9700 section 4.3.2 forbids the second, and we want neither.
        if "access_token" in request.args or _is_in_body():
            return _answer(400, "invalid_request", "Send the access token in the Authorization header only.")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            # RFC 6750 section 3.1: a request without authentication is told no error code in the challenge.
            return _answer(401, "invalid_token", "An access token is needed.", challenge=_parameter("scope", scopes))
        # A header sent twice arrives joined by a comma, which no token holds.
        if not _TOKEN.fullmatch(token.strip(" ")):
            return _answer(400, "invalid_request", "One access token is needed, as RFC 6750 writes it.")
        try:
            access_token = self._verifier.verify(token.strip(" "), self._clock())
            access_token.check_scopes(*scopes)
        except InvalidToken:
            return _answer(401, "invalid_token", "The access token is not valid here and now.")
        except InsufficientScope:
            return _answer(403, "insufficient_scope", "The access token does not allow this.", scopes)
        except InvalidRetention:
            return _answer(
                403, "insufficient_scope", "The access token has no mailbox claim that can be obeyed.", scopes
            )
        except KeysUnavailable:
            response = _answer(503, "temporarily_unavailable", "The issuer's keys cannot be read at present.")
            response.headers["Retry-After"] = str(_RETRY_AFTER)
            return response
        g.access_token = access_token
        return None


def _is_in_body() -> bool:
    return request.mimetype == "application/x-www-form-urlencoded" and "access_token" in request.form


def _parameter(name: str, values: tuple[str, ...]) -> str:
    return f'{name}="{" ".join(values)}"' if values else 'realm="api"'


def _answer(
    status: int, error: str, description: str, scopes: tuple[str, ...] = (), *, challenge: str | None = None
) -> Response:
    body: dict[str, Any] = {"error": error, "error_description": description}
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    if challenge is None:
        challenge = f'error="{error}", error_description="{description}"'
        if scopes:
            challenge += ", " + _parameter("scope", scopes)
    if status != 503:
        response.headers["WWW-Authenticate"] = f"Bearer {challenge}"
    return response
