"""Fifty guesses, fifty answers, twenty posts of one link, one CAPTCHA twenty times, at once over two processes."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.journeys import Page, Person, read
from tests.rig import QUESTION, Account, Rig, at_once, two_workers_work
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks-2"), pytest.mark.timeout(240)]

FAILURE, SUCCESS = "account:signin:failure", "account:signin:success"
RESET = "account:password:reset"
BUSY = "busy"


def post(person: Person, page: Page, form: str, button: str = "submit", **typed: str) -> Callable[[], str]:
    """Post this form when told to; the screen at which it ends, or that the house was too busy (L-10)."""

    def run() -> str:
        response = person.post(page, form, button, **typed)
        if response.status_code == 503 and "Retry-After" in response.headers:
            return BUSY
        assert response.status_code < 500, response.text[:500]
        return read(person.follow(response)).screen

    return run


@pytest.mark.spec("L-2", "C-4")
def test_of_fifty_guesses_with_every_captcha_solved_three_are_compared(rig: Rig) -> None:
    account = rig.add()
    calls = []
    for _ in range(50):
        person = rig.person()
        page = person.try_password(rig.username(), make_password())
        typed = person.solve(page)
        calls.append(post(person, page, "form-signin", username=account.username, password=make_password(), **typed))
    with two_workers_work(rig.provider):
        screens = Counter(at_once(calls))
    assert rig.provider.count_audit(FAILURE, account.username) == 3
    # The answer to the third failure already says so: two saw the alert, all others the lock.
    assert screens["captcha"] == 2
    assert screens["locked"] + screens[BUSY] == 48
    assert rig.provider.count_audit("account:lock:set", account.username) == 1
    assert rig.person().try_password(account.username, account.password).screen == "locked"


@pytest.mark.spec("L-2")
def test_twenty_right_passwords_at_once_all_get_in(rig: Rig) -> None:
    account = rig.add()
    people = [rig.person() for _ in range(20)]
    calls = [
        post(person, person.visit("/login"), "form-signin", username=account.username, password=account.password)
        for person in people
    ]
    screens = Counter(at_once(calls))
    assert screens["account"] + screens[BUSY] == 20
    assert screens["account"] == rig.provider.count_audit(SUCCESS, account.username) > 0


@pytest.mark.spec("Q-3", "D-53")
@pytest.mark.parametrize("known", [True, False])
def test_of_fifty_answers_three_are_compared(rig: Rig, known: bool) -> None:
    username = rig.add().username if known else rig.username()
    failure = "account:question:failure"
    before = rig.provider.count_audit(failure)
    people = [rig.person() for _ in range(50)]
    calls = [
        post(person, person.ask_question(username), "form-question", answer=f"Respuesta {number}")
        for number, person in enumerate(people)
    ]
    with two_workers_work(rig.provider):
        screens = Counter(at_once(calls))
    assert rig.provider.count_audit(failure) - before == 3
    # Who answered before the third was told of it may have looked after it: then the page is closed already.
    assert set(screens) <= {"question", "question-closed", BUSY}
    assert screens["question"] <= 2
    assert rig.person().ask_question(username).screen == "question-closed"


@pytest.mark.spec("R-3", "R-4", "D-55")
def test_of_twenty_posts_of_one_link_one_sets_the_password(rig: Rig) -> None:
    account = rig.add()
    rig.person().ask_link(account.username)
    link = rig.link(account)
    passwords = [make_password() for _ in range(20)]
    people = [rig.person() for _ in passwords]
    calls = [
        post(person, person.visit(link), "form-password", new_password=password, new_password_repeat=password)
        for person, password in zip(people, passwords, strict=True)
    ]
    with two_workers_work(rig.provider):
        screens = at_once(calls)
    assert set(screens) <= {"signin", "link-dead", BUSY}
    assert screens.count("signin") == 1
    assert rig.provider.count_audit(RESET, account.username) == 1
    winner = passwords[screens.index("signin")]
    assert rig.person().try_password(account.username, winner).screen == "account"


@pytest.mark.spec("R-4", "R-3")
def test_of_a_link_a_question_and_an_open_form_at_once_one_wins(rig: Rig) -> None:
    account = rig.add()
    rig.person().ask_link(account.username)
    link = rig.link(account)
    calls = []
    for number in range(10):
        person = rig.person()
        if number % 2:
            form = person.visit(link)
        else:
            form = person.send(person.ask_question(account.username), "form-question", answer=account.answer)
        new = make_password()
        calls.append(post(person, form, "form-password", new_password=new, new_password_repeat=new))
    screens = Counter(at_once(calls))
    assert screens["signin"] == 1
    assert screens["link-dead"] + screens[BUSY] == 9
    assert rig.provider.count_audit(RESET, account.username) == 1


@pytest.mark.spec("W-4", "R-4", "P-16")
@pytest.mark.parametrize("section", ["password", "question"])
def test_six_devices_that_change_it_at_once_are_no_fault(rig: Rig, section: str) -> None:
    account, calls = rig.add(), []
    for number in range(6):
        person, new = rig.person(), make_password()
        person.try_password(account.username, account.password)
        more = {"new_password": new, "new_password_repeat": new}
        if section == "question":
            more = {"question": QUESTION, "new_answer": f"Mercedes la {number}"}
        page = person.visit(f"/account/{section}")
        calls.append(post(person, page, f"form-{section}", current_password=account.password, **more))
    screens = Counter(at_once(calls))
    changed = rig.provider.count_audit(f"account:{section}:change", account.username)
    # One after another, each may change the question; a new password leaves nobody else who could.
    assert changed == 1 if section == "password" else 1 <= changed <= 6
    # Whose session ended meanwhile comes to sign in; who typed what is the current password no more is told there.
    assert set(screens) <= {"account", "signin", page.screen, BUSY}
    assert screens["account"] >= changed


@pytest.mark.spec("C-3", "D-44")
def test_one_captcha_answer_twenty_times_is_good_once(rig: Rig) -> None:
    person = rig.person()
    page = person.try_password(rig.username(), make_password())
    typed = person.solve(page)
    accounts: list[Account] = [rig.add() for _ in range(20)]

    def twin() -> Person:
        other = rig.person()
        other.http.cookies.update(person.http.cookies)
        return other

    calls = [
        post(twin(), page, "form-signin", username=account.username, password=make_password(), **typed)
        for account in accounts
    ]
    before = rig.provider.count_audit(FAILURE)
    with two_workers_work(rig.provider):
        screens = Counter(at_once(calls))
    assert rig.provider.count_audit(FAILURE) - before == 1
    assert screens == {"captcha": 20}
    assert sum(rig.provider.count_audit(FAILURE, account.username) for account in accounts) == 1


@pytest.mark.spec("R-9")
def test_sixty_reminders_at_once_send_one_mail(rig: Rig) -> None:
    account = rig.add()
    # No password is hashed here: it takes so many until both workers are seen to have worked.
    people = [rig.person() for _ in range(60)]
    calls = [post(person, person.ask_question(account.username), "form-reminder", "send-reminder") for person in people]
    with two_workers_work(rig.provider):
        assert Counter(at_once(calls)) == {"sent": 60}
    rig.link(account)
    other = rig.add()
    rig.person().ask_link(other.username)
    rig.link(other)
    assert len(rig.catcher.mails_to(account.email)) == 1
