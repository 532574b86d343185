"""What is said of a new password or secret answer that breaks rules: one text for each rule (copy, section 11)."""

from collections.abc import Iterable
from datetime import datetime

from flask_babel import format_date, gettext, lazy_gettext, ngettext
from flask_babel.speaklater import LazyString

from idp.accounts.errors import AnswerRule, PasswordRule
from idp.policy import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, SECRET_ANSWER_LENGTH_MIN
from idp.web.browser import Message

_PASSWORD: dict[PasswordRule, LazyString] = {
    PasswordRule.UPPER: lazy_gettext("Agregue una letra mayúscula."),
    PasswordRule.DIGIT: lazy_gettext("Agregue un número."),
    PasswordRule.PUNCT: lazy_gettext("Agregue un signo de puntuación."),
    PasswordRule.CONTROL: lazy_gettext("No use caracteres de control, como tabulaciones o saltos de línea."),
    PasswordRule.NOT_RFC: lazy_gettext("No use su usuario ni su RFC en la contraseña."),
    PasswordRule.NOT_OLD: lazy_gettext("Elija una contraseña que no haya usado antes."),
    PasswordRule.COMMON: lazy_gettext("Esa contraseña es demasiado conocida. Elija otra."),
}
_ANSWER: dict[AnswerRule, LazyString] = {
    AnswerRule.USERNAME: lazy_gettext("No use su usuario ni su RFC en la respuesta."),
    AnswerRule.QUESTION: lazy_gettext("No responda con palabras de la pregunta."),
    AnswerRule.COMMON: lazy_gettext("Esa respuesta es demasiado conocida. Elija otra."),
}


def too_long_text() -> str:
    """Of a password or an answer with more characters than are looked at (PW-2)."""
    return str(gettext("Use %(max)s caracteres o menos.", max=PASSWORD_LENGTH_MAX))


def password_problems(broken: Iterable[PasswordRule]) -> list[str]:
    """What to change about a refused password: a sentence for each rule, as a field's errors."""
    return [_password_problem(rule) for rule in broken]


def answer_problems(broken: Iterable[AnswerRule]) -> list[str]:
    """What to change about a refused secret answer: a sentence for each rule, as a field's errors."""
    return [_answer_problem(rule) for rule in broken]


def _password_problem(rule: PasswordRule) -> str:
    if rule is PasswordRule.LENGTH:
        return str(ngettext("Use al menos %(num)s carácter.", "Use al menos %(num)s caracteres.", PASSWORD_LENGTH_MIN))
    return too_long_text() if rule is PasswordRule.TOO_LONG else str(_PASSWORD[rule])


def _answer_problem(rule: AnswerRule) -> str:
    if rule is AnswerRule.SHORT:
        return str(
            ngettext(
                "La respuesta debe tener al menos %(num)s carácter.",
                "La respuesta debe tener al menos %(num)s caracteres.",
                SECRET_ANSWER_LENGTH_MIN,
            )
        )
    return too_long_text() if rule is AnswerRule.TOO_LONG else str(_ANSWER[rule])


def changed_text(message: Message) -> str:
    """Of a password that was set: `message` is `changed`, with `expires_at` and whether `others` were signed out."""
    day = format_date(datetime.fromisoformat(message.values["expires_at"]), "long")
    text = str(gettext("Su contraseña se cambió. Vence el %(day)s.", day=day))
    if message.values.get("others"):
        text += " " + str(gettext("Cerramos sus demás sesiones."))
    return text
