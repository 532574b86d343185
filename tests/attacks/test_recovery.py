"""Recovery: what it tells a stranger, what opens "set password", what a link is worth, and when it is dead."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.journeys import Page, Person
from tests.likeness import differences
from tests.rig import Account, Rig
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks")]

RESET = "account:password:reset"


@pytest.fixture
def account(rig: Rig) -> Account:
    return rig.add()


def can_sign_in(rig: Rig, username: str, password: str) -> bool:
    return rig.person().try_password(username, password).screen == "account"


@pytest.mark.spec("D-51", "L-9", "M6")
@pytest.mark.parametrize("state", ["unknown", "invited", "disabled", "without a question"])
def test_recovery_tells_no_known_name_from_another(rig: Rig, account: Account, state: str) -> None:
    if state == "unknown":
        username = rig.username()
    elif state == "invited":
        username = rig.invite().username
    elif state == "disabled":
        disabled = rig.add()
        rig.disable(disabled)
        username = disabled.username
    else:
        username = rig.add(answer=None).username
    # The question is another one, as it should be; what surrounds it is not.
    assert differences(rig.person, _recover, account.username, username) == []


def _recover(person: Person, username: str) -> list[requests.Response]:
    responses = []
    page = person.visit("/recover")
    responses.append(person.post(page, "form-recover", username=username))
    responses.append(person.follow(responses[-1]))
    page = Page(responses[-1].url, responses[-1].text)
    for _ in range(3):
        responses.append(person.post(page, "form-question", answer="Seguramente no"))
        responses.append(person.follow(responses[-1]))
        page = Page(responses[-1].url, responses[-1].text)
    assert page.screen == "question-closed"
    responses.append(person.post(page, "form-reminder", "send-reminder"))
    responses.append(person.follow(responses[-1]))
    assert Page(responses[-1].url, responses[-1].text).screen == "sent"
    return responses


def question_of(page: Page) -> str:
    """The words of the question, which describe the field of the answer."""
    assert page.screen == "question", page.screen
    [asked] = re.findall(r'id="question-text">(?:<small>[^<]*</small>)?([^<]+)<', page.source)
    return str(asked)


@pytest.mark.spec("D-52", "Q-2", "M8")
def test_a_name_that_nobody_has_is_always_asked_the_same(rig: Rig) -> None:
    names = [rig.username() for _ in range(12)]
    asked = {name: question_of(rig.person().ask_question(name)) for name in names}
    # From a catalogue, and not one for all.
    assert len(set(asked.values())) > 1
    first = names[0]
    people = [rig.person(), rig.person()]
    assert {question_of(person.ask_question(first)) for person in people for _ in range(5)} == {asked[first]}
    assert question_of(people[0].ask_question(first.lower())) == asked[first]
    rig.provider.stop()
    rig.provider.start(2, "--with-worker")
    assert {name: question_of(rig.person().ask_question(name)) for name in names} == asked


@pytest.mark.spec("D-53", "Q-3", "L-8")
def test_three_wrong_answers_close_the_question_and_the_link_stays_open(rig: Rig, account: Account) -> None:
    for _ in range(3):
        rig.person().try_password(account.username, make_password())
    person = rig.person()
    page = person.ask_question(account.username)
    screens = []
    for _ in range(3):
        page = person.send(page, "form-question", answer="Nadie sabe")
        screens.append(page.screen)
    assert screens == ["question", "question", "question-closed"]
    person = rig.person()
    page = person.ask_question(account.username)
    assert page.screen == "question-closed"
    assert "form-question" not in page.forms
    person.send(page, "form-reminder", "send-reminder")
    new = make_password()
    assert rig.person().recover_by_mail(rig.link(account), new).screen == "signin"
    assert can_sign_in(rig, account.username, new)


@pytest.mark.spec("D-53", "Q-3")
def test_an_answer_form_that_was_open_before_is_no_way_round(rig: Rig, account: Account) -> None:
    early, late = rig.person(), rig.person()
    open_form = early.ask_question(account.username)
    page = late.ask_question(account.username)
    for _ in range(3):
        page = late.send(page, "form-question", answer="Nadie sabe")
    assert early.send(open_form, "form-question", answer=account.answer).screen == "question-closed"
    other = rig.add()
    form = rig.person()
    assert form.send(form.ask_question(other.username), "form-question", answer=other.answer).screen == "password"


@pytest.mark.spec("D-54", "R-8", "M12")
def test_the_link_names_the_configured_host_whatever_a_request_says(rig: Rig, account: Account) -> None:
    person = rig.person()
    page = person.ask_question(account.username)
    evil = "evil.example"
    headers = {"X-Forwarded-Host": evil, "Forwarded": f"host={evil};proto=https", "X-Forwarded-Proto": "https"}
    person.http.headers.update({**headers, "X-Original-Host": evil, "X-Forwarded-Server": evil})
    assert person.send(page, "form-reminder", "send-reminder").screen == "sent"

    other = rig.add()
    stranger = rig.person()
    page = stranger.ask_question(other.username)
    form = page.forms["form-reminder"]
    answer = stranger.http.post(
        form.action, data=form.values, headers={"Host": evil, **headers}, allow_redirects=False, timeout=30
    )
    assert evil not in str(answer.headers)
    if answer.status_code != 303:
        stranger.ask_link(other.username)
    for each in (account, other):
        link = rig.link(each)
        assert link.startswith(rig.issuer + "/request/codedAccess?code=")
        assert len(link) < 120
        assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", parse_qs(urlsplit(link).query)["code"][0])


@pytest.mark.spec("D-55", "R-3", "M13")
def test_opening_a_link_spends_nothing_and_saving_spends_it(rig: Rig, account: Account) -> None:
    rig.person().ask_link(account.username)
    link = rig.link(account)
    for _ in range(5):
        scanner = rig.person()
        assert scanner.http.head(link, allow_redirects=True, timeout=30).status_code == 200
        assert scanner.visit(link).screen == "password"
    person, slow = rig.person(), rig.person()
    waiting = slow.visit(link)
    new = make_password()
    assert person.recover_by_mail(link, new).screen == "signin"
    assert can_sign_in(rig, account.username, new)

    dead = rig.person().visit(link)
    assert (dead.status, dead.screen) == (410, "link-dead")
    # The form that was open meanwhile is dead too.
    other = make_password()
    assert slow.choose_password(waiting, other).screen == "link-dead"
    assert can_sign_in(rig, account.username, new)
    assert rig.provider.count_audit(RESET, account.username) == 1


@pytest.mark.spec("R-3")
@pytest.mark.parametrize("tail", ["%0A", "%20", ".", ")", ">", "%0D%0A"])
def test_a_link_survives_what_mail_programs_do_to_it(rig: Rig, tail: str, account: Account) -> None:
    rig.person().ask_link(account.username)
    assert rig.person().visit(rig.link(account) + tail).screen == "password"


@pytest.mark.spec("R-6", "R-3")
@pytest.mark.parametrize("place", [0, 10, -1])
def test_a_link_with_one_character_changed_is_dead(rig: Rig, account: Account, place: int) -> None:
    rig.person().ask_link(account.username)
    head, _, code = rig.link(account).partition("=")
    # Not the last character alone: of that base64 may carry fewer bits than it shows.
    place = place if place >= 0 else len(code) - 3
    changed = code[:place] + ("A" if code[place] != "A" else "B") + code[place + 1 :]
    assert rig.person().visit(f"{head}={code}").screen == "password"
    dead = rig.person().visit(f"{head}={changed}")
    assert (dead.status, dead.screen) == (410, "link-dead")


@pytest.mark.spec("D-56", "R-4", "M13")
def test_a_link_is_dead_once_the_password_changed_by_another_way(rig: Rig, account: Account) -> None:
    rig.person().ask_link(account.username)
    link = rig.link(account)
    waiting = rig.person()
    form = waiting.visit(link)
    new = make_password()
    assert rig.person().recover_by_question(account.username, account.answer, new).screen == "signin"
    assert rig.person().visit(link).screen == "link-dead"
    assert waiting.choose_password(form, make_password()).screen == "link-dead"
    assert can_sign_in(rig, account.username, new)


@pytest.mark.spec("R-4", "L-5")
def test_disabling_kills_links_and_open_forms(rig: Rig, account: Account) -> None:
    rig.person().ask_link(account.username)
    link = rig.link(account)
    waiting = rig.person()
    form = waiting.send(waiting.ask_question(account.username), "form-question", answer=account.answer)
    rig.disable(account)
    rig.enable(account)
    assert rig.person().visit(link).screen == "link-dead"
    assert waiting.choose_password(form, make_password()).screen == "link-dead"
    assert can_sign_in(rig, account.username, account.password)


@pytest.mark.spec("R-9")
def test_a_second_reminder_within_five_minutes_sends_nothing_and_kills_nothing(rig: Rig, account: Account) -> None:
    first, second = rig.person().ask_link(account.username), rig.person().ask_link(account.username)
    assert (first.screen, second.screen) == ("sent", "sent")
    link = rig.link(account)
    # What is asked for after it arrives after it.
    other = rig.add()
    rig.person().ask_link(other.username)
    rig.link(other)
    assert len(rig.catcher.mails_to(account.email)) == 1
    assert rig.person().visit(link).screen == "password"


@pytest.mark.spec("D-57", "R-1")
@pytest.mark.parametrize("path", ["/recover/password", "/password", "/activate"])
def test_set_password_opens_to_nobody_without_leave(rig: Rig, account: Account, path: str) -> None:
    stranger = rig.person()
    assert "new_password" not in stranger.visit(path).source
    begun = rig.person()
    begun.ask_question(account.username)
    assert "new_password" not in begun.visit(path).source
    token = begun.ask_question(account.username).forms["form-question"].values["csrf_token"]
    new = make_password()
    data = {"csrf_token": token, "new_password": new, "new_password_repeat": new, "username": account.username}
    answer = begun.http.post(rig.issuer + path, data=data, allow_redirects=False, timeout=30)
    assert answer.status_code < 500
    assert can_sign_in(rig, account.username, account.password)
    assert rig.provider.count_audit(RESET, account.username) == 0


@pytest.mark.spec("D-57", "R-2")
def test_a_form_sets_the_password_of_its_own_user_whatever_is_added(rig: Rig, account: Account) -> None:
    victim = rig.add()
    sub = rig.provider.query("SELECT id FROM account WHERE username = ?", victim.username)[0][0]
    person = rig.person()
    form = person.send(person.ask_question(account.username), "form-question", answer=account.answer)
    # Another tab of the same browser, on its way to the victim's question.
    person.ask_question(victim.username)
    new = make_password()
    more = {"usuario": victim.username, "username": victim.username, "account_id": sub, "sub": sub, "permit": sub}
    person.choose_password(form, new, **more)
    assert can_sign_in(rig, victim.username, victim.password)
    assert not can_sign_in(rig, victim.username, new)
    assert rig.provider.count_audit(RESET, victim.username) == 0


@pytest.mark.spec("D-57", "R-1", "Q-5")
def test_a_right_answer_opens_one_browser_once(rig: Rig, account: Account) -> None:
    person = rig.person()
    form = person.send(person.ask_question(account.username), "form-question", answer=account.answer)
    assert form.screen == "password"
    # Its address opens nothing elsewhere.
    assert rig.person().visit(form.url).screen != "password"
    new = make_password()
    assert person.choose_password(form, new).screen == "signin"
    person.choose_password(form, make_password())
    assert person.visit("/recover/password").screen != "password"
    assert can_sign_in(rig, account.username, new)
    assert rig.provider.count_audit(RESET, account.username) == 1


@pytest.mark.spec("D-61", "R-7")
def test_the_token_of_a_link_is_in_no_log_and_no_later_address(rig: Rig, account: Account) -> None:
    rig.person().ask_link(account.username)
    link = rig.link(account)
    code = parse_qs(urlsplit(link).query)["code"][0]
    person = rig.person()
    landing = person.http.get(link, allow_redirects=False, timeout=30)
    assert landing.status_code == 303
    assert landing.headers["Referrer-Policy"] == "no-referrer"
    assert landing.headers["Cache-Control"].startswith("no-store")
    assert code not in landing.headers["Location"]
    form = person.visit(link)
    assert code not in form.source
    assert code not in form.url
    assert code not in str(person.http.cookies.get_dict())
    assert person.choose_password(form, make_password()).screen == "signin"
    assert rig.person().visit(link).screen == "link-dead"
    assert code not in rig.provider.log
    for (table,) in rig.provider.query("SELECT name FROM sqlite_master WHERE type = 'table'"):
        assert code not in str(rig.provider.query(f'SELECT * FROM "{table}"')), table
