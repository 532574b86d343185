"""The forms of the hosted pages, by the names of contract.md section 5."""

from flask_babel import lazy_gettext
from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import DataRequired, InputRequired, Length

from idp.policy import PASSWORD_LENGTH_MAX


class SignInForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-signin`. What it refuses depends on the text alone and is no attempt."""

    username = StringField(validators=[DataRequired(lazy_gettext("Escriba su usuario."))])
    password = PasswordField(
        validators=[
            InputRequired(lazy_gettext("Escriba su contraseña.")),
            # PW-2: beyond the longest that can be right, refused before anything is hashed.
            Length(
                max=PASSWORD_LENGTH_MAX,
                message=lazy_gettext("Use %(max)s caracteres o menos.", max=PASSWORD_LENGTH_MAX),
            ),
        ]
    )


class ConsentForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-consent`: which request it answers; its buttons send `decision`, `allow` or `deny`."""

    interaction = HiddenField()


class SignOutForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-signout`: which logout request it confirms, if an application made one."""

    logout = HiddenField()
