"""The Flask extensions, made once and bound when the application is built."""

from flask import g
from flask_babel import Babel
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFError, CSRFProtect

from idp.db import Base
from idp.web.origins import is_foreign
from idp.web.stale_forms import take_stale_text


class ForeignOrigin(CSRFError):  # type: ignore[misc]  # Flask-WTF has no types
    """A form came from a page that is not ours, whatever token it held."""


class FormProtection(CSRFProtect):  # type: ignore[misc]  # Flask-WTF has no types
    """Flask-WTF's check, and that `Origin`, when present, is ours (security.md W-5).

    Flask-WTF's own look at `Referer` is off: it compares with `Host`, which a proxy may change.
    """

    def protect(self, apply_exemptions: bool = False) -> None:
        super().protect(apply_exemptions)
        # Set by the check above, and only where it was made: exempted views are called across sites on purpose.
        if not g.get("csrf_valid", False):
            return
        if is_foreign():
            raise ForeignOrigin("the form came from another origin")
        # What is said of a form that was refused is over once one is taken, whichever page it came from.
        take_stale_text()


db = SQLAlchemy(model_class=Base)
csrf = FormProtection()
babel = Babel()
