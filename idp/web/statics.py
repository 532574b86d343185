"""Style sheets, script and icon: one style sheet of several files, addresses that change with the content."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, request

STYLE_FILES = ("tokens.css", "base.css", "signin.css", "sheet.css")
"""In this order they make the one style sheet, so that a first visit costs one request for it."""

# A year stands for ever (RFC 2616 section 14.21 asks for no more); the address changes with the content.
_FOR_EVER = "public, max-age=31536000, immutable"
_FOLDER = Path(__file__).parent.parent / "static"

blueprint = Blueprint("assets", __name__)


@lru_cache
def _style() -> bytes:
    return b"".join((_FOLDER / name).read_bytes() for name in STYLE_FILES)


@lru_cache
def _version(filename: str | None) -> str | None:
    if filename is None:
        content = _style()
    else:
        path = (_FOLDER / filename).resolve()
        if not path.is_relative_to(_FOLDER) or not path.is_file():
            return None
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


@blueprint.get("/style.css")
def style() -> Response:
    """The one style sheet of the hosted pages."""
    response = Response(_style(), mimetype="text/css")
    response.set_etag(_version(None) or "")
    response.make_conditional(request)
    return response


def install(app: Flask) -> None:
    """Bind to `app`: `url_for` names the version, and what carries its right version may be kept for long."""
    app.register_blueprint(blueprint)

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint in {"static", "assets.style"}:
            version = _version(values.get("filename"))
            if version is not None:
                values.setdefault("v", version)

    @app.after_request
    def keep_long(response: Response) -> Response:
        if request.endpoint in {"static", "assets.style"} and response.status_code in {200, 304}:
            current = request.args.get("v") == _version((request.view_args or {}).get("filename"))
            # A version of another release, or none: ask again each time, the ETag makes it cheap.
            response.headers["Cache-Control"] = _FOR_EVER if current else "no-cache"
        return response
