"""From a username to its question, and to the mail: what each page shows, takes, refuses and leads to."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from idp.accounts.errors import AddressThrottled, HashingOverloaded
from idp.policy import RETRY_AFTER
from idp.settings import Settings
from idp.web.current import now
from tests.web.conftest import (
    ANSWER,
    KNOWN,
    SECRET,
    UNKNOWN,
    Services,
    Visitor,
    build,
)
from tests.web.recovering import BOTH, answer, ask

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
    [[_, kept]] = services.sessions.rows[visitor.cookie() or ""].data["recoveries"]
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
