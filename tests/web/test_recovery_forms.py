"""What holds for every form of recovery: stale tokens, hostile text, headers, languages, hosts."""

import pytest
from flask import Flask

from idp.accounts.permits import Means
from tests.web.conftest import (
    ANSWER,
    KNOWN,
    Page,
    Services,
    Visitor,
)
from tests.web.recovering import BOTH, ask, hold

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
