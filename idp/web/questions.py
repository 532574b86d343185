"""The words of the secret questions."""

from flask_babel import lazy_gettext
from flask_babel.speaklater import LazyString

_TEXTS: dict[str, LazyString] = {
    "teacher": lazy_gettext("¿Cuál fue el apodo de su primera maestra o maestro?"),
    "street": lazy_gettext("¿En qué calle vivía su mejor amistad de la infancia?"),
    "concert": lazy_gettext("¿Cuál fue el primer concierto al que asistió?"),
    "dish": lazy_gettext("¿Qué platillo preparaba mejor la persona que lo crio?"),
    "toy": lazy_gettext("¿Cómo se llamaba su primer juguete favorito?"),
}
QUESTION_KEYS = tuple(_TEXTS)


def question_text(key: str) -> str:
    """The question, in the language of the page."""
    return str(_TEXTS[key])
