"""Schema migrations, run by Alembic inside the caller's transaction."""
