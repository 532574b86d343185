"""Ending the session of the present browser, and the page that says so."""

from flask import render_template

from idp.policy import FRAMES_WAIT
from idp.web.browser import current_browser, forget_browser
from idp.web.current import now, services
from idp.web.headers import allow_frames


def sign_out(*, everywhere: bool = False) -> tuple[str, ...]:
    """End the session here, or each one of its person; the addresses that this browser has to load for its clients.

    Nothing happens where the browser has no session.
    """
    browser = current_browser()
    if browser is None:
        return ()
    frames = () if browser.sid is None else services().notices.frames_of(browser.sid)
    services().sign_in.sign_out(browser, now(), everywhere=everywhere)
    forget_browser()
    return frames


def signed_out_page(
    frames: tuple[str, ...] = (),
    *,
    return_uri: str | None = None,
    client_name: str | None = None,
    nobody: bool = False,
) -> str:
    """S23, done. With frames it loads them, and then leads on to `return_uri`; without scripts its button does.

    `nobody`: there was no session to end.
    """
    if frames:
        allow_frames(frames)
    return render_template(
        "logout/signed_out.html",
        frames=frames,
        frames_wait=int(FRAMES_WAIT.total_seconds() * 1000),
        return_url=return_uri,
        client_name=client_name,
        nobody=nobody,
    )
