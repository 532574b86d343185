"""The CAPTCHA in front of the password: what it keeps from being compared, with challenges as browsers get them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.captcha import Captcha
from idp.accounts.credentials import Credentials
from idp.accounts.errors import AddressThrottled, CaptchaProblem, CaptchaRefused, WrongCredentials
from idp.accounts.models import AttemptCounter
from idp.accounts.sessions import Browser
from idp.accounts.usernames import parse_username
from idp.ephemeral import Ephemeral
from tests.accounts.house import PASSWORD, House

CLIENT = parse_username("EKU9003173C9")


@dataclass
class Door:
    """A browser at the sign-in page of a name that has failed once."""

    house: House
    captcha: Captcha
    credentials: Credentials
    browser: Browser
    now: datetime

    def attempt(
        self, answer: CaptchaAnswer | None, password: str = PASSWORD, now: datetime | None = None
    ) -> CaptchaProblem | str:
        """What this browser is told."""
        attempt = Attempt(self.browser, captcha=answer)
        try:
            self.credentials.check(CLIENT, password, now or self.now, attempt=attempt)
        except CaptchaRefused as refusal:
            return refusal.problem
        except (WrongCredentials, AddressThrottled) as refusal:
            return type(refusal).__name__
        return "in"

    def issue(self, browser: Browser | None = None, now: datetime | None = None) -> CaptchaAnswer:
        """A challenge with its right answer."""
        handle = self.captcha.issue((browser or self.browser).browser, now or self.now)
        return CaptchaAnswer(handle, self.captcha.characters(handle))

    def standing(self) -> tuple[int, tuple[int, int], int]:
        """Comparisons, counter, rows of the audit trail so far: what a refused CAPTCHA moves none of."""
        with self.house.store.read() as connection:
            row = connection.execute(select(AttemptCounter.failures, AttemptCounter.failed)).one()
        return self.house.hasher.compared, (row.failures, row.failed), len(self.house.events())


@pytest.fixture
def door(house: House, now: datetime) -> Door:
    captcha = Captcha(Ephemeral(house.store), b"a key for tests, which answers nothing")
    credentials = Credentials(
        house.store, house.hasher, house.lockout, house.throttle, house.devices, captcha, house.outbox
    )
    house.add(CLIENT.canonical, now)
    _, browser = house.sessions.begin(now)
    with pytest.raises(WrongCredentials):
        credentials.check(CLIENT, "wrong", now, attempt=Attempt(browser))
    return Door(house, captcha, credentials, browser, now)


@pytest.mark.spec("C-3", "C-4", "D-44")
@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_nothing_is_compared_without_a_right_answer_of_this_browser_in_time(door: Door, password: str) -> None:
    before = door.standing()
    _, other = door.house.sessions.begin(door.now)
    old = door.issue(now=door.now - policy.CAPTCHA_LIFETIME)
    told = {
        "none": door.attempt(None, password),
        "wrong": door.attempt(CaptchaAnswer(door.issue().handle, "999999"), password),
        "of another browser": door.attempt(door.issue(other), password),
        "too old": door.attempt(old, password),
        "made up": door.attempt(CaptchaAnswer("A" * 44, "999999"), password),
    }
    assert told == {
        "none": CaptchaProblem.REQUIRED,
        "wrong": CaptchaProblem.WRONG,
        "of another browser": CaptchaProblem.WRONG,
        "too old": CaptchaProblem.EXPIRED,
        "made up": CaptchaProblem.WRONG,
    }
    assert door.standing() == before
    assert door.attempt(door.issue(), password) == ("in" if password == PASSWORD else "WrongCredentials")


@pytest.mark.spec("C-3", "D-44")
def test_a_right_answer_is_good_for_one_comparison(door: Door) -> None:
    answer = door.issue()
    assert door.attempt(answer, "wrong") == "WrongCredentials"
    before = door.standing()
    assert door.attempt(answer, PASSWORD) is CaptchaProblem.EXPIRED
    assert door.standing() == before


@pytest.mark.spec("C-3")
def test_an_answer_is_good_until_its_time_is_over(door: Door) -> None:
    moment = timedelta(microseconds=1)
    assert door.attempt(door.issue(now=door.now - policy.CAPTCHA_LIFETIME + moment), "wrong") == "WrongCredentials"
    assert door.attempt(door.issue(now=door.now - policy.CAPTCHA_LIFETIME), "wrong") is CaptchaProblem.EXPIRED


@pytest.mark.spec("C-6")
def test_who_hears_the_digits_gets_in_like_who_sees_the_characters(door: Door) -> None:
    handle = door.issue().handle
    assert door.attempt(CaptchaAnswer(handle, door.captcha.digits(handle))) == "in"


@pytest.mark.spec("C-4")
def test_too_many_wrong_answers_make_the_browser_wait_and_move_nothing(door: Door) -> None:
    before = door.standing()
    for _ in range(policy.CAPTCHA_WRONG_MAX):
        door.attempt(CaptchaAnswer(door.issue().handle, "999999"))
    assert door.attempt(door.issue()) == "AddressThrottled"
    assert door.standing() == before
    later = door.now + policy.CAPTCHA_WRONG_WAIT
    assert door.attempt(door.issue(now=later), now=later) == "in"
