"""sign-in: invitations, and addresses that the mail server refused."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "invitation",
        sa.Column("email_key", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("invited_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_invitation")),
    )
    op.create_table(
        "mail_suppression",
        sa.Column("email_key", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("answer", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_mail_suppression")),
    )
    with op.batch_alter_table("mail_suppression", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mail_suppression_until"), ["until"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("mail_suppression", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_mail_suppression_until"))

    op.drop_table("mail_suppression")
    op.drop_table("invitation")
