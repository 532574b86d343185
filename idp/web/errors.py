"""Every error as a page or as JSON: a plain sentence, a reference, a way on; nothing of the inside."""

import logging
from datetime import timedelta
from typing import Any

from flask import Flask, Response, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import format_datetime, gettext, lazy_gettext, ngettext
from flask_babel.speaklater import LazyString
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from idp.accounts.errors import AddressThrottled, HashingOverloaded
from idp.db import StoreUnavailable
from idp.policy import RETRY_AFTER
from idp.protocol.errors import InvalidClient, InvalidIdTokenHint, InvalidRedirectUri, OAuth2Error
from idp.web.current import now, request_id
from idp.web.stale_forms import stale_form_text
from idp.wiring import KeyProblem

_log = logging.getLogger(__name__)

_PAGES_UNDER_OAUTH = frozenset({"/oauth/authorize", "/oauth/logout"})

# RFC 6749 sections 4.1.2.1 and 5.2: the registered codes that say the least.
_JSON_CODES = {429: "temporarily_unavailable", 500: "server_error", 503: "temporarily_unavailable"}
_JSON_TEXTS = {
    400: "The request cannot be read.",
    404: "There is nothing here.",
    405: "This method is not allowed here.",
    413: "The request is too large.",
    429: "Too many requests.",
    500: "Something failed on our side.",
    503: "Try again in a moment.",
}

_OAUTH_ERRORS: dict[str, tuple[str, LazyString]] = {
    "client": (
        "invalid_client",
        lazy_gettext("La aplicación que lo envió aquí no está registrada. Vuelva a ella y avise a su administrador."),
    ),
    "redirect": (
        "invalid_redirect_uri",
        lazy_gettext("La dirección de regreso no es válida. Por seguridad no continuamos."),
    ),
    "hint": (
        "invalid_id_token_hint",
        lazy_gettext(
            "La aplicación no demostró cuál es: su «id_token_hint» falta o no es válido. Por seguridad no continuamos."
        ),
    ),
    "request": (
        "invalid_request",
        lazy_gettext("La solicitud de acceso está incompleta o no es válida."),
    ),
    "gone": (
        "interaction_expired",
        lazy_gettext("Esta solicitud de acceso ya terminó o venció. Vuelva a la aplicación y empiece de nuevo."),
    ),
}


def wants_json() -> bool:
    """Whether a machine called: everything under /oauth/ that is no page, and what machines look for elsewhere."""
    if request.path.startswith("/oauth/"):
        return request.path not in _PAGES_UNDER_OAUTH
    return request.path.startswith(("/health/", "/.well-known/o", "/metrics"))


def error_page(status: int, title: str, text: str, *, code: str | None = None) -> Response:
    """The page S24: needs neither session nor database. `code` is for whoever gives support."""
    moment = gettext("%(moment)s (hora de CDMX)", moment=format_datetime(now(), "d MMM y, HH:mm"))
    page = render_template(
        "error.html", status=status, title=title, text=text, code=code, reference=request_id(), moment=moment
    )
    return make_response(page, status)


def render_error(code: str, status: int = 400, *, detail: str | None = None) -> Response:
    """A client's request that must not be answered by a redirect: `client`, `redirect`, `hint`, `request` or `gone`.

    `detail` is the registered error code that support sees, where the usual one of these is too broad.
    """
    usual, text = _OAUTH_ERRORS[code]
    return error_page(status, gettext("No podemos abrir esta aplicación"), str(text), code=detail or usual)


_PAGES: dict[type[OAuth2Error], str] = {
    InvalidClient: "client",
    InvalidRedirectUri: "redirect",
    InvalidIdTokenHint: "hint",
}


def refuse_request(error: OAuth2Error) -> Response:
    """The page for what is wrong with a client's request, where nobody can be sent back to it."""
    page = _PAGES.get(type(error))
    # Where there is a page for it, its own code says more than the registered one.
    return render_error("request", detail=error.error) if page is None else render_error(page)


def _answer(status: int, title: str, text: str) -> Response:
    if not wants_json():
        return error_page(status, title, text)
    error = _JSON_CODES.get(status, "invalid_request")
    response = jsonify(error=error, error_description=_JSON_TEXTS.get(status, _JSON_TEXTS[400]))
    response.status_code = status
    return response


def _http_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code
    if status is None or status < 400 or error.response is not None:
        return error
    if status >= 500 and status != 503:
        return _unexpected(getattr(error, "original_exception", None) or error)
    response = _answer(status, *_words(error, status))
    for name, value in error.get_headers():
        if name.lower() in {"allow", "retry-after"}:
            response.headers[name] = value
    return response


def _words(error: HTTPException, status: int) -> tuple[str, str]:
    if isinstance(error, CSRFError):
        return gettext("La página caducó"), stale_form_text()
    if status == 404:
        return gettext("Página no encontrada"), gettext("No encontramos la página que busca.")
    if status == 405:
        return gettext("Página no encontrada"), gettext("Esta dirección no se abre de esa manera.")
    if status == 413:
        return gettext("Demasiados datos"), gettext("Lo que se envió es más grande de lo que aceptamos.")
    if status == 415:
        return gettext("No podemos atender esta solicitud"), gettext(
            "Lo que se envió no es un formulario de esta página."
        )
    if status == 429:
        seconds = getattr(error, "retry_after", None)
        return gettext("Espere un momento"), wait_text(timedelta(seconds=seconds if isinstance(seconds, int) else 0))
    if status == 503:
        return _unavailable_words()
    return gettext("No podemos atender esta solicitud"), gettext("La solicitud está incompleta o no es válida.")


def wait_text(wait: timedelta) -> str:
    """What is said to who asks too much, in whole minutes."""
    minutes = max(1, -(-int(wait.total_seconds()) // 60))
    text = ngettext(
        "Hay demasiadas solicitudes desde su conexión. Espere %(num)s minuto e inténtelo de nuevo.",
        "Hay demasiadas solicitudes desde su conexión. Espere %(num)s minutos e inténtelo de nuevo.",
        minutes,
    )
    return str(text)


def _unavailable_words() -> tuple[str, str]:
    return (
        gettext("Volvemos en un momento"),
        gettext("El servicio no está disponible por ahora. Inténtelo de nuevo en unos segundos."),
    )


def _unavailable(error: StoreUnavailable | HashingOverloaded | KeyProblem) -> Response:
    # The type alone: the chained cause of a driver may hold values of the statement (O-2).
    _log.warning("unavailable: %s, folio %s", type(error).__name__, request_id())
    wait = error.retry_after if isinstance(error, HashingOverloaded) else RETRY_AFTER
    response = _answer(503, *_unavailable_words())
    response.headers["Retry-After"] = str(max(1, int(wait.total_seconds())))
    return response


def _throttled(error: AddressThrottled) -> Response:
    return say_wait(_answer(429, gettext("Espere un momento"), wait_text(error.retry_after)), error)


def say_wait(page: Response, error: AddressThrottled) -> Response:
    """`page` as the answer to who asks too much: 429, and when to come back."""
    page.status_code = 429
    page.headers["Retry-After"] = str(max(1, int(error.retry_after.total_seconds())))
    return page


def _unexpected(error: BaseException) -> Response:
    if isinstance(error, StoreUnavailable | HashingOverloaded | KeyProblem):
        return _unavailable(error)
    # These come here where the page that was to answer a stale form could not be made.
    if isinstance(error, AddressThrottled):
        return _throttled(error)
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return _answer(error.code, *_words(error, error.code))
    _log.error("unexpected error at %s, folio %s", request.endpoint, request_id(), exc_info=error)
    return _answer(
        500,
        gettext("Ocurrió un error"),
        gettext(
            "Ocurrió un error de nuestro lado. Inténtelo en unos minutos; si continúa, comuníquese con soporte y "
            "proporcione la clave %(folio)s.",
            folio=request_id(),
        ),
    )


def install(app: Flask) -> None:
    """Bind to `app`: no error leaves it in another form."""
    handlers: dict[Any, Any] = {
        HTTPException: _http_error,
        StoreUnavailable: _unavailable,
        HashingOverloaded: _unavailable,
        AddressThrottled: _throttled,
        KeyProblem: _unavailable,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.register_error_handler(kind, handler)
