"""The catalogue of secret questions, the decoys of names that have none, and the rules of answers; pure.

What a question says in which language is the web layer's; here are its key and the words that give it away.
"""

import hmac
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING

from idp import policy
from idp.accounts.errors import AnswerRefused, AnswerRule
from idp.accounts.passwords import names_user, normalise_answer

if TYPE_CHECKING:
    from idp.accounts.usernames import Username

QUESTIONS = (
    "teacher",
    "street",
    "concert",
    "dish",
    "toy",
    "story",
    "trip",
    "song",
    "shop",
    "neighbor",
    "purchase",
    "team",
    "hideout",
    "film",
)
"""Keys of the catalogue (Q-1), in the order in which pages offer them. Accounts keep them: a key is for ever."""

# People take what stands first, and what is easily answered; a decoy drawn evenly would tell itself by being rare
# (ux.md, S08). A question that joins the catalogue stays out of here until people have chosen it for a while: each
# change of this table gives some names another decoy, which Q-2 says never happens, and so needs a decision.
_DECOYS: Mapping[str, int] = {
    "teacher": 19,
    "street": 13,
    "concert": 10,
    "dish": 12,
    "toy": 11,
    "story": 5,
    "trip": 6,
    "song": 4,
    "shop": 4,
    "neighbor": 4,
    "purchase": 3,
    "team": 3,
    "hideout": 2,
    "film": 4,
}

_WORDS: Mapping[str, str] = {
    "teacher": "cual fue apodo primera maestra maestro what was nickname your first teacher",
    "street": "calle vivia mejor amistad infancia which street did your best childhood friend live",
    "concert": "cual fue primer concierto asistio what was first concert you attended went",
    "dish": "platillo preparaba mejor persona crio which dish did the person who raised you make cook best",
    "toy": "como llamaba primer juguete favorito what was name your first favorite favourite toy called",
    "story": "cuento leyenda contaban infancia which tale story legend were told you child childhood",
    "trip": "adonde donde fue primer viaje recuerda where did first trip you remember take was",
    "song": "cancion aprendio primero memoria which song did you learn first heart memory",
    "shop": "como llamaba tienda donde compraba dulces infancia "
    "what was the shop store called name where you bought sweets candy as a child childhood",
    "neighbor": "como llamaba vecino vecina mejor recuerda infancia "
    "what was the neighbor neighbour you remember best from childhood called name",
    "purchase": "que fue primero compro propio dinero what was first thing bought with your own money",
    "team": "como llamaba primer equipo grupo participo what was name called first team group you took part belonged",
    "hideout": "cual era escondite favorito infancia what was your favorite favourite hiding place hideout child",
    "film": "cual fue primera pelicula cine what was first film movie you saw cinema theater theatre",
}
"""The words of each question in every language of the pages, as `normalise_answer` leaves them."""

# "de", "la", "of": they make no answer out of the question's own words.
_SMALL_WORD_MAX = 3


def pick_decoy(canonical: str, key: bytes) -> str:
    """The question of a name that has none (Q-2): always the same for the same canonical name and key."""
    number = int.from_bytes(hmac.digest(key, b"decoy\0" + canonical.encode(), "sha256"), "big")
    ends = tuple(accumulate(_DECOYS.values()))
    place = number % ends[-1]
    return next(name for name, end in zip(_DECOYS, ends, strict=True) if place < end)


def check_answer(answer: str | None, question: str | None, username: "Username") -> str:
    """The answer as it is hashed, or `AnswerRefused` with every broken rule of Q-4.

    A question outside the catalogue is refused too: nobody asks one's own words (Q-1).
    """
    if question not in QUESTIONS:
        raise AnswerRefused((AnswerRule.QUESTION,))
    if answer is not None and len(answer) > policy.PASSWORD_LENGTH_MAX:
        raise AnswerRefused((AnswerRule.TOO_LONG,))
    normal = normalise_answer(answer or "")
    if len(normal) > policy.PASSWORD_LENGTH_MAX:
        raise AnswerRefused((AnswerRule.TOO_LONG,))
    squeezed = normal.replace(" ", "")
    broken = {
        AnswerRule.SHORT: len(normal) < policy.SECRET_ANSWER_LENGTH_MIN,
        AnswerRule.USERNAME: names_user(normal, username),
        AnswerRule.QUESTION: _repeats_question(normal, question),
        AnswerRule.COMMON: squeezed in _common() or len(set(squeezed)) == 1,
    }
    rules = tuple(rule for rule, is_broken in broken.items() if is_broken)
    if rules:
        raise AnswerRefused(rules)
    return normal


def _repeats_question(normal: str, question: str) -> bool:
    told = set(_WORDS[question].split())
    words = [word for word in normal.split() if len(word) > _SMALL_WORD_MAX]
    return bool(words) and told.issuperset(words)


@cache
def _common() -> frozenset[str]:
    lines = files("idp.accounts").joinpath("common_answers.txt").read_text("utf-8").split()
    return frozenset(normalise_answer(each).replace(" ", "") for each in lines)
