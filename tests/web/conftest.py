"""The hosted pages over doors kept in memory: what a page does is seen without a database."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idp.blueprints import account, activation, captcha, password, recovery, signin
from idp.settings import Settings
from idp.web import assembly
from tests.web.account_doors import Consents, Doors, OwnAccount
from tests.web.doors import (
    ANSWER,
    EXPIRED,
    INVITED,
    KNOWN,
    NEW_PASSWORD,
    OLD_PASSWORD,
    PASSWORD,
    SECRET,
    UNKNOWN,
    Services,
)

__all__ = [
    "ANSWER",
    "EXPIRED",
    "INVITED",
    "KNOWN",
    "NEW_PASSWORD",
    "OLD_PASSWORD",
    "PASSWORD",
    "SECRET",
    "UNKNOWN",
    "Page",
    "Services",
    "Visitor",
    "build",
]

TRANSLATIONS = Path(__file__).parents[2] / "idp/translations"


class _Form(HTMLParser):
    """The fields, the ids and the texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.ids: set[str] = set()
        self.actions: dict[str, str | None] = {}
        self.hidden: dict[str, dict[str, str]] = {}
        self._form: str | None = None
        self.focus: list[str] = []
        self.screen: str | None = None
        self.language: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        if tag == "html":
            self.language = found.get("lang")
        if tag == "body":
            self.screen = found.get("data-screen")
        if tag == "form" and found.get("id"):
            self._form = str(found["id"])
            self.actions[self._form] = found.get("action")
            self.hidden[self._form] = {}
        if tag == "input" and found.get("name"):
            self.fields[str(found["name"])] = found.get("value") or ""
            if found.get("type") == "hidden" and self._form is not None:
                self.hidden[self._form][str(found["name"])] = found.get("value") or ""
        if "autofocus" in found:
            self.focus.append(str(found.get("id")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


class Page:
    """What a person or a machine sees of a response."""

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        self.address = response.request.full_path.rstrip("?")
        self.status = response.status_code
        self.text = response.get_data(as_text=True)
        response.close()
        parser = _Form()
        parser.feed(self.text)
        self.screen, self.fields, self.ids = parser.screen, parser.fields, parser.ids
        self.focus = parser.focus
        self.actions, self.language, self.hidden = parser.actions, parser.language, parser.hidden

    def __contains__(self, text: str) -> bool:
        return text in self.text


class Visitor:
    """A browser: keeps cookies, fills forms in."""

    def __init__(self, app: Flask, **environ: Any) -> None:
        self.client: FlaskClient = app.test_client()
        self.environ = environ

    def get(self, address: str, **options: Any) -> Page:
        return Page(self.client.get(address, **{**self.environ, **options}))

    def post(self, address: str, data: dict[str, str] | None = None, **options: Any) -> Page:
        return Page(self.client.post(address, data=data, **{**self.environ, **options}))

    def submit(
        self, username: str, password: str, *, address: str = "/login", token: str | None = None, **options: Any
    ) -> Page:
        """Open the sign-in page, fill it in, its image too if there is one, and send it; not followed."""
        page = self.get(address)
        fields = {"username": username, "password": password, "csrf_token": token or page.fields["csrf_token"]}
        if page.screen == "captcha":
            door = self.client.application.extensions["llavero"].captcha
            handle = page.fields["captcha_handle"]
            fields |= {"captcha_handle": handle, "captcha": door.characters(handle)}
        return self.post(page.actions["form-signin"] or address, fields, **options)

    def fill(self, form: str, page: Page | str, **fields: str) -> Page:
        """Send a form of a page with these values in it; not followed."""
        found = self.get(page) if isinstance(page, str) else page
        assert form in found.actions, found.screen
        return self.post(found.actions[form] or found.address, {**found.hidden[form], **fields})

    def follow(self, page: Page) -> Page:
        """The page that a 303 names."""
        assert page.status == 303
        return self.get(page.response.headers["Location"])

    def sign_in(self) -> Page:
        """Sign the known person in."""
        return self.submit(KNOWN, PASSWORD)

    def cookie(self, name: str = "session") -> str | None:
        found = self.client.get_cookie(name)
        return found.value if found else None


def fields(page: Page, **more: str) -> dict[str, str]:
    """What the page's form sends: its token, and what is typed."""
    return {"csrf_token": page.fields["csrf_token"], **more}


@pytest.fixture(scope="session", autouse=True)
def catalogue() -> None:
    """The compiled English, which a fresh clone does not hold. Two test processes may write it at once."""
    compiled = TRANSLATIONS / "en/LC_MESSAGES/messages.mo"
    with compiled.with_suffix(".po").open("rb") as source:
        texts = read_po(source, locale="en")
    own = compiled.with_suffix(f".{id(texts)}.tmp")
    with own.open("wb") as target:
        write_mo(target, texts)
    own.replace(compiled)


def build(settings: Settings) -> Flask:
    """The pages alone, without the protocol's."""
    app = Flask("idp")
    assembly.install(app, Services(settings))  # type: ignore[arg-type]  # doors in memory
    for each in (signin, captcha, recovery, password, activation, account):
        app.register_blueprint(each.blueprint)
    return app


@pytest.fixture
def settings() -> Settings:
    """A deployment on loopback."""
    return Settings(secret_key=SECRET)


@pytest.fixture
def app(settings: Settings) -> Flask:
    """The pages as they are on loopback."""
    return build(settings)


@pytest.fixture
def services(app: Flask) -> Services:
    """The doors behind the pages."""
    found: Services = app.extensions["llavero"]
    return found


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    """A browser that has not been here."""
    return Visitor(app)


@pytest.fixture
def another(app: Flask) -> Callable[[], Visitor]:
    """Further browsers."""
    return lambda: Visitor(app)


@pytest.fixture
def doors(services: Services) -> Doors:
    """The doors of the account area, behind the same pages."""
    found = Doors(OwnAccount(services), Consents())
    services.own_account = found.own  # type: ignore[attr-defined]
    services.protocol.consents = found.consents  # type: ignore[attr-defined]
    return found


@pytest.fixture
def person(visitor: Visitor, doors: Doors) -> Visitor:
    """A browser that is signed in."""
    visitor.sign_in()
    return visitor
