"""Migrations of the schema, run by Alembic inside a transaction that the caller holds."""
