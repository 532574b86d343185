"""Failures of one address, over all names (L-7)."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from idp import policy
from idp.accounts.errors import AddressThrottled, CaptchaRefused, PasswordExpired, UsernameLocked, WrongCredentials
from idp.accounts.throttle import AddressThrottle
from idp.db import Store
from idp.ephemeral import Ephemeral
from tests.accounts.house import PASSWORD, House

MOST = policy.ADDRESS_FAILURES_MAX
WINDOW = policy.ADDRESS_WINDOW
HOME = "203.0.113.7"
OWNER = "EKU9003173C9"


@pytest.fixture
def throttle(store: Store) -> AddressThrottle:
    return AddressThrottle(Ephemeral(store))


def count(throttle: AddressThrottle, address: str | None, now: datetime, times: int) -> int:
    """How many of so many attempts were let through."""
    for done in range(times):
        try:
            throttle.check_and_count(address, now)
        except AddressThrottled:
            return done
    return times


@pytest.mark.spec("L-7")
def test_the_window_is_an_hour_from_the_first_and_says_when_it_ends(throttle: AddressThrottle, now: datetime) -> None:
    assert count(throttle, HOME, now, MOST) == MOST
    later = now + timedelta(minutes=20, microseconds=1)
    for refused in (throttle.check, throttle.check_and_count):
        with pytest.raises(AddressThrottled) as refusal:
            refused(HOME, later)
        assert refusal.value.retry_after == timedelta(minutes=40)
    assert count(throttle, "203.0.113.8", later, 1) == 1
    throttle.check(HOME, now + WINDOW)
    assert count(throttle, HOME, now + WINDOW, MOST + 1) == MOST


@pytest.mark.spec("L-7")
@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("somewhere", "somewhere", True),
        ("somewhere", "elsewhere", False),
    ],
)
def test_what_counts_as_one_address(
    throttle: AddressThrottle, now: datetime, first: str, second: str, is_one: bool
) -> None:
    assert count(throttle, first, now, MOST) == MOST
    assert count(throttle, second, now, 1) == (0 if is_one else 1)


@pytest.mark.parametrize("address", [None, ""])
def test_no_address_is_never_throttled(throttle: AddressThrottle, now: datetime, address: str | None) -> None:
    assert count(throttle, address, now, MOST + 2) == MOST + 2
    throttle.check(address, now)
    throttle.give_back(address, now)


def test_what_is_refused_is_not_counted(throttle: AddressThrottle, now: datetime) -> None:
    count(throttle, HOME, now, MOST)
    for _ in range(5):
        assert count(throttle, HOME, now, 1) == 0
    throttle.give_back(HOME, now)
    assert count(throttle, HOME, now, 2) == 1


def test_giving_back_opens_no_window(throttle: AddressThrottle, store: Store, now: datetime) -> None:
    throttle.give_back(HOME, now)
    assert Ephemeral(store).hits("address_failures", HOME, now=now) is None
    count(throttle, HOME, now, 1)
    for _ in range(3):
        throttle.give_back(HOME, now)
    assert count(throttle, HOME, now, MOST + 1) == MOST


@pytest.mark.spec("L-7")
def test_reminders_have_a_window_of_their_own(throttle: AddressThrottle, now: datetime) -> None:
    for _ in range(policy.ADDRESS_REMINDERS_MAX):
        throttle.count_reminder(HOME, now)
    with pytest.raises(AddressThrottled):
        throttle.count_reminder(HOME, now)
    assert count(throttle, HOME, now, 1) == 1


# -- through the door ------------------------------------------------------------------------------------------------


def left(house: House, now: datetime) -> int:
    """How many failures the address has left."""
    hits = Ephemeral(house.store).hits("address_failures", HOME, now=now)
    return MOST - (0 if hits is None else hits.count)


@pytest.fixture
def tired(house: House, now: datetime) -> Callable[[int], None]:
    """Failures of the address, as many as leave so many."""

    def use_up(but: int) -> None:
        for _ in range(MOST - but):
            house.throttle.check_and_count(HOME, now)

    return use_up


@pytest.mark.spec("L-7")
def test_a_success_refills_nothing(house: House, now: datetime, tired: Callable[[int], None]) -> None:
    house.add(OWNER, now)
    tired(1)
    for _ in range(3):
        house.sign_in(OWNER, PASSWORD, now, address=HOME)
    assert left(house, now) == 1
    with pytest.raises(WrongCredentials):
        house.sign_in("AAA010101AAA", "a", now, address=HOME)
    with pytest.raises(AddressThrottled):
        house.sign_in(OWNER, PASSWORD, now, address=HOME)
    assert house.sign_in(OWNER, PASSWORD, now, address="203.0.113.8")


@pytest.mark.spec("L-7")
def test_spraying_names_ends_at_the_limit(house: House, now: datetime, tired: Callable[[int], None]) -> None:
    tired(5)
    names = [f"AAA01010{n}AAA" for n in range(1, 10)]
    compared = house.hasher.compared
    refused = 0
    for name in names:
        try:
            house.sign_in(name, "a", now, address=HOME)
        except WrongCredentials:
            continue
        except AddressThrottled:
            refused += 1
    assert (house.hasher.compared - compared, refused) == (5, 4)


@pytest.mark.spec("L-7")
def test_only_a_comparison_that_failed_stays_counted(house: House, now: datetime) -> None:
    house.add(OWNER, now)
    for wrong in "abc":
        with pytest.raises((WrongCredentials, UsernameLocked)):
            house.sign_in(OWNER, wrong, now, address=HOME)
    assert left(house, now) == MOST - 3
    with pytest.raises(UsernameLocked):
        house.sign_in(OWNER, "d", now, address=HOME)  # with a CAPTCHA answered; without one, see below
    with pytest.raises(CaptchaRefused):
        house.sign_in(OWNER, "d", now, address=HOME, captcha=None, captcha_due=True)
    house.add("usr.XIA190128J61", now - policy.PASSWORD_LIFETIME)
    with pytest.raises(PasswordExpired):
        house.sign_in("usr.XIA190128J61", PASSWORD, now, address=HOME)
    assert left(house, now) == MOST - 3


@pytest.mark.spec("L-7", "L-9")
def test_a_locked_name_is_no_way_to_make_us_hash_for_nothing(
    house: House, now: datetime, tired: Callable[[int], None]
) -> None:
    """A locked refusal takes as long as a comparison (L-9), also where no CAPTCHA was answered: the address pays."""
    for wrong in "abc":
        with pytest.raises((WrongCredentials, UsernameLocked)):
            house.sign_in(OWNER, wrong, now)
    tired(5)
    told = []
    for _ in range(8):
        try:
            house.sign_in(OWNER, "d", now, address=HOME, captcha=None)
        except (UsernameLocked, AddressThrottled) as refusal:
            told.append(type(refusal))
    assert told == [UsernameLocked] * 5 + [AddressThrottled] * 3
    assert house.hasher.pretended == 5


@pytest.mark.spec("L-7", "C-4")
def test_who_is_throttled_spends_no_captcha_and_no_attempt(
    house: House, now: datetime, tired: Callable[[int], None]
) -> None:
    house.add(OWNER, now)
    tired(0)
    with pytest.raises(AddressThrottled):
        house.sign_in(OWNER, "a", now, address=HOME, captcha_due=True)
    assert house.captcha.asked == []
    assert house.hasher.compared == 0
    with pytest.raises(WrongCredentials) as refusal:
        house.sign_in(OWNER, "a", now)
    assert refusal.value.attempts_left == 2
