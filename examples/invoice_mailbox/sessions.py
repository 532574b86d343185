"""The browsers' sessions, on the server: the cookie holds a random number, the tokens never leave the database."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin
from idp_kit import LogoutToken
from sqlalchemy import JSON, Column, Engine, Float, String, Table, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from werkzeug.datastructures import CallbackDict

from invoice_mailbox.database import metadata

COOKIE = "mailbox_session"

IDLE_LIFETIME = timedelta(minutes=10)
ABSOLUTE_LIFETIME = timedelta(hours=12)
TOUCH_INTERVAL = timedelta(minutes=1)
"""A session notes that it was used at most this often, so that reading a page seldom costs a write."""

REFRESH_LEASE = timedelta(seconds=15)
"""How long one request may take to refresh a session's tokens before another may try."""

session_table = Table(
    "session",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("data", JSON, nullable=False),
    Column("tokens", JSON(none_as_null=True)),
    Column("refreshing_until", Float),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False, index=True),
)

provider_session_table = Table(
    "provider_session",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("sub", String, nullable=False, index=True),
    Column("sid", String, index=True),
)
"""Which session at the provider a session of ours, by its `id`, came from: the provider says when it has ended."""

logout_token_table = Table(
    "logout_token", metadata, Column("jti", String, primary_key=True), Column("until", Float, nullable=False)
)
"""Logout tokens that were obeyed, for as long as they could come again."""


class BrowserSession(CallbackDict, SessionMixin):  # type: ignore[type-arg]  # Flask asks for a plain mapping
    """What Flask calls `session`; `tokens` is beside it, so that two requests cannot overwrite each other's."""

    def __init__(self, handle: str, data: dict[str, Any] | None = None, tokens: dict[str, str] | None = None) -> None:
        def on_update(_: Any) -> None:
            self.modified = True

        super().__init__(data or {}, on_update)
        self.handle = handle
        self.tokens = tokens
        self.provider_session: tuple[str, str | None] | None = None
        self.retired: list[str] = []
        self.new = data is None
        self.modified = False

    @property
    def id(self) -> str:
        """What finds the row: the handle's digest, so that who reads the table cannot sign in with it."""
        return hashlib.sha256(self.handle.encode()).hexdigest()

    def start(self, tokens: dict[str, str] | None, *, provider_session: tuple[str, str | None] | None = None) -> None:
        """Begin anew under another handle, so that whoever planted or kept the old one has nothing.

        `provider_session` is `sub` and `sid` of the provider's session, which may end this one.
        """
        self.retired.append(self.id)
        self.clear()
        self.handle = secrets.token_urlsafe(32)
        self.tokens = tokens
        self.provider_session = provider_session
        self.new = self.modified = True


class Sessions(SessionInterface):
    """Flask's sessions, kept in the mailbox's database."""

    def __init__(self, engine: Engine, *, secure: bool, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._secure = secure
        self._clock = clock

    def open_session(self, app: Flask, request: Request) -> BrowserSession:  # noqa: ARG002 - Flask calls it so
        """The session of the cookie, or a new one, which costs nothing until something is put in it."""
        handle = request.cookies.get(COOKIE, "")
        if 0 < len(handle) < 100 and not request.path.startswith("/static/"):
            session = BrowserSession(handle, {})
            now = self._clock().timestamp()
            with self._engine.connect() as connection:
                row = connection.execute(
                    select(session_table).where(
                        session_table.c.id == session.id,
                        session_table.c.seen_at > now - IDLE_LIFETIME.total_seconds(),
                        session_table.c.created_at > now - ABSOLUTE_LIFETIME.total_seconds(),
                    )
                ).first()
            if row is not None:
                if row.seen_at < now - TOUCH_INTERVAL.total_seconds():
                    self._write(update(session_table).where(session_table.c.id == row.id).values(seen_at=now))
                return BrowserSession(handle, row.data, row.tokens)
        return BrowserSession(secrets.token_urlsafe(32))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002 - the same
        """Keep what changed, and send the cookie when it did."""
        if not isinstance(session, BrowserSession):
            return
        response.vary.add("Cookie")
        now = self._clock().timestamp()
        if session.retired:
            self._write(delete(session_table).where(session_table.c.id.in_(session.retired)))
            if not session and session.tokens is None:
                response.delete_cookie(COOKIE, httponly=True, samesite="Lax", secure=self._secure, path="/")
                return
        if not session.modified:
            return
        if session.new:
            idle = session_table.c.seen_at < now - IDLE_LIFETIME.total_seconds()
            old = session_table.c.created_at < now - ABSOLUTE_LIFETIME.total_seconds()
            self._write(delete(session_table).where(or_(idle, old)))
            row = {"id": session.id, "data": dict(session), "tokens": session.tokens}
            self._write(insert(session_table).values(**row, created_at=now, seen_at=now))
            if session.provider_session is not None:
                sub, sid = session.provider_session
                self._write(insert(provider_session_table).values(id=session.id, sub=sub, sid=sid))
                alive = select(session_table.c.id)
                self._write(delete(provider_session_table).where(provider_session_table.c.id.not_in(alive)))
            response.set_cookie(COOKIE, session.handle, httponly=True, samesite="Lax", secure=self._secure, path="/")
        else:
            self._write(update(session_table).where(session_table.c.id == session.id).values(data=dict(session)))

    def end_for(self, token: LogoutToken) -> int | None:
        """End every session that came from the one that ended at the provider; how many, or None for a replay."""
        now, theirs = self._clock().timestamp(), provider_session_table
        seen = insert(logout_token_table).values(jti=token.jti, until=token.replayable_until.timestamp())
        # Section 2.6: by `sid` where there is one, and then `sub` has to be its own.
        named = [theirs.c.sid == token.sid] if token.sid is not None else []
        named += [theirs.c.sub == token.sub] if token.sub is not None else []
        with self._engine.begin() as connection:
            connection.execute(delete(logout_token_table).where(logout_token_table.c.until < now))
            if connection.execute(seen.on_conflict_do_nothing()).rowcount == 0:
                return None
            ended = connection.execute(
                delete(session_table).where(session_table.c.id.in_(select(theirs.c.id).where(*named)))
            )
            connection.execute(delete(theirs).where(*named))
        return ended.rowcount

    def get_tokens(self, session: BrowserSession) -> dict[str, str] | None:
        """The session's tokens as they are now, which another request may have refreshed or ended meanwhile."""
        with self._engine.connect() as connection:
            query = select(session_table.c.tokens).where(session_table.c.id == session.id)
            session.tokens = connection.execute(query).scalar_one_or_none()
        return session.tokens

    def claim_refresh(self, session: BrowserSession) -> bool:
        """Whether this request is the one that refreshes: a refresh token used twice would end the whole family."""
        now = self._clock().timestamp()
        lease = session_table.c.refreshing_until
        claimed = self._write(
            update(session_table)
            .where(session_table.c.id == session.id, or_(lease.is_(None), lease < now))
            .values(refreshing_until=now + REFRESH_LEASE.total_seconds())
        )
        return claimed == 1

    def end_refresh(self, session: BrowserSession, tokens: dict[str, str] | None) -> None:
        """Give the claim back, with the tokens now to be used: None when the person must sign in again."""
        session.tokens = tokens
        self._write(
            update(session_table).where(session_table.c.id == session.id).values(tokens=tokens, refreshing_until=None)
        )

    def _write(self, statement: Any) -> int:
        with self._engine.begin() as connection:
            return int(connection.execute(statement).rowcount)
