"""Tokens for backends: how many were issued when, to whom, and for which person."""

import json
from datetime import datetime, timedelta

from gatepost_idp.database import Database
from gatepost_idp.store import audit, clients, exchanges, personal_tokens
from gatepost_idp.store.exchanges import EXCHANGED, Subject
from gatepost_idp.store.personal_tokens import NewToken
from tests.store.parts import NOW, RESOURCE, person

SOON = timedelta(milliseconds=1)
REGISTRATION = json.dumps({"client_name": "The tools"})


async def test_exchanges_are_counted_from_just_after_a_moment_to_another(database: Database) -> None:
    """So that adjacent spans count each once; other events do not count."""

    async def happened(at: datetime, detail: str, event: str = EXCHANGED) -> None:
        await database.write(lambda tx: audit.record(tx, event, at, detail=detail))

    later = NOW + timedelta(hours=1)
    for at in (NOW, NOW + SOON, later, later + SOON):
        await happened(at, "crm")
    await happened(later, "files")
    await happened(later, "files", "grant.refreshed")
    assert await database.read(lambda tx: exchanges.counted(tx, NOW, later)) == {"crm": 2, "files": 1}


async def test_credentials_count_that_belong_to_a_resource_server_and_stand(database: Database) -> None:
    """Each resource counts once, however many credentials it has; not if all of them are disabled."""

    async def added(row: str, origin: clients.Origin, resource: str) -> None:
        await database.write(lambda tx: clients.add(tx, row, origin, REGISTRATION, NOW, b"hash", resource))

    await added("one", "resource_server", RESOURCE)
    await added("two", "resource_server", RESOURCE)
    await added("off", "resource_server", "https://off.test/mcp")
    await added("hand", "manual", "https://hand.test/mcp")
    await database.write(lambda tx: clients.set_disabled(tx, "off", NOW))
    assert await database.read(exchanges.resources_with_credentials) == {RESOURCE}


async def test_a_personal_token_speaks_for_its_person_and_goes_back_to_no_authorization(database: Database) -> None:
    """So it has no trace and no sign-in time; scopes the person lost meanwhile are not included."""
    account_id, until = await person(database, scopes=("demo:read",)), NOW + timedelta(days=1)
    new = NewToken("one", b"h" * 32, account_id, "A script", RESOURCE, ("demo:read", "demo:echo"), until)
    await database.write(lambda tx: personal_tokens.add(tx, new, NOW))
    subject = await database.write(lambda tx: exchanges.of_personal_token(tx, new.token_hash, NOW))
    named, held = frozenset(new.scope), frozenset(("demo:read",))
    assert subject == Subject(account_id, "alice@example.com", RESOURCE, named, held, until, "one", None, "")
