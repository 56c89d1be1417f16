"""People, codes and connections for tests to start from, and queries for what is stored."""

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlmodel import SQLModel, col, select

from gatepost_idp import crypto, tokens
from gatepost_idp.database import Database
from gatepost_idp.protocol import Refused
from gatepost_idp.store import accounts, codes, refresh_tokens
from gatepost_idp.store.codes import NewCode, Redemption
from gatepost_idp.store.grants import Granted
from gatepost_idp.store.refresh_tokens import Rotation
from gatepost_idp.transaction import Transaction, Work

T = TypeVar("T")
Table = TypeVar("Table", bound=SQLModel)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RESOURCE = "https://mcp.test/mcp"
CLIENT = "gp_dc_kind.one.mac"
KIND = "gp_dc_kind"
CALLBACK = "https://client.test/callback"
CHALLENGE = "challenge"
NETWORK = "192.0.2.1"
GRACE = timedelta(seconds=30)
REFRESH_KEY = b"r" * 32
SCOPES = ("demo:read", "demo:echo")


class Counting:
    """A cursor that records its statements."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.statements: list[str] = []

    def execute(self, statement: str, *values: Any) -> Any:
        self.statements.append(statement)
        return self._cursor.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def counted(work: Work[T], into: list[str]) -> Work[T]:
    """``work``, with its statements recorded in ``into``."""

    def counting(tx: Transaction) -> T:
        tx._cursor = cursor = Counting(tx._cursor)
        try:
            return work(tx)
        finally:
            into.extend(cursor.statements)

    return counting


@contextlib.asynccontextmanager
async def busy(database: Database) -> AsyncIterator[None]:
    """Keeps SQLite's writer busy during the block: writes requested in it wait, and are committed as one group."""
    began, go_on = threading.Event(), threading.Event()

    def hold(_tx: Transaction) -> None:
        began.set()
        assert go_on.wait(20)

    holding = asyncio.ensure_future(database.write(hold))
    assert await asyncio.to_thread(began.wait, 20)
    try:
        yield
        await asyncio.sleep(0.02)  # lets the requested writes reach the queue
    finally:
        go_on.set()
        await holding


async def at_once(database: Database, works: Iterable[Work[T]]) -> list[T]:
    """Runs all ``works`` in parallel; returns their results in order."""
    return await asyncio.gather(*(database.write(work) for work in works))


async def between(replicas: tuple[Database, Database], work: Callable[[], Work[T]], each: int = 10) -> list[T]:
    """Runs works on both replicas at once, a fresh one on each."""
    here, there = (at_once(replica, [work() for _ in range(each)]) for replica in replicas)
    return [answer for answers in await asyncio.gather(here, there) for answer in answers]


async def rows(database: Database, table: type[Table], **where: Any) -> list[Table]:
    """The rows of ``table``."""

    def found(tx: Transaction) -> list[Table]:
        statement = select(table)
        for name, value in where.items():
            statement = statement.where(col(getattr(table, name)) == value)
        return list(tx.session.exec(statement))

    return await database.read(found)


async def the_row(database: Database, table: type[Table], **where: Any) -> Table:
    """The one row that there is."""
    found = await rows(database, table, **where)
    assert len(found) == 1, found
    return found[0]


async def person(database: Database, email: str = "alice@example.com", scopes: tuple[str, ...] = SCOPES) -> str:
    """Makes a person who holds ``scopes``; returns the account's id."""
    entitlements = [(RESOURCE, scope) for scope in scopes]
    return await database.write(lambda tx: accounts.sign_up(tx, email, email, entitlements, NOW).id)


async def a_code(database: Database, account_id: str, **changes: Any) -> str:
    """A code that ``account_id`` consented to, valid for a minute."""
    code = crypto.opaque_token(tokens.CODE_PREFIX)
    new = NewCode(
        code_hash=crypto.token_hash(code),
        grant_id=crypto.random_id(),
        account_id=account_id,
        client_id=CLIENT,
        client_row=KIND,
        redirect_uri=CALLBACK,
        code_challenge=CHALLENGE,
        resource=RESOURCE,
        scope="demo:read demo:echo",
        nonce=None,
        auth_time=NOW,
        trace_id="trace",
        browser="Firefox on Linux",
        network=NETWORK,
        announced=False,
        expires_at=NOW + tokens.CODE_LIFE,
    )
    await database.write(lambda tx: codes.add_code(tx, dataclasses.replace(new, **changes)))
    return code


def redemption(code: str, **changes: Any) -> Redemption:
    """A correct request for ``code``, except for ``changes``; with a new refresh token each time."""
    token = crypto.opaque_token(tokens.REFRESH_PREFIX)
    right = Redemption(
        code_hash=crypto.token_hash(code),
        client_id=CLIENT,
        redirect_uri=CALLBACK,
        resource=RESOURCE,
        proves=lambda challenge: challenge == CHALLENGE,
        refresh_token=token,
        refresh_token_hash=crypto.token_hash(token),
        refresh_expires_at=NOW + timedelta(days=30),
        network=NETWORK,
    )
    return dataclasses.replace(right, **changes)


def redeeming(code: str, now: datetime = NOW, **changes: Any) -> Work[Granted | Refused]:
    """The work of one POST /token with ``code``."""
    asked = redemption(code, **changes)
    return lambda tx: codes.redeem_code(tx, asked, now)


def rotation(token: str, **changes: Any) -> Rotation:
    """A correct request for a refresh token, except for ``changes``."""
    right = Rotation(
        token_hash=crypto.token_hash(token),
        client_id=CLIENT,
        resource=None,
        successor=lambda salt: tokens.successor(REFRESH_KEY, token, salt),
        expires_at=NOW + timedelta(days=30),
        grace=GRACE,
        network=NETWORK,
    )
    return dataclasses.replace(right, **changes)


def rotating(token: str, now: datetime = NOW, **changes: Any) -> Work[Granted | Refused]:
    """The work of one POST /token with a refresh token."""
    asked = rotation(token, **changes)
    return lambda tx: refresh_tokens.rotate_refresh_token(tx, asked, now)


async def connection(database: Database, **changes: Any) -> Granted:
    """A person's new connection, with its first refresh token."""
    code = await a_code(database, await person(database))
    granted = await database.write(redeeming(code, **changes))
    assert isinstance(granted, Granted)
    return granted


def refresh_token_of(granted: Granted | Refused) -> str:
    """The refresh token of an answer that has one."""
    assert isinstance(granted, Granted), granted
    assert granted.refresh_token is not None
    return granted.refresh_token
