"""Refusals that a person can see, and what to say of each.

Refusal
├── MalformedUsername     not an RFC, CT. or usr.: no attempt, depends on the text alone (S01)
├── WrongCredentials      wrong name or password, whoever it is; `attempts_left` before the lock
├── UsernameLocked        three failures; recovery or an operator ends it
├── PasswordExpired       the right password, 30 days old: leads to the change form only
├── PasswordRefused       a new password breaks a rule; `reason` says which
├── HashingOverloaded     no hash slot came free in time: 503
└── AccountProblem        an operator's request about accounts that cannot be done; the text says why
"""

import enum
from datetime import timedelta


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
    """PW-6: the password is right and too old."""

    def __init__(self, account_id: str) -> None:
        super().__init__("password expired")
        self.account_id = account_id


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


class HashingOverloaded(Refusal):
    """Every hash slot was taken for as long as one may wait (L-10)."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("too many sign-ins at once")
        self.retry_after = retry_after


class AccountProblem(Refusal):
    """An operator asked for something that cannot be done."""
