"""New passwords and secret answers: what is accepted, what is refused and why, and what a form cannot change."""

import pytest

from tests.journeys import Page, Person
from tests.rig import Account, Rig
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks")]


@pytest.fixture
def account(rig: Rig) -> Account:
    return rig.add()


def password_form(rig: Rig, account: Account) -> tuple[Person, Page]:
    person = rig.person()
    return person, person.send(person.ask_question(account.username), "form-question", answer=account.answer)


def save(person: Person, form: Page, password: str, **more: str) -> Page:
    after = person.choose_password(form, password, **more)
    assert after.screen in {"signin", "password"}, after.screen
    return after


@pytest.mark.spec("D-64", "PW-1", "M9")
@pytest.mark.parametrize(
    "password",
    [
        *("Cenzontle$2741", "Cenzontle+2741", "Cenzontle=2741", "Cenzontle¿2741", "Cenzontle·2741"),
        *("Ñandú-nocturno-27", "montaña-Ñ-2741", "Montaña-٣-sierra", "Montaña sierra, 4", "Ñ1.aaaaabcd"),
    ],
)
def test_the_rules_count_what_the_page_says_they_count(rig: Rig, account: Account, password: str) -> None:
    person, form = password_form(rig, account)
    assert save(person, form, password).screen == "signin"
    assert rig.person().try_password(account.username, password).screen == "account"


@pytest.mark.spec("D-64", "PW-1", "PW-2")
@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("Mon-274", "Use al menos 8 caracteres."),
        ("montaña-2741", "Agregue una letra mayúscula."),
        ("Montaña-sierra", "Agregue un número."),
        ("Montaña2741", "Agregue un signo de puntuación."),
        ("Montaña-2741" + "a" * 120, "Use 128 caracteres o menos."),
    ],
)
def test_what_breaks_a_rule_is_refused_by_its_name(rig: Rig, account: Account, password: str, reason: str) -> None:
    person, form = password_form(rig, account)
    after = save(person, form, password)
    assert after.screen == "password"
    assert reason in after.words
    assert password not in after.source, "a password is never sent back"
    # The form is still open, and takes what keeps the rules.
    assert save(person, after, make_password()).screen == "signin"


@pytest.mark.spec("D-59", "PW-4", "PW-5")
def test_what_was_used_or_is_known_or_is_ones_own_name_is_refused(rig: Rig, account: Account) -> None:
    person, form = password_form(rig, account)
    for password, reason in (
        (account.password, "Elija una contraseña que no haya usado antes."),
        (account.username.capitalize() + "-1a", "No use su usuario ni su RFC en la contraseña."),
        ("P@ssw0rd", "Esa contraseña es demasiado conocida. Elija otra."),
    ):
        form = save(person, form, password)
        assert form.screen == "password"
        assert reason in form.words, password
    assert save(person, form, make_password()).screen == "signin"


@pytest.mark.spec("D-59", "PW-5")
def test_none_of_the_last_twelve_comes_back(rig: Rig, account: Account) -> None:
    used = [account.password]
    for _ in range(12):
        used.append(make_password())
        assert save(*password_form(rig, account), used[-1]).screen == "signin"
    person, form = password_form(rig, account)
    for password in (used[-12], used[-6], used[-1]):
        form = save(person, form, password)
        assert "Elija una contraseña que no haya usado antes." in form.words
    # The thirteenth from the end is forgotten.
    assert save(person, form, used[0]).screen == "signin"


@pytest.mark.spec("D-59", "PW-5")
def test_the_month_after_is_not_another_password(rig: Rig, account: Account) -> None:
    first, bumped = "Enero-Cálido-2026.", "Enero-Cálido-2027."
    assert save(*password_form(rig, account), first).screen == "signin"
    person, form = password_form(rig, account)
    after = save(person, form, bumped)
    assert "Elija una contraseña que no haya usado antes." in after.words
    owner = rig.person()
    assert owner.try_password(account.username, first).screen == "account"
    page = owner.visit("/account/password")
    other = "Enero-Cálido-9051."
    typed = {"current_password": first, "new_password": other, "new_password_repeat": other}
    after = owner.send(page, "form-password", **typed)
    assert "Elija una contraseña que no haya usado antes." in after.words
    assert rig.provider.count_audit("account:password:change", account.username) == 0


@pytest.mark.spec("PW-3", "M9")
def test_what_was_typed_on_one_system_works_on_another(rig: Rig, account: Account) -> None:
    composed, decomposed = "Cig\u00fce\u00f1a-2741 ", "Cigu\u0308en\u0303a-2741 "
    assert save(*password_form(rig, account), decomposed).screen == "signin"
    assert rig.person().try_password(account.username, composed.rstrip()).screen == "captcha"
    assert rig.person().try_password(account.username, composed).screen == "account"


@pytest.mark.spec("D-65", "Q-4", "M8")
@pytest.mark.parametrize("given", ["jose nunez", "JOSE   NÚÑEZ", " José, Núñez. ", "Jose\u0301 Nu\u0301n\u0303ez"])
def test_an_answer_is_right_however_it_is_written(rig: Rig, given: str) -> None:
    account = rig.add(answer="José  Núñez!")
    person = rig.person()
    page = person.send(person.ask_question(account.username), "form-question", answer="josefa nunez")
    assert page.screen == "question"
    assert person.send(page, "form-question", answer=given).screen == "password"


@pytest.mark.spec("M10", "Q-6", "W-10")
def test_question_and_answer_can_be_changed_where_the_password_is(rig: Rig, account: Account) -> None:
    person, form = password_form(rig, account)
    more = {"change_question": "1", "question": "street", "new_answer": "Calle del Árbol"}
    # Too short an answer is refused, and then neither has changed.
    after = save(person, form, make_password(), **{**more, "new_answer": "sí"})
    assert after.screen == "password"
    new = make_password()
    assert save(person, after, new, **more).screen == "signin"
    rig.catcher.wait_for(account.email, "pregunta secreta")
    page = rig.person().ask_question(account.username)
    assert "calle" in page.words
    assert rig.person().recover_by_question(account.username, "calle del arbol", make_password()).screen == "signin"


@pytest.mark.spec("Q-6", "M10")
def test_an_answer_without_the_tick_changes_nothing(rig: Rig, account: Account) -> None:
    person, form = password_form(rig, account)
    form.forms["form-password"].values.pop("change_question", None)
    assert save(person, form, make_password(), new_answer="", question="street").screen == "signin"
    again, form = password_form(rig, account)
    assert save(again, form, make_password()).screen == "signin"


@pytest.mark.spec("D-80", "Q-6")
@pytest.mark.parametrize("current", [None, "", "Equivocada-1"])
def test_a_live_session_alone_changes_no_question(rig: Rig, account: Account, current: str | None) -> None:
    person = rig.person()
    person.try_password(account.username, account.password)
    page = person.visit("/account/question")
    [form] = [form for form in page.forms if "question" in form]
    typed = {"question": "street", "new_answer": "Calle del Árbol"}
    person.send(page, form, **typed, **({} if current is None else {"current_password": current}))
    row = "SELECT question, answer_hash FROM account WHERE username = ?"
    before = rig.provider.query(row, account.username)
    assert before[0][0] == account.question
    assert rig.provider.count_audit("account:question:change", account.username) == 0
    # The success that differs in one value, and then the notice comes; before it none has.
    assert rig.catcher.mails_to(account.email, "pregunta secreta") == []
    page = person.visit("/account/question")
    typed["current_password"] = account.password
    assert person.send(page, form, **typed, **person.solve(page)).screen == "account"
    assert rig.provider.query(row, account.username)[0][0] == "street"
    rig.catcher.wait_for(account.email, "pregunta secreta")
    assert len(rig.catcher.mails_to(account.email, "pregunta secreta")) == 1


@pytest.mark.spec("D-70", "A 15.3.3")
def test_fields_that_no_form_asks_for_change_nothing(rig: Rig, account: Account) -> None:
    extra = {
        "is_admin": "1",
        "email_verified": "1",
        "email": "ladron@evil.example",
        "role": "admin",
        "kind": "staff",
        "sub": "otro",
        "id": "otro",
        "username": "adm.yo",
        "rfc": "XAXX010101000",
        "organization_id": "otro",
        "changed_at": "2030-01-01",
        "password_changed_at": "2030-01-01T00:00:00Z",
        "state": "disabled",
        "epoch": "99",
        "account_id": "otro",
    }
    row = (
        "SELECT id, username, kind, role, rfc, organization_id, email, email_verified, state, claims"
        " FROM account WHERE username = ?"
    )
    before = rig.provider.query(row, account.username)
    person, form = password_form(rig, account)
    new = make_password()
    assert save(person, form, new, **extra).screen == "signin"
    page = person.visit("/login")
    answer = person.submit(page, "form-signin", **{**extra, "username": account.username, "password": new})
    assert Page(answer.url, answer.text).screen == "account"
    profile = person.visit("/account/profile")
    person.send(profile, "form-profile", **{**extra, "name": "Otro nombre", "locale": "en"})
    newest = make_password()
    typed = {"current_password": new, "new_password": newest, "new_password_repeat": newest}
    assert person.send(person.visit("/account/password"), "form-password", **{**extra, **typed}).screen == "account"
    assert rig.provider.query(row, account.username) == before
    name, changed = rig.provider.query(
        "SELECT name, password_changed_at FROM account WHERE username = ?", account.username
    )[0]
    assert (name, changed[:4]) == ("Otro nombre", "2026")


@pytest.mark.spec("D-70", "M14")
def test_nor_do_they_at_activation(rig: Rig) -> None:
    invited = rig.invite()
    link = rig.catcher.link(invited.email, "")
    password = make_password()
    person = rig.person()
    extra = {"role": "admin", "kind": "staff", "username": "adm.yo", "email": "ladron@evil.example", "state": "x"}
    first = person.visit(link)
    assert first.screen == "activate"
    typed = {"new_password": password, "new_password_repeat": password}
    second = person.send(first, "form-activate", **{**extra, **typed})
    assert second.screen == "activate"
    done = person.send(second, "form-activate", **{**extra, "question": "toy", "new_answer": "El trompo rojo"})
    assert done.screen in {"signin", "activate"}
    row = "SELECT kind, role, email, state FROM account WHERE username = ?"
    assert rig.provider.query(row, invited.username) == [("client", None, invited.email, "active")]
    assert rig.person().try_password(invited.username, password).screen == "account"
    assert rig.person().visit(link).screen == "link-dead"
