"""Why a token, a proof or a record is refused.

    KitError
    ├── InvalidToken        the token is not one to act on: answer 401 `invalid_token`
    │   └── ExpiredToken    it was, until a moment ago
    ├── InsufficientScope   it is good, for something else: answer 403 `insufficient_scope`
    ├── InvalidRetention    no retention claim, or not one that can be obeyed: serve nothing
    ├── InvalidStamp        no `@FechaTimbrado`: the invoice is not served
    └── KeysUnavailable     the issuer's keys could not be fetched: answer 503, serve nothing

The text of an error is for a log. It never repeats a token or a part of one.
"""


class KitError(Exception):
    """Anything for which a resource server must refuse to serve."""


class InvalidToken(KitError):
    """Malformed, forged, of another kind, for another audience, or not valid now."""


class ExpiredToken(InvalidToken):
    """Good but for `exp`."""


class InsufficientScope(KitError):
    """A valid token without the scope that the request needs (RFC 6750 section 3.1)."""


class InvalidRetention(KitError):
    """The `mailbox` claim is missing, doubled, malformed or of a kind this kit does not know."""


class InvalidStamp(KitError):
    """Not the text or the local time of a `tfd:TimbreFiscalDigital/@FechaTimbrado`."""


class KeysUnavailable(KitError):
    """The JWKS could not be fetched or read, and none is cached."""
