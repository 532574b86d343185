"""The sign-in page once an image is due: when, what it keeps, what it says, and that nothing is compared without."""

from collections.abc import Callable

import pytest

from tests.web.conftest import EXPIRED, KNOWN, PASSWORD, UNKNOWN, Page, Services, Visitor


def fail_once(visitor: Visitor, name: str = UNKNOWN) -> Page:
    """The page after a wrong password."""
    return visitor.follow(visitor.submit(name, "wrong"))


def send(visitor: Visitor, page: Page, name: str, password: str, **captcha: str) -> Page:
    return visitor.fill("form-signin", page, username=name, password=password, **captcha)


@pytest.mark.spec("C-1")
@pytest.mark.spec("D-78")
def test_a_first_visit_has_no_image(visitor: Visitor, services: Services) -> None:
    page = visitor.get("/login")
    assert page.screen == "signin"
    assert "captcha-image" not in page.ids
    assert services.captcha.issued == 0


@pytest.mark.spec("C-1")
@pytest.mark.spec("D-78")
def test_after_a_failure_this_browser_sees_an_image_for_every_name(visitor: Visitor, services: Services) -> None:
    page = fail_once(visitor)
    assert page.screen == "captcha"
    assert {"captcha-image", "captcha-audio", "captcha-refresh", "captcha", "alert", "alert-close"} <= page.ids
    assert page.text.index('id="password"') < page.text.index('id="captcha"')
    send(visitor, page, KNOWN, PASSWORD)
    assert services.sign_in.seen[-1].captcha_due
    assert KNOWN not in services.sign_in.attempts


@pytest.mark.spec("C-1")
@pytest.mark.spec("D-78")
def test_a_name_that_failed_elsewhere_asks_for_an_image_here(
    visitor: Visitor, another: Callable[[], Visitor], services: Services
) -> None:
    fail_once(another(), KNOWN)
    page = visitor.get("/login")
    assert page.screen == "signin"
    page = visitor.follow(send(visitor, page, KNOWN, PASSWORD))
    assert page.screen == "captcha"
    assert "Escriba los caracteres de la imagen." in page
    assert (page.fields["username"], page.fields["password"]) == ("", "")
    assert f'data-value="{KNOWN}"' in page
    assert not services.sign_in.seen[-1].captcha_due
    assert services.sign_in.attempts == {KNOWN: 1}
    assert visitor.get("/login").screen == "captcha"
    assert visitor.submit(KNOWN, PASSWORD).response.headers["Location"] == "/account"


@pytest.mark.spec("C-1")
def test_who_only_met_an_image_has_not_failed_for_other_names(
    visitor: Visitor, another: Callable[[], Visitor], services: Services
) -> None:
    fail_once(another(), UNKNOWN)
    visitor.submit(UNKNOWN, "wrong")
    assert visitor.submit(KNOWN, PASSWORD).status == 303
    assert not services.sign_in.seen[-1].captcha_due


@pytest.mark.spec("C-4")
@pytest.mark.spec("D-44")
@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ({}, "Escriba los caracteres de la imagen."),
        ({"captcha": "  "}, "Escriba los caracteres de la imagen."),
        ({"captcha": "WRONG"}, "Los caracteres no coinciden. Escriba los de la imagen nueva."),
        ({"captcha": "A" * 1000}, "Los caracteres no coinciden. Escriba los de la imagen nueva."),
    ],
)
def test_without_the_right_characters_no_password_is_compared(
    visitor: Visitor, services: Services, typed: dict[str, str], text: str
) -> None:
    def walk(password: str) -> list[str]:
        page = fail_once(visitor)
        services.sign_in.attempts.clear()
        sent = send(visitor, page, KNOWN, password, captcha_handle=page.fields["captcha_handle"], **typed)
        assert services.sign_in.attempts == {}
        after = visitor.follow(sent)
        assert after.fields["captcha_handle"] != page.fields["captcha_handle"]
        assert after.fields["password"] == ""
        assert text in after
        assert "<title>Error: Acceso a clientes" in after
        return [
            sent.response.headers["Location"],
            after.text.replace(after.fields["captcha_handle"], "…").replace(after.fields["csrf_token"], "…"),
        ]

    assert walk(PASSWORD) == walk("wrong")


@pytest.mark.spec("C-3")
@pytest.mark.spec("D-44")
def test_an_answer_is_good_once_and_in_its_own_browser(
    visitor: Visitor, another: Callable[[], Visitor], services: Services
) -> None:
    page = fail_once(visitor)
    right = {
        "captcha_handle": page.fields["captcha_handle"],
        "captcha": services.captcha.characters(page.fields["captcha_handle"]),
    }
    second = another()
    assert "no coinciden" in second.follow(send(second, fail_once(second, "KICR630120NX3"), KNOWN, PASSWORD, **right))
    assert send(visitor, page, KNOWN, "wrong", **right).status == 303
    assert services.sign_in.attempts[KNOWN] == 1
    assert "no coinciden" in visitor.follow(send(visitor, visitor.get("/login"), KNOWN, PASSWORD, **right))


@pytest.mark.spec("C-2")
@pytest.mark.spec("D-45")
def test_nothing_that_is_sent_holds_the_answer(visitor: Visitor, services: Services) -> None:
    page = fail_once(visitor)
    answer = services.captcha.characters(page.fields["captcha_handle"])
    told = page.text + str(page.response.headers) + str(visitor.cookie())
    assert answer.lower() not in told.lower()


@pytest.mark.spec("C-6")
def test_who_can_use_neither_image_nor_sound_is_shown_the_way_by_mail(visitor: Visitor) -> None:
    page = fail_once(visitor)
    assert "Prefiero un enlace por correo" in page
    assert 'href="/recover"' in page


def test_what_is_no_username_costs_no_image(visitor: Visitor, services: Services) -> None:
    page = fail_once(visitor)
    handle = page.fields["captcha_handle"]
    again = send(visitor, page, "pedro", PASSWORD, captcha_handle=handle, captcha="X")
    assert (again.status, again.screen) == (400, "captcha")
    assert again.fields["captcha_handle"] == handle
    assert services.captcha.is_open(services.sessions.rows[visitor.cookie() or ""].browser, handle, None)  # type: ignore[arg-type]


def test_another_image_without_scripts_keeps_the_pending_request(visitor: Visitor, services: Services) -> None:
    visitor.get("/login")
    services.protocol.add("handle", services.sessions.rows[visitor.cookie() or ""])
    page = visitor.follow(visitor.submit(UNKNOWN, "wrong", address="/login?interaction=handle"))
    after = visitor.follow(visitor.fill("form-captcha-refresh", page))
    assert "Buzón de facturas" in after
    assert after.fields["captcha_handle"] != page.fields["captcha_handle"]


@pytest.mark.spec("PW-6")
def test_an_expired_password_does_not_make_an_image_due(visitor: Visitor) -> None:
    visitor.submit(EXPIRED, PASSWORD)
    assert visitor.get("/login").screen == "signin"


@pytest.mark.spec("C-1")
def test_success_ends_it_for_this_browser(visitor: Visitor) -> None:
    fail_once(visitor)
    visitor.submit(KNOWN, PASSWORD)
    visitor.fill("form-signout", "/logout")
    assert visitor.get("/login").screen == "signin"


@pytest.mark.spec("W-5")
@pytest.mark.spec("D-46")
def test_a_stale_form_counts_nothing_and_keeps_the_image(visitor: Visitor, services: Services) -> None:
    page = fail_once(visitor)
    counted = dict(services.sign_in.attempts)
    fields = {"username": KNOWN, "password": PASSWORD, "captcha_handle": page.fields["captcha_handle"]}
    again = visitor.post("/login", {**fields, "csrf_token": "old", "captcha": "X"})
    assert (again.status, again.screen) == (400, "captcha")
    assert "La página estuvo abierta demasiado tiempo." in again
    assert services.sign_in.attempts == counted
    assert again.fields["captcha_handle"] == page.fields["captcha_handle"]


def test_the_image_is_not_asked_of_a_head_request(visitor: Visitor, services: Services) -> None:
    fail_once(visitor)
    issued = services.captcha.issued
    assert visitor.client.head("/login").status_code == 200
    assert services.captcha.issued == issued
