"""The Flask extensions, made once and bound when the application is built."""

from urllib.parse import urlsplit

from flask import g, request
from flask_babel import Babel
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFError, CSRFProtect

from idp.db import Base
from idp.web.current import services


class ForeignOrigin(CSRFError):  # type: ignore[misc]  # Flask-WTF has no types
    """A form came from a page that is not ours, whatever token it held."""


class FormProtection(CSRFProtect):  # type: ignore[misc]  # Flask-WTF has no types
    """Flask-WTF's check, and that `Origin`, when present, is ours (security.md W-5).

    Flask-WTF's own look at `Referer` is off: it compares with `Host`, which a proxy may change.
    """

    def protect(self, apply_exemptions: bool = False) -> None:
        super().protect(apply_exemptions)
        # Set by the check above, and only where it was made: exempted views are called across sites on purpose.
        if not g.get("csrf_valid", False):
            return
        origin = request.headers.get("Origin")
        if origin is not None and _origin(origin) != _origin(services().settings.issuer):
            raise ForeignOrigin("the form came from another origin")


def _origin(url: str) -> tuple[str, str, int | None] | None:
    # RFC 6454 section 4: scheme, host and port; `null` and what cannot be read are nobody's.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.hostname is None:
        return None
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)


db = SQLAlchemy(model_class=Base)
csrf = FormProtection()
babel = Babel()
