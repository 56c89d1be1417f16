"""Consents: remembered for exactly one case, until they expire, and no longer than the person wants."""

import dataclasses
from datetime import timedelta

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.store import consents
from gatepost_idp.store.consents import Agreement
from tests.store.parts import CLIENT, KIND, NOW, RESOURCE, at_once, person, rows

HOST = "client.test"
AGREED = Agreement(CLIENT, ("demo:read", "demo:echo"), ("demo:read",), NOW + timedelta(days=30))


async def remember(database: Database, account_id: str, agreed: Agreement = AGREED, host: str = HOST) -> None:
    await database.write(lambda tx: consents.remember(tx, account_id, KIND, host, RESOURCE, agreed, NOW))


async def living(database: Database, account_id: str, **changes: object) -> list[Agreement]:
    asked = {"client_row": KIND, "redirect_host": HOST, "resource": RESOURCE, "now": NOW, **changes}
    return await database.read(lambda tx: consents.living(tx, account_id, **asked))  # type: ignore[arg-type]  # names to values of several types


async def test_an_agreement_is_remembered_for_one_thing(database: Database) -> None:
    """For one person, kind of client, redirect host and resource, and for no other."""
    alice, bob = await person(database), await person(database, "bob@example.com")
    await remember(database, alice)
    assert await living(database, alice) == [AGREED]
    assert await living(database, bob) == []
    assert await living(database, alice, client_row="gp_dc_other") == []
    assert await living(database, alice, redirect_host="other.test") == []
    assert await living(database, alice, resource="https://other.test/mcp") == []


async def test_an_agreement_ends_at_its_date(database: Database) -> None:
    """A millisecond before its date it holds, at the date it does not."""
    account_id = await person(database)
    await remember(database, account_id)
    assert await living(database, account_id, now=AGREED.until - timedelta(milliseconds=1)) == [AGREED]
    assert await living(database, account_id, now=AGREED.until) == []


async def test_a_new_agreement_takes_the_place_of_the_old(database: Database) -> None:
    """Narrowed scopes stay narrow: the earlier consent is not kept beside it."""
    account_id = await person(database)
    await remember(database, account_id)
    narrower = dataclasses.replace(AGREED, approved=(), until=NOW + timedelta(days=7))
    await remember(database, account_id, narrower)
    assert await living(database, account_id) == [narrower]


async def test_an_agreement_without_days_only_forgets(database: Database) -> None:
    """Whoever unticks "remember" is asked again next time, whatever they consented to before."""
    account_id = await person(database)
    await remember(database, account_id)
    await remember(database, account_id, dataclasses.replace(AGREED, until=NOW))
    assert await living(database, account_id) == []
    assert await rows(database, models.Consent) == []


async def test_forgetting_one_registration_leaves_the_others(database: Database) -> None:
    """Each registration of a kind has its own consent; the newest comes first."""
    account_id = await person(database)
    other = dataclasses.replace(AGREED, client_id="gp_dc_kind.two.mac")
    await remember(database, account_id)
    later = NOW + timedelta(seconds=1)
    await database.write(lambda tx: consents.remember(tx, account_id, KIND, HOST, RESOURCE, other, later))
    assert await living(database, account_id) == [other, AGREED]
    await remember(database, account_id, dataclasses.replace(other, until=NOW))
    assert await living(database, account_id) == [AGREED]


async def test_two_tabs_that_agree_at_once_are_both_answered(database: Database) -> None:
    """One consent is stored, and neither tab gets an error."""
    account_id = await person(database)
    agree = [lambda tx: consents.remember(tx, account_id, KIND, HOST, RESOURCE, AGREED, NOW)] * 20
    await at_once(database, agree)
    assert await living(database, account_id) == [AGREED]
