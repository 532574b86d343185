"""A form whose token is no good: refused, and the browser is led to a page that can be reloaded (ux.md section 4)."""

from collections.abc import Callable

import pytest

from idp.accounts.permits import Means
from tests.web.account_doors import Doors
from tests.web.conftest import EXPIRED, KNOWN, PASSWORD, UNKNOWN, Page, Services, Visitor
from tests.web.recovering import BOTH, ask, begin, hold

NOTICE = "La página estuvo abierta demasiado tiempo. Vuelva a cargarla e inténtelo de nuevo."


def refuse(visitor: Visitor, form: str, page: Page, **fields: str) -> Page:
    """Send this form with a token that is not good any more."""
    sent = visitor.fill(form, page, **fields, csrf_token="old")
    assert sent.status == 400
    return sent


def led_to(visitor: Visitor, page: Page) -> Page:
    """Where a browser goes on to by itself."""
    wait, _, address = page.response.headers["Refresh"].partition("; url=")
    assert wait == "0"
    return visitor.get(address)


def _question(visitor: Visitor, _services: Services) -> Page:
    return ask(visitor)


def _password(visitor: Visitor, services: Services) -> Page:
    hold(visitor, services, Means.LINK)
    return visitor.get("/recover/password")


def _expired(visitor: Visitor, services: Services) -> Page:
    hold(visitor, services, Means.EXPIRED)
    return visitor.get("/password")


def _activation(visitor: Visitor, _services: Services) -> Page:
    return visitor.follow(visitor.get("/activate/invite-code"))


def _second_step(visitor: Visitor, services: Services) -> Page:
    return visitor.follow(visitor.fill("form-activate", _activation(visitor, services), **BOTH))


def _sign_out(visitor: Visitor, _services: Services) -> Page:
    visitor.sign_in()
    return visitor.get("/logout")


FORMS: dict[str, tuple[str, Callable[[Visitor, Services], Page]]] = {
    "signin": ("form-signin", lambda visitor, _: visitor.get("/login")),
    "recover": ("form-recover", lambda visitor, _: visitor.get("/recover")),
    "question": ("form-question", _question),
    "reminder": ("form-reminder", _question),
    "password": ("form-password", _password),
    "expired": ("form-password", _expired),
    "activation": ("form-activate", _activation),
    "second step": ("form-activate", _second_step),
    "sign-out": ("form-signout", _sign_out),
}


@pytest.mark.spec("W-5")
@pytest.mark.parametrize("name", FORMS)
def test_the_browser_goes_on_to_the_same_page_which_says_it_once(
    visitor: Visitor, services: Services, name: str
) -> None:
    form, opened = FORMS[name]
    page = opened(visitor, services)
    refused = refuse(visitor, form, page)
    assert (refused.screen, NOTICE in refused) == (page.screen, True)
    again = led_to(visitor, refused)
    assert (again.status, again.screen, NOTICE in again) == (200, page.screen, True)
    assert set(again.actions) == set(page.actions)
    # Reloading it repeats nothing, the notice neither.
    reloaded = visitor.get(again.address)
    assert (reloaded.status, reloaded.screen, NOTICE in reloaded) == (200, page.screen, False)


@pytest.mark.parametrize("section", ["password", "question", "profile"])
def test_so_do_the_pages_of_the_account(person: Visitor, doors: Doors, section: str) -> None:
    refused = person.post(f"/account/{section}", {"csrf_token": "old"})
    again = led_to(person, refused)
    assert (refused.status, again.address, NOTICE in again) == (400, f"/account/{section}", True)
    assert NOTICE not in person.get(f"/account/{section}")
    assert doors.own.told == []


@pytest.mark.spec("P-16", "W-9")
@pytest.mark.parametrize(
    ("client_id", "address"), [("mailbox", "/account/applications/mailbox"), ("gone", "/account/applications")]
)
def test_so_does_an_application_that_was_removed_in_another_tab(
    person: Visitor, doors: Doors, client_id: str, address: str
) -> None:
    refused = person.post(f"/account/applications/{client_id}", {"csrf_token": "old"})
    again = led_to(person, refused)
    assert (refused.status, again.status, again.address, NOTICE in again) == (400, 200, address, True)
    assert NOTICE not in person.get(address)
    assert doors.consents.revoked == []


def test_a_stale_wish_to_stay_leaves_no_notice_behind(person: Visitor) -> None:
    assert person.post("/account/extend", {"csrf_token": "old"}).status == 400
    assert NOTICE not in person.get("/account")


@pytest.mark.parametrize(("form", "address"), [("form-signin", "/login"), ("form-recover", "/recover")])
def test_the_username_that_was_typed_is_still_there(visitor: Visitor, form: str, address: str) -> None:
    refused = refuse(visitor, form, visitor.get(address), username=UNKNOWN, password="ClaveMia7")
    assert refused.fields["username"] == UNKNOWN
    assert led_to(visitor, refused).fields["username"] == UNKNOWN
    assert "ClaveMia7" not in refused
    # What is no username may be a password.
    refused = refuse(visitor, form, visitor.get(address), username="ClaveMia7")
    assert "ClaveMia7" not in refused
    assert "ClaveMia7" not in led_to(visitor, refused)


def test_who_stays_on_the_page_can_send_it_and_hears_of_it_no_more(visitor: Visitor) -> None:
    refused = refuse(visitor, "form-recover", visitor.get("/recover"), username=KNOWN)
    page = visitor.follow(visitor.fill("form-recover", refused, username=KNOWN))
    assert (page.screen, NOTICE in page) == ("question", False)


# -- somebody has signed in in another tab ---------------------------------------------------------------------------


@pytest.mark.spec("D-46")
@pytest.mark.parametrize("with_request", [False, True])
def test_who_is_in_already_goes_on(visitor: Visitor, services: Services, with_request: bool) -> None:
    address = "/login"
    if with_request:
        begin(visitor, services)
        address += "?interaction=handle"
    page = visitor.get(address)
    visitor.sign_in()
    attempts = len(services.sign_in.seen)
    sent = visitor.fill("form-signin", page, username=KNOWN.lower(), password=PASSWORD)
    assert (sent.status, len(services.sign_in.seen)) == (400, attempts)
    assert f"Ya entró en este navegador como {KNOWN}." in sent
    on = led_to(visitor, sent)
    place = "/oauth/authorize?interaction=handle" if with_request else "/account"
    assert (on.status, on.response.headers["Location"]) == (303, place)


@pytest.mark.parametrize("with_request", [False, True])
def test_who_is_somebody_else_chooses(visitor: Visitor, services: Services, with_request: bool) -> None:
    query = ""
    if with_request:
        begin(visitor, services)
        query = "interaction=handle"
    page = visitor.get("/login?" + query)
    visitor.sign_in()
    sent = visitor.fill("form-signin", page, username=UNKNOWN, password=PASSWORD)
    for shown in (sent, led_to(visitor, sent)):
        assert f"Ya entró en este navegador como {KNOWN}." in shown
        assert f'id="stay" href="/login{"?" * with_request}{query}"' in shown
        assert shown.fields["username"] == UNKNOWN
        assert "other=1" in (shown.actions["form-signin"] or "")
    assert visitor.fill("form-signin", visitor.get("/login?other=1"), username=KNOWN, password=PASSWORD).status == 303


def test_who_is_asked_for_the_password_once_more_is_told_why(visitor: Visitor, services: Services) -> None:
    begin(visitor, services)
    visitor.sign_in()
    services.protocol.add("handle", services.sessions.rows[visitor.cookie() or ""], reauthenticate=True)
    page = visitor.get("/login?interaction=handle")
    again = led_to(visitor, refuse(visitor, "form-signin", page, username=KNOWN, password=PASSWORD))
    assert ("Confirme que es usted" in again, NOTICE in again) == (True, True)


# -- a page that sets a password is open -----------------------------------------------------------------------------


@pytest.mark.spec("R-1")
def test_nobody_is_told_of_a_sign_out_that_was_none(visitor: Visitor, services: Services) -> None:
    page = visitor.get("/logout")
    assert (page.screen, "Cerró su sesión." in page) == ("signed-out", False)
    assert "No hay ninguna sesión abierta en este navegador." in page
    form = visitor.follow(visitor.submit(EXPIRED, PASSWORD))
    page = visitor.get("/logout")
    assert (page.screen, "everywhere" in page.ids) == ("signout-confirm", False)
    page = visitor.follow(visitor.fill("form-signout", page))
    assert (page.screen, "Cerró su sesión." in page) == ("signed-out", False)
    assert visitor.get("/password").response.headers["Location"] == "/login"
    assert visitor.fill("form-password", form, **BOTH).status == 303
    assert services.passwords.set_by == []
