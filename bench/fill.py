"""Fills a database in bulk as months of use would: people, consents, connections and the audit log.

Rows are inserted in key order and indexes created afterwards, so that ten million connections take minutes. Keys are
spread evenly over the key space, so that rows added by a measured server land anywhere among them.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import psycopg
import sqlalchemy
from sqlalchemy.schema import CreateIndex, DropIndex
from sqlmodel import SQLModel

from gatepost_idp import crypto
from gatepost_idp.models import partial_indexes
from gatepost_idp.tokens import REFRESH_PREFIX

SCOPE = "demo:read demo:echo"
EVENTS_IN_A_BATCH = 250
_DAY = 86_400_000
_KEPT = 30 * _DAY
_YEAR = 365 * _DAY
_SPACE = 64**8
_DIGITS = sorted("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_BYTES = [sha256(number.to_bytes(2)).digest()[:24] for number in range(4_096)]
_TAILS = [crypto.base64url(one)[:14] for one in _BYTES]

Rows = Iterator[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to store: each person has two connections, each refreshed once."""

    grants: int
    clients: Sequence[str]
    """Client ids that the server has issued."""
    resource: str
    now: int
    """Milliseconds since the epoch."""

    @property
    def people(self) -> int:
        """The number of people: half that of connections."""
        return (self.grants + 1) // 2

    def client(self, number: int) -> str:
        """The client id of connection ``number``."""
        return self.clients[number % len(self.clients)]

    def began(self, number: int) -> int:
        """When connection ``number`` began: pseudo-random within the last four weeks."""
        return self.now - _DAY - (number * 2_654_435_761 % 2**32) * 28 * _DAY // 2**32

    def account_of(self, number: int) -> str:
        """The account of connection ``number``."""
        return spread(number // 2, self.people)


def spread(number: int, of: int, size: int = 22) -> str:
    """Key ``number`` of ``of`` keys in base64url, which ascend and are spread evenly over the key space."""
    place = number * (_SPACE // of)
    head = _PAIRS[place >> 36] + _PAIRS[place >> 24 & 4095] + _PAIRS[place >> 12 & 4095] + _PAIRS[place & 4095]
    return head + _TAILS[number & 4095][: size - 8]


def _hash(number: int, of: int) -> bytes:
    """Like ``spread``, as 32 bytes."""
    return (number * (2**64 // of)).to_bytes(8) + _BYTES[number & 4095]


def _accounts(plan: Plan) -> Rows:
    for number in range(plan.people):
        key, began = spread(number, plan.people), plan.began(2 * number)
        email = f"{key.lower()[:9]}.{number:08d}@example.com"
        yield key, email, email, "", began, began


def _entitlements(plan: Plan) -> Rows:
    for number in range(plan.people):
        key, began = spread(number, plan.people), plan.began(2 * number)
        for scope in sorted(SCOPE.split()):
            yield key, plan.resource, scope, began


def _consents(plan: Plan) -> Rows:
    for number in range(plan.grants):
        client, began = plan.client(number), plan.began(number)
        yield (
            spread(number, plan.grants), plan.account_of(number), client, client.partition(".")[0],
            f"client{number}.example", plan.resource, SCOPE, SCOPE, began, began + _KEPT,
        )  # fmt: skip  # a row


def _grants(plan: Plan) -> Rows:
    for number in range(plan.grants):
        client, began = plan.client(number), plan.began(number)
        yield (
            spread(number, plan.grants, 16), plan.account_of(number), client, client.partition(".")[0], plan.resource,
            SCOPE, "https://client.example/callback", "Firefox on Linux", f"10.1.{number >> 8 & 255}.{number & 255}",
            began, "s15qm-0n4mb", began, began + _DAY // 2, began + _YEAR, "",
        )  # fmt: skip  # a row


def _refresh_tokens(plan: Plan) -> Rows:
    for number in range(plan.grants):
        grant, began = spread(number, plan.grants, 16), plan.began(number)
        refreshed = began + _DAY // 2
        yield _hash(2 * number, 2 * plan.grants), grant, began + _KEPT, refreshed
        yield _hash(2 * number + 1, 2 * plan.grants), grant, refreshed + _KEPT, None


def _events(plan: Plan) -> Rows:
    """Events in order of time, and so of ids; already sealed, or the server would seal them all."""
    first, total = plan.now - 29 * _DAY, 2 * plan.grants
    for number in range(total):
        of = number * 7_368_787 % plan.grants
        at = first + number * 28 * _DAY // total
        salt = _BYTES[number & 4095]
        yield (
            f"{at:012x}{number % 0x1000000:06x}{salt[:7].hex()}", at, "grant.refreshed", plan.account_of(of),
            plan.client(of), spread(of, plan.grants, 16), "s15qm-0n4mb", f"10.1.{of >> 8 & 255}.{of & 255}", "",
            number // EVENTS_IN_A_BATCH - total, salt[:16], salt + salt[:8],
        )  # fmt: skip  # a row


def _batches(plan: Plan) -> Rows:
    """Seals with numbers below those that the server uses."""
    total = 2 * plan.grants
    for number in range((total + EVENTS_IN_A_BATCH - 1) // EVENTS_IN_A_BATCH):
        digest = _hash(number, total)
        yield number - total, plan.now - _DAY, digest, secrets.token_bytes(32 * EVENTS_IN_A_BATCH), digest


TABLES: dict[str, tuple[str, Callable[[Plan], Rows]]] = {
    "account": ("id email email_key role created_at seen_at", _accounts),
    "entitlement": ("account_id resource scope granted_at", _entitlements),
    "consent": (
        "id account_id client_id client_row redirect_host resource scope_asked scope_approved granted_at expires_at",
        _consents,
    ),
    "authorization_grant": (
        "id account_id client_id client_row resource scope redirect_uri browser network auth_time trace_id"
        " created_at used_at ends_at end_reason",
        _grants,
    ),
    "refresh_token": ("token_hash grant_id expires_at spent_at", _refresh_tokens),
    "audit_event": (
        "id at event account_id client_id grant_id trace_id network detail batch salt who",
        _events,
    ),
    "audit_batch": ("number sealed_at previous leaves digest", _batches),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """The size of one table after a fill, with its indexes; ``table`` is empty for the whole database."""

    database: str
    grants: int
    table: str
    rows: int
    bytes: int
    seconds: float


def filled(url: str, grants: int, clients: Sequence[str], resource: str, told: Callable[[str], None]) -> list[Stored]:
    """Fills a database at this version's schema that nobody else uses; ``told`` is called with lines of progress."""
    plan = Plan(grants, clients, resource, int(datetime.now(UTC).timestamp() * 1000))
    kind, fill = ("SQLite", _fill_sqlite) if url.startswith("sqlite") else ("PostgreSQL", _fill_postgres)
    began = time.perf_counter()
    found = []
    for table, rows, size, seconds in fill(url, plan):
        told(f"{kind}, {grants:,} grants: {table or 'all'}, {size / 2**20:,.0f} MiB, {seconds:.0f} s")
        found.append(Stored(kind, grants, table, rows, size, round(seconds, 1)))
    told(f"{kind}, {grants:,} grants: {time.perf_counter() - began:.0f} s in all")
    return found


_Filled = Iterator[tuple[str, int, int, float]]


def _indexes(name: str) -> Iterable[sqlalchemy.Index]:
    partial_indexes()
    return SQLModel.metadata.tables[name].indexes


def _fill_sqlite(url: str, plan: Plan) -> _Filled:
    """Fills without a journal, so an interrupted fill leaves a useless file."""
    path, dialect = Path(url.removeprefix("sqlite:///")), sqlalchemy.create_engine(url).dialect
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-500000"):
        connection.execute(f"PRAGMA {pragma}")
    began = time.perf_counter()
    for name, (columns, rows) in TABLES.items():
        started, before, total = time.perf_counter(), path.stat().st_size, connection.total_changes
        for index in _indexes(name):
            connection.execute(str(DropIndex(index).compile(dialect=dialect)))
        connection.execute("BEGIN")
        marks = ", ".join("?" * len(columns.split()))
        connection.executemany(f"INSERT INTO {name} ({', '.join(columns.split())}) VALUES ({marks})", rows(plan))  # noqa: S608 (our own names)
        count = connection.total_changes - total
        for index in _indexes(name):
            connection.execute(str(CreateIndex(index).compile(dialect=dialect)))
        connection.execute("COMMIT")
        yield name, count, path.stat().st_size - before, time.perf_counter() - started
    connection.execute("PRAGMA locking_mode=NORMAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    yield "", plan.grants, path.stat().st_size, time.perf_counter() - began


def _fill_postgres(url: str, plan: Plan) -> _Filled:
    """Fills as a superuser, with foreign key checks off, since the references are known to be right."""
    dialect, began = sqlalchemy.create_engine(url).dialect, time.perf_counter()
    address = sqlalchemy.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '512MB'")
        for name, (columns, rows) in TABLES.items():
            started, count = time.perf_counter(), 0
            for index in _indexes(name):
                connection.execute(str(DropIndex(index).compile(dialect=dialect)).encode())
            with connection.cursor().copy(f"COPY {name} ({', '.join(columns.split())}) FROM STDIN".encode()) as copy:
                for count, row in enumerate(rows(plan), 1):  # noqa: B007 (the last number is how many)
                    copy.write_row(row)
            for index in _indexes(name):
                connection.execute(str(CreateIndex(index).compile(dialect=dialect)).encode())
            connection.execute(f"VACUUM ANALYZE {name}".encode())
            yield name, count, _postgres_size(connection, name), time.perf_counter() - started
        whole = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    yield "", plan.grants, int(whole[0]) if whole else 0, time.perf_counter() - began


def _postgres_size(connection: "psycopg.Connection[tuple[object, ...]]", name: str) -> int:
    found = connection.execute("SELECT pg_total_relation_size(%s)", [name]).fetchone()
    return int(str(found[0])) if found else 0


@dataclass(frozen=True, slots=True)
class Holder:
    """A stored connection with a refresh token that the load knows."""

    client_id: str
    refresh_token: str


def taken_up(url: str, grants: int, count: int) -> list[Holder]:
    """Adds a known refresh token to ``count`` stored connections, spread evenly over all; returns them.

    At most 30,000, since SQLite limits the number of parameters.
    """
    engine, count = sqlalchemy.create_engine(url), min(grants, count)
    tokens = {spread(n * grants // count, grants, 16): crypto.opaque_token(REFRESH_PREFIX) for n in range(count)}
    among: sqlalchemy.BindParameter[list[str]] = sqlalchemy.bindparam("ids", expanding=True)
    clients = sqlalchemy.text("SELECT id, client_id FROM authorization_grant WHERE id IN :ids").bindparams(among)
    add = sqlalchemy.text("INSERT INTO refresh_token (token_hash, grant_id, expires_at) VALUES (:hash, :grant, :until)")
    until = int(datetime.now(UTC).timestamp() * 1000) + _KEPT
    with engine.begin() as connection:
        found = connection.execute(clients, {"ids": list(tokens)}).all()
        connection.execute(
            add,
            [{"hash": crypto.token_hash(token), "grant": grant, "until": until} for grant, token in tokens.items()],
        )
    engine.dispose()
    return [Holder(client_id, tokens[grant]) for grant, client_id in found]


def is_filled(url: str, grants: int) -> bool:
    """Whether a fill of that size is complete: the last connection and the last seal, which is written last, exist."""
    engine = sqlalchemy.create_engine(url)
    grant = sqlalchemy.text("SELECT count(*) FROM authorization_grant WHERE id = :id")
    seal = sqlalchemy.text("SELECT count(*) FROM audit_batch WHERE number = :number")
    last = -(-2 * grants // EVENTS_IN_A_BATCH) - 1 - 2 * grants
    with engine.begin() as connection:
        found = connection.execute(grant, {"id": spread(grants - 1, grants, 16)}).scalar_one()
        found += connection.execute(seal, {"number": last}).scalar_one()
    engine.dispose()
    return bool(found == 2)
