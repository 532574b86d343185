"""Two tabs of one browser: each form acts for the person whose page it is, or for nobody. All without JavaScript."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from idp.policy import OPEN_FORMS_MAX, PASSWORD_LIFETIME
from tests.journeys import Page, Person
from tests.rig import QUESTION, Account, Rig
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks")]

ANSWER = "Trompo de madera"


def _by_question(_rig: Rig, person: Person, account: Account) -> Page:
    return person.send(person.ask_question(account.username), "form-question", answer=account.answer)


def _by_link(rig: Rig, person: Person, account: Account) -> Page:
    rig.person().ask_link(account.username)
    return person.visit(rig.link(account))


def _by_expired_password(_rig: Rig, person: Person, account: Account) -> Page:
    return person.try_password(account.username, account.password, person.visit("/login?other=1"))


FORGOTTEN = {"question": _by_question, "link": _by_link}
WAYS: dict[str, Callable[[Rig, Person, Account], Page]] = {**FORGOTTEN, "expired": _by_expired_password}


def add(rig: Rig, way: str) -> Account:
    ended = datetime.now(UTC) - PASSWORD_LIFETIME - timedelta(hours=1)
    return rig.add(changed_at=ended) if way == "expired" else rig.add()


def is_of(page: Page, account: Account) -> bool:
    return page.forms["form-password"].values["username"] == account.username


def _hash(rig: Rig, account: Account) -> str:
    return str(rig.provider.query("SELECT password_hash FROM account WHERE username = ?", account.username)[0][0])


def changed(rig: Rig, account: Account, before: str | None) -> bool:
    return _hash(rig, account) != before


@pytest.mark.spec("R-1", "R-2", "D-57")
@pytest.mark.parametrize("older", WAYS)
@pytest.mark.parametrize("newer", WAYS)
def test_the_older_tab_changes_the_password_of_whom_it_shows(rig: Rig, older: str, newer: str) -> None:
    person, first, second = rig.person(), add(rig, older), add(rig, newer)
    first_page = WAYS[older](rig, person, first)
    second_page = WAYS[newer](rig, person, second)
    assert (is_of(first_page, first), is_of(second_page, second)) == (True, True)
    hashes = [_hash(rig, each) for each in (first, second)]
    person.choose_password(first_page, make_password())
    assert [changed(rig, *each) for each in zip((first, second), hashes, strict=True)] == [True, False]
    # The newer one is still its own: it goes through, or where the first has signed in, it is refused.
    person.choose_password(second_page, make_password())
    assert changed(rig, second, hashes[1]) == (older != "expired")


@pytest.mark.spec("R-1", "R-2", "D-57")
@pytest.mark.parametrize("way", WAYS)
def test_the_newer_tab_first_leaves_the_older_one_its_own(rig: Rig, way: str) -> None:
    person, first, second = rig.person(), add(rig, way), add(rig, way)
    pages = [WAYS[way](rig, person, each) for each in (first, second)]
    hashes = [_hash(rig, each) for each in (first, second)]
    person.choose_password(pages[1], make_password())
    after = _hash(rig, second)
    assert [changed(rig, *each) for each in zip((first, second), hashes, strict=True)] == [False, True]
    person.choose_password(pages[0], make_password())
    assert changed(rig, first, hashes[0]) == (way != "expired")
    assert _hash(rig, second) == after
    if way == "expired":
        # The second tab signed in, and the browser is still theirs.
        assert second.username in person.visit("/account").source


@pytest.mark.spec("R-2", "D-57")
@pytest.mark.parametrize("way", WAYS)
def test_one_tab_alone_works_and_a_used_form_is_over(rig: Rig, way: str) -> None:
    person, account = rig.person(), add(rig, way)
    page, before = WAYS[way](rig, person, account), _hash(rig, account)
    # Opened once more in the same tab: the older page is the same person's.
    again = WAYS[way](rig, person, account) if way == "question" else page
    person.choose_password(page, make_password())
    assert changed(rig, account, before)
    after = _hash(rig, account)
    person.choose_password(again, make_password())
    assert not changed(rig, account, after)


@pytest.mark.spec("R-1", "R-2", "D-57")
@pytest.mark.parametrize("way", WAYS)
def test_a_form_sent_from_another_browser_or_without_its_handle_sets_nothing(rig: Rig, way: str) -> None:
    person, other, account, victim = rig.person(), rig.person(), add(rig, way), add(rig, way)
    page, theirs = WAYS[way](rig, person, account), WAYS[way](rig, other, victim)
    before, handle = _hash(rig, victim), page.forms["form-password"].values["permit_handle"]
    for name in (handle, "", "A" * 22):
        answer = other.choose_password(theirs, make_password(), permit_handle=name)
        assert answer.screen in {"link-dead", "signin", "captcha", "recover"}
    assert not changed(rig, victim, before)
    assert other.choose_password(theirs, make_password()).screen in {"signin", "account"}
    assert changed(rig, victim, before)


@pytest.mark.spec("R-1", "D-57")
def test_of_more_tabs_than_a_browser_may_have_open_the_oldest_is_refused(rig: Rig) -> None:
    person, account = rig.person(), rig.add()
    rig.person().ask_link(account.username)
    link, before = rig.link(account), _hash(rig, account)
    pages = [person.visit(link) for _ in range(OPEN_FORMS_MAX + 1)]
    dead = person.choose_password(pages[0], make_password())
    assert (dead.status, dead.screen, changed(rig, account, before)) == (410, "link-dead", False)
    assert person.choose_password(pages[1], make_password()).screen == "signin"
    assert changed(rig, account, before)


# -- recovery in progress --------------------------------------------------------------------------------------------


@pytest.mark.spec("R-2", "Q-3", "D-57")
@pytest.mark.parametrize("turn", [1, -1])
def test_an_answer_is_compared_with_that_of_whom_the_page_shows(rig: Rig, turn: int) -> None:
    person, accounts = rig.person(), [rig.add(answer="Alacrán dorado"), rig.add(answer="Ballena jorobada")]
    tabs = [(account, person.ask_question(account.username)) for account in accounts]
    for account, page in tabs[::turn]:
        form = person.send(page, "form-question", answer=account.answer)
        assert form.screen == "password"
        assert is_of(form, account)
    # A wrong answer is one of whom the page shows, and its next page is theirs.
    person, (first, second) = rig.person(), accounts
    page = person.ask_question(first.username)
    person.ask_question(second.username)
    for _ in range(3):
        page = person.send(page, "form-question", answer="Nadie sabe")
    assert page.screen == "question-closed"
    assert first.username in page.source
    assert rig.person().ask_question(first.username).screen == "question-closed"
    assert rig.person().ask_question(second.username).screen == "question"


@pytest.mark.spec("M12", "D-57")
def test_the_reminder_goes_to_whom_the_page_shows(rig: Rig) -> None:
    person, first, second = rig.person(), rig.add(), rig.add()
    page = person.ask_question(first.username)
    person.ask_question(second.username)
    assert person.send(page, "form-reminder", "send-reminder").screen == "sent"
    assert is_of(person.visit(rig.link(first)), first)
    assert rig.catcher.mails_to(second.email) == []


@pytest.mark.spec("R-2", "D-57")
@pytest.mark.parametrize("form", ["form-question", "form-reminder"])
def test_a_form_for_whom_this_browser_began_no_recovery_leads_back(rig: Rig, form: str) -> None:
    person, account, other = rig.person(), rig.add(), rig.add()
    page = person.ask_question(account.username)
    button = "send-reminder" if form == "form-reminder" else "submit"
    typed = {"username": other.username, "answer": other.answer}
    back = person.send(page, form, button, **typed)
    assert back.screen == "recover"
    assert "Esa recuperación ya no está abierta en este navegador." in back.words
    assert rig.provider.count_audit("account:question:success", other.username) == 0
    assert person.send(page, form, button, answer=account.answer).screen in {"password", "sent"}


# -- invitations -----------------------------------------------------------------------------------------------------


def invited(rig: Rig, person: Person) -> tuple[Account, Page]:
    account = rig.invite()
    return account, person.visit(rig.catcher.link(account.email, ""))


@pytest.mark.spec("R-1", "R-2", "M14", "D-57")
@pytest.mark.parametrize("turn", [1, -1])
def test_two_activations_step_by_step_each_end_as_they_began(rig: Rig, turn: int) -> None:
    person = rig.person()
    tabs = [(*invited(rig, person), make_password()) for _ in range(2)]
    seconds = []
    for account, page, password in tabs:
        second = person.send(page, "form-activate", new_password=password, new_password_repeat=password)
        assert "question" in second.ids
        assert account.username in second.source
        seconds.append(second)
    for (account, _, password), second in list(zip(tabs, seconds, strict=True))[::turn]:
        end = person.send(second, "form-activate", question=QUESTION, new_answer=ANSWER)
        assert end.screen == "signin"
        assert rig.person().try_password(account.username, password).screen == "account"


@pytest.mark.spec("R-1", "R-2", "D-57")
def test_the_password_chosen_in_one_tab_activates_nobody_in_another(rig: Rig) -> None:
    person = rig.person()
    (first, page), (second, other), password = invited(rig, person), invited(rig, person), make_password()
    person.send(page, "form-activate", new_password=password, new_password_repeat=password)
    # The second step's fields with the handle of the tab that has not taken the first.
    answer = person.send(other, "form-activate", question=QUESTION, new_answer=ANSWER)
    assert (answer.status, "new_password" in answer.ids) == (400, True)
    for account in (first, second):
        assert rig.provider.query("SELECT state FROM account WHERE username = ?", account.username) == [("invited",)]


# -- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.spec("W-3", "R-1")
def test_signing_out_closes_what_sets_a_password_though_nobody_is_signed_in(rig: Rig) -> None:
    person, account = rig.person(), rig.add()
    quiet = person.visit("/logout")
    assert quiet.screen == "signed-out"
    assert "Cerró su sesión." not in quiet.words
    form, before = _by_question(rig, person, account), _hash(rig, account)
    page = person.visit("/logout")
    assert page.screen == "signout-confirm"
    assert person.send(page, "form-signout").screen == "signed-out"
    assert person.visit("/recover/password").screen == "recover"
    assert person.choose_password(form, make_password()).screen == "link-dead"
    assert not changed(rig, account, before)
