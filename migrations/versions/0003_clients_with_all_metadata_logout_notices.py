"""Clients with all metadata, logout notices"""

import sqlalchemy as sa
from alembic import op

from idp.db import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "registration_token",
        sa.Column("digest", sa.String(length=43), nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_registration_token")),
    )
    op.create_table(
        "logout_delivery",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("sid", sa.String(length=36), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("leased_until", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("outcome", sa.String(length=8), nullable=True),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(
            ["client_id"], ["client.client_id"], name=op.f("fk_logout_delivery_client_id_client"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logout_delivery")),
    )
    with op.batch_alter_table("logout_delivery", schema=None) as batch_op:
        batch_op.create_index("ix_logout_delivery_due_at", ["ended_at", "due_at"], unique=False)

    op.create_table(
        "session_client",
        sa.Column("sid", sa.String(length=36), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["client.client_id"], name=op.f("fk_session_client_client_id_client"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sid", "client_id", name=op.f("pk_session_client")),
    )
    with op.batch_alter_table("session_client", schema=None) as batch_op:
        batch_op.create_index("ix_session_client_expires_at", ["expires_at"], unique=False)

    op.create_table(
        "client_logo",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["client.client_id"], name=op.f("fk_client_logo_client_id_client"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_client_logo")),
    )

    with op.batch_alter_table("authorization_grant", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claims", sa.JSON(), nullable=True))

    with op.batch_alter_table("consent", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claims", sa.JSON(), nullable=True))

    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.add_column(sa.Column("details", sa.JSON(), server_default="{}", nullable=False))
        batch_op.add_column(sa.Column("client_secret_encrypted", sa.String(length=200), nullable=True))
        batch_op.add_column(sa.Column("previous_secret_digest", sa.String(length=43), nullable=True))
        batch_op.add_column(sa.Column("previous_secret_expires_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("client_secret_expires_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("registration_token_digest", sa.String(length=43), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.drop_column("registration_token_digest")
        batch_op.drop_column("client_secret_expires_at")
        batch_op.drop_column("previous_secret_expires_at")
        batch_op.drop_column("previous_secret_digest")
        batch_op.drop_column("client_secret_encrypted")
        batch_op.drop_column("details")

    with op.batch_alter_table("consent", schema=None) as batch_op:
        batch_op.drop_column("claims")

    with op.batch_alter_table("authorization_grant", schema=None) as batch_op:
        batch_op.drop_column("claims")

    with op.batch_alter_table("session_client", schema=None) as batch_op:
        batch_op.drop_index("ix_session_client_expires_at")

    op.drop_table("session_client")
    with op.batch_alter_table("logout_delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_logout_delivery_due_at")

    op.drop_table("logout_delivery")
    op.drop_table("client_logo")
    op.drop_table("registration_token")
