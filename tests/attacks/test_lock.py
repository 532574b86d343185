"""Guessing passwords: the lock, whom it knows, what it tells, what throttles beside it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from idp.policy import ADDRESS_FAILURES_MAX
from tests.journeys import Page, Person, read
from tests.likeness import differences
from tests.rig import Account, Rig, alert_or_screen, rig_in
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks-2")]

FAILURE, SUCCESS = "account:signin:failure", "account:signin:success"


def lock(rig: Rig, username: str) -> list[str]:
    """Three wrong passwords from a fresh browser; what each ended at."""
    person = rig.person()
    return [alert_or_screen(person.try_password(username, make_password())) for _ in range(3)]


@pytest.mark.spec("D-39", "L-1", "M4")
def test_after_three_wrong_passwords_the_right_one_opens_nothing(rig: Rig) -> None:
    account = rig.add()
    successes = rig.provider.count_audit(SUCCESS)
    assert lock(rig, account.username) == ["captcha alert", "captcha alert", "locked"]
    assert rig.person().try_password(account.username, account.password).screen == "locked"
    assert rig.provider.count_audit(SUCCESS) == successes

    other = rig.add()
    person = rig.person()
    for _ in range(2):
        person.try_password(other.username, make_password())
    assert person.try_password(other.username, other.password).screen == "account"


def _until_locked(person: Person, username: str) -> list[requests.Response]:
    responses = []
    for _ in range(5):
        page = person.visit("/login")
        typed = {"username": username, "password": "Equivocada-1", **person.solve(page)}
        responses.append(person.post(page, "form-signin", **typed))
        responses.append(person.follow(responses[-1]))
    assert read(responses[-1]).screen == "locked"
    return responses


@pytest.mark.spec("D-40", "L-3", "L-9")
@pytest.mark.parametrize("state", ["unknown", "invited", "disabled", "expired"])
def test_a_name_that_nobody_has_is_locked_alike(rig: Rig, state: str) -> None:
    if state == "unknown":
        username = rig.username()
    elif state == "invited":
        username = rig.invite().username
    elif state == "disabled":
        disabled = rig.add()
        rig.disable(disabled)
        username = disabled.username
    else:
        username = rig.add(changed_at=datetime.now(UTC) - timedelta(days=40)).username
    assert differences(rig.person, _until_locked, rig.add().username, username) == []


@pytest.mark.spec("L-3", "PW-8")
def test_no_spelling_of_a_name_has_attempts_of_its_own(rig: Rig) -> None:
    account = rig.add("CT.")
    person, rfc = rig.person(), account.username.removeprefix("CT.")
    spelt = [f"ct.{rfc.lower()}", f"Ct.{rfc[:4]}-{rfc[4:10]}-{rfc[10:]}", f" CT.{rfc[:4]} {rfc[4:]} "]
    assert [person.try_password(each, make_password()).screen for each in spelt] == ["captcha", "captcha", "locked"]
    assert rig.person().try_password(account.username, account.password).screen == "locked"
    # The three prefixes are three different users.
    assert alert_or_screen(rig.person().try_password(rfc, make_password())) == "captcha alert"


@pytest.mark.spec("L-4")
def test_the_account_area_gives_no_fourth_guess(rig: Rig) -> None:
    """A session that was left open knows no password: its guesses count as everybody's do."""
    account = rig.add()
    person = rig.person()
    assert person.try_password(account.username, account.password).screen == "account"
    for number in range(3):
        page = person.visit("/account/password")
        new = make_password()
        typed = {"current_password": make_password(), "new_password": new, "new_password_repeat": new}
        page = person.send(page, "form-password", **typed, **person.solve(page))
        assert rig.provider.count_audit(FAILURE, account.username) == number + 1
    page = person.visit("/account/password")
    if "form-password" in page.forms:
        new = make_password()
        typed = {"current_password": account.password, "new_password": new, "new_password_repeat": new}
        person.send(page, "form-password", **typed, **person.solve(page))
    assert rig.provider.count_audit("account:password:change", account.username) == 0
    assert rig.provider.count_audit(FAILURE, account.username) == 3


def in_owners_browser(rig: Rig, account: Account) -> Person:
    """A browser that has signed in before, and has signed out."""
    owner = rig.person()
    assert owner.try_password(account.username, account.password).screen == "account"
    sign_out(owner)
    return owner


def sign_out(person: Person) -> None:
    assert person.send(person.visit("/logout"), "form-signout").screen == "signed-out"


@pytest.mark.spec("D-41", "L-6")
def test_a_stranger_does_not_lock_the_owner_out_of_a_known_browser(rig: Rig) -> None:
    account = rig.add()
    owner = in_owners_browser(rig, account)
    assert lock(rig, account.username)[-1] == "locked"
    assert rig.person().try_password(account.username, account.password).screen == "locked"
    # Nor is the owner asked for an image because of them.
    page = owner.send(owner.visit("/login"), "form-signin", username=account.username, password=account.password)
    assert page.screen == "account"


@pytest.mark.spec("D-41", "L-6")
def test_a_known_browser_has_three_attempts_of_its_own_and_no_more(rig: Rig) -> None:
    account = rig.add()
    owner = in_owners_browser(rig, account)
    screens = [owner.try_password(account.username, make_password()).screen for _ in range(3)]
    assert screens == ["captcha", "captcha", "locked"]
    assert owner.try_password(account.username, account.password).screen == "locked"
    # Its failures count for no one else.
    assert rig.person().try_password(account.username, account.password).screen == "account"


@pytest.mark.spec("D-41", "L-6")
def test_in_strict_mode_the_lock_is_for_all(tmp_path: Path) -> None:
    with rig_in(tmp_path / "strict", workers=1, mail=False, IDP_LOCKOUT_TRUSTED_DEVICES="0") as rig:
        account = rig.add()
        owner = in_owners_browser(rig, account)
        assert lock(rig, account.username)[-1] == "locked"
        assert owner.try_password(account.username, account.password).screen == "locked"


def device_cookie(person: Person) -> tuple[str, str]:
    """The cookie by which a browser is known, and its name."""
    [cookie] = [cookie for cookie in person.http.cookies if "device" in cookie.name]
    assert cookie.value is not None
    return cookie.name, cookie.value


@pytest.mark.spec("D-42", "L-6")
def test_a_device_cookie_is_worth_nothing_elsewhere(rig: Rig) -> None:
    account, other = rig.add(), rig.add()
    owner = in_owners_browser(rig, account)
    name, value = device_cookie(owner)
    for username in (account.username, other.username):
        assert lock(rig, username)[-1] == "locked"

    def with_cookie(value: str, who: Account) -> str:
        stranger = rig.person()
        stranger.http.cookies.set(name, value, domain="localhost.local", path="/")
        return stranger.try_password(who.username, who.password).screen

    assert with_cookie(value, other) == "locked"
    flipped = value[:-6] + ("A" if value[-6] != "A" else "B") + value[-5:]
    assert with_cookie(flipped, account) == "locked"
    # The success that differs in one value.
    assert with_cookie(value, account) == "account"


@pytest.mark.spec("D-42", "W-4")
def test_a_device_cookie_of_before_a_password_change_is_a_strangers(rig: Rig) -> None:
    account = rig.add()
    owner = in_owners_browser(rig, account)
    new = make_password()
    assert rig.person().recover_by_question(account.username, account.answer, new).screen == "signin"
    assert lock(rig, account.username)[-1] == "locked"
    assert owner.try_password(account.username, new).screen == "locked"


@pytest.mark.spec("D-43", "L-7")
def test_no_forwarded_header_gets_past_the_throttle(rig: Rig) -> None:
    address = rig.address()
    account = rig.add()

    def guess(number: int) -> int:
        person = rig.person(address)
        person.http.headers.update({"X-Forwarded-For": f"1.2.3.{number % 250}", "Forwarded": f"for=1.2.4.{number}"})
        page = person.visit("/login")
        response = person.post(page, "form-signin", username=rig.username(), password=make_password())
        return person.follow(response).status_code

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(guess, range(ADDRESS_FAILURES_MAX)))
    assert set(seen) == {200}
    person = rig.person(address)
    refused = person.submit(person.visit("/login"), "form-signin", username=account.username, password=account.password)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "alert" not in read(refused).ids
    # From elsewhere the same is let in: the address was refused, not the person.
    assert rig.person().try_password(account.username, account.password).screen == "account"


@pytest.mark.spec("L-8")
def test_neither_time_nor_a_right_answer_alone_lifts_a_lock(rig: Rig) -> None:
    account = rig.add()
    lock(rig, account.username)
    person = rig.person()
    form = person.send(person.ask_question(account.username), "form-question", answer=account.answer)
    assert form.screen == "password"
    assert rig.person().try_password(account.username, account.password).screen == "locked"
    rig.provider.idp("account", "unlock", account.username)
    assert rig.person().try_password(account.username, account.password).screen == "account"


@pytest.mark.spec("L-11", "W-10")
def test_a_lock_sends_one_mail_however_long_the_attack_lasts(rig: Rig) -> None:
    account = rig.add()
    lock(rig, account.username)
    for _ in range(3):
        rig.person().try_password(account.username, make_password())
    mail = rig.catcher.wait_for(account.email, "Se bloqueó su usuario")
    text = mail.get_body(preferencelist=("plain",))
    assert text is not None
    words = str(text.get_content())
    assert account.username not in words, "the username is masked"
    assert "http" not in words
    # Anything more would have been sent before what is asked for now.
    rig.person().ask_link(account.username)
    rig.link(account)
    assert len(rig.catcher.mails_to(account.email, "Se bloqueó su usuario")) == 1


def refused_page(rig: Rig, username: str, password: str) -> Page:
    return rig.person().try_password(username, password)


@pytest.mark.spec("L-5")
def test_a_disabled_account_is_a_failed_attempt_like_any_other(rig: Rig) -> None:
    account = rig.add()
    rig.disable(account)
    assert alert_or_screen(refused_page(rig, account.username, account.password)) == "captcha alert"
    assert alert_or_screen(refused_page(rig, rig.username(), make_password())) == "captcha alert"
    rig.enable(account)
    assert refused_page(rig, account.username, account.password).screen == "account"
