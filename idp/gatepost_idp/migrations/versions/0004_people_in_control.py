"""account pages: personal tokens, where a connection was made, and the mail about it."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "personal_token",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("account_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("resource", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("scope", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_personal_token_account_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_personal_token")),
        sa.UniqueConstraint("id", name=op.f("uq_personal_token_id")),
    )
    with op.batch_alter_table("personal_token", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_personal_token_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_personal_token_expires_at"), ["expires_at"], unique=False)

    with op.batch_alter_table("authorization_code", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("browser", sqlmodel.sql.sqltypes.AutoString(), server_default=sa.text("''"), nullable=False)
        )
        batch_op.add_column(
            sa.Column("network", sqlmodel.sql.sqltypes.AutoString(), server_default=sa.text("''"), nullable=False)
        )
        batch_op.add_column(sa.Column("announced", sa.Boolean(), server_default=sa.false(), nullable=False))

    with op.batch_alter_table("authorization_grant", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("redirect_uri", sqlmodel.sql.sqltypes.AutoString(), server_default=sa.text("''"), nullable=False)
        )
        batch_op.add_column(
            sa.Column("browser", sqlmodel.sql.sqltypes.AutoString(), server_default=sa.text("''"), nullable=False)
        )
        batch_op.add_column(
            sa.Column("network", sqlmodel.sql.sqltypes.AutoString(), server_default=sa.text("''"), nullable=False)
        )

    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("grant_id", sqlmodel.sql.sqltypes.AutoString(), server_default=sa.text("''"), nullable=False)
        )
        batch_op.alter_column("attempt_id", existing_type=sa.VARCHAR(), nullable=True)


def downgrade() -> None:
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.alter_column("attempt_id", existing_type=sa.VARCHAR(), nullable=False)
        batch_op.drop_column("grant_id")

    with op.batch_alter_table("authorization_grant", schema=None) as batch_op:
        batch_op.drop_column("network")
        batch_op.drop_column("browser")
        batch_op.drop_column("redirect_uri")

    with op.batch_alter_table("authorization_code", schema=None) as batch_op:
        batch_op.drop_column("announced")
        batch_op.drop_column("network")
        batch_op.drop_column("browser")

    with op.batch_alter_table("personal_token", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_personal_token_expires_at"))
        batch_op.drop_index(batch_op.f("ix_personal_token_account_id"))

    op.drop_table("personal_token")
