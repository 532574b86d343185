"""Password and secret question in the account area: nothing changes without the current password."""

from datetime import UTC, datetime

import pytest

from idp.accounts.errors import PasswordExpired, PasswordRefused, PasswordRule, PermitGone, UsernameLocked
from idp.accounts.permits import Means, Permit
from tests.web.account_doors import Doors
from tests.web.conftest import PASSWORD, Page, Visitor, fields

NEW = "Otra.Frase.Larga9"


def change(person: Visitor, **more: str) -> Page:
    """Send the form of a new password, right but for what is given."""
    page = person.get("/account/password")
    right = {"current_password": PASSWORD, "new_password": NEW, "new_password_repeat": NEW}
    return person.post("/account/password", fields(page, **{**right, **more}))


# -- password --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-2")
def test_a_new_password_brings_a_new_cookie_and_says_so(person: Visitor, doors: Doors) -> None:
    before = person.cookie()
    page = change(person)
    assert doors.own.told == [("password", "id-1", NEW)]
    assert person.cookie() not in {None, before}
    assert person.cookie("device") == "new-device"
    shown = person.follow(page)
    assert "Su contraseña se cambió." in shown
    assert "Cerramos sus demás sesiones." in shown
    assert "Su contraseña se cambió." not in person.get("/account")


@pytest.mark.spec("Q-6")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"current_password": ""}, "Escriba su contraseña actual."),
        ({"current_password": "no"}, "La contraseña actual no es correcta."),
        ({"new_password_repeat": NEW + "x"}, "Las contraseñas no coinciden."),
    ],
)
def test_a_password_is_not_changed_when_a_field_is_wrong(
    person: Visitor, doors: Doors, wrong: dict[str, str], said: str
) -> None:
    page = change(person, **wrong)
    assert (page.status, page.screen) == (400, "password")
    assert said in page
    assert "<title>Error:" in page
    assert NEW not in page
    assert doors.own.told == []


def test_every_broken_rule_is_said_at_the_field(person: Visitor, doors: Doors) -> None:
    doors.own.refusal = PasswordRefused((PasswordRule.DIGIT, PasswordRule.NOT_OLD))
    page = change(person)
    assert "Agregue un número." in page
    assert "Elija una contraseña que no haya usado antes." in page
    assert 'id="new_password-error"' in page


@pytest.mark.spec("C-1")
def test_a_wrong_current_password_makes_the_image_due(person: Visitor, doors: Doors) -> None:
    assert "captcha" not in person.get("/account/password").ids
    assert "captcha" in change(person, current_password="no").ids
    assert "captcha" in person.get("/account/password").ids


def test_a_lock_on_the_way_is_said_with_the_way_out(person: Visitor, doors: Doors) -> None:
    doors.own.refusal = UsernameLocked()
    page = change(person)
    assert (page.status, "Cuenta bloqueada" in page, 'href="/recover"' in page) == (403, True, True)


# -- question --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("Q-6")
@pytest.mark.spec("D-80")
@pytest.mark.parametrize(
    ("current", "changes"), [(PASSWORD, True), ("", False), ("no", False)], ids=["right", "none", "wrong"]
)
def test_the_question_changes_with_the_current_password_only(
    person: Visitor, doors: Doors, current: str, changes: bool
) -> None:
    page = person.get("/account/question")
    typed = {"current_password": current, "question": "toy", "new_answer": "Trompo azul"}
    answer = person.post("/account/question", fields(page, **typed))
    assert (answer.status == 303) is changes
    assert doors.own.told == ([("question", "id-1", "toy", "Trompo azul")] if changes else [])
    if changes:
        assert "Su pregunta secreta y su respuesta se cambiaron." in person.follow(answer)


def test_only_questions_of_the_catalogue_are_taken(person: Visitor, doors: Doors) -> None:
    page = person.get("/account/question")
    typed = {"current_password": PASSWORD, "question": "mother", "new_answer": "Trompo azul"}
    assert person.post("/account/question", fields(page, **typed)).status == 400
    assert doors.own.told == []


@pytest.mark.spec("P-16")
@pytest.mark.parametrize(
    "refusal", [PermitGone(), PasswordExpired(Permit("id-1", "x", 0, Means.EXPIRED, datetime.max.replace(tzinfo=UTC)))]
)
@pytest.mark.parametrize("section", ["password", "question"])
def test_an_account_that_changes_meanwhile_is_no_fault(
    person: Visitor, doors: Doors, section: str, refusal: Exception
) -> None:
    """Two tabs, or a second press: one of them came first, and says so on the page that both lead to."""
    form = {"new_password": NEW, "new_password_repeat": NEW, "question": "concert", "new_answer": "Café Tacvba"}
    page = person.get(f"/account/{section}")
    doors.own.refusal = refusal
    refused = person.post(f"/account/{section}", fields(page, current_password=PASSWORD, **form))
    assert (refused.status, refused.response.location) == (303, "/account")
    assert doors.own.told == []
