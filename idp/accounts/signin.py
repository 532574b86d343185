"""The door `SignIn`: sign in, sign out."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from idp.accounts.credentials import Credentials, Person, VerifiedAccount
from idp.accounts.models import Account, Kind, State
from idp.accounts.sessions import Browser, Sessions
from idp.accounts.usernames import parse_username
from idp.db import Store

PASSWORD_AMR = ("pwd",)
"""RFC 8176."""
PASSWORD_ACR = "1"  # noqa: S105 - the class of a sign-in, not a secret

_FIND_PERSON = select(Account.id, Account.username, Account.kind, Account.name, Account.locale).where(
    Account.id == bindparam("account_id"), Account.state == State.ACTIVE
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
        *,
        on_sign_out: OnSignOut = _end_nothing_more,
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._sessions = sessions
        self._on_sign_out = on_sign_out

    def sign_in(
        self,
        typed: str,
        password: str,
        *,
        browser: Browser | None,
        now: datetime,
        address: str | None = None,
        user_agent: str | None = None,
    ) -> tuple[str, Person]:
        """The cookie of a new signed-in session, and who signed in.

        Refuses with `MalformedUsername`, which is no attempt and depends on the text alone, and with what
        `Credentials.check` refuses; then no session begins, and that of the browser stays as it was.
        """
        username = parse_username(typed)
        cookies: list[str] = []

        def start(tx: Connection, found: VerifiedAccount) -> None:
            cookies.append(
                self._sessions.sign_in(
                    tx,
                    browser,
                    found.account_id,
                    amr=PASSWORD_AMR,
                    acr=PASSWORD_ACR,
                    now=now,
                    address=address,
                    user_agent=user_agent,
                )
            )

        found = self._credentials.check(username, password, now, on_success=start)
        return cookies[0], found.person

    def sign_out(self, browser: Browser, now: datetime) -> None:
        """End the browser's session on the server, and what `on_sign_out` ends with it."""
        with self._store.write() as tx:
            self._sessions.end(tx, browser, now)
            if browser.sid is not None:
                self._on_sign_out(tx, browser.sid, now)

    def find_person(self, account_id: str) -> Person | None:
        """Whom a session is for; None where the account may do nothing any more."""
        with self._store.read() as connection:
            row = connection.execute(_FIND_PERSON, {"account_id": account_id}).first()
        return None if row is None else Person(row.id, row.username, Kind(row.kind), row.name, row.locale)


__all__ = ["PASSWORD_ACR", "PASSWORD_AMR", "Browser", "Person", "SignIn"]
