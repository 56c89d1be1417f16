"""clients: metadata documents, the flight recorder, a resource server's resource."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "client_document",
        sa.Column("url", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("client_row", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("etag", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("checks_iss", sa.Boolean(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("fresh_until", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_client_document")),
    )
    with op.batch_alter_table("client_document", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_client_document_used_at"), ["used_at"], unique=False)

    op.create_table(
        "trace_step",
        sa.Column("id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("trace_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("client_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("network", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("step", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("outcome", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("detail", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trace_step")),
    )
    with op.batch_alter_table("trace_step", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trace_step_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_trace_step_client_id"), ["client_id"], unique=False)
        batch_op.create_index("ix_trace_step_network_at", ["network", "at"], unique=False)
        batch_op.create_index(batch_op.f("ix_trace_step_trace_id"), ["trace_id"], unique=False)

    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("resource", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default=sa.text("''"))
        )


def downgrade() -> None:
    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.drop_column("resource")

    with op.batch_alter_table("trace_step", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trace_step_trace_id"))
        batch_op.drop_index("ix_trace_step_network_at")
        batch_op.drop_index(batch_op.f("ix_trace_step_client_id"))
        batch_op.drop_index(batch_op.f("ix_trace_step_at"))

    op.drop_table("trace_step")
    with op.batch_alter_table("client_document", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_client_document_used_at"))

    op.drop_table("client_document")
