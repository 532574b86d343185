"""`/captcha/…`: the image and the sound of an open challenge, and another one for the asking."""

from flask import Blueprint, Response, abort, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import TooManyRequests

from idp.accounts.errors import AddressThrottled
from idp.web import captcha
from idp.web.browser import current_browser
from idp.web.current import now, services
from idp.web.i18n import current_language

blueprint = Blueprint("captcha", __name__, url_prefix="/captcha")


@blueprint.get("/<handle>.png")
def image(handle: str) -> Response:
    """The characters, for the browser that is to read them."""
    _check_open(handle)
    return _media(services().captcha.image(handle, now()), "image/png")


@blueprint.get("/<handle>.wav")
def sound(handle: str) -> Response:
    """The digits, in the language of the page. In parts where asked: some players take nothing else."""
    _check_open(handle)
    content = services().captcha.sound(handle, current_language().tag, now())
    response = _media(content, "audio/wav")
    response.make_conditional(request, accept_ranges=True, complete_length=len(content))
    return response


@blueprint.post("/refresh")
def refresh() -> ResponseReturnValue:
    """Another challenge: as JSON for the script, which keeps what was typed; otherwise by the page itself."""
    if request.accept_mimetypes.best != "application/json":
        captcha.forget_challenge()
        return _back()
    try:
        fresh = captcha.fresh_challenge()
    except AddressThrottled as refusal:
        raise TooManyRequests(retry_after=int(refusal.retry_after.total_seconds())) from None
    return jsonify(captcha.addresses(fresh["handle"]))


@blueprint.errorhandler(CSRFError)
def refuse_stale_form(_error: CSRFError) -> ResponseReturnValue:
    """Back to the page, which has a token that is good; nothing was changed."""
    return _back()


def _check_open(handle: str) -> None:
    browser = current_browser()
    if browser is None or not services().captcha.is_open(browser.browser, handle, now()):
        abort(404)


def _media(content: bytes, mimetype: str) -> Response:
    response = Response(content, mimetype=mimetype)
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _back() -> ResponseReturnValue:
    # By name from a fixed list, never by address (D-49).
    endpoint = captcha.PAGES.get(request.args.get("page", ""), captcha.PAGES["signin"])
    return redirect(url_for(endpoint, **captcha.return_values()), code=303)
