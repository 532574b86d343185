"""The forms of the hosted pages, by the names of contract.md section 5."""

from typing import Any

from flask_babel import lazy_gettext
from flask_wtf import FlaskForm
from wtforms import BooleanField, HiddenField, PasswordField, StringField
from wtforms.validators import AnyOf, DataRequired, EqualTo, InputRequired, Length

from idp.policy import PASSWORD_LENGTH_MAX
from idp.web.questions import QUESTION_KEYS

# PW-2: beyond the longest that can be right, refused before anything is hashed.
_not_too_long = Length(
    max=PASSWORD_LENGTH_MAX, message=lazy_gettext("Use %(max)s caracteres o menos.", max=PASSWORD_LENGTH_MAX)
)


class SignInForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-signin`. What it refuses depends on the text alone and is no attempt."""

    username = StringField(validators=[DataRequired(lazy_gettext("Escriba su usuario."))])
    password = PasswordField(validators=[InputRequired(lazy_gettext("Escriba su contraseña.")), _not_too_long])


class RecoverForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-recover`."""

    username = StringField(validators=[DataRequired(lazy_gettext("Escriba su usuario de acceso."))])


class QuestionForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-question`. An empty answer is no attempt."""

    answer = StringField(validators=[DataRequired(lazy_gettext("Escriba la respuesta.")), _not_too_long])


class ReminderForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-reminder`: a button alone; whom it is for stands in the browser's session."""


class NewPasswordForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-password`. Whose password it is stands in the browser's session; `username` is for password managers."""

    new_password = PasswordField(validators=[InputRequired(lazy_gettext("Escriba la contraseña nueva."))])
    new_password_repeat = PasswordField(
        validators=[
            InputRequired(lazy_gettext("Escriba otra vez la contraseña nueva.")),
            EqualTo("new_password", lazy_gettext("Las contraseñas no coinciden.")),
        ]
    )


class SecretQuestionForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """A question of the catalogue and its answer."""

    question = StringField(validators=[AnyOf(QUESTION_KEYS, lazy_gettext("Elija una pregunta de la lista."))])
    new_answer = StringField(validators=[DataRequired(lazy_gettext("Escriba la respuesta.")), _not_too_long])


class RecoveredPasswordForm(NewPasswordForm):
    """The same, with the secret question folded away (M10): looked at where its box is ticked or it was answered."""

    change_question = BooleanField()
    question = StringField()
    new_answer = StringField()

    def validate(self, extra_validators: Any = None) -> bool:
        """The question's own rules hold only where it is to be changed."""
        judged: dict[str, Any] = dict(extra_validators or {})
        if self.wants_question:
            judged["question"] = [AnyOf(QUESTION_KEYS, lazy_gettext("Elija una pregunta de la lista."))]
            judged["new_answer"] = [DataRequired(lazy_gettext("Escriba la respuesta.")), _not_too_long]
        return bool(super().validate(extra_validators=judged))

    @property
    def wants_question(self) -> bool:
        """Whether question and answer are to be changed too."""
        return bool(self.change_question.data or (self.new_answer.data or "").strip())


class ConsentForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-consent`: which request it answers; its buttons send `decision`, `allow` or `deny`."""

    interaction = HiddenField()


class DeviceForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-device`: the code of a device; on the page that asks, its buttons send `decision`, `allow` or `deny`."""

    user_code = StringField(validators=[DataRequired(lazy_gettext("Escriba el código que ve en su equipo."))])


class SignOutForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-signout`: which logout request it confirms, if an application made one."""

    logout = HiddenField()
