"""Mail: enqueued inside the caller's transaction, delivered outside it."""

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Connection, Index, Integer, String, insert
from sqlalchemy.orm import Mapped, mapped_column

from idp.db import Base, Store, UtcDateTime


class Template(enum.StrEnum):
    """The mails there are. Values are for ever: a row once written keeps its template."""

    REMINDER = "reminder"
    INVITATION = "invitation"
    LOCKED = "locked"
    PASSWORD_CHANGED = "password-changed"
    QUESTION_CHANGED = "question-changed"
    PASSWORD_EXPIRES = "password-expires"


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
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(String(8))
    """Of a message that has ended: `sent`, `dropped` (there was no reason to send it any more) or `failed`."""
    error: Mapped[str | None] = mapped_column(String(200))
    """What the mail server said last."""


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
