"""purge: indexes that find ended families and unused registrations."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("authorization_grant", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_authorization_grant_client_row"), ["client_row"], unique=False)
        batch_op.create_index(
            "ix_authorization_grant_ended_at",
            ["ended_at"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NOT NULL"),
            postgresql_where=sa.text("ended_at IS NOT NULL"),
        )

    with op.batch_alter_table("authorization_request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_authorization_request_client_row"), ["client_row"], unique=False)

    with op.batch_alter_table("consent", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_consent_client_row"), ["client_row"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("consent", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_consent_client_row"))

    with op.batch_alter_table("authorization_request", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_authorization_request_client_row"))

    with op.batch_alter_table("authorization_grant", schema=None) as batch_op:
        batch_op.drop_index("ix_authorization_grant_ended_at", postgresql_where=sa.text("ended_at IS NOT NULL"))
        batch_op.drop_index(batch_op.f("ix_authorization_grant_client_row"))
