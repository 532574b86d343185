"""Sessions, their end, and what another person's identifiers are worth."""

from urllib.parse import urlencode, urlsplit

import pytest

from tests.journeys import Person, parameters
from tests.rig import CALLBACK, Account, Rig
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks")]


@pytest.fixture
def account(rig: Rig) -> Account:
    return rig.add()


def signed_in(rig: Rig, account: Account) -> Person:
    person = rig.person()
    assert person.try_password(account.username, account.password).screen == "account"
    return person


def is_signed_in(person: Person) -> bool:
    return person.visit("/account").screen == "account"


@pytest.mark.spec("D-47", "W-2")
def test_a_session_that_was_fixed_before_sign_in_is_nobodys_afterwards(rig: Rig, account: Account) -> None:
    person, attacker = rig.person(), rig.person()
    page = person.visit("/login")
    attacker.http.cookies.update(person.http.cookies)
    before = person.http.cookies.get_dict()
    assert person.try_password(account.username, account.password, page).screen == "account"
    after = person.http.cookies.get_dict()
    assert {name for name in before if after.get(name) != before[name]}, "a new value"
    assert not is_signed_in(attacker)
    assert is_signed_in(person)


@pytest.mark.spec("D-47", "W-2", "W-4")
def test_a_password_change_gives_a_new_session_and_ends_all_others(rig: Rig, account: Account) -> None:
    here, there, old = signed_in(rig, account), signed_in(rig, account), rig.person()
    old.http.cookies.update(here.http.cookies)
    new = make_password()
    page = here.visit("/account/password")
    typed = {"current_password": account.password, "new_password": new, "new_password_repeat": new}
    assert here.send(page, "form-password", **typed).screen == "account"
    assert is_signed_in(here)
    assert not is_signed_in(there)
    assert not is_signed_in(old)


@pytest.mark.spec("D-48", "W-3")
def test_after_sign_out_the_cookie_is_worth_nothing(rig: Rig, account: Account) -> None:
    person, thief = signed_in(rig, account), rig.person()
    thief.http.cookies.update(person.http.cookies)
    assert is_signed_in(thief)
    assert person.send(person.visit("/logout"), "form-signout").screen == "signed-out"
    assert not is_signed_in(thief)
    assert account.username not in thief.visit("/login").source


@pytest.mark.spec("D-62", "P-12")
def test_no_get_signs_out_and_no_foreign_address_is_returned_to(rig: Rig, account: Account) -> None:
    person = signed_in(rig, account)
    for path in ("/logout", "/oauth/logout"):
        assert person.http.get(rig.issuer + path, timeout=30).status_code == 200
        assert is_signed_in(person)
    tokens = rig.tokens(person, account)
    registered = f"{CALLBACK}/adios"
    for foreign in ("https://evil.example/", registered + "/mas", registered[:-1], registered + "?a=1"):
        query = urlencode({"post_logout_redirect_uri": foreign, "client_id": rig.own.client_id, "state": "x"})
        answer = person.http.get(f"{rig.issuer}/oauth/logout?{query}", allow_redirects=False, timeout=30)
        assert not answer.headers.get("Location", "").startswith("https:"), foreign
        assert is_signed_in(person)
    query = urlencode(
        {"post_logout_redirect_uri": registered, "id_token_hint": tokens["id_token"], "state": "mi-estado"}
    )
    answer = person.open(f"{rig.issuer}/oauth/logout?{query}")
    assert answer.headers["Location"] == registered + "?state=mi-estado"
    assert not is_signed_in(person)


@pytest.mark.spec("W-3", "ux §5")
@pytest.mark.parametrize("path", ["/logout", "/oauth/logout"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_sign_out_reaches_the_other_devices_where_that_is_asked(
    rig: Rig, account: Account, path: str, everywhere: bool
) -> None:
    here, there = signed_in(rig, account), signed_in(rig, account)
    page = here.visit(path)
    assert page.screen == "signout-confirm"
    assert here.send(page, "form-signout", **({"everywhere": "1"} if everywhere else {})).screen == "signed-out"
    assert not is_signed_in(here)
    assert is_signed_in(there) is not everywhere


@pytest.mark.spec("D-60", "W-9")
def test_another_persons_session_and_consent_are_not_there(rig: Rig, account: Account) -> None:
    other = rig.add()
    mine, theirs = signed_in(rig, account), signed_in(rig, other)
    rig.tokens(theirs, other, rig.foreign)
    (sid,) = rig.provider.query(
        "SELECT sid FROM sign_in_session JOIN account ON account.id = account_id WHERE username = ?", other.username
    )[0]
    token = mine.visit("/account/profile").forms["form-profile"].values["csrf_token"]
    for path, form in (
        ("/account/sessions", {"sid": sid}),
        ("/account/sessions", {"sid": "no-hay"}),
        (f"/account/applications/{rig.foreign.client_id}", {}),
        ("/account/applications/no-hay", {}),
    ):
        answer = mine.http.post(rig.issuer + path, data={"csrf_token": token, **form}, timeout=30)
        assert answer.status_code == 404, path
    assert is_signed_in(theirs)
    assert rig.foreign.client_id in theirs.visit("/account/applications").source
    assert rig.provider.count_audit("account:consent:revoke", other.username) == 0
    # The success that differs in one value: the owner does both.
    again = signed_in(rig, other)
    token = again.visit("/account/profile").forms["form-profile"].values["csrf_token"]
    ended = again.http.post(
        rig.issuer + "/account/sessions", data={"csrf_token": token, "sid": sid}, allow_redirects=False, timeout=30
    )
    assert ended.status_code == 303
    assert not is_signed_in(theirs)


@pytest.mark.spec("D-28", "W-4")
def test_refresh_is_dead_after_a_password_change(rig: Rig, account: Account) -> None:
    tokens = rig.tokens(rig.person(), account)
    rig.person().recover_by_question(account.username, account.answer, make_password())
    assert not rig.is_active(tokens["access_token"])
    assert refused(rig.refresh(tokens))


@pytest.mark.spec("D-28", "W-9", "A 10.7.3")
def test_refresh_is_dead_after_consent_was_taken_back(rig: Rig, account: Account) -> None:
    person = rig.person()
    tokens = rig.tokens(person, account, rig.foreign)
    kept = rig.tokens(person, account, rig.own)
    address = f"/account/applications/{rig.foreign.client_id}"
    page = person.visit(address)
    [form] = [form for form in page.forms if form not in {"form-signout", "form-extend"}]
    assert person.send(page, form).screen == "account"
    assert refused(rig.refresh(tokens, rig.foreign))
    # What another application was given stays.
    assert rig.refresh(kept)[0] == 200


@pytest.mark.spec("D-28", "L-5")
def test_refresh_is_dead_after_disabling(rig: Rig, account: Account) -> None:
    person = rig.person()
    tokens = rig.tokens(person, account)
    rig.disable(account)
    assert refused(rig.refresh(tokens))
    assert not is_signed_in(person)


@pytest.mark.spec("D-28", "W-3")
def test_sign_out_ends_what_was_not_given_for_use_without_the_person(rig: Rig, account: Account) -> None:
    """The policy is OIDC Back-Channel Logout section 2.7: what `offline_access` gave is for after the sign-out."""
    person = rig.person()
    offline = rig.tokens(person, account)
    online = rig.tokens(person, account, scope="openid rfc")
    assert "refresh_token" not in online
    assert rig.is_active(online["access_token"])
    person.send(person.visit("/logout"), "form-signout")
    assert not rig.is_active(online["access_token"])
    assert rig.refresh(offline)[0] == 200


def refused(answer: tuple[int, dict[str, str]]) -> bool:
    return answer[0] == 400 and answer[1]["error"] == "invalid_grant"


@pytest.mark.spec("D-58", "W-4", "W-10")
def test_a_password_change_ends_the_rest_and_tells_the_owner(rig: Rig, account: Account) -> None:
    here, there = signed_in(rig, account), signed_in(rig, account)
    tokens = rig.tokens(there, account)
    new = make_password()
    page = here.visit("/account/password")
    typed = {"current_password": account.password, "new_password": new, "new_password_repeat": new}
    assert here.send(page, "form-password", **typed).screen == "account"
    # Before the response was sent: nothing is waited for here.
    assert not is_signed_in(there)
    assert refused(rig.refresh(tokens))
    assert not rig.is_active(tokens["access_token"])
    mail = rig.catcher.wait_for(account.email, "Se cambió su contraseña")
    assert account.username not in mail.as_string()
    assert "http" not in str(mail.get_body(preferencelist=("plain",)))


@pytest.mark.spec("D-08", "P-8", "PW-6")
def test_prompt_none_shows_no_page_and_signs_nobody_in(rig: Rig, account: Account) -> None:
    asked = rig.request(rig.foreign, prompt="none")
    nobody = rig.person().open(asked.url)
    assert parameters(nobody.headers["Location"])["error"] == "login_required"
    person = signed_in(rig, account)
    assert parameters(person.open(asked.url).headers["Location"])["error"] == "consent_required"
    granted = rig.request(rig.foreign)
    person.authorize(granted.url, account.username, account.password)
    answer = parameters(person.open(rig.request(rig.foreign, prompt="none").url).headers["Location"])
    assert answer.get("code"), answer
    assert answer["iss"] == rig.issuer


@pytest.mark.spec("D-81", "R-10", "M13")
def test_a_reset_inside_an_authorization_request_goes_back_to_its_client(rig: Rig, account: Account) -> None:
    person = rig.person()
    asked = rig.request()
    page = person.visit(asked.url)
    assert page.screen == "signin"
    [way] = [link for link in page.links if urlsplit(link).path == "/recover"]
    page = person.send(person.visit(way), "form-recover", username=account.username)
    page = person.send(page, "form-question", answer=account.answer)
    new = make_password()
    page = person.choose_password(page, new)
    # It does not sign in by itself.
    assert page.screen == "signin"
    assert not is_signed_in(person)
    answer = person.submit(page, "form-signin", username=account.username, password=new)
    callback = parameters(answer.headers["Location"])
    assert answer.headers["Location"].startswith(CALLBACK + "?")
    assert callback["state"] == asked.state
    assert callback["code"]


@pytest.mark.spec("D-81", "R-10")
def test_so_does_one_by_a_mailed_link(rig: Rig, account: Account) -> None:
    person = rig.person()
    asked = rig.request()
    page = person.visit(asked.url)
    [way] = [link for link in page.links if urlsplit(link).path == "/recover"]
    page = person.send(person.visit(way), "form-recover", username=account.username)
    assert person.send(page, "form-reminder", "send-reminder").screen == "sent"
    new = make_password()
    page = person.recover_by_mail(rig.link(account), new)
    answer = person.submit(page, "form-signin", username=account.username, password=new)
    assert parameters(answer.headers["Location"])["state"] == asked.state


@pytest.mark.spec("D-69", "W-7", "W-3")
@pytest.mark.parametrize("path", ["/account", "/account/profile", "/account/sessions", "/account/activity", "/login"])
def test_nothing_personal_is_kept_by_a_cache(rig: Rig, account: Account, path: str) -> None:
    person = signed_in(rig, account)
    for headers in ({}, {"If-None-Match": "*"}, {"If-Modified-Since": "Tue, 24 Nov 2026 00:00:00 GMT"}):
        answer = person.http.get(rig.issuer + path, headers=headers, timeout=30)
        assert answer.status_code == 200
        assert "no-store" in answer.headers["Cache-Control"]
        assert "ETag" not in answer.headers
