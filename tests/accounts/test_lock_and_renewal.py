"""What a new password does to a lock: recovery lifts it, and no other way to a password does (L-5, L-8)."""

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import PasswordExpired, UsernameLocked, WrongCredentials
from idp.accounts.models import Account
from idp.accounts.permits import Means, Permit
from idp.accounts.usernames import parse_username
from idp.audit import Event
from tests.accounts.house import PASSWORD, RIGHT, House

NAME = "EKU9003173C9"
NEW = "Granizo.Fino8"


def fail(house: House, now: datetime, times: int = policy.LOCKOUT_ATTEMPTS, device: str | None = None) -> None:
    """So many wrong passwords, from a browser that nobody knows unless told."""
    for _ in range(times):
        with pytest.raises((WrongCredentials, UsernameLocked)):
            house.sign_in(NAME, "wrong", now, device=device)


def close_question(house: House, now: datetime) -> str:
    """Three wrong answers; the name of their counter."""
    key = house.question_lockout.key_of(parse_username(NAME))
    with house.store.write() as tx:
        for _ in range(policy.QUESTION_ATTEMPTS):
            house.question_lockout.fail(tx, key, now)
    return key


def is_locked(house: House, now: datetime) -> bool:
    return house.lockout.is_locked(house.lockout.key_of(parse_username(NAME)), now)


def is_verified(house: House) -> bool:
    with house.store.read() as connection:
        return bool(connection.scalar(select(Account.email_verified).where(Account.username == NAME)))


def leave(house: House, now: datetime, means: Means) -> Permit:
    with house.store.read() as connection:
        account_id, epoch = connection.execute(select(Account.id, Account.epoch).where(Account.username == NAME)).one()
    return Permit(account_id, NAME, epoch, means, now + policy.PERMIT_LIFETIME)


@pytest.fixture
def expired(house: House, now: datetime) -> Callable[[str | None], Permit]:
    """An account whose password has ended; the leave that typing it gives to the browser with this cookie."""
    house.add(NAME, now - policy.PASSWORD_LIFETIME)

    def get(device: str | None = None) -> Permit:
        with pytest.raises(PasswordExpired) as refusal:
            house.sign_in(NAME, PASSWORD, now, device=device)
        return refusal.value.permit

    return get


@pytest.mark.spec("L-5", "L-8")
@pytest.mark.parametrize("failures", [2, 3])
def test_a_name_that_was_locked_meanwhile_renews_nothing(
    house: House, now: datetime, expired: Callable[..., Permit], failures: int
) -> None:
    permit = expired()
    fail(house, now, failures)
    if failures < policy.LOCKOUT_ATTEMPTS:
        house.signin.renew(permit, NEW, attempt=Attempt(), now=now)
        # A success like any other: what had failed is forgotten.
        house.sign_in(NAME, NEW, now, captcha=None)
        return
    with pytest.raises(UsernameLocked):
        house.signin.renew(permit, NEW, attempt=Attempt(), now=now)
    assert is_locked(house, now)
    assert house.events()[-1] == Event.SIGNIN_REFUSED_LOCKED
    assert Event.PASSWORD_CHANGE not in house.events()
    assert house.changed == []
    # Nothing was changed: once an operator has ended the lock, the same leave is good.
    house.lifecycle.unlock(NAME, now)
    house.signin.renew(permit, NEW, attempt=Attempt(), now=now)


@pytest.mark.spec("L-5", "L-2")
def test_a_lock_that_attempts_of_dead_processes_left_counts_too(
    house: House, now: datetime, expired: Callable[..., Permit]
) -> None:
    permit = expired()
    key = house.lockout.key_of(parse_username(NAME))
    for _ in range(policy.LOCKOUT_ATTEMPTS):
        house.lockout.count_attempt(key, now - policy.ATTEMPT_PENDING_MAX, answered=True)
    with pytest.raises(UsernameLocked):
        house.signin.renew(permit, NEW, attempt=Attempt(), now=now)


@pytest.mark.spec("L-2")
def test_renewing_takes_no_slot_from_who_is_being_compared(
    house: House, now: datetime, expired: Callable[..., Permit]
) -> None:
    permit = expired()
    fail(house, now, 1)
    key = house.lockout.key_of(parse_username(NAME))
    house.lockout.count_attempt(key, now, answered=True)
    house.signin.renew(permit, NEW, attempt=Attempt(), now=now)
    fail(house, now, 2)
    with house.store.write() as tx:
        assert house.lockout.fail(tx, key, now).locks


@pytest.mark.spec("L-6", "L-8")
def test_a_browser_that_is_known_renews_and_the_lock_of_strangers_stays(
    house: House, now: datetime, expired: Callable[..., Permit]
) -> None:
    device = house.sign_in(NAME, PASSWORD, now - policy.SESSION_IDLE_WARNING).device
    key = close_question(house, now)
    fail(house, now)
    known = house.signin.renew(expired(device), NEW, attempt=Attempt(device=device), now=now)
    assert is_locked(house, now)
    assert house.question_lockout.is_locked(key, now)
    assert Event.ACCOUNT_UNLOCK not in house.events()
    with pytest.raises(UsernameLocked):
        house.sign_in(NAME, NEW, now)
    house.sign_in(NAME, NEW, now, device=known.device)


@pytest.mark.spec("L-6", "L-5")
def test_a_known_browser_with_a_lock_of_its_own_renews_nothing(
    house: House, now: datetime, expired: Callable[..., Permit]
) -> None:
    device = house.sign_in(NAME, PASSWORD, now - policy.SESSION_IDLE_WARNING).device
    permit = expired(device)
    fail(house, now, device=device)
    with pytest.raises(UsernameLocked):
        house.signin.renew(permit, NEW, attempt=Attempt(device=device), now=now)
    assert house.signin.renew(permit, NEW, attempt=Attempt(), now=now)


@pytest.mark.spec("L-8")
def test_the_owner_who_is_signed_in_changes_the_password_and_the_lock_stays(house: House, now: datetime) -> None:
    account_id = house.add(NAME, now)
    signed_in = house.sign_in(NAME, PASSWORD, now)
    key = close_question(house, now)
    fail(house, now)
    attempt = Attempt(house.sessions.find(signed_in.cookie, now), captcha=RIGHT, device=signed_in.device)
    changed = house.own_account.change_password(account_id, PASSWORD, NEW, attempt=attempt, now=now)
    assert is_locked(house, now)
    assert house.question_lockout.is_locked(key, now)
    assert Event.ACCOUNT_UNLOCK not in house.events()
    with pytest.raises(UsernameLocked):
        house.sign_in(NAME, NEW, now)
    house.sign_in(NAME, NEW, now, device=changed.device)


@pytest.mark.spec("L-8", "Q-3")
@pytest.mark.parametrize("means", [Means.QUESTION, Means.LINK])
def test_recovery_lifts_the_lock_and_only_the_mailed_link_proves_the_mailbox(
    house: House, now: datetime, means: Means
) -> None:
    house.add(NAME, now)
    key = close_question(house, now)
    fail(house, now)
    assert not is_verified(house)
    house.recovery.set_password(leave(house, now, means), NEW, now=now)
    assert not is_locked(house, now)
    assert not house.question_lockout.is_locked(key, now)
    house.sign_in(NAME, NEW, now, captcha=None)
    assert is_verified(house) is (means is Means.LINK)
