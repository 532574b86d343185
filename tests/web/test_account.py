"""The account area over doors kept in memory: who gets in, what is shown, what a form can and cannot change."""

from datetime import timedelta

import pytest

from idp.accounts.own_account import ActivityRow
from idp.audit import Event
from tests.web.account_doors import Doors, present
from tests.web.conftest import KNOWN, PASSWORD, Services, Visitor, fields

SECTIONS = ("", "/password", "/question", "/profile", "/sessions", "/applications", "/activity")
NEW = "Otra.Frase.Larga9"


# -- the way in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", SECTIONS)
def test_every_page_is_there_for_who_is_signed_in(person: Visitor, section: str) -> None:
    page = person.get("/account" + section)
    assert page.status == 200
    assert page.screen == ("password" if section in {"/password", "/question"} else "account")
    assert page.response.headers["Cache-Control"] == "no-store"
    assert "form-signout" in page.ids


@pytest.mark.parametrize("section", SECTIONS)
def test_who_is_not_signed_in_comes_back_after_it(visitor: Visitor, doors: Doors, section: str) -> None:
    assert visitor.get("/account" + section).response.headers["Location"] == "/login"
    assert visitor.sign_in().response.headers["Location"] == "/account" + section


@pytest.mark.spec("D-49")
@pytest.mark.parametrize("query", ["next=//evil.example", "next=javascript:alert(1)", "after_sign_in=/\\evil"])
def test_no_address_of_a_request_is_a_way_back(visitor: Visitor, doors: Doors, query: str) -> None:
    assert visitor.get("/account/profile?" + query).response.headers["Location"] == "/login"
    assert visitor.sign_in().response.headers["Location"] == "/account/profile"


@pytest.mark.spec("PW-6")
@pytest.mark.parametrize(("days", "stays"), [(0.001, True), (0, False), (-1, False)])
def test_a_password_that_ended_ends_the_stay(person: Visitor, doors: Doors, days: float, stays: bool) -> None:
    doors.own.days = days
    page = person.get("/account")
    assert (page.status == 200) is stays
    doors.own.days = 20
    assert (person.get("/account").status == 200) is stays, "and it does not come back by itself"


def test_a_disabled_account_has_no_area(person: Visitor, services: Services) -> None:
    services.sign_in.people.clear()
    assert person.get("/account").response.headers["Location"] == "/login"


@pytest.mark.spec("W-3")
@pytest.mark.spec("D-48")
def test_after_signing_out_the_cookie_shows_nothing(person: Visitor) -> None:
    cookie = person.cookie()
    assert cookie is not None
    page = person.get("/account")
    person.post("/logout", fields(page))
    person.client.set_cookie("session", cookie)
    again = person.get("/account")
    assert (again.status, KNOWN in again) == (303, False)


def test_the_browser_may_sign_out_everywhere(person: Visitor, services: Services) -> None:
    page = person.get("/logout")
    assert "everywhere" in page.ids
    person.post("/logout", fields(page, everywhere="1"))
    assert services.sign_in.everywhere == [True]


@pytest.mark.parametrize(
    ("days", "question", "verified", "title"),
    [
        (20, "concert", True, "Su cuenta está en orden"),
        (20, "concert", False, "Verifique su correo"),
        (20, None, False, "Elija su pregunta secreta"),
        (2, "concert", False, "Es momento de cambiar su contraseña"),
    ],
)
def test_an_account_is_in_order_only_where_nothing_is_left_to_do(
    person: Visitor, doors: Doors, days: float, question: str | None, verified: bool, title: str
) -> None:
    doors.own.days, doors.own.question, doors.own.is_verified = days, question, verified
    page = person.get("/account")
    assert title in page
    assert ("Su cuenta está en orden" in page) is (title == "Su cuenta está en orden")
    # The way out, which needs no password to be typed.
    assert ('id="next" href="/recover"' in page.text.replace('class="btn btn-gold" ', "")) is (
        title == "Verifique su correo"
    )


# -- profile ---------------------------------------------------------------------------------------------------------


@pytest.mark.spec("D-70")
def test_a_profile_form_changes_name_and_language_and_nothing_else(person: Visitor, doors: Doors) -> None:
    page = person.get("/account/profile")
    hostile = {"is_admin": "1", "email_verified": "1", "role": "admin", "sub": "id-2", "email": "x@y", "rfc": "X"}
    answer = person.post("/account/profile", fields(page, name=" Ana Ñandú ", locale="en", **hostile))
    assert doors.own.told == [("profile", "id-1", "Ana Ñandú", "en")]
    assert person.follow(answer).language == "en"
    assert person.get("/account").language == "en"


@pytest.mark.parametrize(
    ("name", "locale"), [("", "en"), ("x" * 201, "en"), ("Ana\u202eanA", "en"), ("Ana", "fr"), ("Ana", "")]
)
def test_an_odd_profile_is_refused(person: Visitor, doors: Doors, name: str, locale: str) -> None:
    page = person.get("/account/profile")
    assert person.post("/account/profile", fields(page, name=name, locale=locale)).status == 400
    assert doors.own.told == []


def test_what_support_changes_is_shown_and_is_no_field(person: Visitor, doors: Doors) -> None:
    page = person.get("/account/profile")
    assert KNOWN in page
    assert "m•••••@kemper.example" in page
    assert "maria@kemper.example" not in page
    assert set(page.fields) == {"csrf_token", "name"}


def test_a_name_is_text_wherever_it_stands(person: Visitor, doors: Doors) -> None:
    doors.own.name = "<script>\"'&\u202e"
    for section in SECTIONS:
        assert "<script>&" not in person.get("/account" + section)
        assert '<script>"' not in person.get("/account" + section)


# -- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-9")
@pytest.mark.spec("D-60")
@pytest.mark.parametrize(("sid", "status"), [("sid-2", 303), ("of-somebody-else", 404), ("", 404)])
def test_a_session_of_ones_own_can_be_ended(person: Visitor, doors: Doors, sid: str, status: int) -> None:
    page = person.get("/account/sessions")
    assert "Safari en iPhone" in page
    assert "201.141.•••.•••" in page
    assert person.post("/account/sessions", fields(page, sid=sid)).status == status
    assert person.get("/account").status == 200


def test_ending_this_very_session_signs_out(person: Visitor) -> None:
    page = person.get("/account/sessions")
    assert person.post("/account/sessions", fields(page, sid="sid")).response.headers["Location"] == "/login"
    assert person.get("/account").status == 303


def test_all_others_end_at_once(person: Visitor, doors: Doors) -> None:
    page = person.get("/account/sessions")
    shown = person.follow(person.post("/account/sessions/others", fields(page)))
    assert doors.own.told == [("end others", "id-1")]
    assert "Se cerró 1 sesión." in shown


def test_staying_is_a_post_of_this_browser(person: Visitor) -> None:
    page = person.get("/account")
    machine = {"Accept": "application/json"}
    assert person.post("/account/extend", fields(page), headers=machine).status == 204
    assert person.post("/account/extend", {}, headers=machine).status == 400
    assert person.post("/account/extend", fields(page)).response.headers["Location"] == "/account"


# -- applications ----------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-9")
def test_access_is_taken_back_after_a_question(person: Visitor, doors: Doors) -> None:
    page = person.get("/account/applications/mailbox")
    assert "Consultar las facturas de su buzón" in page
    assert doors.consents.revoked == []
    shown = person.follow(person.post("/account/applications/mailbox", fields(page)))
    assert doors.consents.revoked == [("id-1", "mailbox")]
    assert "Buzón &lt;i&gt; ya no tiene acceso a su cuenta." in shown


@pytest.mark.spec("OIDC Core §4", "W-8")
def test_an_application_that_can_be_opened_is_a_link_away(person: Visitor) -> None:
    page = person.get("/account/applications")
    assert '<a href="https://buzon.example/entrar?iss=x&amp;a=%22">Abrir <bdi>Buzón &lt;i&gt;</bdi></a>' in page


@pytest.mark.spec("D-60")
def test_what_has_no_access_is_not_there(person: Visitor, doors: Doors) -> None:
    page = person.get("/account")
    assert person.get("/account/applications/other").status == 404
    assert person.post("/account/applications/other", fields(page)).status == 404
    assert doors.consents.revoked == []


# -- activity and expiry ---------------------------------------------------------------------------------------------


def test_activity_is_told_in_words_page_by_page(person: Visitor, doors: Doors) -> None:
    kinds = [Event.SIGNIN_SUCCESS, Event.SIGNIN_FAILURE, Event.PASSWORD_CHANGE]
    doors.own.rows = [
        ActivityRow(120 - at, present() - timedelta(hours=at), kinds[at % 3], "187.190.4.5", None) for at in range(120)
    ]
    first = person.get("/account/activity")
    assert first.text.count("<li><span") == 50
    for words in ("Entró con su contraseña", "Intento fallido de entrar", "Cambió su contraseña", "¿No fue usted?"):
        assert words in first
    assert "187.190.4.5" not in first
    assert 'href="/account/activity?before=71"' in first
    assert person.get("/account/activity?before=21").text.count("<li><span") == 20
    assert "older" not in person.get("/account/activity?before=21").ids
    assert person.get("/account/activity?before=99999999999999999999").status == 404
    assert person.get("/account/activity?before=x").status == 200


@pytest.mark.parametrize(("days", "warned"), [(7.0, True), (7.01, False), (0.5, True)])
def test_the_banner_stands_from_seven_days_before_the_end(
    person: Visitor, doors: Doors, days: float, warned: bool
) -> None:
    doors.own.days = days
    assert ("expiry" in person.get("/account/sessions").ids) is warned
    assert ("next" in person.get("/account").ids) is warned


def test_the_one_next_step_is_never_two(person: Visitor, doors: Doors) -> None:
    doors.own.question = None
    assert 'id="next" href="/account/question"' in person.get("/account")
    doors.own.days = 3
    page = person.get("/account")
    assert 'id="next" href="/account/password"' in page
    assert page.text.count('id="next"') == 1


# -- old forms -------------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-5")
@pytest.mark.parametrize(
    "address",
    [
        *("/account/password", "/account/question", "/account/profile", "/account/sessions"),
        *("/account/sessions/others", "/account/applications/mailbox"),
    ],
)
def test_a_form_without_its_token_changes_nothing(person: Visitor, doors: Doors, address: str) -> None:
    everything = {"current_password": PASSWORD, "new_password": NEW, "new_password_repeat": NEW, "sid": "sid-2"}
    page = person.post(address, {**everything, "question": "toy", "new_answer": "Trompo", "name": "A", "locale": "en"})
    assert page.status == 400
    assert "La página estuvo abierta demasiado tiempo." in page
    assert (doors.own.told, doors.consents.revoked) == ([], [])
