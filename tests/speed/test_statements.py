"""What a request costs the database, in statements rather than seconds, and the wire, in bytes."""

from collections.abc import Iterator
from typing import Any

import pytest

from gatepost_idp import traces
from gatepost_idp.database import Database
from gatepost_idp.transaction import Query, Transaction
from tests.speed.hot import Hot, connected

Transactions = list[list[str]]
"""For each transaction of a request, the first word of each statement; ``session`` for SQLModel's own."""


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hot]:
    with connected(tmp_path_factory.mktemp("statements")) as one:
        yield one


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Transactions:
    """The requests' statements from now on, without those of background work."""
    found: Transactions = []
    statements: dict[int, list[str]] = {}
    execute = Transaction._execute

    def counting(tx: Transaction, query: Query, values: Any) -> None:
        statements.get(id(tx), []).append(query.sql(tx._connection.dialect)[0].split()[0])
        execute(tx, query, values)

    def wrapped(work: Any) -> Any:
        def noted(tx: Transaction) -> Any:
            mine = statements[id(tx)] = []
            found.append(mine)
            try:
                return work(tx)
            finally:
                mine += ["session"] if "session" in vars(tx) else []
                del statements[id(tx)]

        return noted if traces.current().id else work

    read, write = Database.read, Database.write
    monkeypatch.setattr(Transaction, "_execute", counting)
    monkeypatch.setattr(Database, "read", lambda self, work: read(self, wrapped(work)))
    monkeypatch.setattr(Database, "write", lambda self, work: write(self, wrapped(work)))
    return found


# A transaction is one hop to another thread and, if it writes, one share of a commit.
COSTS: dict[str, Transactions] = {
    "metadata": [],
    "jwks": [],
    "register": [],
    # The session; the consents; the code. The session's last use is written once a minute.
    "authorize": [["SELECT", "SELECT", "INSERT"]],
    # The code, spent; the grant, its refresh token, the audit; the person's scopes and entitlements.
    "code": [["SELECT", "UPDATE", "INSERT", "INSERT", "INSERT", "SELECT"]],
    # The token, spent; its successor; the grant's last use; the audit; the person's scopes and entitlements.
    "refresh": [["SELECT", "UPDATE", "INSERT", "UPDATE", "INSERT", "SELECT"]],
    "introspect": [["SELECT"]],
    "userinfo": [["SELECT"]],
    # The token's owner, and whether all behind it is valid; the person's scopes and entitlements; the audit.
    "exchange": [["SELECT", "SELECT", "INSERT"]],
    # Nothing: the client and the catalogue are in memory.
    "lists": [[]],
}


@pytest.mark.parametrize("operation", COSTS)
def test_an_operation_asks_the_database_for_exactly_this(hot: Hot, asked: Transactions, operation: str) -> None:
    """Not one statement or transaction more, and none through SQLModel's session, which costs ten times as much."""
    asking = hot.prepared(operation)
    asked.clear()
    assert asking().status_code < 400
    assert asked == COSTS[operation]


# The whole answer, head and body, with room for names and addresses of usual length.
BYTES = {
    "metadata": 1900,
    "jwks": 1050,
    "register": 660,
    "authorize": 360,
    "code": 2100,
    "refresh": 2100,
    "introspect": 720,
    "userinfo": 370,
    "exchange": 1300,
    "lists": 1000,
}


@pytest.mark.parametrize("operation", BYTES)
def test_an_answer_stays_small(hot: Hot, operation: str) -> None:
    """Head and body; the document that clients read most often is also the longest."""
    answer = hot.prepared(operation)()
    head = sum(len(name) + len(value) + len(": \r\n") for name, value in answer.headers.raw)
    assert head + len(answer.content) <= BYTES[operation]
