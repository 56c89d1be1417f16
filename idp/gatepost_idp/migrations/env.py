"""Tells Alembic which tables there should be, on the connection that it is given."""

from alembic import context
from sqlmodel import SQLModel

from gatepost_idp import models

target = models.SQLModel.metadata
assert target is SQLModel.metadata  # noqa: S101 (importing the models is what fills it)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=target,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
