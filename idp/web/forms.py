"""The forms of the hosted pages, by the names of contract.md section 5."""

from flask_babel import lazy_gettext
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
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
    """`form-consent`: `decision` is `allow` or `deny`; anything else is a no."""

    decision = StringField()

    @property
    def is_allowed(self) -> bool:
        """Whether the person said yes."""
        return bool(self.decision.data == "allow")


class SignOutForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """`form-signout`: that it was sent is all it says."""
