"""Alembic's environment: runs the migrations on the connection passed in by ``store/schema``."""

from alembic import context

from gatepost_idp.models import Account, partial_indexes

partial_indexes()
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Account.metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
