"""`/styleguide`: every component in every state, for whoever works on the pages. Not there in production."""

from types import SimpleNamespace

from flask import Blueprint, abort, render_template

from idp.policy import EXPIRY_WARNINGS, PASSWORD_LIFETIME
from idp.web.activity import chart, describe
from idp.web.current import now, services
from idp.web.questions import QUESTION_KEYS, question_text

blueprint = Blueprint("styleguide", __name__)

_GROUPS = ("signin", "sheet", "account")


@blueprint.get("/styleguide")
@blueprint.get("/styleguide/<group>")
def styleguide(group: str = "sheet") -> str:
    """The components of one group of pages, under that group's style sheet and script."""
    if services().settings.is_production or group not in _GROUPS:
        abort(404)
    at = now()
    calm = _form()
    wrong = _form(username=["Escriba su usuario."], new_password=["Agregue un número.", "Agregue una letra mayúscula."])
    happened = [(at - each * PASSWORD_LIFETIME / 60, event) for event, each in _HAPPENED]
    shown: str = render_template(
        "styleguide.html",
        group=group,
        groups=_GROUPS,
        calm=calm,
        wrong=wrong,
        questions=[(key, question_text(key)) for key in QUESTION_KEYS],
        ends=[(days, at + days * PASSWORD_LIFETIME / PASSWORD_LIFETIME.days) for days in (*EXPIRY_WARNINGS, 0)],
        lifetime_days=PASSWORD_LIFETIME.days,
        chart=chart(happened, at),
        told=[
            (SimpleNamespace(at=when, event=event, address="192.0.2.10", client_id=None), describe(event))
            for when, event in happened
        ],
        now=at,
    )
    return shown


_FIELDS = ("username", "password", "new_password", "new_password_repeat", "current_password", "question", "new_answer")
_HAPPENED = (
    ("account:signin:success", 0),
    ("account:signin:failure", 1),
    ("account:signin:success", 1),
    ("account:password:change", 2),
    ("account:signin:success", 5),
)


def _form(**errors: list[str]) -> SimpleNamespace:
    fields = {name: SimpleNamespace(name=name, errors=errors.get(name, []), data="") for name in _FIELDS}
    fields["change_question"] = SimpleNamespace(name="change_question", errors=[], data=False)
    return SimpleNamespace(**fields, errors=errors)
