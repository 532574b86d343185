"""The doors behind the account area, kept in memory."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from idp.accounts.credentials import Person
from idp.accounts.errors import WrongCredentials
from idp.accounts.models import Kind
from idp.accounts.own_account import ActivityRow, Overview, SessionView
from idp.accounts.sessions import Browser
from idp.protocol.consents import Application
from tests.web.doors import KNOWN, PASSWORD, Services, SignedIn


class OwnAccount:
    """One account; remembers what it was told."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.days = 20.0
        self.is_verified = True
        self.question: str | None = "concert"
        self.name = "Escuela Kemper Urgate"
        self.told: list[tuple[Any, ...]] = []
        self.rows: list[ActivityRow] = []
        self.refusal: Exception | None = None
        self.others = [
            SessionView("sid-2", False, "201.141.9.1", "Mozilla/5.0 (iPhone) Safari/604.1", present(), present())
        ]

    def overview(self, account_id: str, now: datetime) -> Overview:
        ends = now + timedelta(days=self.days)
        person = Person(account_id, KNOWN, Kind.CLIENT, self.name, "es-MX")
        changed = ends - timedelta(days=30)
        return Overview(
            *(
                person,
                "maria@kemper.example",
                self.is_verified,
                Kind.CLIENT,
                KNOWN,
                KNOWN,
                self.question,
                changed,
                ends,
            ),
            days_left=-int(-self.days // 1),
        )

    def change_password(self, account_id: str, current: str, new: str, *, attempt: Any, now: datetime) -> SignedIn:
        self._judge(current)
        self.told.append(("password", account_id, new))
        cookie = self._services.sessions.sign_in(attempt.browser, account_id, now)
        return SignedIn(cookie, self._services.sign_in.people[account_id], "new-device")

    def change_question(
        self, account_id: str, current: str, question: str, answer: str, *, attempt: Any, now: datetime
    ) -> None:
        self._judge(current)
        self.told.append(("question", account_id, question, answer))

    def _judge(self, current: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        if current != PASSWORD:
            raise WrongCredentials(2)

    def change_profile(self, account_id: str, *, name: str, locale: str, now: datetime) -> None:
        self.told.append(("profile", account_id, name, locale))

    def sessions(self, account_id: str, browser: Browser, now: datetime) -> tuple[SessionView, ...]:
        mine = SessionView(browser.sid or "", True, "187.190.4.5", "Mozilla/5.0 (Windows) Chrome/120", now, now)
        return (mine, *self.others)

    def end_session(self, account_id: str, sid: str, now: datetime) -> bool:
        self.told.append(("end", account_id, sid))
        return sid in {"sid", *(each.sid for each in self.others)}

    def end_other_sessions(self, account_id: str, browser: Browser, now: datetime) -> int:
        self.told.append(("end others", account_id))
        return len(self.others)

    def activity(self, account_id: str, *, before: int | None = None, limit: int) -> tuple[ActivityRow, ...]:
        return tuple(row for row in self.rows if before is None or row.id < before)[:limit]


START_URL = "https://buzon.example/entrar?iss=x&a=%22"


class Consents:
    """One application that has access."""

    def __init__(self) -> None:
        self.revoked: list[tuple[str, str]] = []

    def list_for(self, sub: str) -> tuple[Application, ...]:
        return (Application("mailbox", "Buzón <i>", ("openid", "mailbox:read"), present(), None, START_URL),)

    def revoke(self, sub: str, client_id: str, now: datetime) -> bool:
        self.revoked.append((sub, client_id))
        return client_id == "mailbox"


class Doors(NamedTuple):
    """The two doors behind the area."""

    own: OwnAccount
    consents: Consents


def present() -> datetime:
    return datetime.now(UTC)
