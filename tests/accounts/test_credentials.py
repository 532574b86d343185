"""The one comparison: expiry, rehash, overload, and what changes under it."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import HashingOverloaded, PasswordExpired, WrongCredentials
from idp.accounts.models import Account, AttemptCounter, SignInSession
from idp.accounts.passwords import Hasher
from idp.accounts.permits import Means, Permit
from idp.accounts.usernames import parse_username
from idp.audit import Event
from idp.db import Base, Store
from tests.accounts.house import PASSWORD, RIGHT, House, make_house

ATTEMPT = Attempt(captcha=RIGHT)
CLIENT = parse_username("EKU9003173C9")


def failures(house: House) -> int:
    with house.store.read() as connection:
        return connection.scalar(select(AttemptCounter.failures)) or 0


def test_the_account_is_given(house: House, now: datetime) -> None:
    account_id = house.add("EKU9003173C9", now, name="Escuela Kemper Urgate")
    found = house.credentials.check(CLIENT, PASSWORD, now, attempt=ATTEMPT)
    assert found.account_id == account_id
    assert found.person.name == "Escuela Kemper Urgate"
    assert found.password_changed_at == now


@pytest.mark.spec("PW-6")
def test_a_password_is_good_until_thirty_days_to_the_microsecond(house: House, now: datetime) -> None:
    account_id = house.add("EKU9003173C9", now)
    end = now + timedelta(days=30)
    house.credentials.check(CLIENT, PASSWORD, end - timedelta(microseconds=1), attempt=ATTEMPT)
    with pytest.raises(PasswordExpired) as refusal:
        house.sign_in("EKU9003173C9", PASSWORD, end)
    assert refusal.value.permit == Permit(account_id, "EKU9003173C9", 1, Means.EXPIRED, end + timedelta(minutes=10))
    with house.store.read() as connection:
        assert connection.execute(select(SignInSession)).first() is None
    assert house.events()[-1] == Event.SIGNIN_REFUSED_EXPIRED


@pytest.mark.spec("PW-6")
def test_an_expired_password_is_no_failure_and_forgives_none(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    end = now + timedelta(days=30)
    for _ in range(2):
        with pytest.raises(WrongCredentials):
            house.credentials.check(CLIENT, "wrong", end, attempt=ATTEMPT)
    for _ in range(4):
        with pytest.raises(PasswordExpired):
            house.credentials.check(CLIENT, PASSWORD, end, attempt=ATTEMPT)
    assert failures(house) == 2


@pytest.mark.spec("PW-6")
def test_a_wrong_password_does_not_tell_that_the_right_one_expired(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    with pytest.raises(WrongCredentials):
        house.credentials.check(CLIENT, "wrong", now + timedelta(days=90), attempt=ATTEMPT)


def test_a_hash_of_other_parameters_is_renewed(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)
    hashed = house.hasher.hash(PASSWORD)
    with house.store.write() as tx:
        tx.execute(update(Account).values(password_hash="old$" + hashed))
    house.credentials.check(CLIENT, PASSWORD, now + timedelta(days=1), attempt=ATTEMPT)
    with house.store.read() as connection:
        row = connection.execute(select(Account.password_hash, Account.password_changed_at)).one()
    assert tuple(row) == (hashed, now)  # the password is as old as it was


@pytest.mark.spec("L-10")
def test_an_attempt_that_found_no_slot_counts_nothing(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("EKU9003173C9", now)
    with pytest.raises(WrongCredentials):
        house.credentials.check(CLIENT, "wrong", now, attempt=ATTEMPT)

    def refuse(password: str, hashed: str | None) -> bool:
        raise HashingOverloaded(policy.RETRY_AFTER)

    with monkeypatch.context() as patch:
        patch.setattr(house.hasher, "verify", refuse)
        for _ in range(5):
            with pytest.raises(HashingOverloaded):
                house.credentials.check(CLIENT, PASSWORD, now, attempt=ATTEMPT)
    assert failures(house) == 1
    assert house.credentials.check(CLIENT, PASSWORD, now, attempt=ATTEMPT)


@pytest.mark.spec("L-5")
@pytest.mark.parametrize("change", ["disable", "password"])
def test_what_changes_while_the_password_is_compared_counts(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    house.add("EKU9003173C9", now)
    verify = house.hasher.verify

    def slow(password: str, hashed: str | None) -> bool:
        if change == "disable":
            house.lifecycle.disable("EKU9003173C9", now)
        else:
            with house.store.write() as tx:
                tx.execute(update(Account).values(password_hash=house.hasher.hash("Otra.Nieve8")))
        return verify(password, hashed)

    monkeypatch.setattr(house.hasher, "verify", slow)
    with pytest.raises(WrongCredentials):
        house.sign_in("EKU9003173C9", PASSWORD, now)
    with house.store.read() as connection:
        assert connection.execute(select(SignInSession)).first() is None


@pytest.mark.spec("S-5")
def test_what_joins_the_success_fails_with_it(house: House, now: datetime) -> None:
    house.add("EKU9003173C9", now)

    def break_off(tx: object, found: object) -> None:
        raise RuntimeError("the disk is full")

    before = house.events()
    with pytest.raises(RuntimeError):
        house.credentials.check(CLIENT, PASSWORD, now, attempt=ATTEMPT, on_success=break_off)
    assert house.events() == before
    assert failures(house) == 1  # fails closed: an attempt whose end nobody saw stays counted


@pytest.mark.spec("S-4")
def test_no_table_and_no_file_holds_a_password_an_answer_or_a_cookie(store: Store, now: datetime) -> None:
    house = make_house(store, Hasher(1))
    answer = "la maestra Ofelia"
    house.add("EKU9003173C9", now, question="teacher", answer=answer)
    anonymous, browser = house.sessions.begin(now, data={"csrf": "seed"}, user_agent="Mozilla/5.0")
    with pytest.raises(WrongCredentials):
        house.sign_in("EKU9003173C9", "Equivocada.9", now, browser=browser)
    with pytest.raises(WrongCredentials):
        house.sign_in("KICR630120NX3", "Equivocada.9", now, browser=browser)
    cookie = house.sign_in("EKU9003173C9", PASSWORD, now, browser=browser).cookie
    secrets = (PASSWORD, "Equivocada.9", answer, "maestra ofelia", anonymous, cookie, "KICR630120NX3")
    with store.read() as connection:
        rows = {table: repr(connection.execute(text(f"SELECT * FROM {table}")).all()) for table in Base.metadata.tables}
    assert "EKU9003173C9" in rows["account"]
    assert [(table, secret) for table, row in rows.items() for secret in secrets if secret in row] == []
    database = store.engine.url.database
    assert database is not None
    for path in (database, database + "-wal"):
        with open(path, "rb") as file:
            content = file.read()
        assert [secret for secret in secrets if secret.encode() in content] == []
