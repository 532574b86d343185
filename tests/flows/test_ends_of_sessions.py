"""However a session ends, its applications are told of it; and what the sign-out addresses answer over HTTP."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.sessions import Browser
from idp.app import create_app
from idp.db import Base
from idp.protocol.clients import Client, Registration
from idp.protocol.details import ClientDetails
from idp.protocol.models import LogoutDelivery
from idp.protocol.notices import remember_client
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import Services
from tests.journeys import Page

USERNAME, PASSWORD, NEW_PASSWORD = "EKU9003173C9", "Nieve.Tibia7", "Otra.Cosa.88"
ISSUER = "https://llave.example"
BACK = "https://app.example/signed-out"


@dataclass
class Town:
    """The whole provider in this process, one person, and one application that listens."""

    app: Flask
    client: Client
    account_id: str

    @property
    def services(self) -> Services:
        found: Services = self.app.extensions[EXTENSION]
        return found

    def sign_in(self, now: datetime) -> tuple[str, Browser]:
        """A browser whose session the application has tokens of."""
        cookie = self.services.sign_in.sign_in(USERNAME, PASSWORD, attempt=Attempt(), now=now).cookie
        browser = self.services.sessions.find(cookie, now)
        assert browser is not None
        assert browser.sid is not None
        with self.services.store.write() as tx:
            expires_at = now + policy.SESSION_ABSOLUTE_LIFETIME
            remember_client(tx, browser.sid, self.client.client_id, self.account_id, expires_at)
        return cookie, browser

    def told(self) -> set[str]:
        """The sessions of whose end a notice is queued."""
        with self.services.store.read() as connection:
            return set(connection.scalars(select(LogoutDelivery.sid)))


@pytest.fixture
def town(tmp_path: Path, keys_folder: Path, now: datetime) -> Iterator[Town]:
    settings = Settings(
        secret_key="a-secret-for-tests-0123456789-abcdefg",
        issuer=ISSUER,
        database_url=f"sqlite:///{tmp_path / 'idp.db'}",
        keys_dir=keys_folder,
    )
    app = create_app(settings)
    services: Services = app.extensions[EXTENSION]
    Base.metadata.create_all(services.store.engine)
    person = services.lifecycle.create(USERNAME, email="a@example.com", password=PASSWORD, now=now)
    registration = Registration(
        "Aplicación",
        redirect_uris=("https://app.example/cb", "https://frames.example/cb"),
        post_logout_redirect_uris=(BACK,),
        backchannel_logout_uri="https://app.example/backchannel",
        details=ClientDetails(
            frontchannel_logout_uri="https://frames.example/front", frontchannel_logout_session_required=True
        ),
    )
    client, _ = services.protocol.clients.add(registration, now=now)
    yield Town(app, client, person.account_id)
    services.store.engine.dispose()


def _sign_out(town: Town, cookie: str, browser: Browser, now: datetime) -> None:
    town.services.sign_in.sign_out(browser, now)


def _end_it_from_elsewhere(town: Town, cookie: str, browser: Browser, now: datetime) -> None:
    assert town.services.own_account.end_session(town.account_id, str(browser.sid), now)


def _change_password(town: Town, cookie: str, browser: Browser, now: datetime) -> None:
    own_account = town.services.own_account
    own_account.change_password(town.account_id, PASSWORD, NEW_PASSWORD, attempt=Attempt(browser), now=now)


def _disable(town: Town, cookie: str, browser: Browser, now: datetime) -> None:
    town.services.lifecycle.disable(USERNAME, now)


def _come_back_too_late(town: Town, cookie: str, browser: Browser, now: datetime) -> None:
    found = town.services.sessions.find(cookie, now + policy.SESSION_IDLE_LIFETIME)
    assert found is not None
    assert found.ended_idle


def _never_come_back(town: Town, cookie: str, browser: Browser, now: datetime) -> None:
    town.services.sweep(now + policy.SESSION_ABSOLUTE_LIFETIME + timedelta(minutes=1))


@pytest.mark.spec("W-3", "W-4")
@pytest.mark.parametrize(
    "end",
    [_sign_out, _end_it_from_elsewhere, _change_password, _disable, _come_back_too_late, _never_come_back],
)
def test_every_end_of_a_session_is_told(
    town: Town, now: datetime, end: Callable[[Town, str, Browser, datetime], None]
) -> None:
    cookie, browser = town.sign_in(now)
    town.services.sweep(now + timedelta(minutes=1))
    assert town.told() == set()
    end(town, cookie, browser, now + timedelta(minutes=2))
    assert town.told() == {browser.sid}


@pytest.mark.parametrize("everywhere", [False, True])
def test_signing_out_everywhere_tells_of_each_session(town: Town, now: datetime, everywhere: bool) -> None:
    (_, here), (_, there) = town.sign_in(now), town.sign_in(now)
    town.services.sign_in.sign_out(here, now, everywhere=everywhere)
    assert town.told() == ({here.sid, there.sid} if everywhere else {here.sid})


def test_leaving_for_another_person_tells_of_the_session_before(town: Town, now: datetime) -> None:
    _, browser = town.sign_in(now)
    town.services.lifecycle.create("usr.XIA190128J61", email="b@example.com", password=PASSWORD, now=now)
    town.services.sign_in.sign_in("usr.XIA190128J61", PASSWORD, attempt=Attempt(browser), now=now)
    assert town.told() == {browser.sid}


# -- over HTTP -------------------------------------------------------------------------------------------------------


def _visit(town: Town, cookie: str | None = None) -> FlaskClient:
    visitor = town.app.test_client()
    if cookie is not None:
        visitor.set_cookie("__Host-session", cookie, domain="localhost")
    return visitor


def _open(visitor: FlaskClient, address: str) -> tuple[int, Page, str]:
    answer = visitor.get(address)
    return answer.status_code, Page(address, answer.text), answer.headers["Content-Security-Policy"]


@pytest.mark.spec("P-12", "P-3")
def test_a_post_is_a_get(town: Town) -> None:
    """A form of another site comes without our cookie: it is sent on, and then the cookie comes along."""
    asked = {"client_id": town.client.client_id, "post_logout_redirect_uri": BACK, "state": 'a "&=ñ'}
    visitor = _visit(town)
    posted = visitor.post("/oauth/logout", data=asked)
    assert posted.status_code == 303
    assert posted.headers["Location"].startswith("/oauth/logout?")
    for answer in (visitor.get(posted.headers["Location"]), visitor.get(f"/oauth/logout?{urlencode(asked)}")):
        assert (answer.status_code, answer.headers["Location"]) == (
            303,
            f"{BACK}?{urlencode({'state': asked['state']})}",
        )
    doubled = visitor.post("/oauth/logout?state=b", data=asked)
    assert visitor.get(doubled.headers["Location"]).status_code == 400


@pytest.mark.spec("P-12", "D-62")
@pytest.mark.parametrize(
    "asked",
    [
        {"post_logout_redirect_uri": BACK},
        {"post_logout_redirect_uri": BACK + "?foo=bar", "client_id": True},
        {"post_logout_redirect_uri": "https://evil.example/", "client_id": True},
        {"post_logout_redirect_uri": BACK, "id_token_hint": "eyJhbGciOiJub25lIn0.e30."},
    ],
    ids=["nobody's", "query-added", "foreign", "bad-hint"],
)
def test_a_bad_return_is_a_page_and_signs_nobody_out(town: Town, asked: dict[str, object]) -> None:
    now = datetime.now(UTC)
    cookie, _ = town.sign_in(now)
    query = {name: town.client.client_id if value is True else value for name, value in asked.items()}
    status, page, _ = _open(_visit(town, cookie), f"/oauth/logout?{urlencode(query)}")
    assert (status, page.screen) == (400, "error")
    assert town.services.sessions.find(cookie, now) is not None
    assert town.told() == set()


@pytest.mark.spec("P-12", "D-62", "W-5")
def test_an_image_of_our_address_asks_and_signs_nobody_out(town: Town) -> None:
    now = datetime.now(UTC)
    cookie, _ = town.sign_in(now)
    visitor = _visit(town, cookie)
    assert _open(visitor, "/logout")[1].screen == "signout-confirm"
    asked = visitor.get("/oauth/logout?ui_locales=en")
    assert (asked.status_code, "ui_locales=en" in asked.headers["Location"]) == (303, True)
    answer = visitor.get(asked.headers["Location"])
    assert Page("", answer.text).screen == "signout-confirm"
    assert '<html lang="en">' in answer.text
    assert visitor.head("/oauth/logout").status_code in {200, 303}
    assert town.services.sessions.find(cookie, now) is not None


@pytest.mark.spec("W-7")
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("address", ["/logout", "/oauth/logout"])
def test_frames_of_exactly_these_origins_and_on_that_page_alone(town: Town, address: str, everywhere: bool) -> None:
    now = datetime.now(UTC)
    cookie, browser = town.sign_in(now)
    _, elsewhere = town.sign_in(now)
    visitor = _visit(town, cookie)
    _, page, policy_before = _open(visitor, visitor.get(address).headers.get("Location", address))
    form = page.forms["form-signout"]
    values = {**form.values, **({"everywhere": "1"} if everywhere else {})}
    answer = visitor.post(form.action, data=values, headers={"Origin": ISSUER})
    assert Page("", answer.text).screen == "signed-out"
    frame = f"https://frames.example/front?{urlencode({'iss': ISSUER, 'sid': browser.sid})}"
    assert f'<iframe src="{frame.replace("&", "&amp;")}"' in answer.text
    assert answer.headers["Content-Security-Policy"].endswith("; frame-src https://frames.example")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "frame-src" not in policy_before
    assert "frame-src" not in _open(visitor, "/logout")[2]
    assert town.told() == ({browser.sid, elsewhere.sid} if everywhere else {browser.sid})


@pytest.mark.spec("W-7", "W-1")
def test_the_check_session_page_may_be_framed_and_is_everybodys(town: Town) -> None:
    cookie, _ = town.sign_in(datetime.now(UTC))
    answers = [visitor.get("/oauth/check_session") for visitor in (_visit(town), _visit(town, cookie))]
    assert answers[0].text == answers[1].text
    for answer in answers:
        policy_sent = answer.headers["Content-Security-Policy"]
        assert "frame-ancestors *" in policy_sent
        assert "script-src 'self'" in policy_sent
        assert "unsafe" not in policy_sent
        assert "Set-Cookie" not in answer.headers
        assert "X-Frame-Options" not in answer.headers
        assert answer.headers["Cache-Control"].startswith("public")


@pytest.mark.spec("W-1")
def test_the_browser_state_is_readable_changes_with_the_session_and_is_no_credential(town: Town) -> None:
    now = datetime.now(UTC)

    def shown(cookie: str | None, state: str = "") -> str | None:
        visitor = _visit(town, cookie)
        if state:
            visitor.set_cookie("__Host-browser-state", state, domain="localhost")
        sent = visitor.get("/logout").headers.getlist("Set-Cookie")
        return next((each for each in sent if each.startswith("__Host-browser-state=")), None)

    (one, _), (two, _) = town.sign_in(now), town.sign_in(now)
    first, second = str(shown(one)), str(shown(two))
    for header in (first, second):
        assert {"Secure", "SameSite=None", "Path=/"} <= set(header.split("; "))
        assert "HttpOnly" not in header
        assert "Max-Age" not in header
    state = first.partition("=")[2].partition(";")[0]
    assert state not in second
    # Told once, mended where it is another's, taken back where nobody is signed in.
    assert shown(one, state) is None
    assert shown(one, "forged") == first
    assert "Max-Age=0" in str(shown(None, state))
    assert shown(None) is None
    # What opens a session is the other cookie.
    assert town.services.sessions.find(state, now) is None
    visitor = _visit(town)
    visitor.set_cookie("__Host-browser-state", state, domain="localhost")
    assert Page("", visitor.get("/logout").text).screen == "signed-out"
