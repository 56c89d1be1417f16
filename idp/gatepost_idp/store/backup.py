"""Backs up a database while servers run, restores it, and copies SQLite to PostgreSQL.

A backup is an SQLite file with the same tables, whichever database it was made from, and can be restored to either.
"""

import contextlib
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel, col, delete, or_, update

from gatepost_idp.crypto import SealBroken, SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.models import (
    AuthorizationCode,
    AuthorizationGrant,
    AuthorizationRequest,
    BrowserSession,
    Outbox,
    PersonalToken,
    RefreshToken,
    ServerSecret,
    SigningKey,
)
from gatepost_idp.protocol import milliseconds
from gatepost_idp.store import audit, schema
from gatepost_idp.transaction import DatabaseUnavailable, Transaction

Counts = dict[str, int]
"""Rows by table."""
Progress = Callable[[str, int], None]
"""Called with a table's name and how many of its rows have been copied."""
_ROWS = 1000


class CannotCopy(Exception):
    """The copy failed and nothing was changed; the message says why and what to do."""


class NotEmpty(CannotCopy):
    """The target database has rows that would be overwritten."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The rows that a restore copied, and how many sessions, grants and tokens it ended."""

    rows: Counts
    sessions_ended: int
    grants_ended: int
    personal_tokens_ended: int


def save(engine: Engine, path: Path, progress: Progress) -> int:
    """Writes a consistent backup to ``path``, mode 0600, while servers run; returns its size in bytes.

    The file gets its name only when it is complete. Raises CannotCopy if ``path`` exists: it is never overwritten.
    """
    if path.exists():
        raise CannotCopy(f"{path} already exists; choose another name.")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with _told():
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            if engine.dialect.name == "sqlite":
                _vacuum(engine, draft)
            else:
                _save_rows(engine, draft, progress)
            _as_one_file(draft)
            draft.rename(path)
        finally:
            for leftover in draft.parent.glob(f"{draft.name}*"):
                leftover.unlink()
    return path.stat().st_size


def restore(
    path: Path, engine: Engine, secret_keys: SecretKeys, now: datetime, *, force: bool, progress: Progress
) -> Restored:
    """Restores a backup in one transaction and ends every session, grant, code and personal token in it.

    A backup does not know what was revoked after it was made, so nothing in it may still give access. Raises
    CannotCopy; NotEmpty if the target has rows and ``force`` is not set.
    """
    with _told(), _upgraded_copy(path) as source:
        _check_seals(source, secret_keys, milliseconds(now))
        schema.upgrade(engine)
        with source.connect() as reading, engine.begin() as writing:
            if force:
                for table in reversed(SQLModel.metadata.sorted_tables):
                    writing.execute(table.delete())
            rows = _copied(reading, writing, progress)
            ended = _end_everything(writing, milliseconds(now))
            transaction = Transaction(writing, writing.connection.cursor())
            audit.record(transaction, "database.restored", now, network=audit.COMMAND_LINE, detail=path.name[:200])
    return Restored(rows, *ended)


def copy(source: Engine, target: Engine, progress: Progress) -> Counts:
    """Copies everything into an empty database in one transaction; sessions and grants stay valid.

    Holds the source's write lock: a server still running there refuses writes meanwhile rather than losing them. Raises
    CannotCopy; NotEmpty if the target has rows.
    """
    with _told():
        try:
            schema.check(source)
        except schema.WrongSchema as wrong:
            raise CannotCopy(f"The source is not at this version's schema. {wrong}") from None
        schema.upgrade(target)
        with source.begin() as reading, target.begin() as writing:
            return _copied(reading, writing, progress)


def filled(engine: Engine) -> Counts:
    """Rows by table, without empty tables; the database may be of any version. Raises CannotCopy."""
    with _told(), engine.connect() as connection:
        return _filled(connection)


def _filled(connection: Connection) -> Counts:
    there = inspect(connection).get_table_names()
    counts = {table.name: _count(connection, table) for table in SQLModel.metadata.sorted_tables if table.name in there}
    return {name: count for name, count in counts.items() if count}


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _copied(reading: Connection, writing: Connection, progress: Progress) -> Counts:
    """Copies every row into empty tables, parents before children, and compares the counts of both sides."""
    if there := _filled(writing):
        raise NotEmpty("It is not empty: " + ", ".join(f"{count} rows in {name}" for name, count in there.items()))
    for table in SQLModel.metadata.sorted_tables:
        done = 0
        for rows in reading.execution_options(yield_per=_ROWS).execute(table.select()).mappings().partitions():
            writing.execute(table.insert(), [dict(row) for row in rows])
            done += len(rows)
            progress(table.name, done)
        if not _count(reading, table) == _count(writing, table) == done:
            raise CannotCopy(f"The row counts of {table.name} differ; nothing was kept. Try again.")
    return _filled(writing)


def _end_everything(connection: Connection, now_ms: int) -> tuple[int, int, int]:
    """Returns how many sessions, grants and personal tokens it ended.

    Deletes pending sign-ins too, and the outbox, whose mails would otherwise be sent twice.
    """
    living = col(BrowserSession.ended_at).is_(None)
    sessions = connection.execute(update(BrowserSession).where(living).values(ended_at=now_ms)).rowcount
    living = col(AuthorizationGrant.ended_at).is_(None)
    ended = update(AuthorizationGrant).where(living).values(ended_at=now_ms, end_reason="restored from a backup")
    families = connection.execute(ended).rowcount
    living = col(PersonalToken.ended_at).is_(None)
    personal = connection.execute(update(PersonalToken).where(living).values(ended_at=now_ms)).rowcount
    connection.execute(update(RefreshToken).values(salt=None))
    connection.execute(delete(Outbox))
    connection.execute(delete(AuthorizationCode))
    connection.execute(delete(AuthorizationRequest))
    return sessions, families, personal


def _check_seals(source: Engine, secret_keys: SecretKeys, now_ms: int) -> None:
    """Raises CannotCopy if SECRET_KEY does not open the backup's keys: a server could not start on it."""
    living = or_(col(SigningKey.retired_at).is_(None), col(SigningKey.retired_at) > now_ms)
    with source.connect() as connection:
        signing = connection.execute(select(col(SigningKey.sealed_jwk)).where(living)).scalars()
        sealed = [("signing key", seal) for seal in signing]
        rows = connection.execute(select(col(ServerSecret.name), col(ServerSecret.sealed)))
        sealed += [(name, seal) for name, seal in rows]
    try:
        for purpose, seal in sealed:
            secret_keys.opened(purpose, seal)
    except SealBroken as broken:
        raise CannotCopy(
            f"SECRET_KEY: it does not open the {len(sealed)} sealed keys of this backup ({broken}). Set the SECRET_KEY "
            "of the server that it was made from; a new one may follow it, after a comma."
        ) from None


def _vacuum(engine: Engine, draft: Path) -> None:
    """Copies in one of SQLite's read transactions: concurrent writes do not wait, and are not in the copy."""
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(draft),))
    finally:
        connection.close()


def _save_rows(engine: Engine, draft: Path, progress: Progress) -> None:
    """Copies every row as of one moment: under REPEATABLE READ, PostgreSQL shows nothing that is committed later."""
    try:
        schema.check(engine)
    except schema.WrongSchema as wrong:
        raise CannotCopy(f"Only a database at this version's schema can be saved. {wrong}") from None
    with _opened(f"sqlite:///{draft}") as target:
        schema.upgrade(target)
        snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with snapshot.connect() as reading, target.begin() as writing:
            _copied(reading, writing, progress)


def _as_one_file(path: Path) -> None:
    """Merges the journal into the file, checks it, and flushes it to disk."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=DELETE")
        if (found := connection.execute("PRAGMA quick_check").fetchone()) != ("ok",):
            raise CannotCopy(f"The copy is damaged ({found[0]}); nothing was kept.")
    finally:
        connection.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _upgraded_copy(path: Path) -> Iterator[Engine]:
    """A copy of the backup, migrated to this version's schema, in a private folder; the backup stays unchanged."""
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise CannotCopy(f"{path} is not a Gatepost backup.")
    with tempfile.TemporaryDirectory(prefix="gatepost-") as folder:
        own = Path(folder) / "backup.db"
        shutil.copyfile(path, own)
        own.chmod(0o600)
        with _opened(f"sqlite:///{own}") as engine:
            if not schema.is_there(engine):
                raise CannotCopy(f"{path} is not a Gatepost backup.")
            schema.upgrade(engine)
            yield engine


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Engine]:
    database = Database(url)
    try:
        yield database.engine
    finally:
        database.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turns errors of the disk or the database into CannotCopy, with one line for the operator."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, DatabaseUnavailable, OSError, schema.WrongSchema) as problem:
        said = str(getattr(problem, "orig", problem)).strip().partition("\n")[0]
        raise CannotCopy(f"Nothing was changed: {said}") from problem
