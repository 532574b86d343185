"""The hosted pages over doors kept in memory: what a page does is seen without a database."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idp.accounts.attempts import Attempt
from idp.accounts.credentials import Person, SignedIn
from idp.accounts.errors import MalformedUsername, PasswordExpired, UsernameLocked, WrongCredentials
from idp.accounts.models import Kind
from idp.accounts.permits import Means, Permit
from idp.accounts.sessions import Browser
from idp.blueprints.signin import blueprint
from idp.protocol.authorize import Interaction
from idp.protocol.subjects import Authentication
from idp.settings import Settings
from idp.web import assembly

SECRET = "0123456789abcdef0123456789abcdef-tests"
PASSWORD = "Sello.Digital.2026"
KNOWN = "EKU9003173C9"
UNKNOWN = "XIA190128J61"
EXPIRED = "CT.KICR630120NX3"
TRANSLATIONS = Path(__file__).parents[2] / "idp/translations"


class Sessions:
    """Rows by cookie. Counts what it is asked."""

    def __init__(self) -> None:
        self.rows: dict[str, Browser] = {}
        self.looks = 0
        self.writes = 0
        self.begun = 0

    def _name(self) -> str:
        self.begun += 1
        return f"{self.begun:043d}"

    def find(self, cookie: str, now: datetime) -> Browser | None:
        self.looks += 1
        row = self.rows.get(cookie)
        if row is not None and row.ended_idle:
            self.rows[cookie] = replace(row, ended_idle=False)
        return copy.deepcopy(row)

    def begin(
        self, now: datetime, *, data: dict[str, Any], address: str | None, user_agent: str | None
    ) -> tuple[str, Browser]:
        self.writes += 1
        cookie = self._name()
        self.rows[cookie] = Browser(cookie, "browser-" + cookie, copy.deepcopy(data))
        return cookie, copy.deepcopy(self.rows[cookie])

    def idle_out(self, cookie: str) -> None:
        """The next look finds that the person was away for too long."""
        self.rows[cookie] = replace(self.rows[cookie], account_id=None, ended_idle=True)

    def save(self, browser: Browser, data: dict[str, Any]) -> None:
        self.writes += 1
        self.rows[browser.digest] = replace(self.rows[browser.digest], data=copy.deepcopy(data))

    def sign_in(self, browser: Browser | None, account_id: str, now: datetime) -> str:
        cookie = self._name()
        name = browser.browser if browser else "browser-" + cookie
        if browser:
            del self.rows[browser.digest]
        self.rows[cookie] = Browser(cookie, name, {}, account_id, "sid", now, ("pwd",), "1")
        return cookie


class SignIn:
    """One person, one password, three attempts for each name that has the shape of one."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.attempts: dict[str, int] = {}
        self.people = {"id-1": Person("id-1", KNOWN, Kind.CLIENT, "Escuela Kemper Urgate", "es-MX")}
        self.failure: Exception | None = None

    def sign_in(
        self,
        typed: str,
        password: str,
        *,
        attempt: Attempt,
        now: datetime,
    ) -> SignedIn:
        if self.failure is not None:
            raise self.failure
        if not re.fullmatch(r"(CT\.|usr\.)?[A-ZÑ&]{3,4}[0-9]{6}[A-Z0-9]{3}", typed):
            raise MalformedUsername
        if self.attempts.get(typed, 0) >= 3:
            raise UsernameLocked
        self.attempts[typed] = self.attempts.get(typed, 0) + 1
        if password == PASSWORD and typed == EXPIRED:
            raise PasswordExpired(Permit("id-2", EXPIRED, 1, Means.EXPIRED, now + timedelta(minutes=10)))
        if password != PASSWORD or typed != KNOWN:
            if self.attempts[typed] >= 3:
                raise UsernameLocked
            raise WrongCredentials(3 - self.attempts[typed])
        del self.attempts[typed]
        return SignedIn(self._sessions.sign_in(attempt.browser, "id-1", now), self.people["id-1"], None)

    def sign_out(self, browser: Browser, now: datetime) -> None:
        self._sessions.rows.pop(browser.digest, None)

    def find_person(self, account_id: str) -> Person | None:
        return self.people.get(account_id)


class Protocol:
    """Pending requests by handle, each of one browser."""

    def __init__(self) -> None:
        self.pending: dict[str, tuple[str, Interaction]] = {}

    def add(self, handle: str, browser: Browser, **changed: Any) -> None:
        """A request of `browser` begins to wait."""
        interaction = Interaction(
            handle=handle,
            client_id="mailbox",
            client_name="Buzón de facturas",
            redirect_uri="https://buzon.example/callback",
            login_hint=None,
            reauthenticate=False,
            needs_sign_in=False,
            scopes=("openid", "mailbox:read"),
            new_scopes=("openid", "mailbox:read"),
            claims={},
            retention_days=90,
        )
        self.pending[handle] = (browser.browser, replace(interaction, **changed))

    def describe_interaction(
        self, handle: str, *, browser: str, now: datetime, authentication: Authentication | None = None
    ) -> Interaction | None:
        owner, interaction = self.pending.get(handle, ("", None))
        if interaction is None or owner != browser:
            return None
        return replace(interaction, needs_sign_in=interaction.reauthenticate or authentication is None)


@dataclass
class Services:
    """What the pages are given."""

    settings: Settings
    sessions: Sessions = field(default_factory=Sessions)
    protocol: Protocol = field(default_factory=Protocol)

    def __post_init__(self) -> None:
        self.sign_in = SignIn(self.sessions)


class _Form(HTMLParser):
    """The fields, the ids and the texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.ids: set[str] = set()
        self.actions: dict[str, str | None] = {}
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
            self.actions[str(found["id"])] = found.get("action")
        if tag == "input" and found.get("name"):
            self.fields[str(found["name"])] = found.get("value") or ""


class Page:
    """What a person or a machine sees of a response."""

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        self.status = response.status_code
        self.text = response.get_data(as_text=True)
        response.close()
        parser = _Form()
        parser.feed(self.text)
        self.screen, self.fields, self.ids = parser.screen, parser.fields, parser.ids
        self.actions, self.language = parser.actions, parser.language

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
        """Open the sign-in page, fill it in, send it; not followed."""
        page = self.get(address)
        fields = {"username": username, "password": password, "csrf_token": token or page.fields["csrf_token"]}
        return self.post(page.actions["form-signin"] or address, fields, **options)

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
    app.register_blueprint(blueprint)
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
