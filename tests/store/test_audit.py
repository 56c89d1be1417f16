"""The audit log's seals: any change to sealed rows is detected, except a person's deletion and retention."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from gatepost_idp import audit as log
from gatepost_idp import models
from gatepost_idp.audit import Break, Refusals, Sealer, Verdict
from gatepost_idp.crypto import SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.store import audit, audit_seals, leases, personal_data
from gatepost_idp.store.audit import Wanted
from gatepost_idp.transaction import DatabaseUnavailable, Transaction
from tests.store.parts import NOW, at_once, person, rows, the_row

KEYS = SecretKeys(("k" * 32,))
MS = timedelta(milliseconds=1)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four events a batch, and no pause between two."""
    monkeypatch.setattr(audit_seals, "BATCH", 4)
    monkeypatch.setattr(log, "BETWEEN_BATCHES_SECONDS", 0)


async def events(database: Database, count: int = 10, account_id: str = "", start: int = 0, address: str = "") -> None:
    """That many events, a millisecond apart."""

    def work(tx: Transaction) -> None:
        for number in range(start, start + count):
            detail, own = f"event {number}", {"account_id": account_id, "network": "192.0.2.1", "address": address}
            audit.record(tx, "sign_in", NOW + number * MS, trace_id=f"t{number}", detail=detail, **own)

    await database.write(work)


def sealer(
    database: Database, days: int | None = None, at: Callable[[], Any] = lambda: NOW, process: str = "this one"
) -> Sealer:
    made = Sealer(database, KEYS, at, timedelta(days=days) if days else None)
    made._me = process
    return made


async def verified(database: Database, keys: SecretKeys = KEYS) -> Verdict:
    return await log.verify(database, keys, lambda _done: None)


async def sealed(database: Database, count: int = 10, account_id: str = "", address: str = "") -> None:
    """That many events in batches of four."""
    await events(database, count, account_id, address=address)
    await sealer(database).work()


async def tampered(database: Database, statement: str, **values: Any) -> Break | None:
    """What the check reports after somebody changed the database."""

    def work(tx: Transaction) -> int:
        return int(tx.session.connection().execute(text(statement), values).rowcount)

    assert await database.write(work) > 0, "the statement changes nothing"
    return (await verified(database)).broken


async def ids(database: Database) -> list[str]:
    return sorted(row.id for row in await rows(database, models.AuditEvent))


async def test_a_log_that_nobody_touched_is_whole(database: Database) -> None:
    """Every event is in a batch, the last batch is short, and a second round has nothing to do."""
    await sealed(database)
    await sealer(database).work()
    found = await verified(database)
    assert found.broken is None
    assert (found.batches, found.first, found.sealed, found.erased, found.unsealed) == (3, 1, 10, 0, 0)
    assert [len(row.leaves) // 32 for row in await rows(database, models.AuditBatch)] == [4, 4, 2]
    await events(database, 1, start=20)
    assert (await verified(database)).unsealed == 1


async def test_an_auditor_can_check_the_seals_with_their_own_tool(database: Database) -> None:
    """docs/audit.md, computed here from the rows alone."""
    await sealed(database, account_id=await person(database))

    def compact(*members: object) -> bytes:
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()

    previous = bytes(32)
    batches = sorted(await rows(database, models.AuditBatch), key=lambda row: row.number)
    assert len(batches) == 3
    for batch in batches:
        leaves = b""
        for row in sorted(await rows(database, models.AuditEvent, batch=batch.number), key=lambda row: row.id):
            assert row.salt is not None
            assert row.who == hashlib.sha256(row.salt + compact(row.account_id, row.address, row.network)).digest()
            members = (row.id, row.at, row.event, row.actor, row.client_id, row.grant_id, row.trace_id, row.detail)
            leaves += hashlib.sha256(compact(*members, row.who.hex())).digest()
        assert batch.leaves == leaves
        assert batch.previous == previous
        seal = compact(batch.number, batch.sealed_at, previous.hex())
        assert batch.digest == hashlib.sha256(seal + leaves).digest()
        previous = batch.digest
    head = (await verified(database)).head
    assert head is not None
    assert head.digest == previous


@pytest.mark.parametrize("column", ["event", "actor", "client_id", "grant_id", "trace_id", "detail"])
async def test_a_changed_event_is_found(database: Database, column: str) -> None:
    """Whichever field was changed; the batch and the event are named."""
    await sealed(database)
    sixth = (await ids(database))[5]
    broken = await tampered(database, f"UPDATE audit_event SET {column} = 'x' WHERE id = :id", id=sixth)  # noqa: S608 (the test's own words)
    assert broken == Break(2, sixth, "was changed")


@pytest.mark.parametrize("column", ["at", "who"])
async def test_a_changed_time_or_digest_is_found(database: Database, column: str) -> None:
    """An event moved in time, and one whose digest was replaced."""
    await sealed(database)
    sixth = (await ids(database))[5]
    value: object = 5 if column == "at" else b"w" * 32
    broken = await tampered(database, f"UPDATE audit_event SET {column} = :to WHERE id = :id", id=sixth, to=value)  # noqa: S608 (as above)
    assert broken == Break(2, sixth, "was changed")


@pytest.mark.parametrize("column", ["account_id", "address", "network"])
async def test_a_changed_person_or_place_is_found(database: Database, column: str) -> None:
    """They are outside the seal, but their salted digest is not; blanking only one does not count as deletion."""
    await sealed(database, account_id=await person(database), address="a@example.com")
    ninth = (await ids(database))[8]
    for value in ("somebody else", ""):
        statement = f"UPDATE audit_event SET {column} = :to WHERE id = :id"  # noqa: S608 (as above)
        assert await tampered(database, statement, id=ninth, to=value) == Break(
            3, ninth, "who it was, or from where, was changed"
        )


async def test_a_person_put_into_an_erased_event_is_found(database: Database) -> None:
    """A person cannot be put back into an event from which they were erased."""
    await sealed(database)
    first = (await ids(database))[0]
    erased = "UPDATE audit_event SET account_id = '', network = '', salt = NULL WHERE id = :id"
    assert await tampered(database, erased, id=first) is None
    filled = "UPDATE audit_event SET account_id = 'mallory' WHERE id = :id"
    assert await tampered(database, filled, id=first) == Break(1, first, "who it was, or from where, was changed")


@pytest.mark.parametrize(
    ("gone", "named", "words"),
    [
        (0, 1, "event 1 of the batch is missing, just before this one"),
        (2, 3, "event 3 of the batch is missing, just before this one"),
        (3, None, "event 4 of the batch is missing"),
    ],
)
async def test_a_deleted_event_is_found(database: Database, gone: int, named: int | None, words: str) -> None:
    """At the start, in the middle and at the end of a batch."""
    await sealed(database)
    known = await ids(database)
    broken = await tampered(database, "DELETE FROM audit_event WHERE id = :id", id=known[gone])
    assert broken == Break(1, known[named] if named is not None else "", words)


@pytest.mark.parametrize("place", ["before", "between", "after"])
async def test_an_inserted_event_is_found(database: Database, place: str) -> None:
    """A copy of another event, with a matching salt and digest."""
    await sealed(database)
    known = await ids(database)
    new = {"before": f"{known[4][:-1]}", "between": f"{known[5]}+", "after": f"{known[7]}+"}[place]
    broken = await tampered(
        database,
        "INSERT INTO audit_event (id, at, event, account_id, client_id, grant_id, trace_id, network, detail, batch,"
        " salt, who) SELECT :new, at, event, account_id, client_id, grant_id, trace_id, network, detail, batch, salt,"
        " who FROM audit_event WHERE id = :id",
        new=new,
        id=known[4],
    )
    assert broken == Break(2, new, "was not there when it was sealed")


async def test_events_in_another_order_are_found(database: Database) -> None:
    """Two events that exchange ids, and so places."""
    await sealed(database)
    first, second = (await ids(database))[:2]
    await tampered(database, "UPDATE audit_event SET id = 'x' WHERE id = :id", id=first)
    await tampered(database, "UPDATE audit_event SET id = :to WHERE id = :id", id=second, to=first)
    broken = await tampered(database, "UPDATE audit_event SET id = :to WHERE id = 'x'", to=second)
    assert broken == Break(1, first, "was changed")


async def test_an_event_in_another_batch_is_found(database: Database) -> None:
    """Moved to a batch that does not exist, or out of every batch."""
    await sealed(database)
    last = (await ids(database))[-1]
    for batch in ("9", "NULL"):
        moved = f"UPDATE audit_event SET batch = {batch} WHERE id = :id"  # noqa: S608 (as above)
        assert await tampered(database, moved, id=last) == Break(3, "", "event 2 of the batch is missing")
    await events(database, 1, start=20)
    stray = (await ids(database))[-1]
    await tampered(database, "UPDATE audit_event SET batch = 3 WHERE id = :id", id=last)
    broken = await tampered(database, "UPDATE audit_event SET batch = 9 WHERE id = :id", id=stray)
    assert broken == Break(9, stray, "names a batch that is not there")


@pytest.mark.parametrize("column", ["sealed_at", "previous", "leaves", "digest"])
async def test_a_changed_seal_is_found(database: Database, column: str) -> None:
    """Whichever part of the seal."""
    await sealed(database)
    value: object = 5 if column == "sealed_at" else b"x" * 32
    broken = await tampered(database, f"UPDATE audit_batch SET {column} = :to WHERE number = 2", to=value)  # noqa: S608 (as above)
    assert broken == Break(2, "", "its seal was changed")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "the batch is missing, and retention did not drop it"),
        (2, "the batch is missing"),
        (3, "the batch and all after it are missing"),
    ],
)
async def test_a_batch_that_was_taken_out_is_found(database: Database, number: int, words: str) -> None:
    """With its events, in the middle, at the end or at the start of the chain."""
    await sealed(database)
    await tampered(database, "DELETE FROM audit_event WHERE batch = :number", number=number)
    broken = await tampered(database, "DELETE FROM audit_batch WHERE number = :number", number=number)
    assert broken == Break(number, "", words)


async def test_a_tail_that_was_dropped_stays_a_gap(database: Database) -> None:
    """Later seals continue from the head, not from what was left, so the gap remains."""
    await sealed(database)
    for table in ("audit_event WHERE batch = 3", "audit_batch WHERE number = 3"):
        await tampered(database, f"DELETE FROM {table}")  # noqa: S608 (as above)
    await events(database, 4, start=20)
    await sealer(database).work()
    assert (await verified(database)).broken == Break(3, "", "the batch is missing")


async def test_a_chain_made_anew_is_found(database: Database) -> None:
    """With the database but without SECRET_KEY an attacker can compute digests, but no head, nor omit it."""
    await sealed(database)
    await database.write(lambda tx: audit_seals.keep_head(tx, SecretKeys(("m" * 32,)), audit_seals.Head(3, b"f" * 32)))
    broken = (await verified(database)).broken
    assert broken is not None
    assert "the head of the chain cannot be opened" in broken.words
    broken = await tampered(database, "DELETE FROM server_secret")
    assert broken == Break(3, "", "the sealed head of the chain is missing")


async def test_a_forged_word_of_retention_excuses_nothing(database: Database) -> None:
    """The head records what retention dropped; an event that claims so proves nothing."""
    await sealed(database)
    await database.write(lambda tx: audit.record(tx, "audit.dropped", NOW, detail="batches through 2"))
    for number in (1, 2):
        await tampered(database, "DELETE FROM audit_event WHERE batch = :number", number=number)
        await tampered(database, "DELETE FROM audit_batch WHERE number = :number", number=number)
    assert (await verified(database)).broken == Break(1, "", "the batch is missing, and retention did not drop it")


async def test_a_chain_with_other_digests_does_not_fit_its_head(database: Database) -> None:
    """All seals recomputed by the real code, over events that were changed before."""
    await sealed(database)
    head = await database.read(lambda tx: audit_seals.head(tx, KEYS))
    assert head is not None
    await tampered(database, "UPDATE audit_event SET batch = NULL, detail = 'x'")
    await tampered(database, "DELETE FROM audit_batch")
    await tampered(database, "DELETE FROM server_secret")
    await sealer(database).work()
    assert (await verified(database)).broken is None
    await database.write(lambda tx: audit_seals.keep_head(tx, KEYS, head))
    assert (await verified(database)).broken == Break(3, "", "its seal was changed")


async def test_an_old_secret_key_can_be_dropped(database: Database) -> None:
    """The next start seals the head under the newest one."""
    await sealed(database)
    new = "n" * 32
    await Sealer(database, SecretKeys((*KEYS.values, new)), lambda: NOW, None).load()
    assert (await verified(database, SecretKeys((new,)))).broken is None


async def test_a_seal_is_told_once_it_is_kept(database: Database) -> None:
    """Otherwise the logged digest of a batch that was rolled back would look like a forgery."""
    await events(database, 1)

    def undone(tx: Transaction) -> None:
        assert sealer(database)._step(tx, NOW)[0] is not None
        raise RuntimeError("the commit failed")

    with capture_logs() as logged:
        with pytest.raises(RuntimeError):
            await database.write(undone)
        assert logged == []
        await sealer(database).work()
    head = (await verified(database)).head
    assert head is not None
    assert [(entry["event"], entry["digest"]) for entry in logged] == [("audit_sealed", head.digest.hex())]


async def test_deleting_a_person_keeps_the_chain(database: Database) -> None:
    """The log forgets the person and their addresses, including earlier events of their mailbox, and stays intact."""
    alice, bob = await person(database), await person(database, "bob@example.com")
    await events(database, 5, alice)
    await events(database, 5, bob, start=5)
    await events(database, 1, start=10, address="alice@example.com")
    await sealer(database).work()
    await events(database, 1, alice, start=11)
    assert await database.write(lambda tx: personal_data.delete_account(tx, alice))
    await sealer(database).work()
    found = await verified(database)
    assert (found.broken, found.sealed, found.erased) == (None, 12, 6)
    left = await rows(database, models.AuditEvent)
    assert {row.account_id for row in left} == {bob, ""}
    assert {row.address for row in left} == {""}
    assert len([row for row in left if row.network]) == 5
    assert len([row for row in left if row.salt is None]) == 6


async def test_a_digest_without_its_salt_says_nothing(database: Database) -> None:
    """The same person gets a different digest each time, so nobody can find out who it was by trying everybody."""
    await sealed(database, 2, account_id=await person(database))
    one, other = await rows(database, models.AuditEvent)
    assert one.who != other.who
    assert one.salt != other.salt
    assert len(one.salt or b"") == 16


async def test_retention_drops_whole_batches_and_keeps_the_chain(database: Database) -> None:
    """Batches sealed more than AUDIT_DAYS ago go; the rest is intact, and records where it begins."""
    await sealed(database, 8)
    late = NOW + timedelta(days=20)
    await events(database, 2, start=20)
    await sealer(database, at=lambda: late).work()
    await sealer(database, days=30, at=lambda: NOW + timedelta(days=30)).work()
    assert (await verified(database)).first == 1, "not a day too early"
    await sealer(database, days=30, at=lambda: NOW + timedelta(days=30) + MS).work()
    found = await verified(database)
    assert (found.broken, found.first, found.batches, found.sealed, found.unsealed) == (None, 3, 1, 2, 1)
    (dropped,) = await rows(database, models.AuditEvent, event="audit.dropped")
    assert dropped.detail == "batches through 2"
    await sealer(database).work()
    assert (await verified(database)).broken is None
    assert await tampered(database, "DELETE FROM audit_batch WHERE number = 3") is not None


async def test_a_load_that_never_pauses_is_sealed_and_dropped_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events arrive after each batch: a round ends at the first batch that is not full, and then retention runs."""
    await sealed(database, 6)
    later = NOW + timedelta(days=31)
    left = 20

    async def load(_seconds: float) -> None:
        nonlocal left
        left -= 1
        assert left, "the round does not end"
        await events(database, 1, start=100 + left)

    # Patched for that module only: other tests' servers use asyncio.sleep at the same time.
    monkeypatch.setattr("gatepost_idp.audit.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": load}))
    await events(database, 1, start=100)
    await sealer(database, days=30, at=lambda: later).work()
    assert (await verified(database)).first == 3


async def test_retention_that_was_interrupted_goes_on(database: Database) -> None:
    """It records what it will drop before it does: a stop in between breaks nothing."""
    await sealed(database, 8)
    through = await database.write(lambda tx: audit_seals.announce_drop(tx, KEYS, NOW + MS, NOW))
    assert through == 2
    assert (await verified(database)).broken is None
    assert await database.write(partial(audit_seals.drop_next, through=through)) is True
    assert (await verified(database)).broken is None
    assert await database.write(partial(audit_seals.drop_next, through=through)) is True
    assert await database.write(partial(audit_seals.drop_next, through=through)) is False
    assert (await verified(database)).broken is None


async def test_one_of_two_processes_seals(replicas: tuple[Database, Database]) -> None:
    """By a lease, which the other one takes when it has expired."""
    here, there = (sealer(replica, process=f"process {id(replica)}") for replica in replicas)
    await events(replicas[0], 3)
    await here.work()
    await events(replicas[0], 3, start=3)
    await there.work()
    assert (await verified(replicas[1])).unsealed == 3, "it has no lease"
    await here.work()
    assert (await verified(replicas[1])).unsealed == 0
    await events(replicas[0], 3, start=6)
    there._clock = lambda: NOW + log.LEASE
    await there.work()
    found = await verified(replicas[0])
    assert (found.broken, found.batches, found.unsealed) == (None, 3, 0)


async def test_sealing_at_once_makes_one_chain(replicas: tuple[Database, Database]) -> None:
    """Even if two clocks disagree about the lease, the database lets one seal after the other."""
    await events(replicas[0], 40)
    works = [partial(audit_seals.seal_next, secret_keys=KEYS, now=NOW) for _ in range(10)]
    for replica, own in zip(replicas, (works[:5], works[5:]), strict=True):
        await at_once(replica, own)
    await sealer(replicas[0]).work()
    found = await verified(replicas[0])
    assert (found.broken, found.sealed, found.unsealed) == (None, 40, 0)


async def test_a_lease_has_one_holder(database: Database) -> None:
    """It is taken once, renewed by its holder, and free again when it expires."""

    def take(holder: str, seconds: int) -> Any:
        at, life = NOW + timedelta(seconds=seconds), timedelta(seconds=60)
        return database.write(lambda tx: leases.take(tx, "chore", holder, at, life))

    assert [await take("a", 0), await take("b", 59), await take("a", 30)] == [True, False, True]
    assert [await take("b", 89), await take("b", 90), await take("a", 91)] == [False, True, False]
    assert (await the_row(database, models.Lease)).holder == "b"


async def test_a_lease_that_all_want_at_once_has_one_holder(replicas: tuple[Database, Database]) -> None:
    """Even the first time that anybody wants it."""
    life = timedelta(seconds=60)
    taken = [
        await at_once(
            replica, [partial(leases.take, name="x", holder=f"{n}{i}", now=NOW, life=life) for i in range(10)]
        )
        for n, replica in enumerate(replicas)
    ]
    assert sum(sum(one) for one in taken) == 1


async def test_the_log_is_read_by_page_and_filter(database: Database) -> None:
    """By event or prefix, person, mailbox, client or its kind, trace and time; in either direction."""
    alice = await person(database)

    def work(tx: Transaction) -> None:
        audit.record(tx, "grant.started", NOW, account_id=alice, client_id="gp_dc_a_b.one.mac", trace_id="t1")
        audit.record(tx, "grant.ended", NOW + MS, client_id="gp_dc_aXb.one.mac", detail="x")
        audit.record(tx, "grants", NOW + 2 * MS, actor=alice)
        audit.record(tx, "account.invited", NOW + 3 * MS, address="bob@example.com")

    await database.write(work)

    async def found(**wanted: Any) -> list[str]:
        return [event.event for event in await database.read(partial(audit.page, wanted=Wanted(**wanted)))]

    assert await found() == ["grant.started", "grant.ended", "grants", "account.invited"]
    assert await found(event="grant") == ["grant.started", "grant.ended"]
    assert await found(event="grant.ended") == ["grant.ended"]
    assert await found(account_id=alice) == ["grant.started", "grants"]
    assert await found(address="bob@example.com") == ["account.invited"]
    assert await found(account_id=alice, address="bob@example.com") == ["grant.started", "grants", "account.invited"]
    assert await found(client_id="gp_dc_a_b") == ["grant.started"]
    assert await found(client_id="gp_dc_a_b.one.mac") == ["grant.started"]
    assert await found(trace_id="t1") == ["grant.started"]
    assert await found(since=NOW + MS, until=NOW + 3 * MS) == ["grant.ended", "grants"]
    first = await database.read(partial(audit.page, wanted=Wanted(), limit=2))
    rest = await database.read(partial(audit.page, wanted=Wanted(), after=first[-1].id))
    assert [event.event for event in rest] == ["grants", "account.invited"]
    assert first[0].email == "alice@example.com"
    newest = await database.read(partial(audit.page, wanted=Wanted(), limit=1, newest=True))
    older = await database.read(partial(audit.page, wanted=Wanted(), after=newest[0].id, limit=1, newest=True))
    assert [newest[0].event, older[0].event] == ["account.invited", "grants"]


async def test_a_flood_of_refusals_is_a_row_a_minute(database: Database) -> None:
    """The first is written at once, repeats are counted, and so are refusals from too many places."""
    now = NOW
    refusals = Refusals(database, lambda: now)

    async def written() -> list[tuple[str, str]]:
        await refusals.work()
        return sorted((row.event, row.detail) for row in await rows(database, models.AuditEvent))

    refusals.note("refused.x", "client", "192.0.2.1", "why", "t")
    assert await written() == [("refused.x", "why")]
    for _ in range(1000):
        refusals.note("refused.x", "client", "192.0.2.1", "why", "t")
    assert await written() == [("refused.x", "why")]
    now = NOW + timedelta(minutes=1)
    assert await written() == [("refused.x", "why"), ("refused.x", "why; 1000 times")]
    for number in range(300):
        refusals.note("refused.x", "client", f"192.0.2.{number}", "why", "t")
    found = await written()
    assert len(found) == 2 + 199 + 1
    assert found[0] == ("refused.more", "100 times, from very many places at once")


async def test_refusals_outlive_a_database_that_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written once it is back, with those from meanwhile, each once."""
    refusals = Refusals(database, lambda: NOW)

    async def away(_work: object) -> None:
        refusals.note("refused.x", "", "192.0.2.1", "why", "t")
        raise DatabaseUnavailable("away")

    refusals.note("refused.x", "", "192.0.2.1", "why", "t")
    with monkeypatch.context() as patch:
        patch.setattr(database, "write", away)
        with pytest.raises(DatabaseUnavailable):
            await refusals.work()
    refusals.note("refused.x", "", "192.0.2.1", "why", "t")
    await refusals.close()
    assert [row.detail for row in await rows(database, models.AuditEvent)] == ["why; 3 times"]


async def test_the_stop_writes_what_was_counted(database: Database) -> None:
    """It does not wait for the minute to end."""
    refusals = Refusals(database, lambda: NOW)
    for _ in range(3):
        refusals.note("refused.x", "", "192.0.2.1", "why", "t")
        await refusals.work()
    await refusals.close()
    assert sorted(row.detail for row in await rows(database, models.AuditEvent)) == ["why", "why; 2 times"]
