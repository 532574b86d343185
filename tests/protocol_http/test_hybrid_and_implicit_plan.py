"""The plans Hybrid, Implicit and their Form Post twins: what differs from the code flow by response type and mode."""

import base64
import hashlib
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.journeys import Person, read
from tests.protocol_http.conftest import Office
from tests.protocol_http.relying_party import RelyingParty, decode

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("protocol_http")]

RESPONSE_TYPES = ("code", "id_token", "id_token token", "code id_token", "code token", "code id_token token")
MODES = ("default", "form_post")
SCOPE = "openid profile email address phone offline_access"

each_type = pytest.mark.parametrize("response_type", RESPONSE_TYPES)
each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def relying_party(office: Office) -> RelyingParty:
    """A client that registered every response type, and form_post."""
    return RelyingParty(
        office, office.compat("--response-mode", "form_post", response_types=RESPONSE_TYPES, scope=SCOPE), pkce=False
    )


@pytest.fixture(scope="module")
def visitor(office: Office, relying_party: RelyingParty) -> Person:
    """Somebody who is signed in and has consented to all of it."""
    person = Person(office.provider.issuer, address="127.1.1.1")
    relying_party.sign_in(person, scope=SCOPE)
    return person


def ask(
    relying_party: RelyingParty, person: Person, response_type: str, mode: str, **parameters: str | None
) -> dict[str, str]:
    """The answer, which has to come at once, by the mode that was asked for or that the response type implies."""
    asked = None if mode == "default" else mode
    response = relying_party.open(person, response_type=response_type, response_mode=asked, **parameters)
    if mode == "form_post":
        assert response.status_code == 200
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    else:
        assert response.is_redirect, response.text[:400]
        parts = urlsplit(response.headers["Location"])
        assert bool(parts.query) == (response_type == "code")
        assert bool(parts.fragment) == (response_type != "code")
    answer = relying_party.answer(response)
    assert answer is not None, read(response).screen
    return answer


def half_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def verify(office: Office, token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set(office.http.get(office.metadata["jwks_uri"], timeout=30).json())
    return dict(jwt.decode(token, keys, algorithms=["RS256", "ES256"]).claims)


@pytest.mark.spec("OIDC Core §3.2", "OIDC Core §3.3", "OIDC Form Post §2", "P-6")
@each_mode
@each_type
def test_each_flow(office: Office, relying_party: RelyingParty, visitor: Person, response_type: str, mode: str) -> None:
    kinds = set(response_type.split())
    answer = ask(relying_party, visitor, response_type, mode)
    assert (answer["state"], answer["iss"]) == ("estado-1", office.provider.issuer)
    assert {"code", "id_token", "access_token"} & set(answer) == {
        {"token": "access_token"}.get(kind, kind) for kind in kinds
    }
    subjects = set()
    if "id_token" in kinds:
        claims = verify(office, answer["id_token"])
        assert (claims["aud"], claims["nonce"]) == (relying_party.client.client_id, "nonce-1")
        assert claims.get("c_hash") == (half_hash(answer["code"]) if "code" in kinds else None)
        assert claims.get("at_hash") == (half_hash(answer["access_token"]) if "token" in kinds else None)
        subjects.add((claims["iss"], claims["sub"]))
    if "token" in kinds:
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", "300")
        for how in ("get", "post_header", "post_body"):
            found = relying_party.userinfo(answer["access_token"], how).json()
            subjects.add((office.provider.issuer, found["sub"]))
    if "code" in kinds:
        tokens = relying_party.redeem(answer)
        claims = verify(office, tokens["id_token"])
        assert claims["nonce"] == "nonce-1"
        subjects.add((claims["iss"], claims["sub"]))
        subjects.add((office.provider.issuer, relying_party.userinfo(tokens["access_token"]).json()["sub"]))
    assert len(subjects) == 1


@pytest.mark.spec("OIDC Core §3.2.2.1", "OIDC Core §3.3.2.11")
@each_type
def test_an_id_token_through_the_browser_needs_a_nonce(
    relying_party: RelyingParty, visitor: Person, response_type: str
) -> None:
    answer = ask(relying_party, visitor, response_type, "default", nonce=None)
    if "id_token" in response_type.split():
        assert (answer["error"], answer["state"]) == ("invalid_request", "estado-1")
    else:
        assert "error" not in answer


@pytest.mark.spec("OIDC Core §3.3.2.6", "P-8")
@each_mode
@each_type
def test_an_error_comes_the_same_way(
    office: Office, relying_party: RelyingParty, response_type: str, mode: str
) -> None:
    stranger = Person(office.provider.issuer, address="127.1.1.2")
    answer = ask(relying_party, stranger, response_type, mode, prompt="none")
    assert (answer["error"], answer["state"]) == ("login_required", "estado-1")
    assert not {"code", "id_token", "access_token"} & set(answer)


@pytest.mark.spec("OIDC Core §5.4")
@each_type
def test_claims_stand_in_the_id_token_where_there_is_no_access_token(
    relying_party: RelyingParty, visitor: Person, response_type: str
) -> None:
    """As the modules of scopes and `claims` want it: elsewhere they warn of a claim that userinfo gives."""
    answer = ask(relying_party, visitor, response_type, "default", scope="openid email phone address")
    expected = {"email", "email_verified", "phone_number", "phone_number_verified", "address"}
    if response_type == "id_token":
        assert expected <= set(decode(answer["id_token"]))
        named = relying_party.sign_in(
            visitor, response_type=response_type, claims='{"id_token":{"name":{"essential":true}}}'
        )
        assert "name" in decode(named["id_token"])
        assert "name" not in decode(answer["id_token"])
        return
    given = answer.get("access_token") or relying_party.redeem(answer)["access_token"]
    assert set(relying_party.userinfo(given).json()) == {"sub", *expected}
    if "id_token" in answer:
        assert not expected & set(decode(answer["id_token"]))


@pytest.mark.spec("P-7", "D-63")
@pytest.mark.parametrize("response_type", ["code id_token", "code token", "code id_token token"])
def test_a_code_used_twice_takes_along_what_came_through_the_browser(
    relying_party: RelyingParty, visitor: Person, response_type: str
) -> None:
    answer = ask(relying_party, visitor, response_type, "default")
    given = [relying_party.redeem(answer)["access_token"], *filter(None, [answer.get("access_token")])]
    assert [relying_party.userinfo(each).status_code for each in given] == [200] * len(given)
    assert relying_party.try_redeem(answer).json()["error"] == "invalid_grant"
    assert [relying_party.userinfo(each).status_code for each in given] == [401] * len(given)


@pytest.mark.spec("OIDC Core §12")
@pytest.mark.parametrize("response_type", ["code id_token", "code token", "code id_token token"])
def test_a_hybrid_flow_gives_a_refresh_token_too(
    relying_party: RelyingParty, visitor: Person, response_type: str
) -> None:
    answer = relying_party.sign_in(
        visitor, response_type=response_type, scope="openid offline_access", prompt="consent"
    )
    tokens = relying_party.redeem(answer)
    refreshed = relying_party.post_token({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 200, refreshed.text
    assert decode(refreshed.json()["id_token"])["sub"] == decode(tokens["id_token"])["sub"]


@pytest.mark.spec("OIDC Form Post §4")
def test_the_form_works_without_scripts(relying_party: RelyingParty, visitor: Person) -> None:
    response = relying_party.open(
        visitor, response_type="code id_token", response_mode="form_post", state="\"&<ñ>\n'+ %20"
    )
    page = read(response)
    [form] = page.forms.values()
    assert form.values["state"] == "\"&<ñ>\n'+ %20"
    assert (form.method, form.action) == ("post", relying_party.client.redirect_uri)
    assert "continue" in page.ids
