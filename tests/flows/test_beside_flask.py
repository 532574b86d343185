"""What is answered beside Flask is answered as Flask answers it: same doors, same words, same headers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask import Flask
from sqlalchemy import delete
from werkzeug.test import Client as Caller
from werkzeug.test import TestResponse

from idp.accounts.attempts import Attempt
from idp.db import StoreUnavailable
from idp.policy import SESSION_IDLE_LIFETIME
from idp.protocol.clients import Client, Registration
from idp.protocol.details import ClientDetails
from idp.protocol.models import ClientRecord
from tests.flows.conftest import ISSUER, PASSWORD, USERNAME, House

REDIRECT = "https://app.example/cb"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636 appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
_OWN = {"X-Request-Id", "Location", "Date"}
"""What is another each time, and compared apart; the production server puts its `Date` on every answer."""


def ask_both(house: House, method: str, path: str, **options: object) -> tuple[TestResponse, TestResponse]:
    """The answer of the whole application, and that of Flask alone."""
    flask = Caller(partial(Flask.wsgi_app, house.app))
    whole = house.app.test_client()
    return whole.open(path, method=method, **options), flask.open(path, method=method, **options)


def likeness(answer: TestResponse) -> tuple[int, dict[str, str]]:
    return answer.status_code, {name: value for name, value in answer.headers if name not in _OWN}


@pytest.mark.spec("P-3", "P-14", "P-16", "T-10", "W-7", "O-4")
@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("GET", "/.well-known/openid-configuration", None),
        ("GET", "/.well-known/oauth-authorization-server", None),
        ("GET", "/.well-known/openid-configuration?x=1", None),
        ("HEAD", "/.well-known/openid-configuration", None),
        ("GET", "/oauth/jwks", None),
        ("POST", "/oauth/jwks", {}),
        ("POST", "/oauth/introspect", {"token": "none of ours"}),
        ("POST", "/oauth/introspect", {}),
        ("POST", "/oauth/introspect?token=x", {"token": "none of ours"}),
        ("POST", "/oauth/introspect", {"token": "x" * 70_000}),
        ("POST", "/oauth/introspect", {f"n{number}": "x" for number in range(300)}),
        ("POST", "/oauth/introspect", {"token": "x", "client_secret": "wrong"}),
        ("GET", "/oauth/introspect", None),
        ("POST", "/oauth/revoke", {"token": "none of ours"}),
        ("POST", "/oauth/revoke", {"token": "x", "client_secret": "wrong"}),
        ("OPTIONS", "/oauth/revoke", None),
        ("GET", "/oauth/userinfo", None),
        ("GET", "/oauth/userinfo?access_token=x", None),
        ("POST", "/oauth/userinfo", {"access_token": "none of ours"}),
        ("OPTIONS", "/oauth/userinfo", None),
        ("POST", "/oauth/token", {"grant_type": "password"}),
        ("GET", "/oauth/token", None),
    ],
)
def test_a_machine_gets_the_same_answer(house: House, method: str, path: str, form: dict[str, str] | None) -> None:
    data = None if form is None else {"client_id": house.client.client_id, "client_secret": house.secret, **form}
    whole, flask = ask_both(house, method, path, data=data)
    assert likeness(whole) == likeness(flask)
    assert whole.data == flask.data
    assert whole.headers["X-Request-Id"] != flask.headers["X-Request-Id"]


@pytest.mark.spec("T-1", "T-10")
def test_a_living_token_is_told_of_in_the_same_way(house: House) -> None:
    token = house.let_in("openid profile")["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    whole, flask = ask_both(house, "GET", "/oauth/userinfo", headers=bearer)
    assert whole.json["name"] == "Cliente de prueba"
    assert (likeness(whole), whole.data) == (likeness(flask), flask.data)
    form = {"client_id": house.client.client_id, "client_secret": house.secret, "token": token}
    whole, flask = ask_both(house, "POST", "/oauth/introspect", data=form)
    assert whole.json["active"] is True
    assert (likeness(whole), whole.data) == (likeness(flask), flask.data)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/oauth/jwks"])
def test_a_document_that_is_known_is_not_sent_again(house: House, path: str) -> None:
    """RFC 9110 section 13.1.2."""
    whole, flask = ask_both(house, "GET", path)
    assert whole.headers["ETag"] == flask.headers["ETag"]
    again, _ = ask_both(house, "GET", path, headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other, _ = ask_both(house, "GET", path, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.data) == (200, whole.data)


def test_the_key_set_follows_a_rotation(house: House) -> None:
    before = house.app.test_client().get("/oauth/jwks")
    house.services.keys.rotate(datetime.now(UTC))
    after = house.app.test_client().get("/oauth/jwks")
    assert len(after.json["keys"]) == 2 * len(before.json["keys"])
    assert after.headers["ETag"] != before.headers["ETag"]


@pytest.mark.spec("P-16")
def test_a_store_that_is_away_is_503_on_both_ways(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    token = house.let_in("openid")["access_token"]

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(type(house.services.store), "first", away)
    whole, flask = ask_both(house, "GET", "/oauth/userinfo", headers={"Authorization": f"Bearer {token}"})
    assert whole.status_code == 503
    assert whole.headers["Retry-After"]
    assert (likeness(whole), whole.data) == (likeness(flask), flask.data)


# -- authorization requests that need no page --------------------------------------------------------------------------


@pytest.fixture
def site(house: House) -> Client:
    client, _ = house.services.protocol.clients.add(
        Registration(client_name="Sitio", redirect_uris=(REDIRECT,), scopes=("openid", "profile"), first_party=True),
        now=datetime.now(UTC),
    )
    return client


def sign_in(house: House) -> Caller:
    """A browser whose person is signed in, and has seen a page since."""
    browser = house.app.test_client()
    signed_in = house.services.sign_in.sign_in(USERNAME, PASSWORD, attempt=Attempt(), now=datetime.now(UTC))
    browser.set_cookie("session", signed_in.cookie)
    assert browser.get("/account").status_code == 200
    return browser


def query(client: Client, **changes: str | None) -> str:
    asked = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": REDIRECT,
        "scope": "openid profile",
        "state": "estado",
        "nonce": "una-vez",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return "/oauth/authorize?" + urlencode({name: value for name, value in asked.items() if value is not None})


@contextmanager
def flask_alone(house: House) -> Iterator[None]:
    whole = house.app.wsgi_app
    house.app.wsgi_app = partial(Flask.wsgi_app, house.app)  # type: ignore[method-assign]
    try:
        yield
    finally:
        house.app.wsgi_app = whole  # type: ignore[method-assign]


@pytest.mark.spec("P-6", "P-8", "P-13", "P-14", "W-7")
@pytest.mark.parametrize(
    ("changes", "reaches_flask"),
    [
        ({}, False),
        ({"prompt": "none"}, False),
        ({"scope": "openid phone", "state": None}, False),
        ({"response_type": "token"}, False),
        ({"code_challenge_method": "plain"}, False),
        ({"prompt": "login"}, True),
        ({"prompt": "consent"}, True),
        ({"redirect_uri": "https://otro.example/"}, True),
        ({"client_id": "nadie"}, True),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:none"}, True),
        ({"response_mode": "form_post"}, True),
    ],
)
def test_an_authorization_request_gets_the_same_answer(
    house: House, site: Client, changes: dict[str, str | None], reaches_flask: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, seen = sign_in(house), []
    inside = house.app.preprocess_request

    def note() -> object:
        seen.append(True)
        return inside()

    monkeypatch.setattr(house.app, "preprocess_request", note)
    whole = browser.get(query(site, **changes))
    assert bool(seen) is reaches_flask
    with flask_alone(house):
        flask = browser.get(query(site, **changes))
    assert likeness(whole)[0] == likeness(flask)[0]
    if not reaches_flask:
        assert likeness(whole) == likeness(flask)
        places = [urlsplit(answer.headers["Location"]) for answer in (whole, flask)]
        assert places[0]._replace(query="") == places[1]._replace(query="")
        said = [parse_qs(place.query) for place in places]
        assert said[0].keys() == said[1].keys()
        assert said[0]["iss"] == [ISSUER]


@pytest.mark.spec("P-4", "P-16")
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("response_mode=query", 303),
        ("response_mode=form_post", 200),
        ("response_mode=form%5Fpost", 200),
        ("%72esponse_mode=form_%70ost", 200),
        ("%72equest_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3Anone", 400),
        ("%69nteraction=none", 400),
        ("poste%64=none", 400),
        ("interaction", 400),
    ],
)
def test_a_request_is_the_same_however_its_letters_are_written(house: House, more: str, status: int) -> None:
    """RFC 3986 section 6.2.2.2: `%72` is an `r`."""
    client, _ = house.services.protocol.clients.add(
        Registration(
            client_name="Antigua",
            redirect_uris=(REDIRECT,),
            scopes=("openid", "profile"),
            first_party=True,
            profile="compat",
            details=ClientDetails(response_modes=("form_post",)),
        ),
        now=datetime.now(UTC),
    )
    browser = sign_in(house)
    whole = browser.get(f"{query(client)}&{more}")
    with flask_alone(house):
        flask = browser.get(f"{query(client)}&{more}")
    assert whole.status_code == flask.status_code == status


@pytest.mark.spec("P-16")
@pytest.mark.parametrize("removed", [True, False])
def test_a_client_that_another_process_has_removed_gets_no_code(house: House, site: Client, removed: bool) -> None:
    """This process has the client as it was for a second longer."""
    browser = sign_in(house)
    assert browser.get(query(site)).status_code == 303
    if removed:
        with house.services.store.write() as tx:
            tx.execute(delete(ClientRecord).where(ClientRecord.client_id == site.client_id))
    answers = [browser.get(query(site))]
    with flask_alone(house):
        answers.append(browser.get(query(site)))
    assert [answer.status_code for answer in answers] == [400 if removed else 303] * 2


@pytest.mark.spec("P-7")
def test_a_code_given_beside_flask_is_redeemed_once(house: House, site: Client) -> None:
    place = sign_in(house).get(query(site)).headers["Location"]
    secret = house.services.protocol.clients.rotate_secret(site.client_id, now=datetime.now(UTC))
    code = parse_qs(urlsplit(place).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    answers = [house.app.test_client().post("/oauth/token", data=form, auth=(site.client_id, secret)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]


@pytest.mark.spec("W-1", "W-5")
def test_who_is_not_signed_in_comes_to_the_page(house: House, site: Client) -> None:
    for browser in (house.app.test_client(), sign_in(house)):
        if browser.get_cookie("session") is not None:
            browser.set_cookie("session", "A" * 43)
        answer = browser.get(query(site))
        assert answer.status_code == 303
        assert urlsplit(answer.headers["Location"]).path == "/login"


@pytest.mark.spec("W-3")
def test_a_session_that_ended_for_idleness_is_still_said_to_be(
    house: House, site: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up that ends the session is made once: the page that follows must hear of it."""
    browser = sign_in(house)
    later = datetime.now(UTC) + SESSION_IDLE_LIFETIME
    for module in ("web.at_once", "web.browser", "blueprints.authorize", "blueprints.signin"):
        monkeypatch.setattr(f"idp.{module}.now", lambda: later)
    answer = browser.get(query(site))
    page = browser.get(answer.headers["Location"])
    assert "inactividad" in page.text
