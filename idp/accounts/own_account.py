"""The door `OwnAccount`: what a person who is signed in sees and changes of the own account."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from idp import audit, policy
from idp.accounts.attempts import Attempt
from idp.accounts.credentials import (
    PASSWORD_ACR,
    PASSWORD_AMR,
    Credentials,
    Person,
    SignedIn,
    VerifiedAccount,
)
from idp.accounts.devices import Devices
from idp.accounts.errors import AccountProblem, PermitGone
from idp.accounts.models import Account, Kind, Organization, State
from idp.accounts.passwords import Hasher
from idp.accounts.permits import Means, Permit
from idp.accounts.profiles import check_locale, check_name
from idp.accounts.questions import check_answer
from idp.accounts.renewal import Renewal
from idp.accounts.sessions import Browser, Sessions
from idp.accounts.usernames import Username, parse_username
from idp.audit import AuditEvent, Event
from idp.db import Store
from idp.outbox import Outbox, Template

ACTIVITY_LENGTH_MAX = 100
_DAY = 86400  # seconds

SHOWN_EVENTS = (
    Event.ACCOUNT_ACTIVATE,
    Event.ACCOUNT_LOCK,
    Event.ACCOUNT_UNLOCK,
    Event.SIGNIN_SUCCESS,
    Event.SIGNIN_FAILURE,
    Event.SIGNIN_REFUSED_LOCKED,
    Event.SIGNIN_REFUSED_EXPIRED,
    Event.SIGNOUT,
    Event.PASSWORD_CHANGE,
    Event.PASSWORD_RESET,
    Event.QUESTION_CHANGE,
    Event.QUESTION_SUCCESS,
    Event.QUESTION_FAILURE,
    Event.QUESTION_CLOSE,
    Event.REMINDER_REQUEST,
    Event.PROFILE_CHANGE,
    Event.CONSENT_GRANT,
    Event.CONSENT_REVOKE,
)
"""What `activity` shows: what somebody did at, or in the name of, the account; no machinery of tokens."""

_SID = re.compile("[0-9a-f-]{36}")

_OVERVIEW = (
    select(
        Account.id,
        Account.username,
        Account.kind,
        Account.name,
        Account.locale,
        Account.email,
        Account.email_verified,
        Account.rfc,
        Organization.rfc.label("organization_rfc"),
        Account.question,
        Account.password_changed_at,
    )
    .select_from(Account.__table__.outerjoin(Organization.__table__))
    .where(
        Account.id == bindparam("account_id"),
        Account.state == State.ACTIVE,
        Account.password_changed_at.is_not(None),
    )
)
_ACTIVITY = (
    select(AuditEvent.id, AuditEvent.at, AuditEvent.event, AuditEvent.address, AuditEvent.client_id)
    .where(
        AuditEvent.account_id == bindparam("account_id"),
        AuditEvent.event.in_([each.value for each in SHOWN_EVENTS]),
    )
    .order_by(AuditEvent.id.desc())
)

OnSignOut = Callable[[Connection, str, datetime], None]


def _end_nothing_more(tx: Connection, sid: str, now: datetime) -> None:
    """Where accounts stand alone, nothing else hangs on a session."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The own account at a glance. `days_left` counts the last one begun: 1 until the password's very end."""

    person: Person
    email: str
    email_verified: bool
    kind: Kind
    rfc: str | None
    organization_rfc: str | None
    question: str | None
    password_changed_at: datetime
    password_expires_at: datetime
    days_left: int


@dataclass(frozen=True, slots=True)
class SessionView:
    """A place where the person is signed in."""

    sid: str
    is_current: bool
    address: str | None
    user_agent: str | None
    auth_time: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """Something that happened to the account; `id` is what the next page begins before."""

    id: int
    at: datetime
    event: Event
    address: str | None
    client_id: str | None


class OwnAccount:
    """Everything is done to the account that is named by the session, never by the request (D-57, D-60, D-70).

    An account that is not active any more is `PermitGone`. `on_sign_out` joins the transaction that ends a session.
    """

    def __init__(
        self,
        store: Store,
        hasher: Hasher,
        credentials: Credentials,
        sessions: Sessions,
        devices: Devices,
        renewal: Renewal,
        outbox: Outbox,
        *,
        on_sign_out: OnSignOut = _end_nothing_more,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._credentials = credentials
        self._sessions = sessions
        self._devices = devices
        self._renewal = renewal
        self._outbox = outbox
        self._on_sign_out = on_sign_out

    def overview(self, account_id: str, now: datetime) -> Overview:
        """What the account's first page says."""
        row = self._get(account_id)
        expires_at = row.password_changed_at + policy.PASSWORD_LIFETIME
        return Overview(
            person=Person(row.id, row.username, Kind(row.kind), row.name, row.locale),
            email=row.email,
            email_verified=row.email_verified,
            kind=Kind(row.kind),
            rfc=row.rfc,
            organization_rfc=row.organization_rfc,
            question=row.question,
            password_changed_at=row.password_changed_at,
            password_expires_at=expires_at,
            days_left=max(0, ceil((expires_at - now).total_seconds() / _DAY)),
        )

    # -- changes that need the current password ----------------------------------------------------------------------

    def change_password(self, account_id: str, current: str, new: str, *, attempt: Attempt, now: datetime) -> SignedIn:
        """Set a new password; this browser stays signed in under a new cookie, all else ends (W-2, W-4).

        A lock that strangers set stays (L-8).

        Refuses with what `Credentials.check` refuses, since it is a door like sign-in (L-4), and with
        `PasswordRefused`, `PermitGone`, `HashingOverloaded`.
        """
        found = self._check(account_id, current, attempt, now)
        permit = _permit(found, now)
        begun: list[SignedIn] = []

        def start(tx: Connection) -> None:
            cookie = self._sessions.sign_in(
                tx,
                attempt.browser,
                account_id,
                amr=PASSWORD_AMR,
                acr=PASSWORD_ACR,
                now=now,
                address=attempt.address,
                user_agent=attempt.user_agent,
            )
            begun.append(SignedIn(cookie, found.person, self._devices.remember(tx, attempt.device, account_id, now)))

        self._renewal.renew(permit, new, now=now, current=current, event=Event.PASSWORD_CHANGE, then=start)
        return begun[0]

    def change_question(
        self, account_id: str, current: str, question: str, answer: str, *, attempt: Attempt, now: datetime
    ) -> None:
        """Set question and answer (Q-6); a notice goes out. `AnswerRefused`, then what `change_password` refuses."""
        username = self._username(account_id)
        normal = check_answer(answer, question, username)
        found = self._check(account_id, current, attempt, now)
        answer_hash = self._hasher.hash(normal)
        still = update(Account).where(
            Account.id == account_id, Account.epoch == found.epoch, Account.state == State.ACTIVE
        )
        # A new epoch, too: whoever had the old answer may have "set password" open with it.
        changed = still.values(question=question, answer_hash=answer_hash, epoch=Account.epoch + 1, updated_at=now)
        with self._store.write() as tx:
            row = tx.execute(changed.returning(Account.email, Account.locale)).first()
            if row is None:
                raise PermitGone
            audit.record(tx, Event.QUESTION_CHANGE, now=now, account_id=account_id, detail={"means": Means.CURRENT})
            self._outbox.enqueue(
                tx,
                Template.QUESTION_CHANGED,
                recipient=row.email,
                locale=row.locale,
                parameters={"username": username.masked, "at": now.isoformat()},
                now=now,
            )

    # -- changes that do not -----------------------------------------------------------------------------------------

    def change_profile(self, account_id: str, *, name: str, locale: str, now: datetime) -> None:
        """Name and language; nothing else of the account can be reached from here. `AccountProblem` if one is odd."""
        wanted = {"name": check_name(name), "locale": check_locale(locale)}
        if not wanted["name"]:
            raise AccountProblem("a name is needed")
        row = self._get(account_id)
        changed = {field: value for field, value in wanted.items() if getattr(row, field) != value}
        if not changed:
            return
        active = update(Account).where(Account.id == account_id, Account.state == State.ACTIVE)
        with self._store.write() as tx:
            if tx.execute(active.values(**changed, updated_at=now)).rowcount == 0:
                raise PermitGone
            detail = {"fields": sorted(changed)}
            audit.record(tx, Event.PROFILE_CHANGE, now=now, account_id=account_id, detail=detail)

    def sessions(self, account_id: str, browser: Browser, now: datetime) -> tuple[SessionView, ...]:
        """Where the person is signed in, the place used last first."""
        return tuple(
            SessionView(
                sid=row.sid,
                is_current=row.sid == browser.sid,
                address=row.address,
                user_agent=row.user_agent,
                auth_time=row.auth_time,
                last_seen_at=row.last_seen_at,
            )
            for row in self._sessions.list_of(account_id, now)
        )

    def end_session(self, account_id: str, sid: str, now: datetime) -> bool:
        """Sign out there, and what hangs on it; False for a session that is not this account's (W-9)."""
        if _SID.fullmatch(sid) is None:
            return False
        with self._store.write() as tx:
            ended = self._sessions.sign_out_one(tx, account_id, sid, now)
            if ended:
                self._on_sign_out(tx, sid, now)
        return ended

    def end_other_sessions(self, account_id: str, browser: Browser, now: datetime) -> int:
        """Sign out everywhere but at this browser; how many places that were."""
        if browser.account_id != account_id:
            return 0
        with self._store.write() as tx:
            ended = self._sessions.sign_out_others(tx, browser, now)
            for sid in ended:
                self._on_sign_out(tx, sid, now)
        return len(ended)

    def activity(self, account_id: str, *, before: int | None = None, limit: int) -> tuple[ActivityRow, ...]:
        """What happened, newest first, `limit` rows at most; older than the row `before`, if one is given."""
        wanted = _ACTIVITY.limit(max(0, min(limit, ACTIVITY_LENGTH_MAX)))
        if before is not None:
            if not 0 < before <= _ID_MAX:
                return ()
            wanted = wanted.where(AuditEvent.id < before)
        with self._store.read() as connection:
            rows = connection.execute(wanted, {"account_id": account_id}).all()
        return tuple(ActivityRow(row.id, row.at, Event(row.event), row.address, row.client_id) for row in rows)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _get(self, account_id: str) -> Any:
        with self._store.read() as connection:
            row = connection.execute(_OVERVIEW, {"account_id": account_id}).first()
        if row is None:
            raise PermitGone
        return row

    def _username(self, account_id: str) -> Username:
        return parse_username(self._get(account_id).username)

    def _check(self, account_id: str, current: str, attempt: Attempt, now: datetime) -> VerifiedAccount:
        username = self._username(account_id)
        return self._credentials.check(username, current, now, attempt=attempt, event=Event.REAUTHENTICATION_SUCCESS)


def _permit(found: VerifiedAccount, now: datetime) -> Permit:
    until = now + policy.PERMIT_LIFETIME
    return Permit(found.account_id, found.person.username, found.epoch, Means.CURRENT, until)


_ID_MAX = 2**63 - 1  # of a database's own integers

__all__ = ["SHOWN_EVENTS", "ActivityRow", "Overview", "OwnAccount", "SessionView"]
