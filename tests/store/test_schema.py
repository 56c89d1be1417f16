"""The schema: migrations produce what the models say, and an old database is refused with the command to run."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlmodel import SQLModel

from gatepost_idp import migrations, models
from gatepost_idp.database import Database
from gatepost_idp.store import schema
from gatepost_idp.store.schema import WrongSchema


def test_the_models_know_the_newest_migration() -> None:
    """A new migration that models.py does not name would never be run."""
    script = ScriptDirectory(str(Path(str(migrations.__file__)).parent))
    assert script.get_heads() == [models.SCHEMA]
    assert [step.revision for step in script.walk_revisions()][-1] == "0001"


def test_migrations_make_what_the_models_say(database: Database) -> None:
    """Alembic finds no difference: no table, column, type, index or constraint."""
    models.partial_indexes()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_indexes_are_where_the_models_want_them(database: Database) -> None:
    """The partial index of salted tokens is partial on both databases, which Alembic does not compare."""
    with database.engine.connect() as connection:
        indexes = {index["name"]: index for index in inspect(connection).get_indexes("refresh_token")}
    salted = indexes["ix_refresh_token_salted"]["dialect_options"]
    conditions = [str(value) for name, value in salted.items() if name.endswith("_where")]
    assert len(conditions) == 1
    assert "salt IS NOT NULL" in conditions[0]


def test_an_empty_database_is_refused_with_the_command_to_run(empty_url: str) -> None:
    """One line that names the setting."""
    database = Database(empty_url)
    with pytest.raises(WrongSchema, match=r"^DATABASE_URL: the database is empty.*; run: gatepost db upgrade$"):
        schema.check(database.engine)
    database.close()


@pytest.mark.parametrize("version", ["0000", "9999"])
def test_another_version_is_refused_with_the_command_to_run(database: Database, version: str) -> None:
    """It names the database's version, and the one this release needs."""
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    wanted = rf"is at {version}, this version expects {models.SCHEMA}; run: gatepost db upgrade"
    with pytest.raises(WrongSchema, match=wanted):
        schema.check(database.engine)


def test_an_upgrade_brings_an_empty_database_there(empty_url: str) -> None:
    """It reports the version it started from; a second upgrade has nothing to do."""
    database = Database(empty_url)
    assert schema.upgrade(database.engine) == ""
    schema.check(database.engine)
    assert schema.upgrade(database.engine) == models.SCHEMA
    database.close()


def test_processes_that_upgrade_at_once_do_it_once(empty_url: str) -> None:
    """Of several containers that start together one migrates, the others wait for it, and none fails."""
    databases = [Database(empty_url) for _ in range(4)]
    ready = threading.Barrier(4)

    def upgrade(database: Database) -> str:
        ready.wait(20)
        return schema.upgrade(database.engine)

    # One after the other: SQLite cannot set up the file's journal in parallel.
    for database in databases:
        database.engine.connect().close()
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(upgrade, databases)) == ["", models.SCHEMA, models.SCHEMA, models.SCHEMA]
    for database in databases:
        schema.check(database.engine)
        database.close()


def test_an_upgrade_waits_for_its_turn(empty_url: str) -> None:
    """It waits longer than a request would: of fifty containers the last one waits for the other forty-nine."""
    holding, waiting = Database(empty_url), Database(empty_url)
    for database in (holding, waiting):
        database.engine.connect().close()
    with holding.engine.begin() as first, ThreadPoolExecutor(1) as threads:
        if first.dialect.name == "postgresql":
            first.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": schema._LOCK})
        upgraded = threads.submit(schema.upgrade, waiting.engine)
        with pytest.raises(TimeoutError):
            upgraded.result(6)
        first.rollback()
        assert upgraded.result(20) == ""
    for database in (holding, waiting):
        database.close()


def test_an_upgrade_that_fails_leaves_nothing_half_done(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations are one transaction on both databases, so a failed one can be run again."""
    database = Database(empty_url)
    run = schema._run

    def fail_at_the_end(connection: Connection) -> None:
        run(connection)
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "_run", fail_at_the_end)
        with pytest.raises(RuntimeError, match="the power went"):
            schema.upgrade(database.engine)
    with database.engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    assert schema.upgrade(database.engine) == ""
    schema.check(database.engine)
    database.close()
