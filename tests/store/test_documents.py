"""Client metadata documents: one row per URL, and the operator's decisions apart from the document's content."""

import dataclasses
import json
from datetime import timedelta
from functools import partial

from sqlmodel import SQLModel

from gatepost_idp import models
from gatepost_idp.clients.metadata import Registration
from gatepost_idp.database import Database
from gatepost_idp.store import clients, documents
from gatepost_idp.store.documents import Copy, Document
from gatepost_idp.transaction import Work
from tests.store.parts import CALLBACK, NOW, at_once, person, rows
from tests.store.test_purge import fill

URL = "https://client.test/client.json"
REGISTRATION = Registration("Claude", (CALLBACK,), "none", ("authorization_code", "refresh_token")).canonical_json()
COPY = Copy(URL, "gp_md_1", REGISTRATION, '"one"', NOW, NOW + timedelta(hours=1))


def keeping(copy: Copy) -> Work[Document | None]:
    return lambda tx: documents.keep(tx, copy, NOW)


async def test_a_document_comes_back_as_it_was_kept(database: Database) -> None:
    """With the client that it describes, whose id is the URL."""
    assert await database.read(lambda tx: documents.find(tx, URL)) is None
    kept = await database.write(lambda tx: documents.keep(tx, COPY, NOW))
    found = await database.read(lambda tx: documents.find(tx, URL))
    assert found is not None
    assert found == kept
    assert found.client is not None
    assert (found.client.id, found.client.row, found.client.origin) == (URL, "gp_md_1", "document")
    assert (found.etag, found.fetched_at, found.fresh_until, found.used_at) == ('"one"', NOW, COPY.fresh_until, NOW)
    assert (found.checks_iss, found.disabled, found.client.unguessable) == (False, False, False)


async def test_replicas_that_meet_a_url_at_once_keep_one_row(database: Database) -> None:
    """Each replica gets its answer, and there is one row."""
    found = await at_once(database, [lambda tx: documents.keep(tx, COPY, NOW)] * 10)
    assert all(document is not None for document in found)
    assert await database.read(lambda tx: len(documents.listed(tx))) == 1


async def test_changed_metadata_is_another_row(database: Database) -> None:
    """The earlier row stays, for the consents given under it."""
    await database.write(lambda tx: documents.keep(tx, COPY, NOW))
    text = json.dumps(json.loads(REGISTRATION) | {"client_name": "Another"})
    changed = dataclasses.replace(COPY, row="gp_md_2", registration=text)
    found = await database.write(lambda tx: documents.keep(tx, changed, NOW))
    assert found is not None
    assert found.client is not None
    assert (found.client.row, found.client.name) == ("gp_md_2", "Another")
    earlier = await database.read(lambda tx: clients.find(tx, URL, "gp_md_1"))
    assert earlier is not None
    assert earlier.name == "Claude"


async def test_what_the_operator_said_stays_whatever_the_document_says(database: Database) -> None:
    """A decision made before the URL was first seen holds for each version, and for no other URL with that row."""
    await database.write(lambda tx: documents.mark(tx, URL, True))
    await database.write(lambda tx: documents.set_disabled(tx, URL, NOW))
    met = await database.read(lambda tx: documents.find(tx, URL))
    assert met is not None
    assert (met.client, met.checks_iss, met.disabled) == (None, True, True)
    await database.write(lambda tx: documents.keep(tx, COPY, NOW))
    for row in ("gp_md_1", "gp_md_2"):
        await database.write(keeping(dataclasses.replace(COPY, row=row)))
        client = await database.read(partial(clients.find, client_id=URL, row=row))
        assert client is not None
        assert (client.disabled, client.checks_iss, client.unguessable) == (True, True, True)
    other = await database.read(lambda tx: clients.find(tx, "https://other.test/x", "gp_md_1"))
    assert other is not None
    assert (other.disabled, other.checks_iss) == (False, False)
    await database.write(lambda tx: documents.set_disabled(tx, URL, None))
    await database.write(lambda tx: documents.mark(tx, URL, False))
    again = await database.read(lambda tx: clients.find(tx, URL, "gp_md_1"))
    assert again is not None
    assert (again.disabled, again.checks_iss) == (False, False)


async def test_a_copy_can_serve_on(database: Database) -> None:
    """Only its date is moved."""
    before = await database.write(lambda tx: documents.keep(tx, COPY, NOW))
    later = NOW + timedelta(hours=2)
    after = await database.write(lambda tx: documents.extend(tx, URL, NOW, later))
    assert before is not None
    assert after == dataclasses.replace(before, fresh_until=later)
    await database.write(lambda tx: documents.touch(tx, URL, later))
    touched = await database.read(lambda tx: documents.find(tx, URL))
    assert touched == dataclasses.replace(before, fresh_until=later, used_at=later)


async def test_what_nobody_uses_is_forgotten(database: Database) -> None:
    """Not one that a request, consent or grant names or the operator decided on, nor another kind of client."""
    tables: dict[str, type[SQLModel]] = {
        "gp_md_asked": models.AuthorizationRequest,
        "gp_md_agreed": models.Consent,
        "gp_md_granted": models.AuthorizationGrant,
    }
    named = [dataclasses.replace(COPY, url=f"{URL}?{row}", row=row) for row in tables]
    marked = dataclasses.replace(COPY, url=f"{URL}?marked", row="gp_md_marked")
    for copy in (COPY, *named, marked):
        await database.write(keeping(copy))
    await database.write(lambda tx: clients.add(tx, "gp_mc_1", "manual", REGISTRATION, NOW))
    await database.write(lambda tx: documents.mark(tx, marked.url, True))
    account_id = await person(database)
    for row, table in tables.items():
        await fill(database, table, 1, client_row=row, **({"account_id": account_id} if row != "gp_md_asked" else {}))
    await database.write(lambda tx: documents.forget(tx, NOW))
    assert await database.read(lambda tx: len(documents.listed(tx))) == 5
    await database.write(lambda tx: documents.forget(tx, NOW + timedelta(seconds=1)))
    assert [found.url for found in await database.read(documents.listed)] == [marked.url]
    left = {row.id for row in await rows(database, models.Client)}
    assert left == {*tables, "gp_md_marked", "gp_mc_1"}


async def test_documents_are_not_listed_among_clients(database: Database) -> None:
    """They have their own list, by URL."""
    await database.write(lambda tx: documents.keep(tx, COPY, NOW))
    await database.write(lambda tx: clients.add(tx, "gp_mc_1", "manual", REGISTRATION, NOW))
    assert [row.id for row in await database.read(clients.listed)] == ["gp_mc_1"]
