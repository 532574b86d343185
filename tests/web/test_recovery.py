"""From a forgotten, locked or expired password to a new one: what each page shows, takes, refuses and leads to."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from idp.accounts.errors import AddressThrottled, HashingOverloaded
from idp.accounts.permits import Means
from idp.policy import PERMIT_LIFETIME, RETRY_AFTER
from idp.settings import Settings
from idp.web.current import now
from tests.web.conftest import (
    ANSWER,
    EXPIRED,
    KNOWN,
    NEW_PASSWORD,
    OLD_PASSWORD,
    PASSWORD,
    SECRET,
    UNKNOWN,
    Page,
    Services,
    Visitor,
    build,
)

HOSTILE = [
    "'\"><script>alert(1)</script>",
    "{{7*7}}",
    "${7*7}",
    "\x00",
    "' or sleep(3)--",
    "\r\nSet-Cookie: a=b",
    '{"event":"signin.success"}\n',
    "\x1b[31mred",
    "a" * 10_000,
]
BOTH = {"new_password": NEW_PASSWORD, "new_password_repeat": NEW_PASSWORD}


def ask(visitor: Visitor, name: str = KNOWN, address: str = "/recover") -> Page:
    """The page of the question."""
    return visitor.follow(visitor.fill("form-recover", address, username=name))


def answer(visitor: Visitor, text: str = ANSWER, name: str = KNOWN, address: str = "/recover") -> Page:
    """What follows upon an answer."""
    return visitor.follow(visitor.fill("form-question", ask(visitor, name, address), answer=text))


def begin(visitor: Visitor, services: Services) -> None:
    """Let this browser have a pending authorization request."""
    visitor.get("/login")
    services.protocol.add("handle", services.sessions.rows[visitor.cookie() or ""])


def hold(visitor: Visitor, services: Services, means: Means, **changed: Any) -> None:
    """Let this browser hold a permit that it came by in this way."""
    visitor.get("/login")
    permit = services.passwords.permit("id-1", KNOWN, means, now()).to_json()
    services.sessions.rows[visitor.cookie() or ""].data["permit"] = {**permit, **changed}


# -- the username: S07 -----------------------------------------------------------------------------------------------


def test_recovery_begins_with_the_username(visitor: Visitor) -> None:
    page = visitor.get("/recover")
    assert (page.status, page.screen, page.actions) == (200, "recover", {"form-recover": "/recover"})
    assert {"username", "submit"} <= page.ids
    assert 'autocomplete="username"' in page
    assert page.focus == ["username"]
    for form in ("EKU9003173C9", "CT.KICR630120NX3", "usr.XIA190128J61"):
        assert form in page


@pytest.mark.parametrize("typed", [KNOWN, UNKNOWN, " eku-900317-3c9 ", "ct.KICR630120NX3"])
def test_every_username_leads_to_the_question(visitor: Visitor, typed: str) -> None:
    sent = visitor.fill("form-recover", "/recover", username=typed)
    assert (sent.status, sent.response.headers["Location"]) == (303, "/recover/question")
    assert visitor.follow(sent).screen == "question"


@pytest.mark.parametrize(
    ("typed", "text"), [("", "Escriba su usuario de acceso."), ("pedro", "El usuario no tiene un formato válido.")]
)
def test_what_is_no_username_is_said_at_the_field(visitor: Visitor, typed: str, text: str) -> None:
    page = visitor.fill("form-recover", "/recover", username=typed)
    assert (page.status, page.screen, page.fields["username"]) == (400, "recover", typed)
    assert text in page
    assert 'aria-invalid="true"' in page
    assert "<title>Error: Recuperar la contraseña" in page
    assert visitor.get("/recover/question").response.headers["Location"] == "/recover"


# -- the question: S08 -----------------------------------------------------------------------------------------------


def test_the_question_page_has_the_names_that_machines_rely_on(visitor: Visitor) -> None:
    page = ask(visitor)
    assert page.actions == {"form-question": "/recover/question", "form-reminder": "/recover/sent"}
    assert {"answer", "submit", "send-reminder"} <= page.ids
    assert "¿Cuál fue el primer concierto al que asistió?" in page
    assert KNOWN in page
    assert 'autocomplete="off"' in page
    assert page.focus == ["answer"]


@pytest.mark.spec("R-1")
@pytest.mark.parametrize(
    "address", ["/recover/question", "/recover/sent", "/recover/password", "/password", "/activate"]
)
def test_no_step_opens_without_the_one_before(visitor: Visitor, address: str) -> None:
    place = "/login" if address in {"/password", "/activate"} else "/recover"
    assert visitor.get(address).response.headers["Location"] == place
    token = visitor.get("/login").fields["csrf_token"]
    sent = visitor.post(address, {"csrf_token": token, "answer": ANSWER, **BOTH})
    assert (sent.status, sent.response.headers["Location"]) == (303, place)


def test_a_wrong_answer_is_said_at_the_field_once(visitor: Visitor) -> None:
    sent = visitor.fill("form-question", ask(visitor), answer="wrong")
    assert (sent.status, sent.response.headers["Location"]) == (303, "/recover/question")
    page = visitor.follow(sent)
    assert (page.status, page.screen, page.fields["answer"], page.focus) == (200, "question", "", ["answer"])
    assert "La respuesta no es correcta." in page
    assert 'aria-describedby="question-text answer-help answer-error"' in page
    assert "wrong" not in page
    assert "La respuesta no es correcta." not in visitor.get("/recover/question")


@pytest.mark.parametrize("text", ["", "  ", "a" * 129])
def test_what_cannot_be_an_answer_is_no_attempt(visitor: Visitor, services: Services, text: str) -> None:
    page = visitor.fill("form-question", ask(visitor), answer=text)
    assert (page.status, page.screen) == (400, "question")
    assert ("Escriba la respuesta." if len(text) < 3 else "Use 128 caracteres o menos.") in page
    assert services.recovery.wrong == {}


@pytest.mark.spec("Q-3")
@pytest.mark.parametrize("name", [KNOWN, UNKNOWN])
def test_three_wrong_answers_leave_the_mail(visitor: Visitor, services: Services, name: str) -> None:
    for _ in range(3):
        page = answer(visitor, "wrong", name)
    assert (page.status, page.screen) == (200, "question-closed")
    assert "Agotó los intentos para responder." in page
    assert "form-question" not in page.actions
    assert visitor.follow(visitor.fill("form-reminder", page)).screen == "sent"
    assert services.recovery.reminders == [name]


@pytest.mark.spec("L-9")
@pytest.mark.spec("D-51")
def test_a_name_that_nobody_has_sees_the_same_pages(another: Callable[[], Visitor]) -> None:
    def walk(name: str) -> list[tuple[int, list[str], str]]:
        visitor, pages = another(), []
        pages.append(visitor.fill("form-recover", "/recover", username=name))
        pages.append(visitor.follow(pages[-1]))
        for _ in range(3):
            pages.append(visitor.fill("form-question", pages[-1], answer="wrong"))
            pages.append(visitor.follow(pages[-1]))
        pages.append(visitor.fill("form-reminder", pages[-1]))
        pages.append(visitor.follow(pages[-1]))
        return [
            (
                page.status,
                sorted(each for each, _ in page.response.headers),
                page.text.replace(page.fields.get("csrf_token", "…"), "…").replace(name, "…"),
            )
            for page in pages
        ]

    assert walk(KNOWN) == walk(UNKNOWN)


# -- the reminder: S10 -----------------------------------------------------------------------------------------------


def test_the_reminder_says_when_and_never_where_to(visitor: Visitor, services: Services) -> None:
    sent = visitor.fill("form-reminder", ask(visitor))
    assert (sent.status, sent.response.headers["Location"]) == (303, "/recover/sent")
    page = visitor.follow(sent)
    assert (page.status, page.screen) == (200, "sent")
    assert "en 3 a 5 minutos recibirá un enlace para elegir una contraseña nueva" in page
    assert "Podrá pedir otro enlace en 5 minutos." in page
    assert "form-reminder" not in page.actions
    assert "@" not in page.text.split("<main", 1)[1].split("</main>", 1)[0]
    assert services.recovery.reminders == [KNOWN]
    assert visitor.get("/recover/sent").screen == "sent"
    assert services.recovery.reminders == [KNOWN]


def test_after_the_wait_another_reminder_can_be_asked_for(visitor: Visitor, services: Services) -> None:
    visitor.follow(visitor.fill("form-reminder", ask(visitor)))
    kept = services.sessions.rows[visitor.cookie() or ""].data["recover"]
    kept["sent_at"] = (now() - timedelta(minutes=4, seconds=30)).isoformat()
    assert "Podrá pedir otro enlace en 1 minuto." in visitor.get("/recover/sent")
    kept["sent_at"] = (now() - timedelta(minutes=5)).isoformat()
    page = visitor.get("/recover/sent")
    assert "Podrá pedir otro enlace" not in page
    assert "Podrá pedir otro enlace en 5 minutos." in visitor.follow(visitor.fill("form-reminder", page))
    assert len(services.recovery.reminders) == 2


@pytest.mark.parametrize("mode", ["off", "then_link"])
def test_deployments_that_trust_no_question_alone(mode: str) -> None:
    app = build(Settings(secret_key=SECRET, recovery_question=mode))
    visitor, services = Visitor(app), app.extensions["llavero"]
    page = visitor.follow(visitor.fill("form-recover", "/recover", username=KNOWN))
    if mode == "then_link":
        page = visitor.follow(visitor.fill("form-question", page, answer=ANSWER))
    assert (page.screen, services.recovery.reminders) == ("sent", [KNOWN])
    assert visitor.get("/recover/password").response.headers["Location"] == "/recover"
    assert (visitor.get("/recover/question").status == 303) == (mode == "off")


@pytest.mark.spec("L-7")
@pytest.mark.parametrize(("form", "screen"), [("form-question", "question"), ("form-reminder", "question")])
def test_too_much_from_one_address_waits_on_the_same_page(
    visitor: Visitor, services: Services, form: str, screen: str
) -> None:
    page = ask(visitor)
    services.recovery.failure = AddressThrottled(timedelta(minutes=10))
    sent = visitor.fill(form, page, answer=ANSWER)
    assert (sent.status, sent.screen, sent.response.headers["Retry-After"]) == (429, screen, "600")
    assert "Espere 10 minutos e inténtelo de nuevo." in sent
    services.recovery.failure = None
    assert visitor.fill(form, sent, answer=ANSWER).status == 303


@pytest.mark.spec("L-10")
def test_too_many_at_once_are_told_when_to_come_back(visitor: Visitor, services: Services) -> None:
    page = ask(visitor)
    services.recovery.failure = HashingOverloaded(RETRY_AFTER)
    sent = visitor.fill("form-question", page, answer=ANSWER)
    assert (sent.status, sent.response.headers["Retry-After"]) == (503, "5")


# -- the mailed link: S11, S12 ---------------------------------------------------------------------------------------


@pytest.mark.spec("R-3")
@pytest.mark.spec("R-7")
@pytest.mark.spec("D-55")
@pytest.mark.spec("D-61")
def test_the_link_leads_to_a_clean_address_and_spends_nothing(visitor: Visitor, another: Callable[[], Visitor]) -> None:
    address = "/request/codedAccess?code=good-code"
    for _ in range(5):
        assert another().get(address).status == 303
        assert another().client.head(address).status_code == 303
    sent = visitor.get(address)
    assert (sent.status, sent.response.headers["Location"]) == (303, "/recover/password")
    assert sent.response.headers["Referrer-Policy"] == "no-referrer"
    assert sent.response.headers["Cache-Control"] == "no-store"
    page = visitor.follow(sent)
    assert (page.status, page.screen, page.fields["username"]) == (200, "password", KNOWN)
    assert "good-code" not in page
    assert visitor.fill("form-password", page, **BOTH).status == 303
    dead = visitor.get(address)
    assert (dead.status, dead.screen) == (410, "link-dead")


@pytest.mark.spec("R-3")
def test_head_changes_nothing(visitor: Visitor, services: Services) -> None:
    visitor.get("/login")
    before = services.sessions.writes
    head = visitor.client.head("/request/codedAccess?code=good-code")
    assert (head.status_code, head.headers["Location"]) == (303, "/recover/password")
    assert head.headers["Referrer-Policy"] == "no-referrer"
    assert services.sessions.writes == before
    assert visitor.get("/recover/password").response.headers["Location"] == "/recover"


@pytest.mark.parametrize("query", ["", "?code=", "?code=never-was-one", "?code=%00", "?usuario=EKU9003173C9"])
def test_one_page_for_every_link_that_is_worth_nothing(visitor: Visitor, query: str) -> None:
    page = visitor.get("/request/codedAccess" + query)
    assert (page.status, page.screen) == (410, "link-dead")
    assert "El enlace venció, ya se usó o quedó anulado porque la contraseña se cambió." in page
    assert 'href="/recover"' in page
    assert page.response.headers["Referrer-Policy"] == "no-referrer"
    assert page.response.headers["Cache-Control"] == "no-store"


@pytest.mark.spec("R-4")
@pytest.mark.spec("D-56")
def test_a_link_dies_when_the_password_is_changed_by_the_question(
    visitor: Visitor, another: Callable[[], Visitor]
) -> None:
    second = another()
    opened = second.follow(second.get("/request/codedAccess?code=good-code"))
    visitor.fill("form-password", answer(visitor), **BOTH)
    sent = second.fill("form-password", opened, **BOTH)
    assert (sent.status, sent.screen) == (410, "link-dead")
    assert second.get("/recover/password").response.headers["Location"] == "/recover"
    assert visitor.get("/request/codedAccess?code=good-code").status == 410


# -- the new password: S09 -------------------------------------------------------------------------------------------


def test_the_password_page_has_the_names_that_machines_rely_on(visitor: Visitor) -> None:
    page = answer(visitor)
    assert (page.screen, page.actions) == ("password", {"form-password": "/recover/password"})
    names = {"new_password", "new_password_repeat", "change_question", "question", "new_answer", "username", "submit"}
    assert names <= page.ids
    assert page.fields["username"] == KNOWN
    assert page.text.count('autocomplete="new-password"') == 2
    assert "maxlength" not in page
    assert page.focus == ["new_password"]


@pytest.mark.spec("R-10")
def test_a_new_password_ends_at_the_sign_in_page(visitor: Visitor, services: Services) -> None:
    visitor.submit(UNKNOWN, "wrong")
    sent = visitor.fill("form-password", answer(visitor), **BOTH)
    assert (sent.status, sent.response.headers["Location"]) == (303, "/login?again=1")
    page = visitor.follow(sent)
    assert page.fields["username"] == KNOWN
    assert re.search(
        r"Su contraseña se cambió\. Vence el \d+ de \w+ de \d{4}\. Cerramos sus demás sesiones\.", page.text
    )
    assert not any(row.account_id for row in services.sessions.rows.values())
    assert services.recovery.questions == [(None, None)]
    assert visitor.get("/recover/password").response.headers["Location"] == "/recover"


@pytest.mark.spec("C-6")
def test_a_finished_reset_takes_the_image_away_from_this_browser(visitor: Visitor) -> None:
    assert visitor.follow(visitor.submit(UNKNOWN, "wrong")).screen == "captcha"
    page = visitor.follow(visitor.fill("form-password", answer(visitor), **BOTH))
    assert page.screen == "signin"


@pytest.mark.spec("R-10")
@pytest.mark.spec("D-81")
@pytest.mark.parametrize("by_mail", [False, True])
def test_a_reset_inside_a_request_goes_back_to_it(visitor: Visitor, services: Services, by_mail: bool) -> None:
    begin(visitor, services)
    start = visitor.get("/login?interaction=handle")
    assert 'href="/recover?interaction=handle"' in start
    if by_mail:
        visitor.fill("form-reminder", ask(visitor, address="/recover?interaction=handle"))
        page = visitor.follow(visitor.get("/request/codedAccess?code=good-code"))
    else:
        page = answer(visitor, address="/recover?interaction=handle")
    page = visitor.follow(visitor.fill("form-password", page, **BOTH))
    assert "Buzón de facturas" in page
    sent = visitor.fill("form-signin", page, username=KNOWN, password=PASSWORD)
    assert sent.response.headers["Location"] == "/oauth/authorize?interaction=handle"


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"new_password": "", "new_password_repeat": ""}, ["Escriba la contraseña nueva."]),
        ({"new_password": NEW_PASSWORD, "new_password_repeat": "x"}, ["Las contraseñas no coinciden."]),
        (
            {"new_password": "corta", "new_password_repeat": "corta"},
            ["Use al menos 8 caracteres.", "Agregue una letra mayúscula.", "Agregue un número."],
        ),
        (
            {"new_password": OLD_PASSWORD, "new_password_repeat": OLD_PASSWORD},
            ["Elija una contraseña que no haya usado antes."],
        ),
        ({**BOTH, "change_question": "1", "question": "toy", "new_answer": "no"}, ["al menos 4 caracteres."]),
        ({**BOTH, "change_question": "1", "question": "toy", "new_answer": ""}, ["Escriba la respuesta."]),
        (
            {**BOTH, "change_question": "1", "question": "own", "new_answer": "Woody"},
            ["Elija una pregunta de la lista."],
        ),
    ],
)
def test_each_broken_rule_has_its_text(
    visitor: Visitor, services: Services, fields: dict[str, str], texts: list[str]
) -> None:
    page = visitor.fill("form-password", answer(visitor), **fields)
    assert (page.status, page.screen) == (400, "password")
    for text in texts:
        assert text in page
    assert "<title>Error: Cambiar la contraseña" in page
    assert (page.fields["new_password"], page.fields["new_password_repeat"]) == ("", "")
    assert services.passwords.set_by == []
    assert visitor.fill("form-password", page, **BOTH).status == 303


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"change_question": "1", "question": "toy", "new_answer": "Woody"}, ("toy", "Woody")),
        ({"question": "toy", "new_answer": "Woody"}, ("toy", "Woody")),
        ({"question": "toy", "new_answer": " "}, (None, None)),
    ],
)
def test_the_question_can_be_changed_there_too(
    visitor: Visitor, services: Services, fields: dict[str, str], kept: tuple[str | None, str | None]
) -> None:
    assert visitor.fill("form-password", answer(visitor), **BOTH, **fields).status == 303
    assert services.recovery.questions == [kept]


@pytest.mark.spec("R-2")
@pytest.mark.spec("D-57")
@pytest.mark.parametrize("extra", ["usuario", "username", "account_id", "epoch", "permit", "means"])
def test_nothing_in_the_form_says_whose_password_it_is(visitor: Visitor, services: Services, extra: str) -> None:
    page = answer(visitor)
    token = page.fields["csrf_token"]
    sent = visitor.post(f"/recover/password?{extra}={UNKNOWN}", {"csrf_token": token, **BOTH, extra: UNKNOWN})
    assert sent.status == 303
    assert services.passwords.set_by == [(KNOWN, "question")]


@pytest.mark.spec("Q-5")
@pytest.mark.spec("D-57")
def test_a_permit_is_of_one_browser_and_of_one_way(
    visitor: Visitor, another: Callable[[], Visitor], services: Services
) -> None:
    answer(visitor)
    second = another()
    second.get("/login")
    assert second.get("/recover/password").response.headers["Location"] == "/recover"
    assert visitor.get("/password").response.headers["Location"] == "/login"
    assert visitor.get("/activate").response.headers["Location"] == "/login"


@pytest.mark.spec("Q-5")
def test_a_permit_ends(visitor: Visitor, services: Services) -> None:
    hold(visitor, services, Means.QUESTION)
    assert visitor.get("/recover/password").screen == "password"
    hold(visitor, services, Means.QUESTION, expires_at=(now() - PERMIT_LIFETIME).isoformat())
    page = visitor.get("/recover/password")
    assert (page.status, page.screen) == (410, "link-dead")
    assert visitor.get("/recover/password").response.headers["Location"] == "/recover"


@pytest.mark.spec("W-4")
def test_who_was_signed_in_here_is_not_any_more_and_is_told(visitor: Visitor) -> None:
    visitor.sign_in()
    page = visitor.follow(visitor.get("/request/codedAccess?code=good-code"))
    page = visitor.follow(visitor.fill("form-password", page, **BOTH))
    assert (page.status, page.screen) == (200, "signin")
    assert "Su contraseña se cambió." in page
    assert page.fields["username"] == KNOWN


# -- the expired password: S06 ---------------------------------------------------------------------------------------


@pytest.mark.spec("PW-6")
def test_an_expired_password_leads_to_the_change_form_and_to_nothing_else(visitor: Visitor, services: Services) -> None:
    sent = visitor.submit(EXPIRED, PASSWORD)
    assert (sent.status, sent.response.headers["Location"]) == (303, "/password")
    page = visitor.follow(sent)
    assert (page.status, page.screen, page.actions) == (200, "expired", {"form-password": "/password"})
    assert "Su contraseña ya cumplió 30 días. Para continuar, elija una nueva." in page
    assert page.fields["username"] == EXPIRED
    assert not any(row.account_id for row in services.sessions.rows.values())
    assert visitor.get("/login").screen == "signin"
    assert visitor.get("/recover/password").response.headers["Location"] == "/recover"


def test_the_change_signs_in_and_tells_the_new_end(visitor: Visitor, services: Services) -> None:
    before = visitor.cookie()
    page = visitor.follow(visitor.submit(EXPIRED, PASSWORD))
    sent = visitor.fill("form-password", page, **BOTH)
    assert (sent.status, sent.response.headers["Location"]) == (303, "/account")
    assert services.passwords.set_by == [(EXPIRED, "expired")]
    row = services.sessions.rows[visitor.cookie() or ""]
    assert (row.account_id, row.data["message"]["key"]) == ("id-2", "changed")
    assert before not in services.sessions.rows
    assert any(each.startswith("device=") for each in sent.response.headers.getlist("Set-Cookie"))
    assert visitor.get("/password").response.headers["Location"] == "/login"


@pytest.mark.spec("PW-6")
def test_the_change_goes_on_to_where_the_person_was_going(visitor: Visitor, services: Services) -> None:
    begin(visitor, services)
    page = visitor.follow(visitor.submit(EXPIRED, PASSWORD, address="/login?interaction=handle"))
    assert "Buzón de facturas" in page
    again = visitor.fill("form-password", page, new_password="corta", new_password_repeat="corta")
    assert (again.status, again.screen) == (400, "expired")
    assert "Use al menos 8 caracteres." in again
    sent = visitor.fill("form-password", again, **BOTH)
    assert sent.response.headers["Location"] == "/oauth/authorize?interaction=handle"


def test_a_change_form_left_open_too_long_begins_again(visitor: Visitor, services: Services) -> None:
    page = visitor.follow(visitor.submit(EXPIRED, PASSWORD))
    services.passwords.epochs["id-2"] = 2
    assert visitor.get("/password").response.headers["Location"] == "/login"
    assert "La página estuvo abierta demasiado tiempo." in visitor.get("/login")
    visitor.submit(EXPIRED, PASSWORD)
    services.passwords.epochs["id-2"] = 3
    sent = visitor.fill("form-password", page, **BOTH)
    assert (sent.status, sent.response.headers["Location"]) == (303, "/login")


# -- every form ------------------------------------------------------------------------------------------------------


def opened(visitor: Visitor, services: Services, form: str) -> Page:
    """A page that has this form."""
    if form == "form-recover":
        return visitor.get("/recover")
    if form in {"form-question", "form-reminder"}:
        return ask(visitor)
    hold(visitor, services, Means.EXPIRED if form == "expired" else Means.QUESTION)
    return visitor.get("/password" if form == "expired" else "/recover/password")


FIELDS = {
    "form-recover": {"username": KNOWN},
    "form-question": {"answer": ANSWER},
    "form-reminder": {},
    "form-password": {**BOTH, "change_question": "1", "question": "toy", "new_answer": "Woody"},
    "expired": BOTH,
}


@pytest.mark.spec("W-5")
@pytest.mark.spec("D-46")
@pytest.mark.parametrize("form", FIELDS)
@pytest.mark.parametrize(
    ("token", "headers"),
    [("", {}), ("old", {}), (None, {"Origin": "https://evil.example"}), (None, {"Origin": "null"})],
)
def test_a_form_that_is_not_ours_is_shown_again_and_changes_nothing(
    visitor: Visitor, services: Services, form: str, token: str | None, headers: dict[str, str]
) -> None:
    page = opened(visitor, services, form)
    name = "form-password" if form == "expired" else form
    sent = visitor.post(
        page.actions[name] or "",
        {**FIELDS[form], "csrf_token": page.fields["csrf_token"] if token is None else token},
        headers=headers,
    )
    assert (sent.status, sent.screen) == (400, page.screen)
    assert "La página estuvo abierta demasiado tiempo." in sent
    assert (services.passwords.set_by, services.recovery.reminders, services.recovery.wrong) == ([], [], {})
    # The same form, sent from the fresh page, goes through.
    assert visitor.fill(name, sent, **FIELDS[form]).status == 303


@pytest.mark.spec("W-8")
@pytest.mark.spec("D-50")
@pytest.mark.spec("D-77")
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(("form", "field"), [(form, field) for form, fields in FIELDS.items() for field in fields])
def test_hostile_text_in_a_field_is_refused_or_shown_as_text(
    visitor: Visitor, services: Services, form: str, field: str, text: str
) -> None:
    page = opened(visitor, services, form)
    name = "form-password" if form == "expired" else form
    sent = visitor.fill(name, page, **{**FIELDS[form], field: text})
    assert sent.status in {303, 400}
    if sent.status == 303 and sent.response.headers["Location"].startswith("/recover"):
        sent = visitor.follow(sent)
    assert "<script>alert" not in sent
    assert "a=b" not in (sent.response.headers.get("Set-Cookie") or "")


@pytest.mark.spec("W-7")
@pytest.mark.parametrize("form", FIELDS)
def test_pages_with_a_form_are_not_kept(visitor: Visitor, services: Services, form: str) -> None:
    page = opened(visitor, services, form)
    assert page.response.headers["Cache-Control"] == "no-store"
    assert page.response.headers["Referrer-Policy"] == "same-origin"
    assert "unsafe" not in page.response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("form", FIELDS)
def test_every_page_speaks_english_too(visitor: Visitor, services: Services, form: str) -> None:
    page = opened(visitor, services, form)
    english = visitor.get(page.address, query_string={"ui_locales": "en"})
    assert (english.status, english.language, english.screen) == (200, "en", page.screen)


@pytest.mark.spec("R-8")
@pytest.mark.spec("D-54")
def test_no_address_is_made_from_the_host_that_was_named(app: Flask) -> None:
    hostile = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    visitor = Visitor(app, headers=hostile)
    sent = visitor.get("/request/codedAccess?code=good-code")
    assert sent.response.headers["Location"] == "/recover/password"
    assert "evil.example" not in visitor.get("/recover")
