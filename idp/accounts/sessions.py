"""Who is signed in at which browser, since when, by which means."""

import secrets
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from idp import audit, policy
from idp.accounts.models import SignInSession
from idp.audit import Event
from idp.db import Store
from idp.prepared import Prepared

_COOKIE_BYTES = 32
_COOKIE_LENGTH = 43
_USER_AGENT_LENGTH_MAX = 200
_ADDRESS_LENGTH_MAX = 45

_S = SignInSession
_FIND = Prepared(
    select(
        _S.id,
        _S.browser,
        _S.data,
        _S.account_id,
        _S.sid,
        _S.auth_time,
        _S.amr,
        _S.acr,
        _S.last_seen_at,
        _S.expires_at,
    ).where(_S.id == bindparam("digest"))
)
_SAVE = Prepared(update(_S).where(_S.id == bindparam("digest")).values(data=bindparam("new_data")))
_DELETE = Prepared(delete(_S).where(_S.id == bindparam("digest")))
_COLUMNS = (
    "id",
    "browser",
    "data",
    "account_id",
    "sid",
    "auth_time",
    "amr",
    "acr",
    "address",
    "user_agent",
    "created_at",
    "last_seen_at",
    "expires_at",
)
_INSERT = Prepared(insert(_S), inserts=_COLUMNS)
_HOLD = Prepared(
    select(_S.id)
    .where(
        _S.account_id == bindparam("account_id"),
        _S.sid == bindparam("sid"),
        _S.auth_time == bindparam("auth_time"),
    )
    .with_for_update(read=True)
)


_LIST = (
    select(_S.sid, _S.address, _S.user_agent, _S.auth_time, _S.last_seen_at)
    .where(
        _S.account_id == bindparam("account_id"),
        _S.expires_at > bindparam("now"),
        _S.last_seen_at > bindparam("idle_since"),
    )
    .order_by(_S.last_seen_at.desc(), _S.sid)
)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A signed-in session, as its person may see it; nothing here is worth anything as a cookie."""

    sid: str
    address: str | None
    user_agent: str | None
    auth_time: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Browser:
    """One browser's session, as it was found. Signed in where `account_id` stands."""

    digest: str
    """Finds the row; made from the cookie, and of no use as one."""
    browser: str
    """The same before and after signing in."""
    data: dict[str, Any] = field(default_factory=dict)
    account_id: str | None = None
    sid: str | None = None
    auth_time: datetime | None = None
    amr: tuple[str, ...] = ()
    acr: str | None = None
    ended_idle: bool = False
    """This very look-up found that the person had been away for too long, and signed them out."""


OnEnd = Callable[[Connection, str, datetime], None]


def _end_nothing_more(tx: Connection, sid: str, now: datetime) -> None:
    """Where accounts stand alone, nothing else hangs on a session."""


class Sessions:
    """The sessions of browsers, signed in or not, each found by the digest of its cookie (W-1).

    `on_end` joins the transaction in which a session ends by the clock, so that what hangs on its `sid` ends with it;
    where a person or an operator ends one, the door that was asked sees to that.
    """

    def __init__(self, store: Store, *, on_end: OnEnd = _end_nothing_more) -> None:
        self._store = store
        self._on_end = on_end

    def find(self, cookie: str, now: datetime) -> Browser | None:
        """The session of this cookie, judged at `now`; None where there is none any more.

        A signed-in session that was idle for too long comes back signed out, in the database too, with the same
        `data`, so that a form which is still open can be sent. Noting the visit costs a write once a minute.
        """
        if len(cookie) != _COOKIE_LENGTH or not cookie.isascii():
            return None
        row = self._store.first(_FIND, {"digest": _digest(cookie)})
        if row is None or now >= row.expires_at:
            return None
        if row.account_id is not None and now >= row.last_seen_at + policy.SESSION_IDLE_LIFETIME:
            if not self._sign_out_idle(row.id, row.sid, now):
                return self.find(cookie, now)  # another request of this browser came first
            return Browser(row.id, row.browser, dict(row.data), ended_idle=True)
        if now >= row.last_seen_at + policy.SESSION_TOUCH_INTERVAL:
            self._touch(row.id, row.account_id is not None, now)
        return Browser(
            digest=row.id,
            browser=row.browser,
            data=dict(row.data),
            account_id=row.account_id,
            sid=row.sid,
            auth_time=row.auth_time,
            amr=tuple(row.amr or ()),
            acr=row.acr,
        )

    def begin(
        self,
        now: datetime,
        *,
        data: dict[str, Any] | None = None,
        address: str | None = None,
        user_agent: str | None = None,
        after: Browser | None = None,
    ) -> tuple[str, Browser]:
        """A session for a browser that has none: the cookie to set, and what `find` will give for it.

        `after` is the one that it has just lost here: what the browser began then still belongs to it (W-6).
        """
        name = secrets.token_urlsafe(_COOKIE_BYTES) if after is None else after.browser
        browser = Browser(digest="", browser=name, data=dict(data or {}))
        with self._store.write() as tx:
            cookie = self._insert(
                tx, browser, now, now + policy.ANONYMOUS_SESSION_LIFETIME, address=address, user_agent=user_agent
            )
        return cookie, Browser(_digest(cookie), browser.browser, browser.data)

    def save(self, browser: Browser, data: dict[str, Any]) -> None:
        """Keep `data` for this browser. Nothing happens where its session has ended meanwhile."""
        with self._store.write() as tx:
            _SAVE.run(tx, {"digest": browser.digest, "new_data": data})

    def sign_in(
        self,
        tx: Connection,
        browser: Browser | None,
        account_id: str,
        *,
        amr: tuple[str, ...],
        acr: str,
        now: datetime,
        address: str | None,
        user_agent: str | None,
    ) -> str:
        """A signed-in session with a new cookie, which is returned; the old one is dead (W-2).

        The browser keeps its name and loses its `data`. Who signs in again at a browser where they are signed in
        keeps the `sid`, which their tokens carry; for anyone else it is new.
        """
        if browser is not None:
            _DELETE.run(tx, {"digest": browser.digest})
        is_same = browser is not None and browser.account_id == account_id
        signed_in = Browser(
            digest="",
            browser=secrets.token_urlsafe(_COOKIE_BYTES) if browser is None else browser.browser,
            account_id=account_id,
            sid=browser.sid if is_same and browser is not None else str(uuid.uuid4()),
            auth_time=now,
            amr=amr,
            acr=acr,
        )
        expires_at = now + policy.SESSION_ABSOLUTE_LIFETIME
        return self._insert(tx, signed_in, now, expires_at, address=address, user_agent=user_agent)

    def end(self, tx: Connection, browser: Browser, now: datetime) -> None:
        """Kill the session on the server; its cookie is worth nothing from now on (W-3). A sign-out is recorded."""
        ended = _DELETE.run(tx, {"digest": browser.digest})
        if ended and browser.account_id is not None:
            audit.record(tx, Event.SIGNOUT, now=now, account_id=browser.account_id)

    def end_all(self, tx: Connection, account_id: str) -> int:
        """Kill every session of an account; how many there were."""
        return int(tx.execute(delete(_S).where(_S.account_id == account_id)).rowcount)

    def void(self, tx: Connection) -> None:
        """Kill every session there is: after a restore, which does not know who has signed out since the backup."""
        tx.execute(delete(_S))

    def sign_out_everywhere(self, tx: Connection, account_id: str, now: datetime) -> tuple[str, ...]:
        """Kill every session of an account, each of them a sign-out; their `sid`s."""
        ended = tx.scalars(delete(_S).where(_S.account_id == account_id).returning(_S.sid)).all()
        for _ in ended:
            audit.record(tx, Event.SIGNOUT, now=now, account_id=account_id)
        return tuple(sid for sid in ended if sid is not None)

    def sweep(self, now: datetime) -> int:
        """Delete the rows that have ended; how many went."""
        with self._store.write() as tx:
            ended = tx.scalars(delete(_S).where(_S.expires_at <= now).returning(_S.sid)).all()
            for sid in ended:
                if sid is not None:
                    self._on_end(tx, sid, now)
        return len(ended)

    # -- what a person sees of the own sessions (W-9) ----------------------------------------------------------------

    def list_of(self, account_id: str, now: datetime) -> "tuple[SessionRow, ...]":
        """The account's sessions that are alive at `now`, the one used last first."""
        alive = {"account_id": account_id, "now": now, "idle_since": now - policy.SESSION_IDLE_LIFETIME}
        with self._store.read() as connection:
            rows = connection.execute(_LIST, alive).all()
        return tuple(
            SessionRow(row.sid, row.address, row.user_agent, row.auth_time, row.last_seen_at)
            for row in rows
            if row.sid is not None and row.auth_time is not None
        )

    def sign_out_one(self, tx: Connection, account_id: str, sid: str, now: datetime) -> bool:
        """Kill this session, if it is the account's; a sign-out like any other."""
        ended = tx.execute(delete(_S).where(_S.account_id == account_id, _S.sid == sid)).rowcount > 0
        if ended:
            audit.record(tx, Event.SIGNOUT, now=now, account_id=account_id)
        return ended

    def sign_out_others(self, tx: Connection, browser: Browser, now: datetime) -> tuple[str, ...]:
        """Kill every session of the browser's account but its own, each of them a sign-out; their `sid`s."""
        others = delete(_S).where(_S.account_id == browser.account_id, _S.id != browser.digest)
        ended = tx.scalars(others.returning(_S.sid)).all()
        for _ in ended:
            audit.record(tx, Event.SIGNOUT, now=now, account_id=browser.account_id)
        return tuple(sid for sid in ended if sid is not None)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _insert(
        self,
        tx: Connection,
        browser: Browser,
        now: datetime,
        expires_at: datetime,
        *,
        address: str | None,
        user_agent: str | None,
    ) -> str:
        cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        row = {
            "id": _digest(cookie),
            "browser": browser.browser,
            "data": browser.data,
            "account_id": browser.account_id,
            "sid": browser.sid,
            "auth_time": browser.auth_time,
            "amr": list(browser.amr) or None,
            "acr": browser.acr,
            "address": _clip(address, _ADDRESS_LENGTH_MAX),
            "user_agent": _clip(user_agent, _USER_AGENT_LENGTH_MAX),
            "created_at": now,
            "last_seen_at": now,
            "expires_at": expires_at,
        }
        _INSERT.run(tx, row)
        return cookie

    def _touch(self, digest: str, is_signed_in: bool, now: datetime) -> None:
        changed: dict[str, Any] = {"last_seen_at": now}
        if not is_signed_in:
            changed["expires_at"] = now + policy.ANONYMOUS_SESSION_LIFETIME
        # A request that was slow must neither turn the clock back nor lengthen what has become a signed-in session.
        still = _S.account_id.is_not(None) if is_signed_in else _S.account_id.is_(None)
        with self._store.write() as tx:
            tx.execute(update(_S).where(_S.id == digest, _S.last_seen_at < now, still).values(changed))

    def _sign_out_idle(self, digest: str, sid: str | None, now: datetime) -> bool:
        idle = update(_S).where(
            _S.id == digest,
            _S.account_id.is_not(None),
            _S.last_seen_at <= now - policy.SESSION_IDLE_LIFETIME,
        )
        signed_out = {
            "account_id": None,
            "sid": None,
            "auth_time": None,
            "amr": None,
            "acr": None,
            "last_seen_at": now,
            "expires_at": now + policy.ANONYMOUS_SESSION_LIFETIME,
        }
        with self._store.write() as tx:
            is_first = tx.execute(idle.values(signed_out)).rowcount == 1
            if is_first and sid is not None:
                self._on_end(tx, sid, now)
        return is_first


def hold_session(tx: Connection, account_id: str, sid: str, auth_time: datetime) -> bool:
    """Whether this very sign-in still stands; if so, nobody ends it before `tx` has.

    What is given because of a sign-in is given under this hold. Whoever ends a session, with whatever hangs on it,
    takes its row first, and so comes wholly before or finds wholly all that was given (W-4). The `sid` alone would
    not do: a change of the password keeps it at the browser where it was made.
    """
    return _HOLD.first(tx, {"account_id": account_id, "sid": sid, "auth_time": auth_time}) is not None


def _digest(cookie: str) -> str:
    return urlsafe_b64encode(sha256(cookie.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def _clip(text: str | None, length: int) -> str | None:
    # PostgreSQL keeps no NUL in a text.
    return None if text is None else text.replace("\0", "")[:length]
