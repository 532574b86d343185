"""What a scope means to the person who is asked: one table, in the words of the product, never a client's own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from flask_babel import format_date, gettext, lazy_gettext
from flask_babel.speaklater import LazyString
from idp_kit.retention import first_visible_day

from idp.policy import RETENTION_TIME_ZONE


@dataclass(frozen=True, slots=True)
class ScopeLine:
    """One line of the consent page (S15)."""

    name: str
    group: Literal["data", "act"]
    title: str
    values: list[str]
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class _Scope:
    group: Literal["data", "act"]
    title: LazyString
    claims: tuple[str, ...] = ()
    sensitive: bool = False
    windowed: LazyString | None = None
    """The sentence for a scope that sees only what the retention window shows."""


_SCOPES = {
    "openid": _Scope("data", lazy_gettext("Reconocerlo cuando vuelva")),
    "profile": _Scope("data", lazy_gettext("Su nombre y los datos de su perfil"), ("name", "preferred_username")),
    "email": _Scope("data", lazy_gettext("Su correo electrónico"), ("email",)),
    "address": _Scope("data", lazy_gettext("Su domicilio"), ("address",)),
    "phone": _Scope("data", lazy_gettext("Su teléfono"), ("phone_number",)),
    "rfc": _Scope("data", lazy_gettext("Su RFC, su tipo de cuenta y su empresa"), ("rfc", "organization")),
    "offline_access": _Scope(
        "act", lazy_gettext("Conservar este acceso aunque usted no esté usando la aplicación"), sensitive=True
    ),
    "mailbox:read": _Scope(
        "act",
        lazy_gettext("Consultar las facturas de su buzón"),
        windowed=lazy_gettext("Consultar las facturas de su buzón timbradas desde el %(since)s (%(days)s días)"),
    ),
    "mailbox:download": _Scope(
        "act",
        lazy_gettext("Descargar el XML de las facturas de su buzón"),
        sensitive=True,
        windowed=lazy_gettext(
            "Descargar el XML de las facturas de su buzón timbradas desde el %(since)s (%(days)s días)"
        ),
    ),
    "mailbox:issued": _Scope("act", lazy_gettext("Consultar también las facturas que usted emitió")),
    "mailbox:archive": _Scope(
        "act", lazy_gettext("Consultar las facturas en resguardo, de cualquier fecha"), sensitive=True
    ),
}
_ORDER = tuple(_SCOPES)

_CLAIMS = {
    "name": lazy_gettext("Su nombre"),
    "family_name": lazy_gettext("Sus apellidos"),
    "given_name": lazy_gettext("Su nombre de pila"),
    "middle_name": lazy_gettext("Su segundo nombre"),
    "nickname": lazy_gettext("Su apodo"),
    "preferred_username": lazy_gettext("Su usuario"),
    "profile": lazy_gettext("La dirección de su página personal"),
    "picture": lazy_gettext("Su fotografía"),
    "website": lazy_gettext("Su sitio web"),
    "gender": lazy_gettext("Su género"),
    "birthdate": lazy_gettext("Su fecha de nacimiento"),
    "zoneinfo": lazy_gettext("Su zona horaria"),
    "locale": lazy_gettext("Su idioma"),
    "updated_at": lazy_gettext("Cuándo cambiaron sus datos por última vez"),
    "email": lazy_gettext("Su correo electrónico"),
    "email_verified": lazy_gettext("Si su correo electrónico está confirmado"),
    "address": lazy_gettext("Su domicilio"),
    "phone_number": lazy_gettext("Su teléfono"),
    "phone_number_verified": lazy_gettext("Si su teléfono está confirmado"),
}
"""The claims that can be asked for by name (OIDC Core section 5.5)."""


def describe_scopes(
    scopes: Iterable[str],
    subject_claims: Mapping[str, Any],
    *,
    retention_days: int | None = None,
    now: datetime | None = None,
) -> list[ScopeLine]:
    """The lines for these scopes in the order of the table, unknown ones last.

    `subject_claims` are the person's own, so that they see what is given and not only what kind of thing.
    With `retention_days` and `now`, mailbox scopes name their window.
    """
    asked = list(dict.fromkeys(scopes))
    lines = [
        _line(name, _SCOPES[name], subject_claims, retention_days, now)
        for name in sorted((name for name in asked if name in _SCOPES), key=_ORDER.index)
    ]
    lines += [
        ScopeLine(name, "act", gettext("Permiso técnico: %(scope)s", scope=name), [])
        for name in asked
        if name not in _SCOPES
    ]
    return lines


def describe_claims(names: Iterable[str], subject_claims: Mapping[str, Any]) -> list[ScopeLine]:
    """The lines for claims that are asked for by name, in the order given."""
    lines = []
    for name in names:
        text = _text(subject_claims.get(name))
        lines.append(ScopeLine(name, "data", str(_CLAIMS.get(name, name)), [text] if text else []))
    return lines


def _line(name: str, scope: _Scope, claims: Mapping[str, Any], days: int | None, now: datetime | None) -> ScopeLine:
    title = str(scope.title)
    if scope.windowed is not None and days is not None and now is not None:
        since = first_visible_day(now, days, RETENTION_TIME_ZONE)
        title = str(scope.windowed) % {"since": format_date(since, "long"), "days": days}
    values = [text for claim in scope.claims if (text := _text(claims.get(claim)))]
    return ScopeLine(name, scope.group, title, list(dict.fromkeys(values)), scope.sensitive)


def _text(value: Any) -> str:
    # OIDC Core section 5.1.1: an address is an object with a `formatted` member.
    if isinstance(value, Mapping):
        return _text(value.get("formatted"))
    return value if isinstance(value, str) else ""
