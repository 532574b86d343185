"""What people do at the recovery pages, as one line each."""

from datetime import datetime, timedelta

from idp.accounts.attempts import Attempt
from idp.accounts.errors import QuestionClosed, WrongAnswer
from idp.accounts.permits import Permit
from idp.accounts.usernames import parse_username
from idp.outbox import Message
from tests.accounts.house import House

NAME = "EKU9003173C9"
NOBODY = "KICR630120NX3"
ANSWER = "mole de olla"
NEW = "Otra-Clara-58"
SECOND = timedelta(seconds=1)
ATTEMPT = Attempt(address="192.0.2.7")


def answer(house: House, username: str, text: str, now: datetime, attempt: Attempt = ATTEMPT) -> str:
    """What the person is told."""
    try:
        permit = house.recovery.answer(parse_username(username), text, attempt=attempt, now=now)
    except WrongAnswer as refusal:
        return f"{refusal.attempts_left} left"
    except QuestionClosed:
        return "closed"
    return "mailed" if permit is None else "in"


def open_by_answer(house: House, now: datetime) -> Permit:
    permit = house.recovery.answer(parse_username(NAME), ANSWER, attempt=ATTEMPT, now=now)
    assert permit is not None
    return permit


def remind(house: House, username: str, now: datetime, attempt: Attempt = ATTEMPT) -> None:
    house.recovery.send_reminder(parse_username(username), attempt=attempt, now=now)


def code_of(house: House, message: Message, now: datetime) -> str:
    address = house.hand_over(message, now)
    assert address is not None
    return address.replace("=", "/").rpartition("/")[2]
