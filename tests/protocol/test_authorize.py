"""The authorization endpoint: what it refuses, where it says so, and what a code is worth."""

from datetime import timedelta
from typing import Any

import pytest

from idp.protocol.authorize import NeedsConsent, NeedsSignIn
from idp.protocol.details import ClientDetails
from idp.protocol.errors import InteractionGone, InvalidClient, InvalidRedirectUri, InvalidRequest
from idp.protocol.messages import with_parameters
from tests.protocol.conftest import ISSUER, REDIRECT_URI, House, answer, replace


@pytest.mark.spec("P-1", "D-01", "D-02", "D-03")
@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/cb",
        REDIRECT_URI + "/",
        REDIRECT_URI + "?a",
        REDIRECT_URI + "#f",
        "https://app.example/%2e%2e/cb",
        "https://app.example/..;/cb",
        "https://app.example:443/cb",
        "https://APP.example/cb",
        "https://app.example/CB",
        "https://user@app.example/cb",
    ],
)
def test_an_address_that_is_not_registered_to_the_letter_gets_a_page(house: House, redirect_uri: str) -> None:
    with pytest.raises(InvalidRedirectUri) as refused:
        house.authorize(house.query(house.client(), redirect_uri=redirect_uri))
    assert refused.value.reply_to is None


@pytest.mark.spec("P-2")
@pytest.mark.parametrize("redirect_uri", [None, ""])
def test_a_request_without_an_address_is_incomplete_and_gets_a_page(house: House, redirect_uri: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        house.authorize(house.query(house.client(), redirect_uri=redirect_uri))
    assert not isinstance(refused.value, InvalidRedirectUri)
    assert refused.value.reply_to is None


@pytest.mark.spec("P-1", "D-66")
@pytest.mark.parametrize(
    ("asked", "is_taken"),
    [
        ("http://127.0.0.1/cb", True),
        ("http://127.0.0.1:8080/cb", True),
        ("http://localhost:8080/cb", False),
        ("http://[::1]:8080/cb", False),
        ("http://127.0.0.1.evil/cb", False),
        ("http://127.0.0.1:8080/cb2", False),
        ("http://127.0.0.1:99999/cb", False),
        ("http://127.0.0.1:8080@evil.example/cb", False),
        ("https://127.0.0.1:8080/cb", False),
    ],
)
def test_only_the_port_of_a_loopback_address_may_differ(house: House, asked: str, is_taken: bool) -> None:
    client = house.client(redirect_uris=("http://127.0.0.1/cb",), token_endpoint_auth_method="none", first_party=False)
    query = house.query(client, redirect_uri=asked)
    if is_taken:
        assert isinstance(house.authorize(query), NeedsConsent)
    else:
        with pytest.raises(InvalidRedirectUri):
            house.authorize(query)


@pytest.mark.spec("P-2", "D-04")
@pytest.mark.parametrize(("name", "value"), [("response_type", "x"), ("scope", "x"), ("prompt", "x")])
def test_no_error_is_sent_to_a_foreign_address(house: House, name: str, value: str) -> None:
    with pytest.raises(InvalidRedirectUri):
        house.authorize(house.query(house.client(), redirect_uri="https://evil.example/cb", **{name: value}))


@pytest.mark.spec("P-2")
@pytest.mark.parametrize("client_id", ["unknown", "", "x" * 3000, "' or 1=1--", "\x00", "ñ"])
def test_an_unknown_client_gets_a_page(house: House, client_id: str) -> None:
    with pytest.raises(InvalidClient):
        house.authorize(house.query(house.client(), client_id=client_id))


@pytest.mark.spec("P-4", "P-5", "P-6", "P-11", "D-05", "D-06", "D-10", "D-14")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": "none"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "a" * 42}, "invalid_request"),
        ({"code_challenge": "a" * 44}, "invalid_request"),
        ({"code_challenge": "+" * 43}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "invent"}, "invalid_request"),
        ({"claims": "{"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "not-mine"}, "invalid_scope"),
        ({"scope": " ".join(f"s{n}" for n in range(51))}, "invalid_scope"),
        ({"resource": "https://other.example"}, "invalid_target"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"request_uri": "https://evil.example/request"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
    ],
)
def test_an_error_goes_back_with_state_and_iss(house: House, changes: dict[str, str | None], error: str) -> None:
    sent = answer(house.authorize(house.query(house.client(), **changes)))
    assert (sent["error"], sent["state"], sent["iss"]) == (error, "st&te=1 ñ", ISSUER)
    assert sent["error_description"].isascii()


@pytest.mark.spec("P-3", "D-07")
@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state", "scope", "nonce", "prompt"])
def test_a_parameter_given_twice_gets_a_page(house: House, name: str) -> None:
    with pytest.raises(InvalidRequest):
        house.authorize(house.query(house.client()) + f"&{name}=x&{name}=y")


@pytest.mark.spec("P-6", "D-10")
def test_a_code_goes_back_with_state_and_iss_equal_to_discovery(house: House) -> None:
    sent = answer(house.authorize(house.query(house.client())))
    assert set(sent) == {"code", "state", "iss"}
    assert sent["iss"] == house.server.metadata()["issuer"]
    assert len(sent["code"]) >= 43


@pytest.mark.spec("P-8", "D-08")
def test_prompt_none_never_shows_a_page(house: House) -> None:
    client = house.client(first_party=False)
    query = house.query(client, prompt="none")
    assert answer(house.authorize(query, signed_in=False))["error"] == "login_required"
    assert answer(house.authorize(query))["error"] == "consent_required"
    sub = house.authentication.sub
    house.people.known[sub] = replace(house.people.known[sub], credentials_expire_at=house.now)
    assert answer(house.authorize(query))["error"] == "login_required"


@pytest.mark.spec("P-8", "D-09")
@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "179"}])
def test_a_fresh_sign_in_is_asked_for_and_then_enough(house: House, changes: dict[str, str]) -> None:
    waiting = house.authorize(house.query(house.client(), **changes))
    assert isinstance(waiting, NeedsSignIn)
    later = house.now + timedelta(seconds=20)

    def resume() -> object:
        return house.server.authorizations.resume(
            waiting.interaction, authentication=house.authentication, browser=house.browser, now=later
        )

    assert isinstance(resume(), NeedsSignIn)
    house.authentication = replace(house.authentication, auth_time=house.now + timedelta(seconds=15))
    assert "code" in answer(resume())


@pytest.mark.spec("P-8")
def test_max_age_is_content_with_a_younger_sign_in(house: House) -> None:
    assert "code" in answer(house.authorize(house.query(house.client(), max_age="181")))


@pytest.mark.spec("P-8")
def test_the_hint_of_another_person_asks_for_a_sign_in(house: House) -> None:
    client = house.client()
    hint = house.tokens(client)["id_token"]
    assert "code" in answer(house.authorize(house.query(client, id_token_hint=hint)))
    other = replace(house.people.known[house.authentication.sub], sub="another")
    house.people.known["another"] = other
    house.authentication = replace(house.authentication, sub="another")
    assert isinstance(house.authorize(house.query(client, id_token_hint=hint)), NeedsSignIn)
    silent = house.authorize(house.query(client, id_token_hint=hint, prompt="none"))
    assert answer(silent)["error"] == "login_required"


@pytest.mark.spec("P-8", "OIDC Core §3.1.2.1")
def test_who_signs_in_instead_of_the_person_hinted_at_gets_no_code(house: House) -> None:
    client = house.client()
    hint = house.tokens(client)["id_token"]
    house.people.known["another"] = replace(house.people.known[house.authentication.sub], sub="another")
    waiting = house.authorize(house.query(client, id_token_hint=hint), signed_in=False)
    later = house.now + timedelta(seconds=5)

    def resume(sub: str) -> Any:
        return house.server.authorizations.resume(
            waiting.interaction,
            authentication=replace(house.authentication, sub=sub, auth_time=later),
            browser=house.browser,
            now=later,
        )

    assert answer(resume("another"))["error"] == "login_required"
    # That was the answer; there is no second one.
    with pytest.raises(InteractionGone):
        resume(house.authentication.sub)


@pytest.mark.spec("OIDC Core §8.1", "P-8")
def test_the_hint_of_a_pairwise_client_names_its_person(house: House) -> None:
    client = house.client(details=ClientDetails(subject_type="pairwise", sector="app.example"))
    hint = house.tokens(client)["id_token"]
    claims = house.keys.verify(hint, typ="JWT", now=house.now)
    assert claims["sub"] != house.authentication.sub
    assert "code" in answer(house.authorize(house.query(client, id_token_hint=hint, prompt="none")))
    asked = '{"id_token":{"sub":{"value":"%s"}}}'
    assert "code" in answer(house.authorize(house.query(client, claims=asked % claims["sub"])))
    plain = house.query(client, claims=asked % house.authentication.sub, prompt="none")
    assert answer(house.authorize(plain))["error"] == "login_required"


@pytest.mark.spec("OIDC Registration §2", "P-8")
def test_the_default_max_age_of_a_client_holds_unless_the_request_says_otherwise(house: House) -> None:
    client = house.client(details=ClientDetails(default_max_age=60))
    assert isinstance(house.authorize(house.query(client)), NeedsSignIn)
    assert "code" in answer(house.authorize(house.query(client, max_age="600")))


@pytest.mark.spec("P-8")
@pytest.mark.parametrize("prompt", ["login", "select_account", "create", "login consent", "create login"])
def test_each_prompt_for_a_sign_in_is_content_with_a_fresh_one(house: House, prompt: str) -> None:
    waiting = house.authorize(house.query(house.client(), prompt=prompt))
    assert isinstance(waiting, NeedsSignIn)
    fresh = replace(house.authentication, auth_time=house.now)
    resumed = house.server.authorizations.resume(
        waiting.interaction, authentication=fresh, browser=house.browser, now=house.now
    )
    assert isinstance(resumed, NeedsConsent) == ("consent" in prompt)


@pytest.mark.spec("T-1", "D-34")
def test_an_access_token_is_no_hint(house: House) -> None:
    client = house.client()
    hint = house.tokens(client)["access_token"]
    assert isinstance(house.authorize(house.query(client, id_token_hint=hint)), NeedsSignIn)


@pytest.mark.spec("W-6", "D-12")
def test_a_pending_request_belongs_to_its_browser(house: House) -> None:
    waiting = house.authorize(house.query(house.client()), signed_in=False)
    for browser in ("browser-2", None):
        with pytest.raises(InteractionGone):
            house.server.authorizations.resume(
                waiting.interaction, authentication=house.authentication, browser=browser, now=house.now
            )
    resumed = house.server.authorizations.resume(
        waiting.interaction, authentication=house.authentication, browser=house.browser, now=house.now
    )
    assert "code" in answer(resumed)


def test_a_pending_request_gives_one_code(house: House) -> None:
    waiting = house.authorize(house.query(house.client()), signed_in=False)

    def resume() -> object:
        return house.server.authorizations.resume(
            waiting.interaction, authentication=house.authentication, browser=house.browser, now=house.now
        )

    assert "code" in answer(resume())
    with pytest.raises(InteractionGone):
        resume()


@pytest.mark.spec("P-9")
def test_consent_is_remembered_and_asked_again_when_scopes_grow(house: House) -> None:
    client = house.client(first_party=False)

    def allow(scope: str) -> None:
        waiting = house.authorize(house.query(client, scope=scope))
        assert isinstance(waiting, NeedsConsent)
        decided = house.server.authorizations.decide(
            waiting.interaction,
            allow=True,
            authentication=house.authentication,
            browser=house.browser,
            now=house.now,
        )
        assert "code" in answer(decided)

    allow("openid profile")
    assert "code" in answer(house.authorize(house.query(client, scope="openid")))
    allow("openid email")
    assert "code" in answer(house.authorize(house.query(client, scope="openid profile email")))
    assert isinstance(house.authorize(house.query(client, scope="openid", prompt="consent")), NeedsConsent)


@pytest.mark.spec("P-9")
def test_a_public_client_is_asked_about_each_time(house: House) -> None:
    client = house.client(first_party=False, token_endpoint_auth_method="none")
    for _ in range(2):
        waiting = house.authorize(house.query(client))
        assert isinstance(waiting, NeedsConsent)
        house.server.authorizations.decide(
            waiting.interaction,
            allow=True,
            authentication=house.authentication,
            browser=house.browser,
            now=house.now,
        )


def test_who_does_not_allow_sends_access_denied(house: House) -> None:
    waiting = house.authorize(house.query(house.client(first_party=False)))
    decided = house.server.authorizations.decide(
        waiting.interaction, allow=False, authentication=house.authentication, browser=house.browser, now=house.now
    )
    sent = answer(decided)
    assert (sent["error"], sent["iss"], sent["state"]) == ("access_denied", ISSUER, "st&te=1 ñ")


@pytest.mark.spec("K-7")
@pytest.mark.parametrize("is_staff", [True, False])
def test_staff_are_not_asked_for_a_mailbox(house: House, is_staff: bool) -> None:
    sub = house.authentication.sub
    if is_staff:
        house.people.known[sub] = replace(house.people.known[sub], mailbox_rfc=None)
    client = house.client(first_party=False)
    about: dict[str, Any] = {"authentication": house.authentication, "browser": house.browser, "now": house.now}
    waiting = house.authorize(house.query(client, scope="openid mailbox:read"))
    assert isinstance(waiting, NeedsConsent)
    asked = house.server.authorizations.describe(waiting.interaction, **about)
    assert asked is not None
    wanted = ("openid",) if is_staff else ("openid", "mailbox:read")
    assert (asked.scopes, asked.new_scopes, asked.retention_days) == (wanted, wanted, None if is_staff else 90)
    code = answer(house.server.authorizations.decide(waiting.interaction, allow=True, **about))["code"]
    body = house.redeem(client, code).body
    assert body is not None
    assert body["scope"] == " ".join(wanted)
    (kept,) = house.server.consents.list_for(sub)
    assert kept.scopes == wanted
    # What was allowed is enough the next time, though the client asks for the mailbox again.
    assert "code" in answer(house.authorize(house.query(client, scope="openid mailbox:read")))


@pytest.mark.spec("K-7")
@pytest.mark.parametrize("first_party", [True, False])
def test_staff_of_whom_nothing_but_a_mailbox_is_asked_have_nothing_to_give(house: House, first_party: bool) -> None:
    sub = house.authentication.sub
    client = house.client(first_party=first_party)
    waiting = house.authorize(house.query(client, scope="mailbox:read", prompt="consent"))
    house.people.known[sub] = replace(house.people.known[sub], mailbox_rfc=None)
    sent = answer(house.authorize(house.query(client, scope="mailbox:read")))
    assert (sent["error"], sent["iss"], sent["state"]) == ("access_denied", ISSUER, "st&te=1 ñ")
    # Nor where another person's page was open.
    decided = house.server.authorizations.decide(
        waiting.interaction, allow=True, authentication=house.authentication, browser=house.browser, now=house.now
    )
    assert answer(decided)["error"] == "access_denied"
    assert house.server.consents.list_for(sub) == ()


@pytest.mark.spec("L-5")
def test_a_person_who_was_disabled_has_to_sign_in(house: House) -> None:
    query = house.query(house.client())
    del house.people.known[house.authentication.sub]
    assert isinstance(house.authorize(query), NeedsSignIn)


@pytest.mark.spec("T-5", "D-13")
def test_a_scope_that_the_client_may_not_have_is_dropped_and_said(house: House) -> None:
    client = house.client(scopes=("openid",))
    response = house.redeem(client, house.code(client, scope="openid email"))
    assert response.body is not None
    assert response.body["scope"] == "openid"
    claims = house.keys.verify(response.body["access_token"], typ="at+jwt", now=house.now)
    assert claims["scope"] == "openid"


def test_what_stood_in_a_redirect_uri_stays_to_the_letter() -> None:
    assert (
        with_parameters("https://a.example/cb?x=%7E~", {"code": "1", "state": None})
        == "https://a.example/cb?x=%7E~&code=1"
    )
    assert with_parameters("mx.app:/cb", {"a": "b c"}) == "mx.app:/cb?a=b+c"
