"""The outbox: each mail belongs to one process at a time, and a killed process loses none."""

import asyncio
from datetime import datetime, timedelta

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.store import clients, outbox
from gatepost_idp.store.outbox import LEASE, Letter
from gatepost_idp.transaction import Transaction
from tests.store.parts import CALLBACK, KIND, NOW, RESOURCE, between, rows, the_row
from tests.store.test_attempts import ATTEMPT, add
from tests.store.test_clients import REGISTRATION
from tests.store.test_requests import END, REQUEST


async def queue(database: Database, count: int, at: datetime = NOW) -> set[str]:
    """An attempt with that many mails."""
    await add(database)
    names = [f"letter {n}" for n in range(count)]

    def work(tx: Transaction) -> None:
        for name in names:
            outbox.add(tx, name, ATTEMPT.id, "alice@example.com", f"<{name}@x>", at)

    await database.write(work)
    return set(names)


async def claimed(database: Database, now: datetime = NOW) -> list[Letter]:
    return await database.write(lambda tx: outbox.claim(tx, now))


async def any_due(database: Database, now: datetime = NOW) -> bool:
    return await database.read(lambda tx: outbox.any_due(tx, now))


async def test_two_processes_get_each_mail_once(replicas: tuple[Database, Database]) -> None:
    """Together they get every mail, and none twice, however often they ask."""
    names = await queue(replicas[0], 60)
    claims = await asyncio.gather(*(claimed(replica) for _ in range(6) for replica in replicas))
    taken = [letter.id for letters in claims for letter in letters]
    assert len(taken) == len(set(taken))
    while left := await claimed(replicas[0]):
        taken += [letter.id for letter in left]
    assert (len(taken), set(taken)) == (60, names)


async def test_a_mail_is_anybodys_again_when_the_lease_is_over(database: Database) -> None:
    """If the process that claimed it was killed, another sends it a minute later."""
    await queue(database, 1)
    [letter] = await claimed(database)
    assert letter == Letter("letter 0", ATTEMPT.id, "", "alice@example.com", "<letter 0@x>", 0)
    assert await claimed(database, NOW + LEASE - timedelta(milliseconds=1)) == []
    [again] = await claimed(database, NOW + LEASE)
    assert (again.id, again.message_id, again.tries) == (letter.id, letter.message_id, 1)


async def test_a_mail_is_not_due_before_its_time(database: Database) -> None:
    """A postponed mail is not given out until then, and its tries are counted."""
    await queue(database, 1)
    [letter] = await claimed(database)
    at = NOW + timedelta(seconds=3)
    await database.write(lambda tx: outbox.postpone(tx, letter.id, at, "451 later"))
    assert not await any_due(database, at - timedelta(milliseconds=1))
    assert await claimed(database, at - timedelta(milliseconds=1)) == []
    assert await any_due(database, at)
    assert [letter.tries for letter in await claimed(database, at)] == [1]


async def test_a_closed_mail_is_never_sent_again(database: Database) -> None:
    """Sent, failed and dropped are final; the server's answer is kept, truncated."""
    await queue(database, 1)
    [letter] = await claimed(database)
    await database.write(lambda tx: outbox.close(tx, letter.id, "sent", "250 " + "x" * 500))
    row = await the_row(database, models.Outbox)
    assert (row.state, len(row.answer), row.lease_until) == ("sent", 200, 0)
    assert not await any_due(database, NOW + timedelta(days=1))
    assert await claimed(database, NOW + timedelta(days=1)) == []


async def test_the_oldest_mails_go_first(database: Database) -> None:
    """Twenty at a time, in the order in which they came due."""
    await add(database)

    def work(tx: Transaction) -> None:
        for number in range(30):
            at = NOW - timedelta(seconds=number)
            outbox.add(tx, f"{number}", ATTEMPT.id, "alice@example.com", f"<{number}@x>", at)

    await database.write(work)
    assert [letter.id for letter in await claimed(database)] == [str(number) for number in range(29, 9, -1)]


async def test_the_newest_mail_of_an_attempt_is_found(database: Database) -> None:
    """If there is none, there is none to send again."""
    await queue(database, 1)
    await database.write(lambda tx: outbox.add(tx, "new", ATTEMPT.id, "a@example.com", "<new@x>", END))
    newest = await database.read(lambda tx: outbox.newest(tx, ATTEMPT.id))
    assert newest is not None
    assert newest.id == "new"
    assert await database.read(lambda tx: outbox.newest(tx, "another")) is None


async def test_a_mail_knows_its_occasion(database: Database) -> None:
    """Attempt, client, redirect and resource; None once what it was about is purged."""
    await queue(database, 1)
    assert await database.read(lambda tx: outbox.occasion(tx, ATTEMPT.id)) is None  # no such client yet
    await database.write(lambda tx: clients.add(tx, KIND, "registered", REGISTRATION, NOW))
    occasion = await database.read(lambda tx: outbox.occasion(tx, ATTEMPT.id))
    assert occasion is not None
    assert occasion.attempt == ATTEMPT
    assert (occasion.client_name, occasion.redirect_uri, occasion.resource) == ("Claude", CALLBACK, RESOURCE)
    assert occasion.request_expires_at == END
    assert await database.read(lambda tx: outbox.occasion(tx, "another")) is None
    assert occasion.attempt.request_id == REQUEST.id


async def test_the_newest_mail_tells_how_it_goes(database: Database) -> None:
    """Queued, delayed once a try failed, sent, failed; a resend's state counts, and none at all looks like queued."""

    async def progress() -> str:
        return await database.read(lambda tx: outbox.progress(tx, ATTEMPT.id))

    await add(database)
    assert await progress() == "queued"
    await database.write(lambda tx: outbox.add(tx, "1", ATTEMPT.id, "alice@example.com", "<1@x>", NOW))
    assert await progress() == "queued"
    await database.write(lambda tx: outbox.postpone(tx, "1", NOW, "451 later"))
    assert await progress() == "delayed"
    await database.write(lambda tx: outbox.close(tx, "1", "sent", "250 ok"))
    assert await progress() == "sent"
    later = NOW + timedelta(seconds=31)
    await database.write(lambda tx: outbox.add(tx, "2", ATTEMPT.id, "alice@example.com", "<2@x>", later))
    assert await progress() == "queued"
    await database.write(lambda tx: outbox.close(tx, "2", "failed", "550 no such user"))
    assert await progress() == "failed"


async def test_a_suppressed_address_gets_no_mail_for_a_day(database: Database) -> None:
    """In any spelling; after a day, or once the operator lifts it, it gets mail again."""
    await add(database)
    await database.write(lambda tx: outbox.suppress(tx, "Alice@example.com", "550 " + "x" * 500, NOW))

    async def queued(letter: str, at: datetime, recipient: str = "alice@EXAMPLE.com") -> bool:
        await database.write(lambda tx: outbox.add(tx, letter, ATTEMPT.id, recipient, f"<{letter}@x>", at))
        return letter in {claim.id for claim in await claimed(database, at)}

    day = timedelta(days=1)
    assert not await queued("1", NOW + day - timedelta(milliseconds=1))
    assert await queued("2", NOW, "bob@example.com")
    assert await queued("3", NOW + day)
    [entry] = await database.read(lambda tx: outbox.suppressed(tx, NOW))
    assert (entry["email"], len(entry["answer"])) == ("alice@example.com", 200)
    assert await database.read(lambda tx: outbox.suppressed(tx, NOW + day)) == []
    assert await database.write(lambda tx: outbox.allow(tx, "ALICE@example.com")) is True
    assert await database.write(lambda tx: outbox.allow(tx, "ALICE@example.com")) is False
    assert await queued("4", NOW)


async def test_two_refusals_of_one_address_at_once_are_one(replicas: tuple[Database, Database]) -> None:
    """If two processes get the same 550, one refusal is stored."""
    await between(replicas, lambda: lambda tx: outbox.suppress(tx, "alice@example.com", "550", NOW), each=5)
    assert len(await rows(replicas[0], models.MailSuppression)) == 1
