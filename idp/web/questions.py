"""The words of the secret questions: a key of the catalogue in, a sentence out."""

from flask_babel import lazy_gettext
from flask_babel.speaklater import LazyString

from idp.accounts.questions import QUESTIONS

# Stable, and in no social network and on no invoice (copy-es-MX.md, section 7).
_TEXTS = {
    "teacher": lazy_gettext("¿Cuál fue el apodo de su primera maestra o maestro?"),
    "street": lazy_gettext("¿En qué calle vivía su mejor amistad de la infancia?"),
    "concert": lazy_gettext("¿Cuál fue el primer concierto al que asistió?"),
    "dish": lazy_gettext("¿Qué platillo preparaba mejor la persona que lo crio?"),
    "toy": lazy_gettext("¿Cómo se llamaba su primer juguete favorito?"),
    "story": lazy_gettext("¿Qué cuento o leyenda le contaban en la infancia?"),
    "trip": lazy_gettext("¿A dónde fue el primer viaje que recuerda?"),
    "song": lazy_gettext("¿Qué canción aprendió primero de memoria?"),
    "shop": lazy_gettext("¿Cómo se llamaba la tienda donde compraba dulces en la infancia?"),
    "neighbor": lazy_gettext("¿Cómo se llamaba el vecino o la vecina que mejor recuerda de la infancia?"),
    "purchase": lazy_gettext("¿Qué fue lo primero que compró con su propio dinero?"),
    "team": lazy_gettext("¿Cómo se llamaba el primer equipo o grupo en el que participó?"),
    "hideout": lazy_gettext("¿Cuál era su escondite favorito en la infancia?"),
    "film": lazy_gettext("¿Cuál fue la primera película que vio en el cine?"),
}


QUESTION_KEYS = QUESTIONS


def question_text(key: str) -> str:
    """The question in the language of the page; `KeyError` for a key that the catalogue never had."""
    return str(_TEXTS[key])


def question_choices() -> list[tuple[str, LazyString]]:
    """Key and words of each question, in the order in which a select offers them."""
    return [(key, _TEXTS[key]) for key in QUESTIONS]
