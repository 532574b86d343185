"""Refusals that a person can see, and what to say of each.

Refusal
├── MalformedUsername     not an RFC, CT. or usr.: no attempt, depends on the text alone (S01)
├── WrongCredentials      wrong name or password, whoever it is; `attempts_left` before the lock
├── UsernameLocked        three failures; recovery or an operator ends it
├── CaptchaRefused        the CAPTCHA is due and was not answered, or wrongly, or too late: nothing was compared
├── AddressThrottled      too many failures from one address, or too many of something: `retry_after`
├── PasswordExpired       the right password, 30 days old: its `permit` opens the change form only
├── PasswordRefused       a new password breaks rules; `broken` says which
├── AnswerRefused         a new secret answer breaks rules; `broken` says which
├── WrongAnswer           to the secret question, whoever it is; `attempts_left` before the path closes
├── QuestionClosed        three wrong answers in 24 h; the mailed link stays open
├── LinkDead              a mailed link that expired, was used, was voided, or never was one
├── PermitGone            "set password" is not open any more
├── HashingOverloaded     no hash slot came free in time: 503
└── AccountProblem        an operator's request about accounts that cannot be done; the text says why
"""

import enum
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idp.accounts.permits import Permit


class Refusal(Exception):
    """Expected, and part of the interface: the web layer turns it into a page, the command line into a line."""


class MalformedUsername(Refusal):
    """What was typed is no username of any kind. Says nothing about who exists."""


class WrongCredentials(Refusal):
    """Unknown name, wrong password, disabled or not activated: one refusal for all (L-9)."""

    def __init__(self, attempts_left: int) -> None:
        super().__init__("wrong username or password")
        self.attempts_left = attempts_left


class UsernameLocked(Refusal):
    """The name, real or not, has had its three failures (L-1, L-3)."""


class PasswordExpired(Refusal):
    """PW-6: the password is right and too old. `permit` is leave to choose a new one, and nothing else."""

    def __init__(self, permit: "Permit") -> None:
        super().__init__("password expired")
        self.permit = permit


class CaptchaProblem(enum.StrEnum):
    """What is wrong with the answer to a CAPTCHA, by the last part of its key in the texts (`captcha.err.…`)."""

    REQUIRED = "required"
    WRONG = "wrong"
    EXPIRED = "expired"


class CaptchaRefused(Refusal):
    """C-4: nothing was compared, nothing counted; the same whoever it is and whatever the password."""

    def __init__(self, problem: CaptchaProblem) -> None:
        super().__init__(f"captcha {problem}")
        self.problem = problem


class AddressThrottled(Refusal):
    """L-7: too much from one address, or from one browser; the same whoever it is."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("too many attempts from this address")
        self.retry_after = retry_after


class PasswordRule(enum.StrEnum):
    """The rules a new password can break, by the last part of their key in the texts (`change.err.…`)."""

    LENGTH = "length"
    TOO_LONG = "too_long"
    UPPER = "upper"
    DIGIT = "digit"
    PUNCT = "punct"
    CONTROL = "control"
    NOT_RFC = "not_rfc"
    NOT_OLD = "not_old"
    COMMON = "common"


class PasswordRefused(Refusal):
    """A new password breaks these rules, in the order in which they are shown."""

    def __init__(self, broken: tuple[PasswordRule, ...]) -> None:
        super().__init__("the password breaks a rule: " + ", ".join(broken))
        self.broken = broken


class AnswerRule(enum.StrEnum):
    """The rules a new secret answer can break (Q-4)."""

    SHORT = "short"
    TOO_LONG = "too_long"
    USERNAME = "username"
    QUESTION = "question"
    COMMON = "common"


class AnswerRefused(Refusal):
    """A new secret answer breaks these rules, in the order in which they are shown."""

    def __init__(self, broken: tuple[AnswerRule, ...]) -> None:
        super().__init__("the secret answer breaks a rule: " + ", ".join(broken))
        self.broken = broken


class WrongAnswer(Refusal):
    """Wrong answer, decoy, disabled or not activated: one refusal for all (Q-2)."""

    def __init__(self, attempts_left: int) -> None:
        super().__init__("wrong answer")
        self.attempts_left = attempts_left


class QuestionClosed(Refusal):
    """The secret question of this name, real or not, has had its three wrong answers (Q-3)."""


class LinkDead(Refusal):
    """A mailed link that is worth nothing (S12): one refusal for all reasons."""


class PermitGone(Refusal):
    """The "set password" page is not open: its time is over, or the password, address or state changed (R-4)."""


class HashingOverloaded(Refusal):
    """Every hash slot was taken for as long as one may wait (L-10)."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("too many sign-ins at once")
        self.retry_after = retry_after


class AccountProblem(Refusal):
    """An operator asked for something that cannot be done."""
