"""What is rendered once for all is the same for all, in each language and under each path."""

import pytest
from flask import Flask, render_template_string

from idp.settings import Settings
from tests.web.conftest import SECRET, build

TEMPLATE = '{% call same_for_all("here", *values) %}{{ _("Entrar") }} {{ word }}{% endcall %}'


@pytest.fixture
def app() -> Flask:
    return build(Settings(secret_key=SECRET))


def _render(app: Flask, word: str, *values: str, query: str = "", root: str = "") -> str:
    with app.test_request_context("/" + query, environ_overrides={"SCRIPT_NAME": root}):
        return render_template_string(TEMPLATE, word=word, values=values)


def test_a_part_is_rendered_once(app: Flask) -> None:
    assert _render(app, "first") == "Entrar first"
    assert _render(app, "second") == "Entrar first"
    assert _render(app, "again", query="?ui_locales=en") == "Sign in again"
    assert _render(app, "under", root="/llave") == "Entrar under"
    assert _render(app, "next", "2027") == "Entrar next"
    assert _render(app, "later") == "Entrar first"


def test_whoever_edits_a_template_sees_it(app: Flask) -> None:
    app.jinja_env.auto_reload = True
    assert _render(app, "first") == "Entrar first"
    assert _render(app, "second") == "Entrar second"


def test_no_more_is_kept_than_there_is_room_for(app: Flask) -> None:
    for number in range(300):
        assert _render(app, "x", str(number)) == "Entrar x"
    assert _render(app, "y", "0") == "Entrar x"
    assert _render(app, "y", "299") == "Entrar y"
