"""Style sheets, scripts and icon: bundles of several files, at addresses that change with the content.

A page asks for one style sheet and one script, those of its group, so that it costs two requests and carries little
that it does not use (ux.md section 6.7).
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, abort, request

STYLES = {
    "signin": ("tokens.css", "base.css", "signin.css", "captcha.css", "client.css"),
    "sheet": ("tokens.css", "base.css", "sheet.css", "password.css", "recover.css", "client.css"),
    "account": ("tokens.css", "base.css", "captcha.css", "password.css", "account.css"),
}
"""The files of each group's style sheet, in their order."""

SCRIPTS = {
    "signin": ("signin.js",),
    "sheet": ("signin.js", "password.js"),
    "account": ("signin.js", "password.js", "account.js"),
}
"""The files of each group's script, in their order."""

# A year stands for ever (RFC 2616 section 14.21 asks for no more); the address changes with the content.
FOR_EVER = "public, max-age=31536000, immutable"
_FOLDER = Path(__file__).parent.parent / "static"
_BUNDLES = {"assets.style": (STYLES, "text/css"), "assets.script": (SCRIPTS, "text/javascript")}

blueprint = Blueprint("assets", __name__)


@lru_cache
def _bundle(endpoint: str, group: str) -> bytes | None:
    files = _BUNDLES[endpoint][0].get(group)
    return None if files is None else b"\n".join((_FOLDER / name).read_bytes() for name in files)


@lru_cache(maxsize=256)
def _version(endpoint: str, name: str) -> str | None:
    """Of a bundle's group, or of a file in the folder; None where there is no such thing."""
    if endpoint in _BUNDLES:
        content = _bundle(endpoint, name)
    else:
        path = (_FOLDER / name).resolve()
        content = path.read_bytes() if path.is_relative_to(_FOLDER) and path.is_file() else None
    return None if content is None else hashlib.sha256(content).hexdigest()[:12]


@blueprint.get("/style.css")
def style() -> Response:
    """The style sheet of one group of pages."""
    return _send("assets.style")


@blueprint.get("/script.js")
def script() -> Response:
    """The script of one group of pages."""
    return _send("assets.script")


def _send(endpoint: str) -> Response:
    group = _group()
    content = _bundle(endpoint, group)
    if content is None:
        abort(404)
    response = Response(content, mimetype=_BUNDLES[endpoint][1])
    response.set_etag(_version(endpoint, group) or "")
    response.make_conditional(request)
    return response


def _group() -> str:
    return request.args.get("of", "signin")


def install(app: Flask) -> None:
    """Bind to `app`: `url_for` names the version, and what carries its right version may be kept for long."""
    app.register_blueprint(blueprint)

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        name = values.get("of", "signin") if endpoint in _BUNDLES else values.get("filename")
        if endpoint in {"static", *_BUNDLES} and name is not None:
            version = _version(endpoint, name)
            if version is not None:
                values.setdefault("v", version)

    @app.after_request
    def keep_long(response: Response) -> Response:
        endpoint = request.endpoint
        # OPTIONS is answered whether there is such a file or not, and for names that no file can have.
        is_sent = request.method in {"GET", "HEAD"} and response.status_code in {200, 304}
        if endpoint in {"static", *_BUNDLES} and is_sent:
            name = _group() if endpoint in _BUNDLES else (request.view_args or {}).get("filename", "")
            current = request.args.get("v") == _version(endpoint, name)
            # A version of another release, or none: ask again each time, the ETag makes it cheap.
            response.headers["Cache-Control"] = FOR_EVER if current else "no-cache"
        return response
