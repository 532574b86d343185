"""What stands on every response: the headers of W-7, the request's id and where the request came from."""

import re
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from idp import audit
from idp.policy import HSTS_LIFETIME
from idp.web.proxies import GIVEN_ID

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
_FRAMED_POLICY = "default-src 'none'; script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors *"
_PERMISSIONS = ", ".join(
    [
        *(
            f"{feature}=()"
            for feature in (
                "accelerometer",
                "camera",
                "display-capture",
                "geolocation",
                "gyroscope",
                "magnetometer",
                "microphone",
                "midi",
                "payment",
                "usb",
            )
        ),
        "publickey-credentials-get=(self)",
        "publickey-credentials-create=(self)",
    ]
)


def allow_form_action(redirect_uri: str) -> None:
    """Let a form of this page end at `redirect_uri`, which the protocol has found to be the client's.

    Its scheme is named, not its origin: browsers apply `form-action` to the whole chain of redirects after the form,
    the client's own hops too.
    """
    scheme = _SCHEME.match(redirect_uri)
    if scheme:
        g.form_action_scheme = scheme[1].lower() + ":"


def allow_frames(addresses: Iterable[str]) -> None:
    """Let this page show frames of exactly these addresses' origins, which stand in clients' registrations."""
    g.frame_origins = tuple(dict.fromkeys(f"{part.scheme}://{part.netloc}" for part in map(urlsplit, addresses)))


def allow_framing() -> None:
    """Let every page frame this one, which shows nothing and has no form (W-7)."""
    g.is_framed = True


def standing_headers(*, secure: bool) -> dict[str, str]:
    """What every response carries, whatever it is."""
    fixed = {
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": _PERMISSIONS,
    }
    if secure:
        fixed["Strict-Transport-Security"] = f"max-age={int(HSTS_LIFETIME.total_seconds())}; includeSubDomains"
    return fixed


def machine_headers(*, secure: bool) -> dict[str, str]:
    """What stands on an answer to a machine: the same, with the policies of a page without form target."""
    return {
        **standing_headers(secure=secure),
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def new_origin(address: str | None, given: str | None = None) -> audit.Origin:
    """Where a request comes from, under the id that a proxy of ours gave it, else one of our own.

    Never the caller's: it is what a person reads out to support and what we look up in the log.
    """
    return audit.Origin(request_id=given or secrets.token_hex(8), address=address)


def install(app: Flask, *, secure: bool) -> None:
    """Bind to `app`; call it before any extension that may refuse a request."""
    fixed = standing_headers(secure=secure)

    @app.before_request
    def note_origin() -> None:
        audit.origin.set(new_origin(request.remote_addr, request.environ.get(GIVEN_ID)))

    @app.teardown_request
    def forget_origin(_error: BaseException | None) -> None:
        audit.origin.set(audit.Origin())

    @app.after_request
    def add_headers(response: Response) -> Response:
        headers = response.headers
        headers.update(fixed)
        headers["Content-Security-Policy"] = _content_security_policy()
        headers["X-Request-Id"] = audit.origin.get().request_id or ""
        headers.setdefault("Referrer-Policy", "same-origin")
        headers.setdefault("Cache-Control", "no-store")
        return response


def _content_security_policy() -> str:
    if g.get("is_framed"):
        return _FRAMED_POLICY
    scheme, origins = g.get("form_action_scheme"), g.get("frame_origins")
    policy = _POLICY if scheme is None else f"{_POLICY} {scheme}"
    return policy if not origins else f"{policy}; frame-src {' '.join(origins)}"
