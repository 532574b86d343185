"""The registered error codes, on Authlib's base class.

    OAuth2Error (Authlib)
    ├── InvalidRequest, InvalidClient, InvalidGrant, InvalidScope, UnauthorizedClient, UnsupportedGrantType,
    │   UnsupportedResponseType                                                     RFC 6749 sections 4.1.2.1 and 5.2
    ├── AccessDenied, LoginRequired, ConsentRequired, RequestNotSupported, …        OIDC Core section 3.1.2.6
    ├── InvalidRequestObject, InvalidRequestUri                                     RFC 9101 section 7
    ├── UnmetAuthenticationRequirements      OpenID Connect Core Error Code unmet_authentication_requirements 1.0
    ├── InvalidTarget                                                               RFC 8707 section 2
    ├── AuthorizationPending, SlowDown, ExpiredToken                                RFC 8628 section 3.5
    └── BearerError: InvalidBearer, InsufficientScope                               RFC 6750 section 3.1

At the authorization endpoint an error whose `reply_to` is set goes back to the client; one without is a page, because
client or address are not verified (P-2). Descriptions are ours, plain ASCII, and repeat no input (P-16).
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from authlib.oauth2.base import OAuth2Error as OAuth2Error

if TYPE_CHECKING:
    from idp.protocol.responses import ReplyTo


class _Error(OAuth2Error):  # type: ignore[misc]  # Authlib has no type hints
    """An error with one code; `description` says what to mend."""

    status_code = 400
    reply_to: "ReplyTo | None" = None

    def __init__(self, description: str) -> None:
        super().__init__(description=description)


class InvalidRequest(_Error):
    error = "invalid_request"


class InvalidRedirectUri(InvalidRequest):
    """No address to go back to: said on a page of its own (P-2)."""


class InvalidIdTokenHint(InvalidRequest):
    """Nobody says for sure which client asks for a sign-out: told on a page (RP-Initiated Logout section 2)."""


class InvalidClient(_Error):
    """RFC 6749 section 5.2. Always 401: wrong client and wrong secret look alike (P-10)."""

    error = "invalid_client"
    status_code = 401


class InvalidGrant(_Error):
    error = "invalid_grant"


class InvalidScope(_Error):
    error = "invalid_scope"


class UnauthorizedClient(_Error):
    error = "unauthorized_client"


class UnsupportedGrantType(_Error):
    error = "unsupported_grant_type"


class UnsupportedResponseType(_Error):
    error = "unsupported_response_type"


class AccessDenied(_Error):
    error = "access_denied"


class LoginRequired(_Error):
    error = "login_required"


class ConsentRequired(_Error):
    error = "consent_required"


class RequestNotSupported(_Error):
    error = "request_not_supported"


class RequestUriNotSupported(_Error):
    error = "request_uri_not_supported"


class RegistrationNotSupported(_Error):
    error = "registration_not_supported"


class InvalidRequestObject(_Error):
    error = "invalid_request_object"


class InvalidRequestUri(_Error):
    error = "invalid_request_uri"


class UnmetAuthenticationRequirements(_Error):
    error = "unmet_authentication_requirements"


class InvalidTarget(_Error):
    error = "invalid_target"


class AuthorizationPending(_Error):
    error = "authorization_pending"


class SlowDown(_Error):
    error = "slow_down"


class ExpiredToken(_Error):
    error = "expired_token"


class BearerError(_Error):
    """An error of a protected resource: it goes in `WWW-Authenticate` (RFC 6750 section 3)."""


class InvalidBearer(BearerError):
    error = "invalid_token"
    status_code = 401


class InsufficientScope(BearerError):
    error = "insufficient_scope"
    status_code = 403


class ClientProblem(Exception):
    """What was asked of a client's registration cannot be done; the text says why, and repeats no input.

    `error` is its code at the registration endpoint (RFC 7591 section 3.2.2).
    """

    error = "invalid_client_metadata"


class RedirectUriProblem(ClientProblem):
    """A redirect address that is not taken."""

    error = "invalid_redirect_uri"


class DeviceCodeUnknown(Exception):
    """A device's code that is wrong, has run out or was used; a page says all three alike."""


class TooManyCodes(Exception):
    """Too many wrong codes of a device; `retry_after` says how long to wait."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__()
        self.retry_after = retry_after


class InteractionGone(Exception):
    """A pending authorization request is unknown, finished, too old, or another browser's (W-6)."""
