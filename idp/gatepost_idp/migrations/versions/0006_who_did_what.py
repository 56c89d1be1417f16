"""audit log: sealed in batches, by one process at a time."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TRACED = sa.text("trace_id != ''")


def upgrade() -> None:
    op.create_table(
        "audit_batch",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_batch")),
    )
    op.create_table(
        "lease",
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("holder", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        for name in ("actor", "address"):
            batch_op.add_column(
                sa.Column(name, sqlmodel.sql.sqltypes.AutoString(), server_default=sa.text("''"), nullable=False)
            )
        batch_op.add_column(sa.Column("batch", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("salt", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("who", sa.LargeBinary(), nullable=True))
        batch_op.create_index("ix_audit_event_batch_id", ["batch", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_account_id"), ["account_id"], unique=False)
        batch_op.create_index(
            "ix_audit_event_trace_id", ["trace_id"], unique=False, sqlite_where=_TRACED, postgresql_where=_TRACED
        )
    # New ids that sort by time, since the log is read in order of its ids.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    time = "printf('%012x', at)" if is_sqlite else "lpad(to_hex(at), 12, '0')"
    op.execute(f"UPDATE audit_event SET id = {time} || substr(id, 1, 20)")  # noqa: S608 (our own words)

    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.create_index("ix_client_created_at_id", ["created_at", "id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.drop_index("ix_client_created_at_id")

    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_event_trace_id", sqlite_where=_TRACED, postgresql_where=_TRACED)
        batch_op.drop_index(batch_op.f("ix_audit_event_account_id"))
        batch_op.drop_index("ix_audit_event_batch_id")
        for name in ("who", "salt", "batch", "address", "actor"):
            batch_op.drop_column(name)

    op.drop_table("lease")
    op.drop_table("audit_batch")
