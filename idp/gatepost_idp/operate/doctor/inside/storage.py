"""Checks whether the database answers and is at this version's schema."""

from pathlib import Path

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.settings import EXAMPLES
from gatepost_idp.store import schema
from gatepost_idp.transaction import DatabaseUnavailable

DATABASE_MISSING = Fault(
    "database-missing",
    "`gatepost idp` and other commands say that there is no database.",
    "an existing database",
    "DATABASE_URL",
    "the right path, or, for a new server: gatepost db upgrade",
)
DATABASE_AWAY = Fault(
    "database-away",
    "Every page says “Please try again in a moment”, /readyz answers 503.",
    "a database that answers",
    "DATABASE_URL",
    EXAMPLES["DATABASE_URL"],
)
SCHEMA_OLD = Fault(
    "schema-old",
    "After an upgrade `gatepost idp` does not start.",
    "the schema of this version",
    "gatepost db upgrade",
    "gatepost db upgrade",
)


async def _database(installation: Installation) -> list[Finding]:
    settings = installation.settings
    if settings.is_sqlite and not _is_file(settings.sqlite_path):  # opening it would create the file
        return [DATABASE_MISSING.seen(f"no file {settings.sqlite_path.absolute()}")]
    try:
        await installation.read(schema.found)
    except DatabaseUnavailable as problem:
        return [DATABASE_AWAY.seen(str(problem))]
    except ImportError as problem:
        missing = "a driver: pip install 'gatepost[postgres]'"
        return [DATABASE_AWAY.seen(f"no module {problem.name}", expected=missing, example=missing)]
    except Exception as problem:  # noqa: BLE001 (an error about an unreadable URL may contain the password: report only its type)
        return [DATABASE_AWAY.seen(type(problem).__name__)]
    return []


async def _schema(installation: Installation) -> list[Finding]:
    try:
        schema.compare(await installation.read(schema.found))
    except schema.WrongSchema as wrong:
        return [SCHEMA_OLD.seen(str(wrong))]
    return []


def _is_file(path: Path) -> bool:
    return path.is_file()


DATABASE = Check("database", "Database", _database, (DATABASE_MISSING, DATABASE_AWAY), ("settings",))
SCHEMA = Check("schema", "Database schema", _schema, (SCHEMA_OLD,), ("database",))
