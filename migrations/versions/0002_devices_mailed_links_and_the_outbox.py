"""Devices, mailed links and the outbox"""

import sqlalchemy as sa
from alembic import op

from idp.db import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox_message",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("template", sa.String(length=24), nullable=False),
        sa.Column("recipient", sa.String(length=254), nullable=True),
        sa.Column("locale", sa.String(length=8), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("leased_until", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("outcome", sa.String(length=8), nullable=True),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_message")),
    )
    with op.batch_alter_table("outbox_message", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_message_due_at", ["ended_at", "due_at"], unique=False)

    op.create_table(
        "known_device",
        sa.Column("digest", sa.String(length=43), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_known_device_account_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", "account_id", name=op.f("pk_known_device")),
    )
    with op.batch_alter_table("known_device", schema=None) as batch_op:
        batch_op.create_index("ix_known_device_account_id", ["account_id"], unique=False)

    op.create_table(
        "mailed_link",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("handed_over_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_mailed_link_account_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailed_link")),
    )
    with op.batch_alter_table("mailed_link", schema=None) as batch_op:
        batch_op.create_index("ix_mailed_link_account_id", ["account_id"], unique=False)

    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("epoch", sa.Integer(), server_default="1", nullable=False))
        batch_op.add_column(sa.Column("expiry_warned", sa.Integer(), nullable=True))

    with op.batch_alter_table("attempt_counter", schema=None) as batch_op:
        batch_op.add_column(sa.Column("failed", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.create_index("ix_audit_event_account_id", ["account_id", "id"], unique=False)
    # Until now every attempt that was not given back had failed.
    op.execute("UPDATE attempt_counter SET failed = failures")


def downgrade() -> None:
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_event_account_id")

    with op.batch_alter_table("attempt_counter", schema=None) as batch_op:
        batch_op.drop_column("failed")

    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.drop_column("expiry_warned")
        batch_op.drop_column("epoch")

    with op.batch_alter_table("mailed_link", schema=None) as batch_op:
        batch_op.drop_index("ix_mailed_link_account_id")

    op.drop_table("mailed_link")
    with op.batch_alter_table("known_device", schema=None) as batch_op:
        batch_op.drop_index("ix_known_device_account_id")

    op.drop_table("known_device")
    with op.batch_alter_table("outbox_message", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_message_due_at")

    op.drop_table("outbox_message")
