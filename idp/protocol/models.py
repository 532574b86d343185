"""The tables of the protocol: clients, consents, grants, refresh tokens, logout notices."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, Integer, LargeBinary, String
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
    details: Mapped[Any] = mapped_column(JSON, default=dict, server_default="{}")
    """Further metadata, by their registered names: what `ClientDetails` holds and is not its default."""
    client_secret_encrypted: Mapped[str | None] = mapped_column(String(200))
    """For `client_secret_jwt` and symmetric ID token encryption alone, which need the secret itself: sealed with a key
    of the settings, so that a backup of the database holds none (S-4)."""
    previous_secret_digest: Mapped[str | None] = mapped_column(String(43))
    previous_secret_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """After a rotation the old secret may live on for a while."""
    client_secret_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    registration_token_digest: Mapped[str | None] = mapped_column(String(43))
    """Of the registration access token (RFC 7592 section 3), for clients that registered themselves."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ClientLogo(Base):
    """What a client shows at consent: fetched once, drawn anew, served by us (P-15)."""

    __tablename__ = "client_logo"

    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True)
    png: Mapped[bytes] = mapped_column(LargeBinary)


class RegistrationToken(Base):
    """An initial access token for dynamic registration (RFC 7591 section 3)."""

    __tablename__ = "registration_token"

    digest: Mapped[str] = mapped_column(String(43), primary_key=True)
    uses_left: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SessionClient(Base):
    """A client that has had tokens of a sign-in session: whom its end is told to."""

    __tablename__ = "session_client"
    __table_args__ = (Index("ix_session_client_expires_at", "expires_at"),)

    sid: Mapped[str] = mapped_column(String(36), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(36))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the session can be no longer: the row is swept after."""


class LogoutDelivery(Base):
    """A back-channel logout notice that waits for its client (OIDC Back-Channel Logout section 2.5)."""

    __tablename__ = "logout_delivery"
    __table_args__ = (Index("ix_logout_delivery_due_at", "ended_at", "due_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """With the number of the attempt, the `jti` of its logout token."""
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id", ondelete="CASCADE"))
    account_id: Mapped[str] = mapped_column(String(36))
    sid: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(String(8))
    """`sent`, or `failed` once it was given up."""
    error: Mapped[str | None] = mapped_column(String(200))


class Consent(Base):
    """What a person has allowed a client: the union of the scopes, and of the claims asked for by name."""

    __tablename__ = "consent"

    account_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True)
    scopes: Mapped[Any] = mapped_column(JSON)
    claims: Mapped[Any | None] = mapped_column(JSON)
    """Those that no scope gave (OIDC Core section 5.5)."""
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
    claims: Mapped[Any | None] = mapped_column(JSON)
    """What the `claims` parameter asked for, by `userinfo` and `id_token` (OIDC Core section 5.5)."""
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
