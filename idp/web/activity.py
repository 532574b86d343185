"""What happened to an account, in plain language, and the chart of its sign-ins (S17, S22)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from flask_babel import lazy_gettext
from flask_babel.speaklater import LazyString

from idp.audit import Event
from idp.policy import ACTIVITY_CHART_DAYS, RETENTION_TIME_ZONE


@dataclass(frozen=True, slots=True)
class Happening:
    """How an event is told: `tone` is `ok`, `bad` or none; a risky one asks whether it was the owner."""

    text: LazyString
    icon: str
    tone: str = ""
    is_risky: bool = False


_ELSE = Happening(lazy_gettext("Otro movimiento de su cuenta"), "info")
_HAPPENINGS = {
    Event.ACCOUNT_CREATE: Happening(lazy_gettext("Se creó su cuenta"), "person"),
    Event.ACCOUNT_INVITE: Happening(lazy_gettext("Se envió una invitación a su correo"), "mail"),
    Event.ACCOUNT_ACTIVATE: Happening(lazy_gettext("Activó su cuenta"), "ok", "ok"),
    Event.ACCOUNT_DISABLE: Happening(lazy_gettext("Se desactivó su cuenta"), "cross", "bad"),
    Event.ACCOUNT_ENABLE: Happening(lazy_gettext("Se volvió a activar su cuenta"), "ok"),
    Event.ACCOUNT_LOCK: Happening(lazy_gettext("Su usuario se bloqueó"), "lock", "bad", is_risky=True),
    Event.ACCOUNT_UNLOCK: Happening(lazy_gettext("Su usuario se desbloqueó"), "lock"),
    Event.SIGNIN_SUCCESS: Happening(lazy_gettext("Entró con su contraseña"), "ok", "ok"),
    Event.SIGNIN_FAILURE: Happening(
        lazy_gettext("Intento fallido de entrar: contraseña incorrecta"), "warning", "bad", is_risky=True
    ),
    Event.SIGNIN_REFUSED_LOCKED: Happening(
        lazy_gettext("Intento de entrar con el usuario bloqueado"), "warning", "bad", is_risky=True
    ),
    Event.SIGNIN_REFUSED_EXPIRED: Happening(lazy_gettext("Entró con una contraseña vencida"), "clock"),
    Event.REAUTHENTICATION_SUCCESS: Happening(lazy_gettext("Confirmó su contraseña"), "ok"),
    Event.SIGNOUT: Happening(lazy_gettext("Se cerró una sesión"), "out"),
    Event.PASSWORD_CHANGE: Happening(lazy_gettext("Cambió su contraseña"), "key", "ok", is_risky=True),
    Event.PASSWORD_RESET: Happening(lazy_gettext("Recuperó el acceso con otra contraseña"), "key", "ok", is_risky=True),
    Event.QUESTION_CHANGE: Happening(
        lazy_gettext("Cambió su pregunta secreta o la respuesta"), "question", "ok", is_risky=True
    ),
    Event.QUESTION_SUCCESS: Happening(lazy_gettext("Respondió su pregunta secreta"), "question", is_risky=True),
    Event.QUESTION_FAILURE: Happening(
        lazy_gettext("Respuesta incorrecta a su pregunta secreta"), "warning", "bad", is_risky=True
    ),
    Event.QUESTION_CLOSE: Happening(
        lazy_gettext("Su pregunta secreta se cerró por respuestas incorrectas"), "lock", "bad", is_risky=True
    ),
    Event.QUESTION_REFUSED_CLOSED: Happening(
        lazy_gettext("Intento de responder con la pregunta secreta cerrada"), "warning", "bad", is_risky=True
    ),
    Event.REMINDER_REQUEST: Happening(
        lazy_gettext("Se pidió un enlace para cambiar su contraseña"), "mail", is_risky=True
    ),
    Event.PROFILE_CHANGE: Happening(lazy_gettext("Cambió los datos de su cuenta"), "person"),
    Event.CONSENT_GRANT: Happening(lazy_gettext("Dio acceso a una aplicación"), "apps"),
    Event.CONSENT_DENY: Happening(lazy_gettext("No permitió el acceso de una aplicación"), "apps"),
    Event.CONSENT_REVOKE: Happening(lazy_gettext("Quitó el acceso a una aplicación"), "apps"),
    Event.DEVICE_APPROVE: Happening(lazy_gettext("Conectó una aplicación en otro equipo"), "screen", is_risky=True),
    Event.DEVICE_DENY: Happening(lazy_gettext("No conectó una aplicación en otro equipo"), "screen"),
    Event.CODE_ISSUE: Happening(lazy_gettext("Entró a una aplicación"), "apps"),
}
_FAILURES = frozenset({Event.SIGNIN_FAILURE, Event.SIGNIN_REFUSED_LOCKED})


def describe(event: str) -> Happening:
    """How this event is told; one that has no words of its own is told as another one."""
    try:
        return _HAPPENINGS.get(Event(event), _ELSE)
    except ValueError:
        return _ELSE


# -- the chart -------------------------------------------------------------------------------------------------------

_WIDTH, _TOP, _FLOOR, _LEFT = 320, 40.5, 184.5, 21.0
_BAR = 13
_HEIGHTS = (2, 4, 6, 8, 10, 20, 40, 60, 100, 200, 400, 600)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day: how often, and where it stands in the picture."""

    day: date
    good: int
    failed: int
    x: float
    good_y: float
    good_height: float
    failed_y: float
    failed_height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Sign-ins by day, ready to be drawn without any style of its own (W-7)."""

    bars: tuple[Bar, ...]
    top: int

    @property
    def good(self) -> int:
        """All that succeeded."""
        return sum(bar.good for bar in self.bars)

    @property
    def failed(self) -> int:
        """All that failed."""
        return sum(bar.failed for bar in self.bars)


def chart(happened: Iterable[tuple[datetime, str]], now: datetime, *, complete_from: datetime | None = None) -> Chart:
    """Count sign-ins for each of the last days of central Mexico, today included.

    `complete_from`: nothing older than this was read, so days that begin before it are left out, today excepted.
    """
    zone = ZoneInfo(RETENTION_TIME_ZONE)
    today = now.astimezone(zone).date()
    days = [date.fromordinal(today.toordinal() - ago) for ago in reversed(range(ACTIVITY_CHART_DAYS))]
    if complete_from is not None:
        first = complete_from.astimezone(zone).date()
        days = [day for day in days if day > first or day == today]
    good, failed = dict.fromkeys(days, 0), dict.fromkeys(days, 0)
    for at, event in happened:
        day = at.astimezone(zone).date()
        if day in good:
            good[day] += event == Event.SIGNIN_SUCCESS
            failed[day] += event in _FAILURES
    return _drawn(days, good, failed)


def _drawn(days: Sequence[date], good: dict[date, int], failed: dict[date, int]) -> Chart:
    most = max(good[day] + failed[day] for day in days)
    top = next((height for height in _HEIGHTS if height >= most), most)
    step = (_WIDTH - _LEFT) / ACTIVITY_CHART_DAYS
    unit = (_FLOOR - _TOP) / top
    bars = []
    for place, day in enumerate(days):
        good_height, failed_height = good[day] * unit, failed[day] * unit
        good_y = _FLOOR - good_height
        bars.append(
            Bar(
                day,
                good[day],
                failed[day],
                x=round(_LEFT + place * step + (step - _BAR) / 2, 1),
                good_y=round(good_y, 1),
                good_height=round(good_height, 1),
                failed_y=round(good_y - failed_height, 1),
                failed_height=round(failed_height, 1),
            )
        )
    return Chart(tuple(bars), top)
