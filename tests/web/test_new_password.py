"""The mailed link, and the forms of a new password for who forgot theirs or whose has expired."""

import re
from collections.abc import Callable

import pytest

from idp.accounts.errors import UsernameLocked
from idp.accounts.permits import Means
from idp.policy import PERMIT_LIFETIME
from idp.web.current import now
from tests.web.conftest import (
    EXPIRED,
    KNOWN,
    NEW_PASSWORD,
    OLD_PASSWORD,
    PASSWORD,
    UNKNOWN,
    Services,
    Visitor,
)
from tests.web.recovering import BOTH, answer, ask, begin, hold

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
    fields = {**page.hidden["form-password"], **BOTH, extra: UNKNOWN}
    sent = visitor.post(f"/recover/password?{extra}={UNKNOWN}", fields)
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


@pytest.mark.spec("W-2")
@pytest.mark.spec("D-81")
def test_a_reset_while_asked_to_prove_it_again_goes_back_to_the_request(visitor: Visitor, services: Services) -> None:
    visitor.sign_in()
    cookie = visitor.cookie() or ""
    services.protocol.add("handle", services.sessions.rows[cookie], reauthenticate=True)
    page = answer(visitor, address="/recover?interaction=handle")
    page = visitor.follow(visitor.fill("form-password", page, **BOTH))
    assert "Buzón de facturas" in page
    assert visitor.cookie() != cookie
    assert cookie not in services.sessions.rows
    assert not any(row.account_id for row in services.sessions.rows.values())


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


@pytest.mark.spec("L-5", "L-8")
def test_a_change_form_whose_user_was_locked_meanwhile_says_so(visitor: Visitor, services: Services) -> None:
    page = visitor.follow(visitor.submit(EXPIRED, PASSWORD))
    services.sign_in.failure = UsernameLocked()
    locked = visitor.follow(visitor.fill("form-password", page, **BOTH))
    services.sign_in.failure = None
    assert locked.screen == "locked"
    assert visitor.get("/account").status == 303
    assert visitor.get("/password").status == 303


def test_a_change_form_left_open_too_long_begins_again(visitor: Visitor, services: Services) -> None:
    page = visitor.follow(visitor.submit(EXPIRED, PASSWORD))
    services.passwords.epochs["id-2"] = 2
    assert visitor.get("/password").response.headers["Location"] == "/login"
    assert "La página estuvo abierta demasiado tiempo." in visitor.get("/login")
    visitor.submit(EXPIRED, PASSWORD)
    services.passwords.epochs["id-2"] = 3
    sent = visitor.fill("form-password", page, **BOTH)
    assert (sent.status, sent.response.headers["Location"]) == (303, "/login")


@pytest.mark.spec("Q-5")
@pytest.mark.parametrize(
    ("means", "address", "place"),
    [(Means.EXPIRED, "/password", "/login"), (Means.LINK, "/recover/password", "/recover")],
)
def test_who_leaves_closes_the_page_for_whoever_comes_next(
    visitor: Visitor, services: Services, means: Means, address: str, place: str
) -> None:
    hold(visitor, services, means)
    sent = visitor.fill("form-password", address, **BOTH, leave="1")
    assert (sent.status, sent.response.headers["Location"]) == (303, "/login")
    assert services.passwords.set_by == []
    assert visitor.get(address).response.headers["Location"] == place
