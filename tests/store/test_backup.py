"""Backups, restores and the move to PostgreSQL: everything is kept, but a restore ends whatever lets anybody in."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event
from sqlmodel import SQLModel

from gatepost_idp import migrations, models
from gatepost_idp.crypto import SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from gatepost_idp.store import accounts, backup, clients
from gatepost_idp.store.backup import CannotCopy, NotEmpty, Restored
from gatepost_idp.transaction import DatabaseUnavailable
from tests.store.parts import KIND, NOW, a_code, connection, person, rows
from tests.store.test_clients import REGISTRATION
from tests.store.test_outbox import queue
from tests.store.test_purge import fill

SECRET = SecretKeys(("s" * 32,))
OTHER = SecretKeys(("o" * 32,))


def silent(_table: str, _rows: int) -> None:
    """Ignores progress reports."""


async def furnished(database: Database) -> None:
    """A person who is connected, one signing in, keys, a client, and every kind of column in use."""
    await Keys(database, SECRET, lambda: NOW).load()
    await database.write(lambda tx: clients.add(tx, KIND, "registered", REGISTRATION, NOW))
    await connection(database)
    await queue(database, 2)
    await a_code(database, await person(database, "bob@example.com"))
    [alice, _bob] = [row.id for row in await rows(database, models.Account)]
    await database.write(lambda tx: accounts.start_session(tx, b"\0cookie\xff", alice, NOW, NOW, "Firefox", ""))
    await fill(database, models.PersonalToken, 1, account_id=alice)


def everything(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with engine.connect() as reading:
        return {
            table.name: sorted((tuple(row) for row in reading.execute(table.select())), key=repr)
            for table in SQLModel.metadata.sorted_tables
        }


def restored(path: Path, database: Database, keys: SecretKeys = SECRET, *, force: bool = False) -> Restored:
    return backup.restore(path, database.engine, keys, NOW, force=force, progress=silent)


def beside(path: Path) -> dict[str, int]:
    """The mode of a file, and of any files left beside it with a similar name."""
    return {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir() if path.name in file.name}


def content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
async def saved(database: Database, tmp_path: Path) -> Path:
    """A backup of a furnished database, of each kind in turn."""
    await furnished(database)
    path = tmp_path / "backup"
    assert backup.save(database.engine, path, silent) == path.stat().st_size
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def new(request: pytest.FixtureRequest, tmp_path: Path, opened: Callable[[str], Database]) -> Database:
    """An empty database without any table, of each kind in turn."""
    if request.param == "sqlite":
        return opened(f"sqlite:///{tmp_path / 'restored' / 'gatepost.db'}")
    return opened(request.getfixturevalue("postgres").empty())


async def test_a_backup_holds_every_row_and_is_for_its_owner_alone(database: Database, saved: Path) -> None:
    """One file, mode 0600, with nothing left beside it; each row of each table is in it unchanged."""
    assert beside(saved) == {"backup": 0o600}
    copied = sqlalchemy.create_engine(f"sqlite:///{saved}")
    assert everything(copied) == everything(database.engine)
    copied.dispose()


async def test_a_restore_brings_all_back_but_lets_nobody_in(database: Database, saved: Path, new: Database) -> None:
    """From either database to either: people, clients and keys stay; sessions, codes, families and sign-ins end."""
    before = content(saved)
    found = restored(saved, new)
    assert (found.sessions_ended, found.grants_ended, found.personal_tokens_ended) == (1, 1, 1)
    assert content(saved) == before
    old, now = everything(database.engine), everything(new.engine)
    assert {name for name in old if old[name] != now[name]} == {
        "browser_session", "authorization_grant", "authorization_code", "authorization_request", "sign_in_attempt",
        "outbox", "audit_event", "personal_token",
    }  # fmt: skip  # a list of names
    assert [row.ended_at is None for row in await rows(new, models.BrowserSession)] == [False]
    [grant] = await rows(new, models.AuthorizationGrant)
    assert (grant.ended_at is None, grant.end_reason) == (False, "restored from a backup")
    for table in (models.AuthorizationCode, models.AuthorizationRequest, models.SignInAttempt, models.Outbox):
        assert await rows(new, table) == []
    assert [event.event for event in await rows(new, models.AuditEvent) if event.event.startswith("database")]
    await Keys(new, SECRET, lambda: NOW).load()


def test_whatever_lets_somebody_in_is_ended_by_a_restore() -> None:
    """``_end_everything`` handles every table with a token's hash; a new such table fails here first."""
    bearers = {
        table.name for table in SQLModel.metadata.sorted_tables if any("hash" in key.name for key in table.primary_key)
    }
    assert bearers == {"browser_session", "authorization_code", "refresh_token", "personal_token"}


async def test_a_restore_refuses_what_is_not_empty_unless_it_is_told(
    saved: Path, new: Database, database: Database
) -> None:
    """Without force nothing is changed; with force the backup replaces what was there."""
    restored(saved, new)
    stranger = await person(new, "stranger@example.com")
    before = everything(new.engine)
    with pytest.raises(NotEmpty, match="3 rows in account"):
        restored(saved, new)
    assert everything(new.engine) == before
    assert backup.filled(new.engine)["account"] == 3
    restored(saved, new, force=True)
    assert stranger not in {row.id for row in await rows(new, models.Account)}
    assert backup.filled(new.engine)["account"] == 2


async def test_a_restore_with_another_secret_key_says_what_is_missing(saved: Path, new: Database) -> None:
    """Nothing is changed; with the old key before the new one in SECRET_KEY it is restored."""
    with pytest.raises(CannotCopy, match=rf"^SECRET_KEY: .*key {SECRET.newest} is no longer in SECRET_KEY"):
        restored(saved, new, OTHER)
    assert backup.filled(new.engine) == {}
    restored(saved, new, SecretKeys((*SECRET.values, *OTHER.values)))


async def test_a_restore_that_fails_half_way_leaves_what_was_there(
    saved: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore is one transaction, including the deletion of what was there."""
    before = everything(database.engine)

    def fail(*_: object) -> None:
        raise OSError("the power went")

    monkeypatch.setattr(backup, "_end_everything", fail)
    with pytest.raises(CannotCopy, match=r"^Nothing was changed: the power went$"):
        restored(saved, database, force=True)
    assert everything(database.engine) == before


async def test_an_older_backup_is_brought_to_this_version(
    tmp_path: Path, new: Database, opened: Callable[[str], Database]
) -> None:
    """The file is not changed; the restored data has what the newer version added."""
    path = tmp_path / "old"
    old = opened(f"sqlite:///{path}")
    with old.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
    await person(old)
    saved = tmp_path / "saved"
    backup.save(old.engine, saved, silent)
    restored(saved, new)
    assert backup.filled(new.engine)["account"] == 1


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(5000)])
def test_what_is_no_backup_is_refused(tmp_path: Path, new: Database, content: bytes) -> None:
    """A truncated or foreign file changes nothing, and the error is one line."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(CannotCopy):
        restored(path, new)
    assert backup.filled(new.engine) == {}


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path, sqlite_database: Database, new: Database) -> None:
    """The error says which version to run."""
    with sqlite_database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    backup.save(sqlite_database.engine, tmp_path / "newer", silent)
    with pytest.raises(CannotCopy, match="a newer version of Gatepost made it"):
        restored(tmp_path / "newer", new)


def test_a_backup_never_overwrites(database: Database, tmp_path: Path) -> None:
    """It overwrites neither the last backup nor any other file."""
    path = tmp_path / "kept"
    path.write_text("the last one")
    with pytest.raises(CannotCopy, match="already exists"):
        backup.save(database.engine, path, silent)
    assert path.read_text() == "the last one"


def test_a_backup_that_fails_leaves_no_half_of_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file under its name nor a temporary one."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_as_one_file", fail)
    (tmp_path / "here").mkdir()
    with pytest.raises(CannotCopy, match="No space left"):
        backup.save(database.engine, tmp_path / "here" / "backup", silent)
    assert list((tmp_path / "here").iterdir()) == []


async def test_a_move_to_postgresql_copies_everything_and_ends_nothing(
    sqlite_database: Database, postgres_database: Database
) -> None:
    """Every row is copied, in foreign-key order, with progress reports."""
    await furnished(sqlite_database)
    told: list[str] = []
    counts = backup.copy(sqlite_database.engine, postgres_database.engine, lambda table, _: told.append(table))
    assert everything(postgres_database.engine) == everything(sqlite_database.engine)
    assert counts["account"] == 2
    assert told.index("account") < told.index("authorization_grant") < told.index("refresh_token")
    with pytest.raises(NotEmpty):
        backup.copy(sqlite_database.engine, postgres_database.engine, silent)


async def test_a_server_that_still_runs_loses_nothing_by_the_move(
    sqlite_database: Database, sqlite_url: str, postgres_database: Database, opened: Callable[[str], Database]
) -> None:
    """Writes of a running server would not be copied, so the move is refused."""
    server = opened(sqlite_url)
    await server.write(lambda tx: tx._cursor.execute("PRAGMA busy_timeout=50"))
    await person(server)
    refused: list[object] = []

    def meanwhile(_table: str, _rows: int) -> None:
        if not refused:
            refused.append(asyncio.run_coroutine_threadsafe(late(), loop).result(20))

    async def late() -> object:
        with pytest.raises(DatabaseUnavailable):
            await person(server, "late@example.com")
        return "refused"

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(backup.copy, sqlite_database.engine, postgres_database.engine, meanwhile)
    assert refused == ["refused"]
    await person(server, "later@example.com")


async def test_a_backup_of_postgresql_shows_one_moment(postgres_database: Database, tmp_path: Path) -> None:
    """A transaction that commits meanwhile is in it entirely or not at all: no grant without its person."""
    await person(postgres_database)
    loop = asyncio.get_running_loop()
    saving: list[int] = []
    late = iter(f"late{number}@example.com" for number in range(5))

    def meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.get_ident() in saving and "count(*)" in statement and (email := next(late, "")):
            asyncio.run_coroutine_threadsafe(person(postgres_database, email), loop).result(20)

    def save() -> None:
        saving.append(threading.get_ident())
        backup.save(postgres_database.engine, tmp_path / "backup", silent)

    event.listen(postgres_database.engine, "before_cursor_execute", meanwhile)
    await asyncio.to_thread(save)
    event.remove(postgres_database.engine, "before_cursor_execute", meanwhile)
    assert len(await rows(postgres_database, models.Account)) == 6
    with sqlite3.connect(tmp_path / "backup") as copied:
        held = copied.execute("SELECT count(*) FROM account").fetchone()
        scopes = copied.execute("SELECT count(*) FROM entitlement").fetchone()
    copied.close()
    assert (held, scopes) == ((1,), (2,))
