"""The tables of accounts: people, companies, passwords, attempts, sign-in sessions."""

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from idp.db import Base, UtcDateTime


class Kind(enum.StrEnum):
    """Who an account is for: product.md section 2. The first three are the claim `account_kind`."""

    CLIENT = "client"
    EMPLOYEE = "employee"
    FREE = "free"
    STAFF = "staff"


class State(enum.StrEnum):
    """Where an account stands in its life."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"


class Role(enum.StrEnum):
    """What a staff account may do."""

    SUPPORT = "support"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Organization(Base):
    """A company, founded by the client account of its RFC."""

    __tablename__ = "organization"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    rfc: Mapped[str] = mapped_column(String(13), unique=True)
    retention_days: Mapped[int | None] = mapped_column(Integer)
    """Its contract's own window; None: the deployment's."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Account(Base):
    """A person's account. `id` is the `sub` of every token: a random UUID, never used again (T-4)."""

    __tablename__ = "account"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    username: Mapped[str] = mapped_column(String(32), unique=True)
    """Canonical (PW-8)."""
    kind: Mapped[str] = mapped_column(String(8))
    role: Mapped[str | None] = mapped_column(String(8))
    rfc: Mapped[str | None] = mapped_column(String(13))
    organization_id: Mapped[str | None] = mapped_column(ForeignKey("organization.id"))
    name: Mapped[str] = mapped_column(String(200))
    email: Mapped[str] = mapped_column(String(254))
    email_verified: Mapped[bool] = mapped_column(Boolean, default=False)
    locale: Mapped[str] = mapped_column(String(8), default="es-MX")
    state: Mapped[str] = mapped_column(String(8))
    claims: Mapped[Any] = mapped_column(JSON, default=dict)
    """Further standard claims of OIDC Core section 5.1, as they are given out."""
    password_hash: Mapped[str | None] = mapped_column(String(255))
    password_changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    question: Mapped[str | None] = mapped_column(String(16))
    answer_hash: Mapped[str | None] = mapped_column(String(255))
    epoch: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    """Raised by whatever voids open links, question sessions and "set password" pages (R-4): a new password, a new
    mail address, disabling. What was handed out under an earlier epoch is dead from that very transaction on."""
    expiry_warned: Mapped[int | None] = mapped_column(Integer)
    """Days before the password's end of the last warning that was mailed; None: none of this password yet."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PasswordRecord(Base):
    """A password that an account has had before its present one (PW-5)."""

    __tablename__ = "password_record"
    __table_args__ = (Index("ix_password_record_account_id", "account_id", "replaced_at"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    password_hash: Mapped[str] = mapped_column(String(255))
    replaced_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AttemptCounter(Base):
    """Failed attempts of one username, real or not, found by its keyed hash (L-3)."""

    __tablename__ = "attempt_counter"

    key: Mapped[str] = mapped_column(String(43), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    """Attempts that were counted and not forgiven; those still being compared are among them."""
    failed: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Those of them that have been compared and were wrong: from the first on a CAPTCHA is due (C-1)."""
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)
    locked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When somebody was first told that the name is locked; from then on no attempt begun earlier opens it again."""


class KnownDevice(Base):
    """A browser that has signed in to an account before (L-6), found by the digest of its device cookie."""

    __tablename__ = "known_device"
    __table_args__ = (Index("ix_known_device_account_id", "account_id"),)

    digest: Mapped[str] = mapped_column(String(43), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class MailedLink(Base):
    """A link that a mail carries, found by the id of its message; the code in it is derived, never stored (R-6)."""

    __tablename__ = "mailed_link"
    __table_args__ = (Index("ix_mailed_link_account_id", "account_id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """That of the outbox's message, so that each retry of it carries the same link."""
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(String(16))
    epoch: Mapped[int] = mapped_column(Integer)
    """The account's, when the link was asked for."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    handed_over_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the mail server took it: its lifetime counts from here (R-5)."""


class SignInSession(Base):
    """One browser, found by the digest of its cookie; signed in once `account_id` stands."""

    __tablename__ = "sign_in_session"
    __table_args__ = (
        Index("ix_sign_in_session_account_id", "account_id"),
        Index("ix_sign_in_session_expires_at", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(43), primary_key=True)
    """Digest of the cookie; another at every change of privilege (W-2)."""
    browser: Mapped[str] = mapped_column(String(43))
    """Names the browser across those changes: what it began before signing in still belongs to it (W-6)."""
    data: Mapped[Any] = mapped_column(JSON, default=dict)
    """What the web layer keeps for this browser: CSRF seed, a message to show once."""
    account_id: Mapped[str | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    sid: Mapped[str | None] = mapped_column(String(36))
    """The public session id in tokens (`sid`)."""
    auth_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    amr: Mapped[Any | None] = mapped_column(JSON)
    acr: Mapped[str | None] = mapped_column(String(16))
    address: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """The absolute end; the idle limit is judged from `last_seen_at`."""
