"""`/activate`: from an invitation to an account, step by step (M14)."""

import re
from datetime import timedelta

import pytest

from idp.web.current import now
from tests.web.conftest import INVITED, KNOWN, NEW_PASSWORD, Page, Services, Visitor

BOTH = {"new_password": NEW_PASSWORD, "new_password_repeat": NEW_PASSWORD}


def invited(visitor: Visitor) -> Page:
    """The first step."""
    return visitor.follow(visitor.get("/activate/invite-code"))


@pytest.mark.spec("R-3")
@pytest.mark.spec("R-7")
def test_the_invitation_leads_to_a_clean_address_and_spends_nothing(visitor: Visitor) -> None:
    for _ in range(3):
        assert visitor.client.head("/activate/invite-code").status_code == 303
        sent = visitor.get("/activate/invite-code")
    assert (sent.status, sent.response.headers["Location"]) == (303, "/activate")
    assert sent.response.headers["Referrer-Policy"] == "no-referrer"
    assert sent.response.headers["Cache-Control"] == "no-store"


def test_the_steps_have_the_names_that_machines_rely_on(visitor: Visitor) -> None:
    first = invited(visitor)
    assert (first.status, first.screen, first.actions) == (200, "activate", {"form-activate": "/activate"})
    assert {"username", "new_password", "new_password_repeat", "submit"} <= first.ids
    assert first.fields["username"] == INVITED
    second = visitor.follow(visitor.fill("form-activate", first, **BOTH))
    assert (second.status, second.screen, second.actions) == (200, "activate", {"form-activate": "/activate"})
    assert {"question", "new_answer", "submit"} <= second.ids
    assert "new_password" not in second.ids
    assert second.text.count("<option") >= 5


def test_two_steps_make_an_account_and_lead_to_the_sign_in_page(visitor: Visitor, services: Services) -> None:
    second = visitor.follow(visitor.fill("form-activate", invited(visitor), **BOTH))
    sent = visitor.fill("form-activate", second, question="toy", new_answer="Woody")
    assert (sent.status, sent.response.headers["Location"]) == (303, "/login?again=1")
    page = visitor.follow(sent)
    assert "Su cuenta está lista." in page
    assert page.fields["username"] == INVITED
    assert services.lifecycle.activated == [(INVITED, "hash-of-it", "toy", "Woody")]
    assert visitor.get("/activate").response.headers["Location"] == "/login"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"new_password": "corta", "new_password_repeat": "corta"}, "Use al menos 8 caracteres."),
        ({"new_password": NEW_PASSWORD, "new_password_repeat": "otra"}, "Las contraseñas no coinciden."),
    ],
)
def test_a_refused_password_keeps_the_first_step(visitor: Visitor, fields: dict[str, str], text: str) -> None:
    page = visitor.fill("form-activate", invited(visitor), **fields)
    assert (page.status, page.screen) == (400, "activate")
    assert text in page
    assert "<title>Error: " in page
    assert page.fields["new_password"] == ""
    assert "new_password" in visitor.get("/activate").ids


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"question": "toy", "new_answer": "no"}, "La respuesta debe tener al menos 4 caracteres."),
        ({"question": "toy", "new_answer": ""}, "Escriba la respuesta."),
        ({"question": "<b>", "new_answer": "Woody"}, "Elija una pregunta de la lista."),
    ],
)
def test_a_refused_answer_keeps_the_second_step(
    visitor: Visitor, services: Services, fields: dict[str, str], text: str
) -> None:
    second = visitor.follow(visitor.fill("form-activate", invited(visitor), **BOTH))
    page = visitor.fill("form-activate", second, **fields)
    assert (page.status, page.screen) == (400, "activate")
    assert text in page
    assert services.lifecycle.activated == []
    assert visitor.fill("form-activate", page, question="toy", new_answer="Woody").status == 303


def test_one_can_go_back_to_the_password(visitor: Visitor) -> None:
    second = visitor.follow(visitor.fill("form-activate", invited(visitor), **BOTH))
    back = re.search(r'id="back" href="([^"]+)"', second.text)
    assert back is not None
    first = visitor.get(back[1].replace("&amp;", "&"))
    assert "new_password" in first.ids
    assert visitor.follow(visitor.fill("form-activate", first, **BOTH)).fields["new_answer"] == ""


@pytest.mark.spec("R-1")
def test_the_second_step_does_not_open_without_the_first(visitor: Visitor, services: Services) -> None:
    page = visitor.fill("form-activate", invited(visitor), question="toy", new_answer="Woody")
    assert page.status == 400
    assert "Escriba la contraseña nueva." in page
    assert services.lifecycle.activated == []


@pytest.mark.parametrize("code", ["never-was-one", "%00", "a" * 500])
def test_an_invitation_that_is_worth_nothing_leads_to_another(visitor: Visitor, code: str) -> None:
    page = visitor.get("/activate/" + code)
    assert (page.status, page.screen) == (410, "link-dead")
    assert "Pida una nueva invitación a soporte." in page
    # What the mail of the invitation says: the reminder sends another one.
    assert "Use «¿Olvidó su contraseña?» y le enviaremos otra." in page
    assert 'id="submit" href="/recover"' in page
    assert page.response.headers["Referrer-Policy"] == "no-referrer"


def test_an_invitation_that_ended_meanwhile_says_so(visitor: Visitor, services: Services) -> None:
    second = visitor.follow(visitor.fill("form-activate", invited(visitor), **BOTH))
    services.passwords.epochs["id-3"] = 2
    page = visitor.fill("form-activate", second, question="toy", new_answer="Woody")
    assert (page.status, page.screen) == (410, "link-dead")
    assert "Pida una nueva invitación a soporte." in page
    assert visitor.get("/activate").response.headers["Location"] == "/login"


def test_an_invitation_is_for_as_long_as_it_says(visitor: Visitor, services: Services) -> None:
    invited(visitor)
    [[_, held]] = services.sessions.rows[visitor.cookie() or ""].data["permits"]
    held["permit"]["expires_at"] = (now() - timedelta(seconds=1)).isoformat()
    assert visitor.get("/activate").status == 410


@pytest.mark.spec("R-2")
@pytest.mark.spec("D-57")
def test_nothing_in_the_form_says_whose_account_it_is(visitor: Visitor, services: Services) -> None:
    second = visitor.follow(visitor.fill("form-activate", invited(visitor), **BOTH, username=KNOWN))
    visitor.fill("form-activate", second, question="toy", new_answer="Woody", username=KNOWN, usuario=KNOWN)
    assert services.lifecycle.activated[0][0] == INVITED


@pytest.mark.spec("W-5")
@pytest.mark.parametrize("step", [1, 2])
def test_a_stale_form_keeps_its_step(visitor: Visitor, services: Services, step: int) -> None:
    page = invited(visitor)
    fields = BOTH
    if step == 2:
        page = visitor.follow(visitor.fill("form-activate", page, **BOTH))
        fields = {"question": "toy", "new_answer": "Woody"}
    sent = visitor.post("/activate", {**fields, "csrf_token": "old"})
    assert (sent.status, sent.screen) == (400, "activate")
    assert "La página estuvo abierta demasiado tiempo." in sent
    assert services.lifecycle.activated == []
    assert visitor.fill("form-activate", sent, **fields).status == 303


def test_a_mailed_link_of_an_invitation_leads_to_activation_too(visitor: Visitor) -> None:
    sent = visitor.get("/request/codedAccess?code=invite-code")
    assert (sent.status, sent.response.headers["Location"]) == (303, "/activate")
