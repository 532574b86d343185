"""Forms sent by strangers, with other fields than asked for, or full of what other programs trip over."""

import json
import time
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest

from tests.journeys import Page, Person, read
from tests.rig import Account, Rig
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks")]

FAILURE, SUCCESS = "account:signin:failure", "account:signin:success"
HOSTILE = ("'\"><script>alert(1)</script>", "{{7*7}}", "${7*7}", "a\x00b", "' or sleep(40)--", "%0d%0aSet-Cookie:x=1")


@pytest.fixture
def account(rig: Rig) -> Account:
    return rig.add()


def _no_token(_rig: Rig, page: Page) -> str:
    del page.forms["form-signin"].values["csrf_token"]
    return ""


def _foreign_token(rig: Rig, page: Page) -> str:
    page.forms["form-signin"].values["csrf_token"] = (
        rig.person().visit("/login").forms["form-signin"].values["csrf_token"]
    )
    return ""


def _foreign_origin(_rig: Rig, _page: Page) -> str:
    return "https://evil.example"


def _null_origin(_rig: Rig, _page: Page) -> str:
    return "null"


@pytest.mark.spec("D-46", "W-5")
@pytest.mark.parametrize("spoil", [_no_token, _foreign_token, _foreign_origin, _null_origin])
def test_a_form_from_elsewhere_is_no_attempt(rig: Rig, account: Account, spoil: Callable[[Rig, Page], str]) -> None:
    person = rig.person()
    page = person.visit("/login")
    origin = spoil(rig, page)
    if origin:
        person.http.headers["Origin"] = origin
    before = [rig.provider.count_audit(event) for event in (FAILURE, SUCCESS)]
    for password in (account.password, make_password()):
        answer = person.post(page, "form-signin", username=account.username, password=password)
        assert answer.status_code == 400
    assert [rig.provider.count_audit(event) for event in (FAILURE, SUCCESS)] == before
    person.http.headers.pop("Origin", None)
    assert person.try_password(account.username, account.password).screen == "account"


@pytest.mark.spec("D-46", "W-5")
def test_our_own_origin_is_let_in(rig: Rig, account: Account) -> None:
    person = rig.person()
    page = person.visit("/login")
    person.http.headers["Origin"] = rig.issuer
    assert person.try_password(account.username, account.password, page).screen == "account"


@pytest.mark.spec("D-46", "W-5")
def test_a_token_of_an_ended_session_is_stale(rig: Rig, account: Account) -> None:
    person = rig.person()
    old = person.visit("/login")
    person.try_password(account.username, account.password, person.visit("/login"))
    person.send(person.visit("/logout"), "form-signout")
    answer = person.post(old, "form-signin", username=account.username, password=account.password)
    assert answer.status_code == 400
    # The page comes again, with a token that works.
    again = read(answer)
    assert again.screen in {"signin", "captcha"}
    assert person.try_password(account.username, account.password, again).screen == "account"


@pytest.mark.spec("D-49", "P-1")
@pytest.mark.parametrize(
    "target",
    ["//evil.example", "/\\evil.example", "https:evil.example", "javascript:alert(1)", "https://evil.example/"],
)
def test_no_parameter_leads_to_another_house(rig: Rig, account: Account, target: str) -> None:
    names = ("next", "return_to", "after_sign_in", "interaction", "url", "redirect_uri", "back", "place")
    person, hostile = rig.person(), dict.fromkeys(names, target)
    page = person.visit("/login?" + urlencode(hostile))
    answer = person.post(page, "form-signin", **hostile, username=account.username, password=account.password)
    assert answer.status_code == 303
    assert answer.headers["Location"] in {"/account", f"{rig.issuer}/account"}
    assert read(person.follow(answer)).screen == "account"
    gone = person.post(person.visit("/logout?" + urlencode(hostile)), "form-signout", **hostile)
    assert gone.status_code == 303
    assert gone.headers["Location"].removeprefix(rig.issuer) == "/logout?done=1"
    # The refresh of an image goes back to the page it stands on.
    failed = person.try_password(account.username, make_password())
    back = person.post(failed, "form-captcha-refresh", "captcha-refresh", **hostile)
    assert back.status_code == 303
    assert back.headers["Location"].removeprefix(rig.issuer).partition("?")[0] == "/login"


def _form_pages(rig: Rig, account: Account) -> dict[str, Callable[[], tuple[Person, Page, str]]]:
    """Each form of the contract that a stranger can open, with who has it open."""

    def signin() -> tuple[Person, Page, str]:
        person = rig.person()
        return person, person.visit("/login"), "form-signin"

    def captcha() -> tuple[Person, Page, str]:
        person = rig.person()
        return person, person.try_password(rig.username(), make_password()), "form-signin"

    def recover() -> tuple[Person, Page, str]:
        person = rig.person()
        return person, person.visit("/recover"), "form-recover"

    def question() -> tuple[Person, Page, str]:
        person = rig.person()
        return person, person.ask_question(rig.username()), "form-question"

    def password() -> tuple[Person, Page, str]:
        person = rig.person()
        form = person.send(person.ask_question(account.username), "form-question", answer=account.answer)
        return person, form, "form-password"

    def own_password() -> tuple[Person, Page, str]:
        person = rig.person()
        fresh = rig.add()
        person.try_password(fresh.username, fresh.password)
        return person, person.visit("/account/password"), "form-password"

    return {each.__name__: each for each in (signin, captcha, recover, question, password, own_password)}


@pytest.mark.spec("D-50", "W-8", "S-6")
@pytest.mark.parametrize("place", ["signin", "captcha", "recover", "question", "password", "own_password"])
def test_hostile_text_in_any_field_is_text_or_refused(rig: Rig, account: Account, place: str) -> None:
    open_form = _form_pages(rig, account)[place]
    person, page, form_id = open_form()
    fields = {
        *page.forms[form_id].values,
        *("username", "password", "captcha", "answer", "new_password", "new_password_repeat", "current_password"),
        *("question", "new_answer", "change_question", "captcha_handle", "interaction"),
    }
    for text in HOSTILE:
        typed = dict.fromkeys(fields - {"csrf_token"}, text)
        began = time.monotonic()
        answer = person.post(page, form_id, **typed)
        assert time.monotonic() - began < 30, "no field delays an answer"
        assert answer.status_code < 500, (place, text)
        assert "x=1" not in answer.headers.get("Set-Cookie", "")
        shown = person.follow(answer)
        assert shown.status_code < 500
        assert "<script>alert(1)" not in shown.text
        assert ">49<" not in shown.text
        assert "Traceback" not in shown.text
        after = read(shown)
        person, page, form_id = (person, after, form_id) if form_id in after.forms else open_form()


@pytest.mark.spec("D-50", "P-16")
@pytest.mark.parametrize("path", ["/request/codedAccess?code=", "/activate/", "/login?interaction=", "/captcha/"])
def test_hostile_text_in_an_address_is_text_or_refused(rig: Rig, path: str) -> None:
    for text in (*HOSTILE, "x" * 8000, "%ff%fe", "..%2f..%2fetc"):
        prepared = rig.issuer + path + quote(text, safe="%")
        answer = rig.person().http.get(prepared, allow_redirects=True, timeout=30)
        assert answer.status_code < 500, (path, text)
        assert "<script>alert(1)" not in answer.text


@pytest.mark.spec("PW-2", "O-4")
def test_a_body_beyond_64_kib_is_refused_before_anything_is_done(rig: Rig, account: Account) -> None:
    person = rig.person()
    page = person.visit("/login")
    answer = person.post(page, "form-signin", username=account.username, password="A" * 70_000)
    assert answer.status_code == 413


@pytest.mark.spec("D-77", "O-2")
@pytest.mark.parametrize(
    "text",
    [
        'EKU9003173C9\n{"level": "info", "event": "account:signin:success", "username": "nadie"}',
        "EKU9003173C9\r\n\x1b[2J\x1b[31mroot",
        "EKU9003173C9" + "A" * 60_000,
        "EKU9003173C9\u2028\u0085",
    ],
)
def test_what_is_typed_makes_no_line_in_the_log(rig: Rig, text: str) -> None:
    before = len(rig.provider.log)
    person = rig.person()
    person.post(person.visit("/login"), "form-signin", username=text, password=make_password())
    person.post(person.visit("/recover"), "form-recover", username=text)
    person.http.get(rig.issuer + "/login", headers={"User-Agent": text.encode().hex()[:64]}, timeout=30)
    person.http.get(rig.issuer + "/no-hay?" + quote(text), timeout=30)
    written = rig.provider.log[before:]
    assert "nadie" not in written
    assert "\x1b" not in written
    assert max(map(len, written.splitlines()), default=0) < 10_000
    for line in written.splitlines():
        if line.startswith("{"):
            json.loads(line)
