"""The account area over doors kept in memory: who gets in, what is shown, what a form can and cannot change."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from idp.accounts.credentials import Person
from idp.accounts.errors import PasswordRefused, PasswordRule, UsernameLocked, WrongCredentials
from idp.accounts.models import Kind
from idp.accounts.own_account import ActivityRow, Overview, SessionView
from idp.accounts.sessions import Browser
from idp.audit import Event
from idp.protocol.consents import Application
from tests.web.conftest import KNOWN, PASSWORD, Page, Services, Visitor
from tests.web.doors import SignedIn

SECTIONS = ("", "/password", "/question", "/profile", "/sessions", "/applications", "/activity")
NEW = "Otra.Frase.Larga9"


class OwnAccount:
    """One account; remembers what it was told."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.days = 20.0
        self.question: str | None = "concert"
        self.name = "Escuela Kemper Urgate"
        self.told: list[tuple[Any, ...]] = []
        self.rows: list[ActivityRow] = []
        self.refusal: Exception | None = None
        self.others = [SessionView("sid-2", False, "201.141.9.1", "Mozilla/5.0 (iPhone) Safari/604.1", _now(), _now())]

    def overview(self, account_id: str, now: datetime) -> Overview:
        ends = now + timedelta(days=self.days)
        person = Person(account_id, KNOWN, Kind.CLIENT, self.name, "es-MX")
        changed = ends - timedelta(days=30)
        return Overview(
            *(person, "maria@kemper.example", True, Kind.CLIENT, KNOWN, KNOWN, self.question, changed, ends),
            days_left=-int(-self.days // 1),
        )

    def change_password(self, account_id: str, current: str, new: str, *, attempt: Any, now: datetime) -> SignedIn:
        self._judge(current)
        self.told.append(("password", account_id, new))
        cookie = self._services.sessions.sign_in(attempt.browser, account_id, now)
        return SignedIn(cookie, self._services.sign_in.people[account_id], "new-device")

    def change_question(
        self, account_id: str, current: str, question: str, answer: str, *, attempt: Any, now: datetime
    ) -> None:
        self._judge(current)
        self.told.append(("question", account_id, question, answer))

    def _judge(self, current: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        if current != PASSWORD:
            raise WrongCredentials(2)

    def change_profile(self, account_id: str, *, name: str, locale: str, now: datetime) -> None:
        self.told.append(("profile", account_id, name, locale))

    def sessions(self, account_id: str, browser: Browser, now: datetime) -> tuple[SessionView, ...]:
        mine = SessionView(browser.sid or "", True, "187.190.4.5", "Mozilla/5.0 (Windows) Chrome/120", now, now)
        return (mine, *self.others)

    def end_session(self, account_id: str, sid: str, now: datetime) -> bool:
        self.told.append(("end", account_id, sid))
        return sid in {"sid", *(each.sid for each in self.others)}

    def end_other_sessions(self, account_id: str, browser: Browser, now: datetime) -> int:
        self.told.append(("end others", account_id))
        return len(self.others)

    def activity(self, account_id: str, *, before: int | None = None, limit: int) -> tuple[ActivityRow, ...]:
        return tuple(row for row in self.rows if before is None or row.id < before)[:limit]


class Consents:
    """One application that has access."""

    def __init__(self) -> None:
        self.revoked: list[tuple[str, str]] = []

    def list_for(self, sub: str) -> tuple[Application, ...]:
        return (Application("mailbox", "Buzón <i>", ("openid", "mailbox:read"), _now(), None),)

    def revoke(self, sub: str, client_id: str, now: datetime) -> bool:
        self.revoked.append((sub, client_id))
        return client_id == "mailbox"


class Doors(NamedTuple):
    """The two doors behind the area."""

    own: OwnAccount
    consents: Consents


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def doors(services: Services) -> Doors:
    found = Doors(OwnAccount(services), Consents())
    services.own_account = found.own  # type: ignore[attr-defined]
    services.protocol.consents = found.consents  # type: ignore[attr-defined]
    return found


@pytest.fixture
def person(visitor: Visitor, doors: Doors) -> Visitor:
    visitor.sign_in()
    return visitor


def fields(page: Page, **more: str) -> dict[str, str]:
    return {"csrf_token": page.fields["csrf_token"], **more}


def change(person: Visitor, **more: str) -> Page:
    """Send the form of a new password, right but for what is given."""
    page = person.get("/account/password")
    right = {"current_password": PASSWORD, "new_password": NEW, "new_password_repeat": NEW}
    return person.post("/account/password", fields(page, **{**right, **more}))


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
        ActivityRow(120 - at, _now() - timedelta(hours=at), kinds[at % 3], "187.190.4.5", None) for at in range(120)
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
