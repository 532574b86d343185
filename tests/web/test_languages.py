"""Which language a page speaks, and that English says everything."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from flask_wtf import FlaskForm

from idp.settings import Settings
from idp.web import account_forms, forms
from tests.web.conftest import KNOWN, SECRET, Services, Visitor, build
from tools.check_translations import problems, read_catalogue, used_texts


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", "", "es-MX"),
        ("", "en-GB,en;q=0.8", "en"),
        ("", "fr,en;q=0.5,es;q=0.9", "es-MX"),
        ("", "fr", "es-MX"),
        ("", "en;q=0", "es-MX"),
        ("ui_locales=en", "es", "en"),
        ("ui_locales=fr-CA+en-US+es", "es", "en"),
        ("ui_locales=es-419", "en", "es-MX"),
        ("ui_locales=fr", "en", "en"),
        ("ui_locales=" + "x+" * 2000 + "en", "es", "es-MX"),
    ],
)
def test_the_first_language_that_we_speak_is_taken(visitor: Visitor, query: str, header: str, language: str) -> None:
    page = visitor.get("/login?" + query, headers={"Accept-Language": header})
    assert page.language == language
    assert ("Customer sign-in" in page) == (language == "en")


def test_a_language_once_asked_for_is_kept(visitor: Visitor) -> None:
    visitor.get("/login?ui_locales=en")
    assert visitor.get("/login", headers={"Accept-Language": "es"}).language == "en"
    assert visitor.get("/nowhere").language == "en"
    assert visitor.get("/login?ui_locales=es-MX").language == "es-MX"
    assert visitor.get("/login").language == "es-MX"


def test_the_language_cookie_has_the_attributes_of_the_other() -> None:
    visitor = Visitor(build(Settings(secret_key=SECRET, issuer="https://llave.example")))
    found = visitor.get("/nowhere?ui_locales=en").response.headers.getlist("Set-Cookie")
    assert found == ["__Host-lang=en; Secure; HttpOnly; Path=/; SameSite=Lax"]


FORMS = {
    each
    for module in (forms, account_forms)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, FlaskForm)
}


def test_every_rule_of_a_form_says_it_in_our_own_words() -> None:
    # WTForms' own texts are off.
    fields = [field for form in FORMS for field in vars(form).values() if hasattr(field, "field_class")]
    rules = [rule for field in fields for rule in field.kwargs.get("validators", ())]
    assert len(rules) > 12
    assert [rule for rule in rules if getattr(rule, "message", "its own") is None] == []


def test_the_switch_keeps_the_query_and_names_each_language_in_itself(visitor: Visitor, services: Services) -> None:
    visitor.get("/login")
    services.protocol.add("handle", services.sessions.rows[visitor.cookie() or ""])
    page = visitor.get("/login?interaction=handle")
    assert '<a href="?interaction=handle&amp;ui_locales=en" lang="en" hreflang="en">English</a>' in page
    assert '<span lang="es-MX" aria-current="true">Español</span>' in page


def test_the_alert_counts_in_english_too(visitor: Visitor) -> None:
    visitor.get("/login?ui_locales=en")
    assert "You have 2 attempts left before the user is locked." in visitor.follow(visitor.submit(KNOWN, "wrong"))
    assert "You have 1 attempt left before the user is locked." in visitor.follow(visitor.submit(KNOWN, "wrong"))


def test_every_text_has_its_english() -> None:
    assert list(problems(used_texts(), read_catalogue())) == []


def test_a_text_without_good_english_is_found() -> None:
    catalogue = Catalog(locale="en")
    catalogue.add("Entrar", "Sign in", flags=["fuzzy"])
    catalogue.add("Cerrar", "")
    catalogue.add("Hola %(name)s", "Hello")
    catalogue.add("Nadie", "Nobody")
    catalogue.add(("%(num)s día", "%(num)s días"), ("%(num)s day", ""))
    used: set[str | tuple[str, ...]] = {"Entrar", "Cerrar", "Hola %(name)s", "Nuevo", ("%(num)s día", "%(num)s días")}
    kinds = sorted(line.partition(":")[0] for line in problems(used, catalogue))
    assert kinds == ["empty", "empty", "fuzzy", "missing", "no longer used", "placeholders or tags differ"]


def test_no_template_speaks_spanish_by_itself() -> None:
    examples_and_names = {"KICR"}
    templates = Path(__file__).parents[2] / "idp/templates"
    for path in (*templates.rglob("*.html"), *templates.rglob("*.txt")):
        text = re.sub(r"{% block (?:screen|assets|form_id|width) %}.*?{% endblock %}", "", path.read_text())
        # What is left without markup and expressions is text that no catalogue sees.
        left = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<[^>]*>", "", text, flags=re.DOTALL)
        assert set(re.findall(r"[A-Za-zÁ-ú]{4,}", left)) <= examples_and_names, path.name
