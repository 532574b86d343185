"""The manual's times, on a real server whose clock is moved: day 30, warnings, links, questions, CAPTCHAs."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.clock import MovableClock
from tests.journeys import Page, Person, parameters
from tests.rig import Account, Rig, alert_or_screen, rig_in
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("manual-clock")]

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("clock")
    with rig_in(folder / "provider", clock=MovableClock(folder)) as rig:
        yield rig


@pytest.fixture
def clock(rig: Rig) -> Iterator[MovableClock]:
    assert rig.provider.clock is not None
    rig.provider.clock.move(timedelta(0))
    yield rig.provider.clock
    # Whatever the worker does while the clock goes back, it does at the old hour: a mail that it defers then is due in
    # a month, and that mail may be another test's.
    wait_until(lambda: not rig.provider.query("SELECT id FROM outbox_message WHERE ended_at IS NULL"))
    rig.provider.clock.move(timedelta(0))


def whole_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def hand_over(rig: Rig, account: Account) -> datetime:
    """When the mail server took the one mail with a link for this account, as the next whole second.

    The server's answer comes before the worker has noted it: a clock moved in between would be an outage.
    """
    handed = "SELECT handed_over_at FROM mailed_link JOIN account ON account.id = account_id WHERE username = ?"
    wait_until(lambda: rig.provider.query(handed, account.username)[0][0])
    found = datetime.fromisoformat(rig.provider.query(handed, account.username)[0][0]).replace(tzinfo=UTC)
    return found if not found.microsecond else found.replace(microsecond=0) + SECOND


@pytest.fixture
def aged(rig: Rig) -> Callable[..., tuple[Account, datetime]]:
    """Makes an account with the instant at which its password ends, on this day of its life."""

    def make(*, days: int) -> tuple[Account, datetime]:
        end = whole_second() + timedelta(days=30 - days)
        return rig.add(changed_at=end - timedelta(days=30)), end

    return make


@pytest.mark.spec("PW-6", "M5")
def test_a_password_is_good_for_thirty_days_to_the_second(
    rig: Rig, clock: MovableClock, aged: Callable[..., tuple[Account, datetime]]
) -> None:
    account, end = aged(days=12)
    clock.stop_at(end - SECOND)
    assert rig.person().try_password(account.username, account.password).screen == "account"
    clock.stop_at(end)
    person = rig.person()
    page = person.try_password(account.username, account.password)
    assert page.screen == "expired"
    # It leads to the change form and to nothing else.
    assert person.visit("/account").screen != "account"
    assert rig.provider.count_audit("account:signin:refused-expired", account.username) == 1
    # A wrong one is still no more than wrong.
    assert alert_or_screen(rig.person().try_password(account.username, make_password())) == "captcha alert"
    new = make_password()
    page = person.visit("/password")
    assert person.choose_password(page, account.password).screen == "expired"
    assert person.choose_password(person.visit("/password"), new).screen == "account"
    clock.stop_at(end + timedelta(days=30) - SECOND)
    assert rig.person().try_password(account.username, new).screen == "account"
    clock.stop_at(end + timedelta(days=30))
    assert rig.person().try_password(account.username, new).screen == "expired"


@pytest.mark.spec("PW-6", "T-7", "D-08")
def test_tokens_and_silent_sign_in_end_with_the_password(
    rig: Rig, clock: MovableClock, aged: Callable[..., tuple[Account, datetime]]
) -> None:
    account, end = aged(days=29)
    clock.stop_at(end - 2 * MINUTE)
    person = rig.person()
    first = rig.tokens(person, account)
    silent = rig.request(prompt="none")
    assert parameters(person.open(silent.url).headers["Location"])["code"]
    clock.stop_at(end - SECOND)
    status, tokens = rig.refresh(first)
    assert status == 200, tokens
    clock.stop_at(end)
    status, answer = rig.refresh(tokens)
    assert (status, answer["error"]) == (400, "invalid_grant")
    answer = parameters(person.open(silent.url).headers["Location"])
    assert (answer["error"], answer["state"]) == ("login_required", silent.state)
    assert person.visit("/account").screen != "account"


@pytest.mark.spec("M5", "PW-6")
def test_the_pending_request_survives_the_change(
    rig: Rig, clock: MovableClock, aged: Callable[..., tuple[Account, datetime]]
) -> None:
    account, end = aged(days=30)
    clock.stop_at(end + DAY)
    person, asked = rig.person(), rig.request()
    page = person.try_password(account.username, account.password, person.visit(asked.url))
    assert page.screen == "expired"
    new = make_password()
    answer = person.submit(page, "form-password", new_password=new, new_password_repeat=new)
    callback = parameters(answer.headers["Location"])
    assert (callback["state"], callback["iss"]) == (asked.state, rig.issuer)
    assert callback["code"]


@pytest.mark.spec("M5")
def test_seven_three_and_one_days_before_a_mail_warns_and_the_page_does(
    rig: Rig, clock: MovableClock, aged: Callable[..., tuple[Account, datetime]]
) -> None:
    account, end = aged(days=20)
    warn_at(rig, clock, end - timedelta(days=7) - MINUTE)
    assert "vence en" not in own_words(rig, account)
    for number, days in enumerate((7, 3, 1), 1):
        # A moment before, no new mail has come.
        warn_at(rig, clock, end - timedelta(days=days) - MINUTE)
        assert len(rig.catcher.mails_to(account.email, "vence el")) == number - 1
        warn_at(rig, clock, end - timedelta(days=days) + MINUTE)
        assert ("vence mañana" if days == 1 else f"vence en {days} días") in own_words(rig, account)
        mail = rig.catcher.wait_for(account.email, "vence el", number=number)
        assert account.username not in str(mail.get_body(preferencelist=("plain",)))
    assert len(rig.catcher.mails_to(account.email, "vence el")) == 3


def warn_at(rig: Rig, clock: MovableClock, instant: datetime) -> None:
    """Move the clock there, and do what the worker does every ten minutes."""
    clock.move(instant - datetime.now(UTC))
    rig.provider.doors.expiry_warnings.enqueue_due(instant)


def own_words(rig: Rig, account: Account) -> str:
    page = rig.person().try_password(account.username, account.password)
    assert page.screen == "account"
    return " ".join(page.words.split())


@pytest.mark.spec("R-5", "F-4", "M13")
def test_a_link_lives_thirty_minutes_from_its_hand_over(rig: Rig, clock: MovableClock) -> None:
    account = rig.add()
    rig.catcher.stop()
    assert rig.person().ask_link(account.username).screen == "sent"
    waits = "SELECT error FROM outbox_message WHERE recipient = ?"
    wait_until(lambda: rig.provider.query(waits, account.email)[0][0])
    # Up again first: a try at the new hour that finds it still down would wait for a minute.
    rig.catcher.start()
    clock.move(HOUR)
    link = rig.link(account)
    at = hand_over(rig, account)
    assert at > datetime.now(UTC) + 59 * MINUTE
    clock.stop_at(at + 30 * MINUTE - 2 * SECOND)
    late = rig.person()
    form = late.visit(link)
    assert form.screen == "password"
    clock.stop_at(at + 30 * MINUTE)
    assert rig.person().visit(link).screen == "link-dead"
    # The form that was open in time ends with it.
    assert late.choose_password(form, make_password()).screen == "link-dead"
    clock.stop_at(at + 30 * MINUTE - 2 * SECOND)
    assert rig.person().recover_by_mail(link, make_password()).screen == "signin"


def wait_until(condition: Callable[[], object]) -> None:
    """Ask again until it is so; the worker does its work beside us."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.1)


@pytest.mark.spec("R-9")
def test_after_five_minutes_another_link_is_sent_and_the_first_lives_on(rig: Rig, clock: MovableClock) -> None:
    account = rig.add()
    rig.person().ask_link(account.username)
    first = rig.link(account)
    clock.move(4 * MINUTE)
    rig.person().ask_link(account.username)
    clock.move(6 * MINUTE)
    rig.person().ask_link(account.username)
    second = rig.link(account, number=2)
    assert first != second
    assert len(rig.catcher.mails_to(account.email)) == 2
    for link in (first, second):
        assert rig.person().visit(link).screen == "password"
    assert rig.person().recover_by_mail(first, make_password()).screen == "signin"
    assert rig.person().visit(second).screen == "link-dead"


@pytest.mark.spec("Q-3")
@pytest.mark.parametrize("known", [True, False])
def test_a_closed_question_opens_after_exactly_a_day(rig: Rig, clock: MovableClock, known: bool) -> None:
    account = rig.add()
    username = account.username if known else rig.username()
    closed_at = whole_second()
    clock.stop_at(closed_at)
    person = rig.person()
    page = person.ask_question(username)
    for _ in range(3):
        page = person.send(page, "form-question", answer="Nadie sabe")
    assert page.screen == "question-closed"
    clock.stop_at(closed_at + DAY - SECOND)
    assert rig.person().ask_question(username).screen == "question-closed"
    clock.stop_at(closed_at + DAY)
    later = rig.person()
    page = later.ask_question(username)
    assert page.screen == "question"
    ends_at = later.send(page, "form-question", answer=account.answer).screen
    assert ends_at == ("password" if known else "question")


@pytest.mark.spec("Q-5", "R-1")
def test_a_right_answer_opens_the_form_for_ten_minutes(rig: Rig, clock: MovableClock) -> None:
    account, begun = rig.add(), whole_second()
    clock.stop_at(begun)

    def form() -> tuple[Person, Page]:
        person = rig.person()
        page = person.send(person.ask_question(account.username), "form-question", answer=account.answer)
        assert page.screen == "password"
        return person, page

    late, in_time = form(), form()
    clock.stop_at(begun + 10 * MINUTE)
    assert late[0].choose_password(late[1], make_password()).screen == "link-dead"
    clock.stop_at(begun + 10 * MINUTE - SECOND)
    assert in_time[0].choose_password(in_time[1], make_password()).screen == "signin"


@pytest.mark.spec("D-44", "C-3")
def test_a_captcha_of_six_minutes_ago_is_worth_nothing(rig: Rig, clock: MovableClock) -> None:
    account, begun = rig.add(), whole_second()
    for minutes, screen in ((6, "captcha"), (5, "captcha"), (4, "account")):
        clock.stop_at(begun)
        person = rig.person()
        page = person.try_password(rig.username(), make_password())
        typed = person.solve(page)
        clock.stop_at(begun + minutes * MINUTE)
        after = person.send(page, "form-signin", username=account.username, password=account.password, **typed)
        assert alert_or_screen(after) == screen, minutes
    assert rig.provider.count_audit("account:signin:success", account.username) == 1


@pytest.mark.spec("M14", "R-3")
def test_an_invitation_lives_three_days(rig: Rig, clock: MovableClock) -> None:
    early, late = rig.invite(), rig.invite()
    links = [rig.catcher.link(account.email, "") for account in (early, late)]
    for account in (early, late):
        hand_over(rig, account)
    clock.move(72 * HOUR - MINUTE)
    done = rig.person().activate(links[0], make_password(), "toy", "El trompo rojo")
    assert done.screen in {"signin", "activate"}
    assert rig.provider.query("SELECT state FROM account WHERE username = ?", early.username) == [("active",)]
    clock.move(72 * HOUR + MINUTE)
    dead = rig.person().visit(links[1])
    assert (dead.status, dead.screen) == (410, "link-dead")
    assert "Pida una nueva invitación a soporte" in dead.words
    # Support sends another, which lives.
    rig.provider.idp("account", "invite", late.username)
    assert rig.person().visit(rig.catcher.link(late.email, "", number=2)).screen == "activate"
