"""What the four logout plans ask: RP-initiated, back-channel, front-channel, session management."""

import hashlib
import queue
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
import trustme
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.journeys import Page, Person, read
from tests.protocol_http.application import Application, listening
from tests.protocol_http.conftest import POST_LOGOUT_REDIRECT_URI as BACK
from tests.protocol_http.conftest import Office
from tests.protocol_http.enrolment import enrol
from tests.protocol_http.relying_party import RelyingParty, decode
from tests.serving import IDP, Client, start_server, stop_server

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("protocol_http")]

TOLD_WITHIN = 20.0
"""Seconds until a worker that is starting has told an application, on a machine that does other things too."""


@pytest.fixture(scope="module")
def client(office: Office) -> Client:
    return enrol(office)


@pytest.fixture
def relying_party(office: Office, client: Client) -> RelyingParty:
    return RelyingParty(office, client, pkce=False)


@pytest.fixture
def person(office: Office) -> Person:
    return Person(office.provider.issuer, address="127.1.3.1")


@pytest.fixture
def id_token(relying_party: RelyingParty, person: Person) -> str:
    """Of somebody who has just signed in."""
    return str(relying_party.redeem(relying_party.sign_in(person))["id_token"])


def sign_out(office: Office, person: Person, **parameters: str) -> requests.Response:
    return person.open(f"{office.metadata['end_session_endpoint']}?{urlencode(parameters)}")


def is_signed_in(relying_party: RelyingParty, person: Person) -> bool:
    answer = relying_party.answer(relying_party.open(person, prompt="none"))
    assert answer is not None
    return answer.get("error") != "login_required"


def confirm(person: Person, page: Page) -> requests.Response:
    assert page.screen == "signout-confirm"
    return person.submit(page, "form-signout")


# -- RP-initiated ------------------------------------------------------------------------------------------------------


@pytest.mark.spec("P-12", "OIDC RP-Initiated Logout §2")
@pytest.mark.parametrize("state", ["estado-&=ñ", None])
def test_a_hint_of_this_session_signs_out_and_goes_back(
    office: Office, relying_party: RelyingParty, person: Person, id_token: str, state: str | None
) -> None:
    assert is_signed_in(relying_party, person)
    more = {} if state is None else {"state": state}
    response = sign_out(office, person, id_token_hint=id_token, post_logout_redirect_uri=BACK, **more)
    assert (response.status_code, response.headers["Location"].partition("?")[0]) == (303, BACK)
    assert dict(parse_qsl(urlsplit(response.headers["Location"]).query)) == more
    assert not is_signed_in(relying_party, person)


@pytest.mark.spec("P-12", "D-62", "OIDC RP-Initiated Logout §3")
@pytest.mark.parametrize(
    "wrong",
    [
        {"post_logout_redirect_uri": f"{BACK}?foo=bar"},
        {"post_logout_redirect_uri": "https://cliente.example/otra"},
        {"id_token_hint": "modified"},
        {"id_token_hint": "eyJhbGciOiJub25lIn0.e30."},
        {"id_token_hint": ""},
    ],
    ids=["query added", "not registered", "modified hint", "bad hint", "no hint"],
)
def test_a_return_that_is_not_known_for_sure_is_never_taken(
    office: Office, relying_party: RelyingParty, person: Person, id_token: str, wrong: dict[str, str]
) -> None:
    if wrong.get("id_token_hint") == "modified":
        wrong = {"id_token_hint": id_token[:-9] + ("A" if id_token[-9] != "A" else "B") + id_token[-8:]}
    asked = {"id_token_hint": id_token, "post_logout_redirect_uri": BACK, "state": "estado-1", **wrong}
    page = read(sign_out(office, person, **{name: value for name, value in asked.items() if value}))
    assert (page.status, page.screen) == (400, "error")
    # The person who reviews the suite's pictures looks for the reason.
    is_about_hint = "id_token_hint" in wrong
    assert ("id_token_hint" in page.words, "dirección de regreso" in page.words) == (is_about_hint, not is_about_hint)
    assert is_signed_in(relying_party, person)


@pytest.mark.spec("P-12", "OIDC RP-Initiated Logout §2")
@pytest.mark.parametrize("sent", [{}, {"state": "estado-1"}], ids=["nothing", "only state"])
def test_without_a_hint_the_person_confirms_and_stays(
    office: Office, relying_party: RelyingParty, person: Person, id_token: str, sent: dict[str, str]
) -> None:
    page = read(sign_out(office, person, **sent))
    assert is_signed_in(relying_party, person)
    assert read(confirm(person, page)).screen == "signed-out"
    assert not is_signed_in(relying_party, person)


@pytest.mark.spec("P-12", "OIDC RP-Initiated Logout §2")
def test_a_hint_without_a_return_ends_at_our_own_page(
    office: Office, relying_party: RelyingParty, person: Person, id_token: str
) -> None:
    assert read(sign_out(office, person, id_token_hint=id_token)).screen == "signed-out"
    assert not is_signed_in(relying_party, person)


# -- back-channel ------------------------------------------------------------------------------------------------------


@pytest.fixture
def application(authority: trustme.CA) -> Iterator[Application]:
    with listening(authority) as found:
        yield found


@pytest.fixture
def worker(office: Office) -> Iterator[None]:
    provider = office.provider
    with (provider.folder / "worker.log").open("ab") as log:
        process = start_server([*IDP, "worker"], folder=provider.folder, environment=provider.environment(), log=log)
    yield
    stop_server(process)


@pytest.mark.usefixtures("worker")
@pytest.mark.spec("OIDC Back-Channel Logout §2.4", "OIDC Back-Channel Logout §2.5", "T-1")
def test_an_application_is_told_with_a_logout_token(office: Office, person: Person, application: Application) -> None:
    assert office.metadata["backchannel_logout_supported"] is True
    assert office.metadata["backchannel_logout_session_supported"] is True
    client = enrol(
        office,
        backchannel_logout_uri=f"{application.origin}/backchannel_logout",
        backchannel_logout_session_required=True,
    )
    relying_party = RelyingParty(office, client, pkce=False)
    signed_in = decode(hint := relying_party.redeem(relying_party.sign_in(person))["id_token"])
    assert sign_out(office, person, id_token_hint=hint, post_logout_redirect_uri=BACK).is_redirect
    try:
        path, form = application.posted.get(timeout=TOLD_WITHIN)
    except queue.Empty:
        raise AssertionError((office.provider.folder / "worker.log").read_text(errors="replace")) from None
    assert (path, set(form)) == ("/backchannel_logout", {"logout_token"})
    [token] = form["logout_token"]
    keys = KeySet.import_key_set(office.http.get(office.metadata["jwks_uri"], timeout=30).json())
    found = jwt.decode(token, keys, algorithms=[decode(hint, 0)["alg"]])
    assert found.header["typ"] == "logout+jwt"
    claims: dict[str, Any] = found.claims
    assert {name: claims[name] for name in ("iss", "aud", "sub", "sid")} == {
        name: signed_in[name] for name in ("iss", "aud", "sub", "sid")
    }
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert claims["jti"]
    assert abs(claims["iat"] - time.time()) < 60
    assert "nonce" not in claims
    assert application.posted.empty()


# -- front-channel -----------------------------------------------------------------------------------------------------


@pytest.mark.spec("OIDC Front-Channel Logout §3", "W-7")
def test_an_application_is_told_by_a_frame(office: Office, person: Person) -> None:
    assert office.metadata["frontchannel_logout_supported"] is True
    assert office.metadata["frontchannel_logout_session_supported"] is True
    told = "https://cliente.example/frontchannel_logout"
    client = enrol(office, frontchannel_logout_uri=told, frontchannel_logout_session_required=True)
    relying_party = RelyingParty(office, client, pkce=False)
    hint = relying_party.redeem(relying_party.sign_in(person))["id_token"]
    response = sign_out(office, person, id_token_hint=hint, post_logout_redirect_uri=BACK, state="estado-1")
    page = read(response)
    assert page.screen == "signed-out"
    query = urlencode({"iss": office.provider.issuer, "sid": decode(hint)["sid"]}).replace("&", "&amp;")
    assert f'<iframe src="{told}?{query}"' in page.source
    assert "frame-src https://cliente.example" in response.headers["Content-Security-Policy"]
    assert f"{BACK}?state=estado-1" in page.links
    assert not is_signed_in(relying_party, person)


# -- session management ------------------------------------------------------------------------------------------------


@pytest.mark.spec("OIDC Session Management §3", "W-1", "W-7")
def test_session_state_is_of_client_origin_and_browser(office: Office, relying_party: RelyingParty) -> None:
    """What the frame computes of it runs in Chromium in tests/browser, and in the suite's HtmlUnit."""
    person = Person(office.provider.issuer, address="127.1.3.1")
    answer = relying_party.sign_in(person)
    stated, _, salt = answer["session_state"].partition(".")
    state = person.http.cookies["browser-state"]

    def expected(origin: str) -> str:
        return hashlib.sha256(f"{relying_party.client.client_id} {origin} {state} {salt}".encode()).hexdigest()

    assert stated == expected("https://cliente.example")
    assert stated != expected("https://otro.example")
    frame = office.http.get(office.metadata["check_session_iframe"], timeout=30)
    assert frame.status_code == 200
    assert "frame-ancestors *" in frame.headers["Content-Security-Policy"]
    hint = relying_party.redeem(answer)["id_token"]
    sign_out(office, person, id_token_hint=hint, post_logout_redirect_uri=BACK)
    assert person.http.cookies.get("browser-state") is None
