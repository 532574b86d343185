"""The CAPTCHA of a page: what stands on it, who gets image and sound, how another one is had."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from flask import Blueprint, Flask, render_template_string, request
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from idp import policy
from idp.accounts.attempts import CaptchaAnswer
from idp.accounts.captcha import Captcha
from idp.accounts.errors import CaptchaProblem
from idp.blueprints import captcha as pages
from idp.blueprints import signin
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.settings import Settings
from idp.web import assembly
from idp.web.captcha import challenge, forget_challenge, fresh_challenge, problem_text, typed_answer
from tests.tables import make_tables
from tests.web.conftest import SECRET, Page, Visitor
from tests.web.doors import Protocol, Sessions

PAGE = "/account/password"
TEMPLATE = """{% from "captcha.html" import captcha_fields, captcha_refresh_form %}
<form id="form-password" method="post">{{ captcha_fields(challenge, error=error) }}</form>
{{ captcha_refresh_form(challenge) }}"""


@dataclass
class Services:
    """What these pages are given."""

    settings: Settings
    captcha: Captcha
    sessions: Sessions = field(default_factory=Sessions)
    protocol: Protocol = field(default_factory=Protocol)


blueprint = Blueprint("account", __name__)


@blueprint.get(PAGE)
def password() -> str:
    """A page with a CAPTCHA on it."""
    if "forget" in request.args:
        forget_challenge()
    shown = (challenge("password") if "same" in request.args else None) or fresh_challenge("password")
    error = problem_text(CaptchaProblem(request.args["error"])) if "error" in request.args else None
    return render_template_string(TEMPLATE, challenge=shown, error=error)


@blueprint.post(PAGE)
def send() -> str:
    """What it makes of its form."""
    answer = typed_answer()
    return "nothing" if answer is None else f"{answer.handle} {answer.text}"


@pytest.fixture
def captcha() -> Captcha:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    make_tables(engine)
    return Captcha(Ephemeral(Store(engine)), b"a key for tests")


@pytest.fixture
def app(captcha: Captcha) -> Flask:
    app = Flask("idp")
    settings = Settings(secret_key=SECRET)
    assembly.install(app, Services(settings, captcha))  # type: ignore[arg-type]  # sessions in memory
    for each in (signin.blueprint, pages.blueprint, blueprint):
        app.register_blueprint(each)
    return app


def refresh(visitor: Visitor, page: Page, *, as_json: bool = True, **changed: str) -> Page:
    """Press "another image", by the script or without it."""
    address = changed.pop("address", page.actions["form-captcha-refresh"])
    data = {"csrf_token": page.fields.get("csrf_token", ""), **changed}
    return visitor.post(str(address), data, headers={"Accept": "application/json" if as_json else "text/html"})


@pytest.mark.spec("contract §5", "M3")
def test_the_page_has_the_names_that_machines_rely_on(visitor: Visitor) -> None:
    page = visitor.get(PAGE)
    assert {"captcha", "captcha-image", "captcha-audio", "captcha-refresh", "form-captcha-refresh"} <= page.ids
    assert set(page.fields) == {"captcha", "captcha_handle", "csrf_token"}
    assert 'alt="Imagen con 5 caracteres para verificar que no es un programa automático"' in page
    assert 'width="320" height="110"' in page
    assert 'form="form-captcha-refresh"' in page
    assert '<label class="label" for="captcha">Escriba los caracteres de la imagen</label>' in page
    assert "Si usó el audio, escriba los 6 números." in page
    assert "aria-invalid" not in page


@pytest.mark.spec("C-6")
def test_there_is_a_sound_without_script_and_a_way_by_mail(visitor: Visitor) -> None:
    page = visitor.get(PAGE)
    assert 'href="#captcha-audio"' in page
    assert "controls preload=" in page
    assert '<a class="btn btn-3 btn-sm wide" id="captcha-mail" href="/recover">' in page


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ("required", "Escriba los caracteres de la imagen."),
        ("wrong", "Los caracteres no coinciden. Escriba los de la imagen nueva."),
        ("expired", "La imagen venció. Escriba los caracteres de la imagen nueva."),
    ],
)
def test_an_error_stands_at_the_field(visitor: Visitor, problem: str, text: str) -> None:
    page = visitor.get(f"{PAGE}?error={problem}")
    assert f'<p class="err" id="captcha-error">{text}</p>' in page
    assert 'aria-describedby="captcha-help captcha-error" aria-invalid="true"' in page


@pytest.mark.spec("C-2", "D-45")
def test_the_answer_is_nowhere_that_a_browser_can_look(visitor: Visitor, captcha: Captcha) -> None:
    page = visitor.get(PAGE)
    handle = page.fields["captcha_handle"]
    image, sound = visitor.client.get(f"/captcha/{handle}.png"), visitor.client.get(f"/captcha/{handle}.wav")
    again = refresh(visitor, page)
    places = [
        page.text,
        str(page.response.headers),
        str(image.headers),
        str(sound.headers),
        image.get_data(as_text=False).decode("latin-1"),
        sound.get_data(as_text=False).decode("latin-1"),
        again.text,
        str(again.response.headers),
        visitor.cookie() or "",
    ]
    for place in places:
        assert captcha.characters(handle) not in place
        assert captcha.digits(handle) not in place


@pytest.mark.parametrize(("suffix", "mimetype"), [(".png", "image/png"), (".wav", "audio/wav")])
def test_image_and_sound_are_given_to_their_browser(
    visitor: Visitor, captcha: Captcha, suffix: str, mimetype: str
) -> None:
    handle = visitor.get(PAGE).fields["captcha_handle"]
    response = visitor.client.get(f"/captcha/{handle}{suffix}")
    assert (response.status_code, response.mimetype) == (200, mimetype)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Vary"] == "Cookie"
    expected = (
        captcha.image(handle, datetime.now(UTC))
        if suffix == ".png"
        else captcha.sound(handle, "es-MX", datetime.now(UTC))
    )
    assert response.data == expected


@pytest.mark.spec("C-3", "D-44", "D-79")
@pytest.mark.parametrize("suffix", [".png", ".wav"])
def test_nobody_else_gets_them(app: Flask, visitor: Visitor, suffix: str) -> None:
    handle = visitor.get(PAGE).fields["captcha_handle"]
    other = Visitor(app)
    assert other.get(f"/captcha/{handle}{suffix}").status == 404  # no session at all
    other.get(PAGE)
    assert other.get(f"/captcha/{handle}{suffix}").status == 404
    assert visitor.get(f"/captcha/{'A' * 44}{suffix}").status == 404
    assert visitor.client.get(f"/captcha/{handle}{suffix}").status_code == 200


@pytest.mark.spec("C-3", "D-79")
@pytest.mark.parametrize("suffix", [".png", ".wav"])
def test_an_answered_challenge_is_shown_no_more(visitor: Visitor, captcha: Captcha, app: Flask, suffix: str) -> None:
    handle = visitor.get(PAGE).fields["captcha_handle"]
    sessions: Sessions = app.extensions["llavero"].sessions
    browser = sessions.rows[visitor.cookie() or ""].browser
    captcha.take(browser, CaptchaAnswer(handle, captcha.characters(handle)), datetime.now(UTC))
    assert visitor.get(f"/captcha/{handle}{suffix}").status == 404


@pytest.mark.spec("W-5")
def test_head_changes_nothing(visitor: Visitor, app: Flask) -> None:
    handle = visitor.get(PAGE).fields["captcha_handle"]
    writes = app.extensions["llavero"].sessions.writes
    for address in (f"/captcha/{handle}.png", f"/captcha/{handle}.wav"):
        response = visitor.client.head(address)
        assert (response.status_code, response.data) == (404, b"")  # HEAD is nobody's
    assert app.extensions["llavero"].sessions.writes == writes
    assert visitor.client.get(f"/captcha/{handle}.png").status_code == 200


def test_players_get_the_part_they_ask_for(visitor: Visitor, captcha: Captcha) -> None:
    handle = visitor.get(PAGE).fields["captcha_handle"]
    whole = captcha.sound(handle, "es-MX", datetime.now(UTC))
    part = visitor.client.get(f"/captcha/{handle}.wav", headers={"Range": "bytes=0-1"})
    assert (part.status_code, part.data) == (206, whole[:2])
    assert part.headers["Content-Range"] == f"bytes 0-1/{len(whole)}"
    assert visitor.client.get(f"/captcha/{handle}.wav").headers["Accept-Ranges"] == "bytes"


def test_the_sound_speaks_the_language_of_the_page(visitor: Visitor, captcha: Captcha) -> None:
    page = visitor.get(f"{PAGE}?ui_locales=en")
    handle = page.fields["captcha_handle"]
    assert visitor.client.get(f"/captcha/{handle}.wav").data == captcha.sound(handle, "en", datetime.now(UTC))
    assert captcha.sound(handle, "en", datetime.now(UTC)) != captcha.sound(handle, "es-MX", datetime.now(UTC))


@pytest.mark.spec("ux §5")
def test_the_script_gets_another_one(visitor: Visitor) -> None:
    page = visitor.get(PAGE)
    fresh = refresh(visitor, page)
    assert (fresh.status, fresh.response.mimetype) == (200, "application/json")
    given = json.loads(fresh.text)
    assert given["handle"] != page.fields["captcha_handle"]
    assert given == {
        "handle": given["handle"],
        "image": f"/captcha/{given['handle']}.png",
        "audio": f"/captcha/{given['handle']}.wav",
    }
    assert visitor.client.get(given["image"]).status_code == 200
    assert visitor.get(f"{PAGE}?same=1").fields["captcha_handle"] == given["handle"]


@pytest.mark.spec("ux §5")
def test_without_script_the_page_comes_again_with_another(visitor: Visitor) -> None:
    page = visitor.get(f"{PAGE}?interaction=a-handle_of-ours&other=1")
    answer = refresh(visitor, page, as_json=False)
    assert (answer.status, answer.response.headers["Location"]) == (
        303,
        f"{PAGE}?interaction=a-handle_of-ours&other=1",
    )
    assert visitor.follow(answer).fields["captcha_handle"] != page.fields["captcha_handle"]
    # Also on a page that shows the same one while it is open.
    same = visitor.get(f"{PAGE}?same=1")
    assert visitor.get(f"{PAGE}?same=1").fields["captcha_handle"] == same.fields["captcha_handle"]
    refresh(visitor, same, as_json=False)
    assert visitor.get(f"{PAGE}?same=1").fields["captcha_handle"] != same.fields["captcha_handle"]


@pytest.mark.spec("D-49")
@pytest.mark.parametrize("hostile", ["//evil.example", "/\\evil", "https:evil", "javascript:alert(1)", "\r\nX: y", ""])
@pytest.mark.parametrize("name", ["page", "interaction", "next", "other"])
def test_it_leads_nowhere_but_back(visitor: Visitor, hostile: str, name: str) -> None:
    page = visitor.get(PAGE)
    address = "/captcha/refresh"
    token = {"csrf_token": page.fields["csrf_token"]}
    answer = Page(visitor.client.post(address, query_string={"page": "password", name: hostile}, data=token))
    location = answer.response.headers["Location"]
    expected = {"page": "/login", "other": f"{PAGE}?other=1"}
    assert (answer.status, location) == (303, expected.get(name, PAGE))


@pytest.mark.spec("W-5")
@pytest.mark.parametrize("as_json", [True, False], ids=["script", "no script"])
@pytest.mark.parametrize("token", ["", "forged"])
def test_without_its_token_nothing_is_made(visitor: Visitor, as_json: bool, token: str) -> None:
    page = visitor.get(PAGE)
    answer = refresh(visitor, page, as_json=as_json, csrf_token=token)
    assert (answer.status, answer.response.headers["Location"]) == (303, PAGE)
    assert visitor.get(f"{PAGE}?same=1").fields["captcha_handle"] == page.fields["captcha_handle"]


def test_it_is_asked_for_by_post(visitor: Visitor) -> None:
    assert visitor.get("/captcha/refresh").status == 405


@pytest.mark.spec("C-5")
def test_who_asks_for_too_many_waits(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    page = visitor.get(PAGE)
    monkeypatch.setattr(policy, "CAPTCHA_ISSUED_MAX", 2)
    assert refresh(visitor, page).status == 200
    answer = refresh(visitor, page)
    assert answer.status == 429
    assert answer.response.headers["Retry-After"] == str(int(policy.CAPTCHA_ISSUED_WINDOW.total_seconds()))


def test_the_form_says_which_challenge_it_answers(visitor: Visitor) -> None:
    page = visitor.get(PAGE)
    token = page.fields["csrf_token"]
    sent = {"csrf_token": token, "captcha_handle": page.fields["captcha_handle"], "captcha": " aceh "}
    assert visitor.post(PAGE, sent).text == f"{page.fields['captcha_handle']}  aceh "
    assert visitor.post(PAGE, {"csrf_token": token, "captcha": "ACEH"}).text == "nothing"


def test_a_page_that_may_not_be_returned_to_has_no_captcha(app: Flask) -> None:
    with app.test_request_context("/"), pytest.raises(ValueError, match="no page of the CAPTCHA: elsewhere"):
        fresh_challenge("elsewhere")
