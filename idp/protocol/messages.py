"""A request to the protocol door and its answer, as plain values that no web framework made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from idp import policy
from idp.protocol.errors import BearerError, InvalidRequest, OAuth2Error

Pairs = tuple[tuple[str, str], ...]
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""RFC 6749 section 5.1, on whatever holds a token or speaks of one."""


@dataclass(frozen=True, slots=True)
class ProtocolRequest:
    """What an endpoint was sent. `form` is None where the body was no form."""

    method: str = "GET"
    query: str = ""
    form: bytes | None = None
    authorization: str | None = None


@dataclass(slots=True)
class ProtocolResponse:
    """What to answer: a JSON body, or a JWT, or nothing, or a redirect to `location`."""

    status: int = 200
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    """Writable: Authlib's extensions expect to change it."""
    jwt: str | None = None
    """The body as `application/jwt`, where it is no JSON."""


def parse_pairs(raw: str | bytes) -> Pairs:
    """The parameters of a query or a form body (`application/x-www-form-urlencoded`), in order.

    `InvalidRequest` where they are not UTF-8 written in ASCII (RFC 3986 section 2.1), too many or too long (security.md
    O-4).
    """
    if not raw:
        return ()
    try:
        text = raw.decode("ascii") if isinstance(raw, bytes) else raw.encode("ascii").decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=policy.PARAMETER_COUNT_MAX, separator="&"
        )
    except ValueError as error:  # UnicodeError is one
        raise InvalidRequest("The parameters are not well-formed UTF-8, or too many.") from error
    for name, value in pairs:
        if len(name) + len(value) > policy.PARAMETER_LENGTH_MAX:
            raise InvalidRequest("A parameter is too long.")
    return tuple(pairs)


def once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters by name. One given twice is `InvalidRequest` (RFC 6749 sections 3.1 and 3.2, P-3).

    An empty value counts as absent, as RFC 6749 section 3.1 says.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise InvalidRequest("A parameter is given more than once.")
        seen.add(name)
        if value:
            found[name] = value
    return found


def with_parameters(uri: str, parameters: Mapping[str, str | None]) -> str:
    """`uri` with the parameters that are not None added to its query; what stood there stays to the letter."""
    added = urlencode({name: value for name, value in parameters.items() if value is not None})
    if not added:
        return uri
    separator = "" if uri.endswith(("?", "&")) else "&" if "?" in uri else "?"
    return f"{uri}{separator}{added}"


def error_response(error: OAuth2Error) -> ProtocolResponse:
    """RFC 6749 section 5.2 and RFC 6750 section 3: JSON, and with 401 the scheme to use."""
    headers = dict(NO_STORE)
    if isinstance(error, BearerError):
        headers["WWW-Authenticate"] = f'Bearer error="{error.error}", error_description="{error.description}"'
    elif error.status_code == 401:
        headers["WWW-Authenticate"] = 'Basic realm="oauth", charset="UTF-8"'
    body = {"error": error.error, "error_description": error.description}
    return ProtocolResponse(error.status_code, body, headers)


def read_form(request: ProtocolRequest) -> dict[str, str]:
    """The parameters of a POST, from its form body alone (P-3)."""
    if request.query:
        raise InvalidRequest("Parameters go in the body, not in the query.")
    if request.form is None:
        raise InvalidRequest("The body must be application/x-www-form-urlencoded.")
    return once(parse_pairs(request.form))
