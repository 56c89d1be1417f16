"""token exchange: an index that finds the credentials of resource servers among the clients."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_client_origin", "client", ["origin"])


def downgrade() -> None:
    op.drop_index("ix_client_origin", table_name="client")
