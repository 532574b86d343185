"""What happened: the vocabulary of events, their append-only table, and `record`."""

import enum
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, Index, Integer, String, insert
from sqlalchemy.orm import Mapped, mapped_column

from idp import meters
from idp.db import Base, UtcDateTime
from idp.prepared import Prepared


class Event(enum.StrEnum):
    """`subject:object:action`. Values are for ever: a row once written keeps its tag."""

    ACCOUNT_CREATE = "account:record:create"
    ACCOUNT_DISABLE = "account:record:disable"
    ACCOUNT_ENABLE = "account:record:enable"
    ACCOUNT_LOCK = "account:lock:set"
    ACCOUNT_UNLOCK = "account:lock:lift"
    SIGNIN_SUCCESS = "account:signin:success"
    SIGNIN_FAILURE = "account:signin:failure"
    SIGNIN_REFUSED_LOCKED = "account:signin:refused-locked"
    SIGNIN_REFUSED_EXPIRED = "account:signin:refused-expired"
    REAUTHENTICATION_SUCCESS = "account:reauthentication:success"
    SIGNOUT = "account:session:end"
    ACCOUNT_INVITE = "account:invitation:send"
    ACCOUNT_ACTIVATE = "account:record:activate"
    PASSWORD_CHANGE = "account:password:change"
    PASSWORD_RESET = "account:password:reset"
    QUESTION_CHANGE = "account:question:change"
    QUESTION_SUCCESS = "account:question:success"
    QUESTION_FAILURE = "account:question:failure"
    QUESTION_REFUSED_CLOSED = "account:question:refused-closed"
    QUESTION_CLOSE = "account:question:close"
    REMINDER_REQUEST = "account:reminder:request"
    PROFILE_CHANGE = "account:profile:change"
    CONSENT_REVOKE = "account:consent:revoke"
    CONSENT_GRANT = "account:consent:grant"
    CONSENT_DENY = "account:consent:deny"
    DEVICE_CODE_ENTER = "client:device-code:enter"
    DEVICE_CODE_UNKNOWN = "client:device-code:unknown"
    DEVICE_APPROVE = "account:device:approve"
    DEVICE_DENY = "account:device:deny"
    CODE_ISSUE = "client:code:issue"
    CODE_REUSE = "client:code:reuse"
    TOKEN_ISSUE = "client:token:issue"
    TOKEN_REFRESH = "client:token:refresh"
    TOKEN_REUSE = "client:token:reuse"
    TOKEN_REVOKE = "client:token:revoke"
    CLIENT_CREATE = "client:record:create"
    CLIENT_UPDATE = "client:record:update"
    CLIENT_REMOVE = "client:record:remove"
    CLIENT_SECRET_ROTATE = "client:secret:rotate"
    REGISTRATION_TOKEN_CREATE = "operator:registration-token:create"
    LOGOUT_NOTICE_FAIL = "client:logout-notice:fail"
    KEY_ROTATE = "operator:key:rotate"
    KEY_RETIRE = "operator:key:retire"
    MAIL_RETRY = "operator:mail:retry"
    BACKUP_CREATE = "operator:backup:create"
    BACKUP_RESTORE = "operator:backup:restore"


_GIVES_TOKENS = frozenset({Event.TOKEN_ISSUE, Event.TOKEN_REFRESH})


class AuditEvent(Base):
    """One event. Rows are inserted, never changed."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("ix_audit_event_account_id", "account_id", "id"),)

    # SQLite gives an automatic number only to an INTEGER key.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    event: Mapped[str] = mapped_column(String(48))
    account_id: Mapped[str | None] = mapped_column(String(36))
    client_id: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(32))
    address: Mapped[str | None] = mapped_column(String(45))
    detail: Mapped[Any | None] = mapped_column(JSON)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the present request came from; the web layer or the command line says so."""

    request_id: str | None = None
    address: str | None = None
    operator: str | None = None
    """Whoever typed the command; a row says it in its detail."""


_NOWHERE = Origin()
origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)

_COLUMNS = ("at", "event", "account_id", "client_id", "request_id", "address", "detail")
_APPEND = Prepared(insert(AuditEvent), inserts=_COLUMNS)


def record(
    tx: Connection,
    event: Event,
    *,
    now: datetime,
    account_id: str | None = None,
    client_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one event inside the transaction it describes. `detail` holds no secret and no raw unknown username."""
    where = origin.get()
    if where.operator is not None:
        detail = {**(detail or {}), "operator": where.operator}
    meters.count(meters.Counted.EVENT, event.value)
    if event in _GIVES_TOKENS and detail is not None:
        meters.count(meters.Counted.TOKENS, detail.get("grant_type", "other"))
    _APPEND.run(
        tx,
        {
            "at": now,
            "event": event.value,
            "account_id": account_id,
            "client_id": client_id,
            "request_id": where.request_id,
            "address": where.address,
            "detail": None if detail is None else dict(detail),
        },
    )
