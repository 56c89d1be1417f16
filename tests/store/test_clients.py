"""Clients: one row per kind, even if several register at the same moment."""

import json
from datetime import timedelta

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.store import clients
from gatepost_idp.store.clients import Kind
from gatepost_idp.transaction import Work
from tests.store.parts import CALLBACK, CLIENT, KIND, NOW, at_once, between, rows, the_row

REGISTRATION = json.dumps(
    {
        "client_name": "Claude",
        "redirect_uris": [CALLBACK, "http://localhost/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "id_token_signed_response_alg": "RS256",
    }
)


def adding(row: str = KIND) -> Work[bool]:
    return lambda tx: clients.add(tx, row, "registered", REGISTRATION, NOW)


async def test_a_client_comes_back_as_it_registered(database: Database) -> None:
    """One row serves many ids: each registration has its own."""
    await database.write(adding())
    client = await database.read(lambda tx: clients.find(tx, CLIENT, KIND))
    assert client is not None
    assert (client.id, client.row, client.origin, client.name) == (CLIENT, KIND, "registered", "Claude")
    assert client.redirect_uris == (CALLBACK, "http://localhost/callback")
    assert (client.auth_method, client.secret_hash, client.disabled) == ("none", None, False)
    assert client.refreshes
    assert client.unguessable
    assert await database.read(lambda tx: clients.find(tx, CLIENT, "gp_dc_other")) is None


async def test_a_client_with_a_secret_keeps_its_hash(database: Database) -> None:
    """Each database returns the hash as bytes, for a constant-time comparison."""
    await database.write(lambda tx: clients.add(tx, "gp_cc_1", "manual", REGISTRATION, NOW, b"\x00\xff" * 16))
    client = await database.read(lambda tx: clients.find(tx, "gp_cc_1", "gp_cc_1"))
    assert client is not None
    assert client.secret_hash == b"\x00\xff" * 16
    assert type(client.secret_hash) is bytes
    assert client.unguessable


async def test_a_public_client_made_by_hand_can_be_guessed(database: Database) -> None:
    """Its id is widely known, so consent for it is never silent."""
    await database.write(lambda tx: clients.add(tx, "gp_mc_1", "manual", REGISTRATION, NOW))
    client = await database.read(lambda tx: clients.find(tx, "gp_mc_1", "gp_mc_1"))
    assert client is not None
    assert not client.unguessable


async def test_a_kind_is_stored_once(database: Database) -> None:
    """Adding it again changes nothing: not its age, nor that the operator disabled it."""
    await database.write(adding())
    await database.write(lambda tx: clients.set_disabled(tx, KIND, NOW))
    later = NOW + timedelta(days=1)
    await database.write(lambda tx: clients.add(tx, KIND, "registered", REGISTRATION, later))
    row = await the_row(database, models.Client)
    assert (row.created_at, row.disabled_at is None) == (int(NOW.timestamp() * 1000), False)


async def test_a_kind_that_registers_in_parallel_is_stored_once(database: Database) -> None:
    """Hosted Claude registers twice per connect: twenty at once are all answered, and leave one row."""
    await at_once(database, [adding()] * 20)
    assert len(await rows(database, models.Client)) == 1


async def test_a_kind_that_registers_at_two_replicas_is_stored_once(replicas: tuple[Database, Database]) -> None:
    """The same across processes."""
    await between(replicas, adding)
    assert len(await rows(replicas[0], models.Client)) == 1


async def test_a_kind_is_as_old_as_its_last_registration(database: Database) -> None:
    """The purge uses that: whoever registers today has as long to sign in as the first of the kind."""
    await database.write(adding())
    later = NOW + timedelta(days=31)
    await database.write(lambda tx: clients.register_again(tx, KIND, later))
    assert await database.read(lambda tx: clients.kind(tx, KIND)) == Kind(later, disabled=False)
    await database.write(lambda tx: clients.set_disabled(tx, KIND, later))
    assert await database.read(lambda tx: clients.kind(tx, KIND)) == Kind(later, disabled=True)
    assert await database.read(lambda tx: clients.kind(tx, "gp_dc_other")) is None


async def test_a_client_is_switched_off_and_on(database: Database) -> None:
    """For an unknown client this is reported."""
    await database.write(adding())
    assert await database.write(lambda tx: clients.set_disabled(tx, KIND, NOW)) is True
    client = await database.read(lambda tx: clients.find(tx, CLIENT, KIND))
    assert client is not None
    assert client.disabled
    assert await database.write(lambda tx: clients.set_disabled(tx, KIND, None)) is True
    client = await database.read(lambda tx: clients.find(tx, CLIENT, KIND))
    assert client is not None
    assert not client.disabled
    assert await database.write(lambda tx: clients.set_disabled(tx, "gp_dc_other", NOW)) is False


async def test_clients_are_listed_the_newest_first(database: Database) -> None:
    """Newest first, and their rows can be read after the transaction."""
    await database.write(adding("a"))
    await database.write(lambda tx: clients.add(tx, "b", "manual", REGISTRATION, NOW + timedelta(days=1)))
    listed = await database.read(clients.listed)
    assert [(client.id, client.origin, client.name) for client in listed] == [
        ("b", "manual", "Claude"),
        ("a", "registered", "Claude"),
    ]
