"""The door `SignIn`: sign in, sign out."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from idp import audit
from idp.accounts.attempts import Attempt
from idp.accounts.credentials import PASSWORD_ACR, PASSWORD_AMR, Credentials, Person, SignedIn, VerifiedAccount
from idp.accounts.devices import Devices
from idp.accounts.errors import PermitGone, UsernameLocked
from idp.accounts.models import Account, Kind, State
from idp.accounts.permits import Means, Permit
from idp.accounts.renewal import Renewal
from idp.accounts.sessions import Browser, Sessions
from idp.accounts.usernames import parse_username
from idp.audit import Event
from idp.db import Store
from idp.prepared import Prepared

_FIND_PERSON = Prepared(
    select(Account.id, Account.username, Account.kind, Account.name, Account.locale).where(
        Account.id == bindparam("account_id"), Account.state == State.ACTIVE
    )
)


OnSignOut = Callable[[Connection, str, datetime], None]


def _end_nothing_more(tx: Connection, sid: str, now: datetime) -> None:
    """Where accounts stand alone, nothing else hangs on a session."""


class SignIn:
    """What the sign-in page asks of accounts.

    `on_sign_out` joins the transaction that ends a session, so that what else hangs on its `sid` ends with it.
    """

    def __init__(
        self,
        store: Store,
        credentials: Credentials,
        sessions: Sessions,
        devices: Devices,
        renewal: Renewal,
        *,
        on_sign_out: OnSignOut = _end_nothing_more,
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._sessions = sessions
        self._devices = devices
        self._renewal = renewal
        self._on_sign_out = on_sign_out

    def sign_in(self, typed: str, password: str, *, attempt: Attempt, now: datetime) -> SignedIn:
        """A new signed-in session at the attempt's browser, which is known from now on (L-6).

        Refuses with `MalformedUsername`, which is no attempt and depends on the text alone, and with what
        `Credentials.check` refuses; then no session begins, and that of the browser stays as it was.
        """
        username = parse_username(typed)
        begun: list[SignedIn] = []

        def start(tx: Connection, found: VerifiedAccount) -> None:
            begun.append(self._start(tx, found.person, attempt, now))

        self._credentials.check(username, password, now, attempt=attempt, on_success=start)
        return begun[0]

    def renew(self, permit: Permit, new_password: str, *, attempt: Attempt, now: datetime) -> SignedIn:
        """Set the new password that follows an expired one, and sign in, in one transaction (M5 of product.md).

        Refuses with `PasswordRefused`, `PermitGone` (a permit of another kind too), `HashingOverloaded`, and with
        `UsernameLocked` where the attempt's browser could not sign in either; then nothing has changed.
        """
        if permit.means is not Means.EXPIRED:
            raise PermitGone
        begun: list[SignedIn] = []

        def start(tx: Connection) -> None:
            person = _person_of(_FIND_PERSON.first(tx, {"account_id": permit.account_id}))
            if person is None:
                raise PermitGone
            audit.record(tx, Event.SIGNIN_SUCCESS, now=now, account_id=person.account_id, detail={"renewed": True})
            begun.append(self._start(tx, person, attempt, now))

        try:
            self._renewal.renew(
                permit, new_password, device=attempt.device, now=now, event=Event.PASSWORD_CHANGE, then=start
            )
        except UsernameLocked:
            with self._store.write() as tx:
                audit.record(tx, Event.SIGNIN_REFUSED_LOCKED, now=now, account_id=permit.account_id)
            raise
        return begun[0]

    def sign_out(self, browser: Browser, now: datetime, *, everywhere: bool = False) -> None:
        """End the browser's session on the server, and what `on_sign_out` ends with it.

        `everywhere` ends each other session of the same account likewise; nothing where nobody is signed in.
        """
        with self._store.write() as tx:
            self._end(tx, browser, now)
            if everywhere and browser.account_id is not None:
                for sid in self._sessions.sign_out_everywhere(tx, browser.account_id, now):
                    self._on_sign_out(tx, sid, now)

    def find_person(self, account_id: str) -> Person | None:
        """Whom a session is for; None where the account may do nothing any more."""
        return _person_of(self._store.first(_FIND_PERSON, {"account_id": account_id}))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _start(self, tx: Connection, person: Person, attempt: Attempt, now: datetime) -> SignedIn:
        browser = attempt.browser
        if browser is not None and browser.account_id not in {None, person.account_id}:
            # Somebody else was signed in here: for them this is a sign-out like any other.
            self._end(tx, browser, now)
        cookie = self._sessions.sign_in(
            tx,
            browser,
            person.account_id,
            amr=PASSWORD_AMR,
            acr=PASSWORD_ACR,
            now=now,
            address=attempt.address,
            user_agent=attempt.user_agent,
        )
        return SignedIn(cookie, person, self._devices.remember(tx, attempt.device, person.account_id, now))

    def _end(self, tx: Connection, browser: Browser, now: datetime) -> None:
        self._sessions.end(tx, browser, now)
        if browser.sid is not None:
            self._on_sign_out(tx, browser.sid, now)


def _person_of(row: Any) -> Person | None:
    return None if row is None else Person(row.id, row.username, Kind(row.kind), row.name, row.locale)


__all__ = ["PASSWORD_ACR", "PASSWORD_AMR", "Browser", "Person", "SignIn", "SignedIn"]
