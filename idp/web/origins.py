"""Whose page sent this request, as far as its browser says."""

from urllib.parse import urlsplit

from flask import request

from idp.web.current import services


def is_foreign() -> bool:
    """Whether the request names an `Origin` (RFC 6454 section 7) that is not ours. Who names none may be anybody."""
    origin = request.headers.get("Origin")
    return origin is not None and _parts(origin) != _parts(services().settings.issuer)


def _parts(url: str) -> tuple[str, str, int | None] | None:
    # RFC 6454 section 4: scheme, host and port; `null` and what cannot be read are nobody's.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.hostname is None:
        return None
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)
