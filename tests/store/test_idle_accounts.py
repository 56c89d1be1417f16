"""ACCOUNT_IDLE_DAYS: accounts in any kind of use stay; the others go, except those that the operator needs."""

from datetime import datetime, timedelta
from functools import partial

import pytest

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.operate.background import Purge
from gatepost_idp.protocol import milliseconds
from gatepost_idp.store import accounts, idle_accounts
from gatepost_idp.transaction import Transaction
from tests.store.parts import NOW, connection, person, rotating, rows, the_row
from tests.store.parts import refresh_token_of as token_of
from tests.store.test_purge import fill

IDLE = timedelta(days=90)
LATER = NOW + IDLE
TICK = timedelta(milliseconds=1)


async def left(database: Database, now: datetime) -> list[str]:
    """The accounts left after a round at ``now``."""
    await Purge(database, lambda: now, IDLE).work()
    return sorted(account.email for account in await rows(database, models.Account))


async def test_an_account_goes_when_nobody_used_it_for_so_long(database: Database) -> None:
    """At the exact time, with its related rows; the audit log records that one went, but not whose."""
    await person(database)
    assert await left(database, LATER) == ["alice@example.com"]
    assert await left(database, LATER + TICK) == []
    assert await rows(database, models.Entitlement) == []
    event = await the_row(database, models.AuditEvent, event="account.deleted")
    assert (event.account_id, event.detail) == ("", "nobody used it")


async def test_without_the_setting_none_goes(database: Database) -> None:
    """No account is deleted, and nothing is written."""
    await person(database)
    await Purge(database, lambda: NOW + 100 * IDLE).work()
    assert (await the_row(database, models.Account)).seen_at == milliseconds(NOW)


@pytest.mark.parametrize("use", ["sign-in", "page", "refresh", "personal token"])
async def test_each_use_counts(database: Database, use: str) -> None:
    """A use a day before the end starts the time again, even though its row leaves the tables sooner."""
    granted = await connection(database)
    at = LATER - timedelta(days=1)

    def used(tx: Transaction) -> None:
        if use in ("sign-in", "page"):
            began = at if use == "sign-in" else NOW
            accounts.start_session(tx, b"c" * 32, granted.account_id, began, at + IDLE, "", "")
            accounts.mark_seen(tx, b"c" * 32, at)
        if use == "personal token":
            row = models.PersonalToken(
                token_hash=b"t" * 32, id="t", account_id=granted.account_id, name="", resource="", scope="",
                created_at=0, used_at=milliseconds(at), expires_at=milliseconds(at + IDLE),
            )  # fmt: skip  # a row
            tx.session.add(row)

    await database.write(used)
    if use == "refresh":
        await database.write(rotating(token_of(granted), NOW + timedelta(days=29)))
        at = NOW + timedelta(days=29)
    assert await left(database, at + IDLE) == ["alice@example.com"]
    assert (await the_row(database, models.Account)).seen_at == milliseconds(at)
    assert await left(database, at + IDLE + TICK) == []


async def test_a_use_is_remembered_when_its_connection_is_gone(database: Database) -> None:
    """It is noted at the next round, before the family is purged a week after its end."""
    granted = await connection(database)
    at = NOW + timedelta(days=20)
    await database.write(rotating(token_of(granted), at))
    await left(database, at + timedelta(days=1))
    for days in (60, 70):
        assert await left(database, at + timedelta(days=days)) == ["alice@example.com"]
    assert await rows(database, models.AuthorizationGrant) == []
    assert await left(database, at + IDLE) == ["alice@example.com"]
    assert await left(database, at + IDLE + TICK) == []


async def test_administrators_and_who_is_shut_out_stay(database: Database) -> None:
    """Otherwise nobody could admit people, and a disabled person could sign up again."""
    admin, banned = await person(database, "admin@example.com"), await person(database, "banned@example.com")
    await person(database)
    await database.write(lambda tx: accounts.set_role(tx, admin, "admin"))
    await database.write(lambda tx: accounts.set_disabled(tx, banned, NOW))
    assert await left(database, LATER + TICK) == ["admin@example.com", "banned@example.com"]


async def test_accounts_are_walked_page_by_page(database: Database) -> None:
    """One page per round; after the last it starts again."""
    await fill(database, models.Account, idle_accounts.PAGE + 2, seen_at=milliseconds(NOW))
    last = f"{idle_accounts.PAGE - 1:09}"
    look = partial(idle_accounts.delete_idle, idle_since=NOW, now=NOW)
    assert await database.write(lambda tx: look(tx, after="")) == (0, last)
    assert await database.write(lambda tx: look(tx, after=last, idle_since=LATER)) == (2, "")
    await fill(
        database, models.Account, 1, id=f"{idle_accounts.PAGE:09}", email_key="another", seen_at=milliseconds(NOW)
    )
    chore = Purge(database, lambda: LATER + TICK, IDLE)
    there = []
    for _ in range(2):
        await chore.work()
        there.append(len(await rows(database, models.Account)))
    assert there == [1, 0]


async def test_who_signs_in_at_that_moment_stays(database: Database) -> None:
    """An account used between its selection and its deletion stays."""
    account_id = await person(database)

    def at_the_same_time(tx: Transaction) -> tuple[int, str]:
        page = tx.all

        def seen_meanwhile(*query: object, **values: object) -> object:
            found = page(*query, **values)  # type: ignore[arg-type]  # passed on as it came
            accounts.start_session(tx, b"c" * 32, account_id, LATER, LATER + IDLE, "", "")
            return found

        tx.all = seen_meanwhile  # type: ignore[assignment, method-assign]  # between the two statements
        return idle_accounts.delete_idle(tx, "", LATER, LATER + IDLE)

    assert await database.write(at_the_same_time) == (0, "")
    assert len(await rows(database, models.Account)) == 1
