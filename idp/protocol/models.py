"""The tables of the protocol: clients, consents, grants, refresh tokens."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from idp.db import Base, UtcDateTime


class ClientRecord(Base):
    """A relying party, as registered; the names are those of RFC 7591 section 2."""

    __tablename__ = "client"

    client_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    client_name: Mapped[str] = mapped_column(String(100))
    profile: Mapped[str] = mapped_column(String(8))
    first_party: Mapped[bool] = mapped_column(Boolean, default=False)
    client_secret_digest: Mapped[str | None] = mapped_column(String(43))
    """SHA-256 of 256 random bits: nothing to guess, so nothing to slow down."""
    token_endpoint_auth_method: Mapped[str] = mapped_column(String(32))
    redirect_uris: Mapped[Any] = mapped_column(JSON)
    post_logout_redirect_uris: Mapped[Any] = mapped_column(JSON)
    backchannel_logout_uri: Mapped[str | None] = mapped_column(String(2000))
    grant_types: Mapped[Any] = mapped_column(JSON)
    response_types: Mapped[Any] = mapped_column(JSON)
    scopes: Mapped[Any] = mapped_column(JSON)
    resources: Mapped[Any] = mapped_column(JSON)
    """Audiences it may ask for (RFC 8707), the first by default."""
    id_token_signed_response_alg: Mapped[str] = mapped_column(String(8), default="ES256")
    organization_rfc: Mapped[str | None] = mapped_column(String(13))
    retention_days: Mapped[int | None] = mapped_column(Integer)
    """A window narrower than the deployment's; never wider."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Consent(Base):
    """What a person has allowed a client: the union of the scopes."""

    __tablename__ = "consent"

    account_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True)
    scopes: Mapped[Any] = mapped_column(JSON)
    granted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Grant(Base):
    """One authorization: what a code stood for, and what every token of its family comes from.

    Revoking it kills all of them (P-7, T-8).
    """

    __tablename__ = "authorization_grant"
    __table_args__ = (
        Index("ix_authorization_grant_account_id", "account_id"),
        Index("ix_authorization_grant_expires_at", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(22), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(36))
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id", ondelete="CASCADE"))
    sid: Mapped[str] = mapped_column(String(36))
    scopes: Mapped[Any] = mapped_column(JSON)
    resource: Mapped[str | None] = mapped_column(String(2000))
    auth_time: Mapped[datetime] = mapped_column(UtcDateTime)
    amr: Mapped[Any] = mapped_column(JSON)
    acr: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the last token that may come of it is dead; the row is swept after."""
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RefreshToken(Base):
    """A refresh token, spent or not; a spent one stays, so that its reuse is noticed after a restart too (T-8)."""

    __tablename__ = "refresh_token"
    __table_args__ = (Index("ix_refresh_token_grant_id", "grant_id"),)

    digest: Mapped[str] = mapped_column(String(43), primary_key=True)
    grant_id: Mapped[str] = mapped_column(ForeignKey("authorization_grant.id", ondelete="CASCADE"))
    scopes: Mapped[Any] = mapped_column(JSON)
    """What it may still ask for: a narrowed one never widens again (T-6)."""
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    spent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
