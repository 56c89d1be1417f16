"""The database's schema: checks that it is this version's, and migrates it (Alembic)."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from gatepost_idp.models import SCHEMA
from gatepost_idp.transaction import Transaction

_MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_LOCK = 4_757_373_737  # a PostgreSQL advisory lock: of fifty processes that start together, one migrates at a time
_PATIENCE_SECONDS = 60  # how long each of them waits for its turn on SQLite


class WrongSchema(Exception):
    """The database is not at this version's schema; the message says which command to run."""


def check(engine: Engine) -> None:
    """Raises WrongSchema unless the database is at this version's schema."""
    with engine.connect() as connection:
        compare(_version(connection))


def found(tx: Transaction) -> str:
    """The database's schema version, empty if it has none."""
    return _version(tx.session.connection())


def compare(found: str) -> None:
    """Raises WrongSchema unless ``found`` is this version's schema."""
    if found != SCHEMA:
        is_at = f"is at {found}" if found else "is empty"
        raise WrongSchema(
            f"DATABASE_URL: the database {is_at}, this version expects {SCHEMA}; run: gatepost db upgrade"
        )


def is_there(engine: Engine) -> bool:
    """Whether the database has a Gatepost schema, of any version."""
    with engine.connect() as connection:
        return _version(connection) != ""


def upgrade(engine: Engine) -> str:
    """Migrates the database to this version's schema, under a lock; returns the version it was at before.

    Raises WrongSchema if a newer version made it.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":  # must precede BEGIN, which waits for the lock
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={_PATIENCE_SECONDS * 1000}")
        before = _upgraded(connection)
        connection.commit()
    return before


def _upgraded(connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    before = _version(connection)
    if before != SCHEMA:
        _run(connection)
    return before


def _run(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 (takes a quarter of a second; only migrations need it)
    from alembic.config import Config  # noqa: PLC0415 (only migrations need it)
    from alembic.util import CommandError  # noqa: PLC0415 (only migrations need it)

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as problem:  # the database's revision is unknown to this version
        raise WrongSchema(f"DATABASE_URL: a newer version of Gatepost made it; run that one ({problem})") from None


def _version(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    found: Any = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found or "")
