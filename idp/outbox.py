"""Mail: enqueued inside the caller's transaction, delivered outside it."""

import enum
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Index,
    Integer,
    String,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from idp import policy
from idp.db import Base, Store, UtcDateTime
from idp.due import is_due


class Template(enum.StrEnum):
    """The mails there are. Values are for ever: a row once written keeps its template."""

    REMINDER = "reminder"
    INVITATION = "invitation"
    LOCKED = "locked"
    PASSWORD_CHANGED = "password-changed"
    QUESTION_CHANGED = "question-changed"
    PASSWORD_EXPIRES = "password-expires"


class Outcome(enum.StrEnum):
    """How a message ended. Values are for ever."""

    SENT = "sent"
    DROPPED = "dropped"
    """There was nobody to send it to, or no reason any more."""
    FAILED = "failed"
    """The mail server will not have it: the operator's."""


class OutboxMessage(Base):
    """One mail. Holds what its text is made of, never the text and never a link (R-6)."""

    __tablename__ = "outbox_message"
    __table_args__ = (Index("ix_outbox_message_due_at", "ended_at", "due_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """Also what is left of the `@` in its Message-ID, which is the same on every retry."""
    template: Mapped[str] = mapped_column(String(24))
    recipient: Mapped[str | None] = mapped_column(String(254))
    """None where nothing is to be sent: asking for a reminder writes the same row whoever it is for (L-9)."""
    locale: Mapped[str] = mapped_column(String(8))
    parameters: Mapped[Any] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """Raised when a worker takes it: who finds another number than the one it took has lost the lease."""
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(String(8))
    """Of a message that has ended."""
    error: Mapped[str | None] = mapped_column(String(200))
    """What went wrong last: a step and a code, never an address and nothing of the mail."""


@dataclass(frozen=True, slots=True)
class Message:
    """A mail that is to be handed over now."""

    id: str
    template: Template
    recipient: str
    locale: str
    parameters: Mapping[str, Any]
    created_at: datetime
    attempts: int
    """How often it was tried, this time included."""


OnSent = Callable[[Connection, Message, datetime], None]
"""Joins the transaction that marks a message as sent, with the moment at which the mail server had it."""


def _change_nothing_more(tx: Connection, message: Message, now: datetime) -> None:
    """Where nothing hangs on the moment of handing over."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A message that the mail server will not have."""

    id: str
    template: str
    created_at: datetime
    ended_at: datetime
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """The outbox as an operator sees it."""

    queued: int
    """Not ended yet: `due` among them, and those that wait for their next try."""
    due: int
    oldest: datetime | None
    """When the longest waiting one was enqueued."""
    trouble: str | None
    """Why the longest waiting one is still here, if it was tried."""
    failed: int
    failures: tuple[Failed, ...]
    """The newest of the failed ones."""


FAILURES_SHOWN_MAX = 100

_MESSAGE = (
    OutboxMessage.id,
    OutboxMessage.template,
    OutboxMessage.recipient,
    OutboxMessage.locale,
    OutboxMessage.parameters,
    OutboxMessage.created_at,
    OutboxMessage.attempts,
)


class Outbox:
    """The mails that are waiting. What was enqueued is sent once, after a restart too; a lost answer gives one twin."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def enqueue(
        self,
        tx: Connection,
        template: Template,
        *,
        recipient: str | None,
        locale: str,
        parameters: Mapping[str, Any],
        now: datetime,
    ) -> str:
        """Put a mail into the transaction of what it tells of; its id. `parameters` are what JSON holds, no secret.

        Without a recipient nothing is ever sent, and the work is the same.
        """
        message_id = str(uuid.uuid4())
        row = {
            "id": message_id,
            "template": template.value,
            "recipient": recipient,
            "locale": locale,
            "parameters": dict(parameters),
            "created_at": now,
            "due_at": now,
            "attempts": 0,
        }
        tx.execute(insert(OutboxMessage), row)
        return message_id

    def take(self, now: datetime, room: int) -> tuple[list[Message], int]:
        """Up to `room` due messages, leased: nobody else gets them meanwhile. And how many were for nobody (S-2)."""
        free = is_due(OutboxMessage, now, longest_wait=max(policy.MAIL_RETRIES), lease=policy.MAIL_LEASE)
        with self._store.read() as connection:
            # An idle worker writes nothing.
            if connection.execute(select(OutboxMessage.id).where(*free).limit(1)).first() is None:
                return [], 0
        # The rows stay locked until they are leased. In one statement, with the choice as a subquery, PostgreSQL may
        # choose again for each row, and the LIMIT is none.
        chosen = select(*_MESSAGE).where(*free).order_by(OutboxMessage.due_at).limit(room)
        with self._store.write() as tx:
            rows = tx.execute(chosen.with_for_update(skip_locked=True)).all()
            nobodys = [row.id for row in rows if row.recipient is None]
            messages = [_message(row) for row in rows if row.recipient is not None]
            if messages:
                lease = update(OutboxMessage).where(OutboxMessage.id.in_([each.id for each in messages]))
                tx.execute(lease.values(leased_until=now + policy.MAIL_LEASE, attempts=OutboxMessage.attempts + 1))
            if nobodys:
                dropped = update(OutboxMessage).where(OutboxMessage.id.in_(nobodys))
                tx.execute(dropped.values(ended_at=now, outcome=Outcome.DROPPED.value))
        return messages, len(nobodys)

    def end(
        self,
        message: Message,
        outcome: Outcome,
        now: datetime,
        *,
        error: str | None = None,
        on_sent: OnSent = _change_nothing_more,
    ) -> None:
        """Note how a message ended, whoever holds the lease by now: what the mail server has is not sent again."""
        ended = update(OutboxMessage).where(OutboxMessage.id == message.id, OutboxMessage.ended_at.is_(None))
        with self._store.write() as tx:
            changed = tx.execute(ended.values(ended_at=now, outcome=outcome.value, error=error, leased_until=None))
            if changed.rowcount == 1 and outcome is Outcome.SENT:
                on_sent(tx, message, now)

    def defer(self, message: Message, now: datetime, error: str) -> None:
        """Let a message that was not handed over wait for its next try; nothing, if another has its lease by now."""
        mine = update(OutboxMessage).where(
            OutboxMessage.id == message.id,
            OutboxMessage.ended_at.is_(None),
            OutboxMessage.attempts == message.attempts,
        )
        wait = policy.MAIL_RETRIES[min(message.attempts, len(policy.MAIL_RETRIES)) - 1]
        with self._store.write() as tx:
            tx.execute(mine.values(due_at=now + wait, leased_until=None, error=error))

    def status(self, now: datetime) -> Status:
        """How much is waiting, since when, and what has failed."""
        waiting = OutboxMessage.ended_at.is_(None)
        oldest = select(OutboxMessage.created_at, OutboxMessage.error).where(waiting)
        failed = OutboxMessage.outcome == Outcome.FAILED
        failures = select(
            OutboxMessage.id,
            OutboxMessage.template,
            OutboxMessage.created_at,
            OutboxMessage.ended_at,
            OutboxMessage.attempts,
            OutboxMessage.error,
        ).where(failed)
        with self._store.read() as connection:

            def count(*conditions: ColumnElement[bool]) -> int:
                return connection.execute(
                    select(func.count()).select_from(OutboxMessage).where(*conditions)
                ).scalar_one()

            first = connection.execute(oldest.order_by(OutboxMessage.created_at).limit(1)).first()
            newest = failures.order_by(OutboxMessage.ended_at.desc()).limit(FAILURES_SHOWN_MAX)
            return Status(
                queued=count(waiting),
                due=count(waiting, OutboxMessage.due_at <= now),
                oldest=None if first is None else first.created_at,
                trouble=None if first is None else first.error,
                failed=count(failed),
                failures=tuple(_failed(row) for row in connection.execute(newest)),
            )

    def retry(self, tx: Connection, now: datetime) -> int:
        """Make every failed message due, as if it had never been tried, and every waiting one; how many."""
        waiting = OutboxMessage.ended_at.is_(None) & OutboxMessage.leased_until.is_(None)
        again = update(OutboxMessage).where(or_(OutboxMessage.outcome == Outcome.FAILED, waiting))
        return tx.execute(again.values(due_at=now, attempts=0, leased_until=None, ended_at=None, outcome=None)).rowcount

    def sweep(self, now: datetime) -> int:
        """Delete messages that ended long ago; how many."""
        with self._store.write() as tx:
            return tx.execute(delete(OutboxMessage).where(OutboxMessage.ended_at < now - policy.MAIL_KEPT)).rowcount


def _failed(row: Any) -> Failed:
    return Failed(row.id, row.template, row.created_at, row.ended_at, row.attempts, row.error)


def _message(row: Any) -> Message:
    """A row that is being leased: this try counts."""
    return Message(
        id=row.id,
        template=Template(row.template),
        recipient=row.recipient,
        locale=row.locale,
        parameters=row.parameters,
        created_at=row.created_at,
        attempts=row.attempts + 1,
    )
