"""The forms of the account area. None has a field for what a person may not change themselves (D-70)."""

import unicodedata

from flask_babel import lazy_gettext
from flask_wtf import FlaskForm
from wtforms import Field, PasswordField, StringField
from wtforms.validators import AnyOf, DataRequired, InputRequired, Length, StopValidation

from idp.policy import PASSWORD_LENGTH_MAX
from idp.web.forms import NewPasswordForm, SecretQuestionForm
from idp.web.i18n import LANGUAGES

NAME_LENGTH_MAX = 200


class _CurrentPassword(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """Q-6: asked in the same form as the change, whatever the age of the session."""

    current_password = PasswordField(
        validators=[
            InputRequired(lazy_gettext("Escriba su contraseña actual.")),
            Length(
                max=PASSWORD_LENGTH_MAX,
                message=lazy_gettext("Use %(max)s caracteres o menos.", max=PASSWORD_LENGTH_MAX),
            ),
        ]
    )


class ChangePasswordForm(_CurrentPassword, NewPasswordForm):
    """`form-password` in the account area (S19)."""


class ChangeQuestionForm(_CurrentPassword, SecretQuestionForm):
    """`form-question` in the account area (S20)."""


def _readable(_form: FlaskForm, field: Field) -> None:
    # A name stands in tokens, mails and pages: nothing in it that turns text round or cannot be seen.
    if any(unicodedata.category(char)[0] == "C" or unicodedata.category(char) in {"Zl", "Zp"} for char in field.data):
        raise StopValidation(lazy_gettext("Escriba el nombre sin caracteres invisibles."))


class ProfileForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """Name and language (S18)."""

    name = StringField(
        validators=[
            DataRequired(lazy_gettext("Escriba su nombre.")),
            Length(max=NAME_LENGTH_MAX, message=lazy_gettext("Use %(max)s caracteres o menos.", max=NAME_LENGTH_MAX)),
            _readable,
        ]
    )
    locale = StringField(
        validators=[
            AnyOf([each.tag for each in LANGUAGES], lazy_gettext("Elija uno de los idiomas de la lista.")),
        ]
    )
