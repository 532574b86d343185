"""The doors behind the pages, kept in memory: as strict as the true ones where a page depends on it, and no more."""

import copy
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from idp.accounts.attempts import Attempt, CaptchaAnswer
from idp.accounts.credentials import Person
from idp.accounts.errors import (
    AnswerRefused,
    AnswerRule,
    CaptchaProblem,
    CaptchaRefused,
    LinkDead,
    PasswordExpired,
    PasswordRefused,
    PasswordRule,
    PermitGone,
    QuestionClosed,
    UsernameLocked,
    WrongAnswer,
    WrongCredentials,
)
from idp.accounts.models import Kind
from idp.accounts.permits import Means, Permit
from idp.accounts.sessions import Browser
from idp.accounts.usernames import Username, parse_username
from idp.policy import LOCKOUT_ATTEMPTS, PASSWORD_LIFETIME, PERMIT_LIFETIME
from idp.protocol.authorize import Interaction
from idp.protocol.subjects import Authentication
from idp.settings import Settings

SECRET = "0123456789abcdef0123456789abcdef-tests"
PASSWORD = "Sello.Digital.2026"
KNOWN = "EKU9003173C9"
UNKNOWN = "XIA190128J61"
EXPIRED = "CT.KICR630120NX3"
INVITED = "usr.XIA190128J61"
NEW_PASSWORD = "Otra.Clave.2027"
OLD_PASSWORD = "Vieja.Clave.2025"
QUESTION, ANSWER = "concert", "Caifanes"


class Sessions:
    """Rows by cookie. Counts what it is asked."""

    def __init__(self) -> None:
        self.rows: dict[str, Browser] = {}
        self.looks = 0
        self.writes = 0
        self.begun = 0

    def _name(self) -> str:
        self.begun += 1
        return f"{self.begun:043d}"

    def find(self, cookie: str, now: datetime) -> Browser | None:
        self.looks += 1
        row = self.rows.get(cookie)
        if row is not None and row.ended_idle:
            self.rows[cookie] = replace(row, ended_idle=False)
        return copy.deepcopy(row)

    def begin(
        self,
        now: datetime,
        *,
        data: dict[str, Any],
        address: str | None,
        user_agent: str | None,
        after: Browser | None = None,
    ) -> tuple[str, Browser]:
        self.writes += 1
        cookie = self._name()
        name = "browser-" + cookie if after is None else after.browser
        self.rows[cookie] = Browser(cookie, name, copy.deepcopy(data))
        return cookie, copy.deepcopy(self.rows[cookie])

    def idle_out(self, cookie: str) -> None:
        """The next look finds that the person was away for too long."""
        self.rows[cookie] = replace(self.rows[cookie], account_id=None, ended_idle=True)

    def save(self, browser: Browser, data: dict[str, Any]) -> None:
        self.writes += 1
        self.rows[browser.digest] = replace(self.rows[browser.digest], data=copy.deepcopy(data))

    def sign_in(self, browser: Browser | None, account_id: str, now: datetime) -> str:
        cookie = self._name()
        name = browser.browser if browser else "browser-" + cookie
        if browser:
            del self.rows[browser.digest]
        self.rows[cookie] = Browser(cookie, name, {}, account_id, "sid", now, ("pwd",), "1")
        return cookie


class SignedIn(NamedTuple):
    """What a sign-in gives."""

    cookie: str
    person: Person
    device: str | None


class Captcha:
    """Challenges whose answer is the end of their handle in capitals; each good for one browser, once."""

    def __init__(self) -> None:
        self.open: dict[str, str] = {}
        self.issued = 0
        self.failure: Exception | None = None

    def issue(self, browser: str, now: datetime, *, address: str | None = None) -> str:
        if self.failure is not None:
            raise self.failure
        self.issued += 1
        handle = f"challenge-{self.issued:05d}"
        self.open[handle] = browser
        return handle

    def is_open(self, browser: str, handle: str, now: datetime) -> bool:
        return self.open.get(handle) == browser

    def characters(self, handle: str) -> str:
        return sha256(handle.encode()).hexdigest()[:5].upper()

    def take(self, browser: str | None, answer: CaptchaAnswer | None, now: datetime) -> None:
        if answer is None:
            raise CaptchaRefused(CaptchaProblem.REQUIRED)
        if self.open.get(answer.handle) != browser:
            raise CaptchaRefused(CaptchaProblem.WRONG)
        del self.open[answer.handle]
        if answer.text.upper() != self.characters(answer.handle):
            raise CaptchaRefused(CaptchaProblem.WRONG)


class SignIn:
    """A few people, one password, three attempts for each name; a CAPTCHA from the first failure on."""

    def __init__(self, sessions: Sessions, captcha_door: Captcha, passwords: "Passwords") -> None:
        self._sessions = sessions
        self._captcha = captcha_door
        self._passwords = passwords
        self.attempts: dict[str, int] = {}
        self.people = {
            "id-1": Person("id-1", KNOWN, Kind.CLIENT, "Escuela Kemper Urgate", "es-MX"),
            "id-2": Person("id-2", EXPIRED, Kind.EMPLOYEE, "Rosa Quiroz", "es-MX"),
        }
        self.failure: Exception | None = None
        self.seen: list[Attempt] = []
        self.everywhere: list[bool] = []

    def sign_in(self, typed: str, password: str, *, attempt: Attempt, now: datetime) -> SignedIn:
        self.seen.append(attempt)
        if self.failure is not None:
            raise self.failure
        name = parse_username(typed).canonical
        if attempt.captcha_due or self.attempts.get(name, 0):
            self._captcha.take(attempt.browser.browser if attempt.browser else None, attempt.captcha, now)
        if self.attempts.get(name, 0) >= LOCKOUT_ATTEMPTS:
            raise UsernameLocked
        self.attempts[name] = self.attempts.get(name, 0) + 1
        if password == PASSWORD and name == EXPIRED:
            del self.attempts[name]
            raise PasswordExpired(self._passwords.permit("id-2", EXPIRED, Means.EXPIRED, now))
        if password != PASSWORD or name != KNOWN:
            if self.attempts[name] >= LOCKOUT_ATTEMPTS:
                raise UsernameLocked
            raise WrongCredentials(LOCKOUT_ATTEMPTS - self.attempts[name])
        del self.attempts[name]
        return self._start("id-1", attempt, now)

    def renew(self, permit: Permit, new_password: str, *, attempt: Attempt, now: datetime) -> SignedIn:
        if self.failure is not None:
            raise self.failure
        self._passwords.set(permit, new_password, now)
        return self._start(permit.account_id, attempt, now)

    def _start(self, account_id: str, attempt: Attempt, now: datetime) -> SignedIn:
        cookie = self._sessions.sign_in(attempt.browser, account_id, now)
        return SignedIn(cookie, self.people[account_id], None if attempt.device else "device-of-" + account_id)

    def sign_out(self, browser: Browser, now: datetime, *, everywhere: bool = False) -> None:
        self.everywhere.append(everywhere)
        self._sessions.rows.pop(browser.digest, None)

    def find_person(self, account_id: str) -> Person | None:
        return self.people.get(account_id)


class Passwords:
    """Who may set a password, judged as the accounts judge it: one success for each epoch."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.epochs: dict[str, int] = {}
        self.set_by: list[tuple[str, str]] = []

    def permit(self, account_id: str, username: str, means: Means, now: datetime) -> Permit:
        return Permit(account_id, username, self.epochs.get(account_id, 1), means, now + PERMIT_LIFETIME)

    def check(self, permit: Permit, now: datetime) -> None:
        if permit.is_over(now) or permit.epoch != self.epochs.get(permit.account_id, 1):
            raise PermitGone

    def judge(self, new_password: str) -> None:
        broken = [
            rule
            for rule, is_broken in (
                (PasswordRule.LENGTH, len(new_password) < 8),
                (PasswordRule.UPPER, not re.search(r"[A-Z]", new_password)),
                (PasswordRule.DIGIT, not re.search(r"[0-9]", new_password)),
                (PasswordRule.NOT_OLD, new_password == OLD_PASSWORD),
            )
            if is_broken
        ]
        if broken:
            raise PasswordRefused(tuple(broken))

    def set(self, permit: Permit, new_password: str, now: datetime) -> datetime:
        self.check(permit, now)
        self.judge(new_password)
        self.epochs[permit.account_id] = permit.epoch + 1
        self.set_by.append((permit.username, permit.means.value))
        for cookie, row in list(self._sessions.rows.items()):
            if row.account_id == permit.account_id:
                del self._sessions.rows[cookie]
        return now + PASSWORD_LIFETIME


def judge_answer(answer: str | None) -> None:
    """The one rule of the fakes: too short."""
    if answer is not None and len(answer) < 4:
        raise AnswerRefused((AnswerRule.SHORT,))


class Recovery:
    """The question of whoever, three answers; links by their code."""

    def __init__(self, passwords: Passwords, mode: str) -> None:
        self._passwords = passwords
        self.mode = mode
        self.wrong: dict[str, int] = {}
        self.reminders: list[str] = []
        self.links = {"good-code": ("id-1", KNOWN, Means.LINK), "invite-code": ("id-3", INVITED, Means.INVITATION)}
        self.questions: list[tuple[str | None, str | None]] = []
        self.failure: Exception | None = None

    def question_for(self, username: Username) -> str:
        return QUESTION

    def is_closed(self, username: Username, now: datetime) -> bool:
        return self.wrong.get(username.canonical, 0) >= 3

    def answer(self, username: Username, answer: str, *, attempt: Attempt, now: datetime) -> Permit | None:
        if self.failure is not None:
            raise self.failure
        if self.is_closed(username, now):
            raise QuestionClosed
        if username.canonical == KNOWN and answer == ANSWER:
            if self.mode == "then_link":
                self.reminders.append(username.canonical)
                return None
            return self._passwords.permit("id-1", KNOWN, Means.QUESTION, now)
        self.wrong[username.canonical] = self.wrong.get(username.canonical, 0) + 1
        if self.is_closed(username, now):
            raise QuestionClosed
        raise WrongAnswer(3 - self.wrong[username.canonical])

    def send_reminder(self, username: Username, *, attempt: Attempt, now: datetime) -> None:
        if self.failure is not None:
            raise self.failure
        self.reminders.append(username.canonical)

    def open_link(self, code: str, now: datetime) -> Permit:
        if code not in self.links:
            raise LinkDead
        permit = self._passwords.permit(*self.links[code], now)
        if permit.epoch > 1:
            raise LinkDead
        return permit

    def check_permit(self, permit: Permit, now: datetime) -> None:
        self._passwords.check(permit, now)

    def set_password(
        self,
        permit: Permit,
        new_password: str,
        *,
        question: str | None = None,
        answer: str | None = None,
        now: datetime,
    ) -> datetime:
        self._passwords.judge(new_password)
        judge_answer(answer)
        expires_at = self._passwords.set(permit, new_password, now)
        self.questions.append((question, answer))
        return expires_at


class Lifecycle:
    """Activation."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self.activated: list[tuple[str, str, str, str]] = []

    def prepare_activation(self, permit: Permit, new_password: str, now: datetime) -> str:
        self._passwords.check(permit, now)
        self._passwords.judge(new_password)
        return "hash-of-it"

    def activate(self, permit: Permit, prepared: str, *, question: str, answer: str, now: datetime) -> Person:
        self._passwords.check(permit, now)
        judge_answer(answer)
        self._passwords.epochs[permit.account_id] = permit.epoch + 1
        self.activated.append((permit.username, prepared, question, answer))
        return Person(permit.account_id, permit.username, Kind.FREE, "Xochitl Ibarra", "es-MX")


class Protocol:
    """Pending requests by handle, each of one browser."""

    def __init__(self) -> None:
        self.pending: dict[str, tuple[str, Interaction]] = {}

    def add(self, handle: str, browser: Browser, **changed: Any) -> None:
        """A request of `browser` begins to wait."""
        interaction = Interaction(
            handle=handle,
            client_id="mailbox",
            client_name="Buzón de facturas",
            redirect_uri="https://buzon.example/callback",
            login_hint=None,
            reauthenticate=False,
            needs_sign_in=False,
            scopes=("openid", "mailbox:read"),
            new_scopes=("openid", "mailbox:read"),
            claims={},
            retention_days=90,
        )
        self.pending[handle] = (browser.browser, replace(interaction, **changed))

    def describe_interaction(
        self, handle: str, *, browser: str, now: datetime, authentication: Authentication | None = None
    ) -> Interaction | None:
        owner, interaction = self.pending.get(handle, ("", None))
        if interaction is None or owner != browser:
            return None
        return replace(interaction, needs_sign_in=interaction.reauthenticate or authentication is None)


class Notices:
    """Which addresses the browser has to load at the end of a session."""

    def __init__(self) -> None:
        self.frames: dict[str, tuple[str, ...]] = {}

    def frames_of(self, sid: str) -> tuple[str, ...]:
        return self.frames.get(sid, ())


@dataclass
class Services:
    """What the pages are given."""

    settings: Settings
    sessions: Sessions = field(default_factory=Sessions)
    protocol: Protocol = field(default_factory=Protocol)

    def __post_init__(self) -> None:
        self.captcha = Captcha()
        self.passwords = Passwords(self.sessions)
        self.sign_in = SignIn(self.sessions, self.captcha, self.passwords)
        self.recovery = Recovery(self.passwords, self.settings.recovery_question)
        self.lifecycle = Lifecycle(self.passwords)
        self.notices = Notices()
