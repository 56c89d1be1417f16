"""People: their accounts, their scopes, and the browsers in which they are signed in."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import update

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.store import accounts
from gatepost_idp.store.accounts import Session
from gatepost_idp.transaction import Transaction, Work
from tests.store.parts import NOW, RESOURCE, at_once, person, rows, the_row

COOKIE = b"c" * 32
MONTH = NOW + timedelta(days=30)


def seen(now: datetime, cookie: bytes = COOKIE) -> Work[Session | None]:
    return lambda tx: accounts.session(tx, cookie, now)


async def signed_in(database: Database) -> str:
    account_id = await person(database)
    await database.write(
        lambda tx: accounts.start_session(tx, COOKIE, account_id, NOW, MONTH, "Firefox on Linux", "192.0.2.1")
    )
    return account_id


async def held(database: Database, account_id: str, resource: str = RESOURCE) -> frozenset[str]:
    return await database.read(lambda tx: accounts.held_scopes(tx, account_id, resource))


async def test_who_signs_up_holds_what_new_accounts_hold(database: Database) -> None:
    """A new account holds each resource's scopes for new accounts, and none elsewhere."""
    entitlements = [(RESOURCE, "demo:read"), (RESOURCE, "demo:echo"), ("https://other.test", "other:read")]
    account = await database.write(
        lambda tx: accounts.sign_up(tx, "Al@example.com", "al@example.com", entitlements, NOW)
    )
    assert await held(database, account.id) == {"demo:read", "demo:echo"}
    assert await held(database, account.id, "https://other.test") == {"other:read"}
    assert await held(database, account.id, "https://third.test") == frozenset()
    found = await database.read(lambda tx: accounts.by_key(tx, "al@example.com"))
    assert found is not None
    assert (found.id, found.email) == (account.id, "Al@example.com")
    assert await database.read(lambda tx: accounts.by_key(tx, "Al@example.com")) is None


async def test_a_mailbox_has_one_account(database: Database) -> None:
    """The database itself refuses a second one."""
    await person(database)
    with pytest.raises(IntegrityError):
        await person(database)
    assert len(await rows(database, models.Account)) == 1


async def test_who_signs_up_twice_at_once_is_one_person(database: Database) -> None:
    """Two tabs that sign up at the same moment end up with the same account."""

    def work(tx: Transaction) -> str:
        found = accounts.by_key(tx, "al@example.com")
        return (found or accounts.sign_up(tx, "al@example.com", "al@example.com", [(RESOURCE, "demo:read")], NOW)).id

    assert len(set(await at_once(database, [work] * 20))) == 1
    assert len(await rows(database, models.Account)) == 1


async def test_an_invitation_is_for_one_mailbox(database: Database) -> None:
    """Inviting one address twice is not an error."""
    for _ in range(2):
        await database.write(lambda tx: accounts.invite(tx, "al@example.com", NOW))
    assert await database.read(lambda tx: accounts.is_invited(tx, "al@example.com")) is True
    assert await database.read(lambda tx: accounts.is_invited(tx, "bob@example.com")) is False


async def test_scopes_are_given_and_taken(database: Database) -> None:
    """Granting a scope that is held is not an error; revoking one that is not held reports it."""
    account_id = await person(database, scopes=())
    for _ in range(2):
        await database.write(lambda tx: accounts.grant_scope(tx, account_id, RESOURCE, "demo:ops", NOW))
    assert await held(database, account_id) == {"demo:ops"}
    assert await database.write(lambda tx: accounts.revoke_scope(tx, account_id, RESOURCE, "demo:ops")) is True
    assert await database.write(lambda tx: accounts.revoke_scope(tx, account_id, RESOURCE, "demo:ops")) is False
    assert await held(database, account_id) == frozenset()


async def test_people_are_listed_with_what_they_hold(database: Database) -> None:
    """By address, page by page; or only addresses that contain some text."""
    bob = await person(database, "bob@example.com", ())
    alice = await person(database, "alice@example.com")
    carol = await person(database, "c_rol@example.org", ())

    async def listed(**asked: Any) -> list[tuple[str, list[str]]]:
        found = await database.read(partial(accounts.people, **asked))
        return [(each.id, [scope for _, scope in each.scopes]) for each in found]

    assert await listed() == [(alice, ["demo:echo", "demo:read"]), (bob, []), (carol, [])]
    assert await listed(limit=2) == [(alice, ["demo:echo", "demo:read"]), (bob, [])]
    assert await listed(limit=2, after="bob@example.com") == [(carol, [])]
    assert await listed(after="c_rol@example.org") == []
    assert [one for one, _ in await listed(search="Example.com")] == [alice, bob]
    assert [one for one, _ in await listed(search="c_r")] == [carol], "an underscore is one, not any letter"
    found = await database.read(lambda tx: accounts.find(tx, "alice@example.com"))
    assert found is not None
    assert found.scopes == ((RESOURCE, "demo:echo"), (RESOURCE, "demo:read"))


async def test_a_role_is_given_and_taken(database: Database) -> None:
    """Doing it again changes nothing, and reports that."""
    account_id = await person(database)
    for role in ("admin", ""):
        for changed in (True, False):
            assert await database.write(lambda tx, to=role: accounts.set_role(tx, account_id, to)) is changed  # type: ignore[misc]  # a default binds the loop's value, which mypy does not infer
        assert (await the_row(database, models.Account)).role == role


async def test_a_session_is_found_by_its_hash(database: Database) -> None:
    """A session is found by its hash and by nothing else."""
    account_id = await signed_in(database)
    assert await database.read(seen(NOW)) == Session(account_id, "alice@example.com", NOW, seen_lately=True)
    assert await database.read(seen(NOW, b"d" * 32)) is None
    assert await database.read(seen(NOW, b"")) is None


async def test_a_session_idles_out_after_seven_days(database: Database) -> None:
    """A session that is used lives seven days from then."""
    await signed_in(database)
    week, moment = timedelta(days=7), timedelta(milliseconds=1)
    assert await database.read(seen(NOW + week - moment)) is not None
    assert await database.read(seen(NOW + week)) is None
    await database.write(lambda tx: accounts.mark_seen(tx, COOKIE, NOW + timedelta(days=6)))
    assert await database.read(seen(NOW + timedelta(days=6) + week - moment)) is not None
    assert await database.read(seen(NOW + timedelta(days=6) + week)) is None


async def test_a_session_ends_after_thirty_days_however_busy(database: Database) -> None:
    """Use does not extend a session beyond thirty days."""
    await signed_in(database)
    for day in range(1, 30):
        await database.write(lambda tx, on=NOW + timedelta(days=day): accounts.mark_seen(tx, COOKIE, on))  # type: ignore[misc]  # a default binds the loop's value, which mypy does not infer
    assert await database.read(seen(MONTH - timedelta(milliseconds=1))) is not None
    assert await database.read(seen(MONTH)) is None


async def test_being_seen_is_written_once_a_minute(database: Database) -> None:
    """A busy tab does not cause a write at each request."""
    await signed_in(database)
    for seconds, written in [(1, 0), (60, 0), (61, 61), (120, 61)]:
        await database.write(lambda tx, at=seconds: accounts.mark_seen(tx, COOKIE, NOW + timedelta(seconds=at)))  # type: ignore[misc]  # a default binds the loop's value, which mypy does not infer
        row = await the_row(database, models.BrowserSession)
        assert row.seen_at == int((NOW + timedelta(seconds=written)).timestamp() * 1000)


@pytest.mark.parametrize(("seconds", "lately"), [(0, True), (60, True), (61, False)])
async def test_a_session_tells_whether_to_write_that_it_was_seen(
    database: Database, seconds: int, lately: bool
) -> None:
    """So that a request that only reads does not open a write."""
    await signed_in(database)
    found = await database.read(seen(NOW + timedelta(seconds=seconds)))
    assert found is not None
    assert found.seen_lately is lately


async def test_signing_out_ends_one_browser(database: Database) -> None:
    """The others stay signed in."""
    account_id = await signed_in(database)
    other = b"o" * 32
    await database.write(lambda tx: accounts.start_session(tx, other, account_id, NOW, MONTH, "", ""))
    await database.write(lambda tx: accounts.end_session(tx, COOKIE, NOW))
    assert await database.read(seen(NOW)) is None
    assert await database.read(seen(NOW, other)) is not None


async def test_a_disabled_person_is_signed_in_nowhere(database: Database) -> None:
    """Disabling takes effect at once, without changing the sessions."""
    await signed_in(database)
    await database.write(lambda tx: tx.session.exec(update(models.Account).values(disabled_at=1)).rowcount)
    assert await database.read(seen(NOW)) is None


async def test_deleting_a_person_deletes_all_that_was_theirs(database: Database) -> None:
    """The database itself leaves no session or entitlement behind."""
    account_id = await signed_in(database)

    def delete(tx: Transaction) -> None:
        tx.session.delete(tx.session.get_one(models.Account, account_id))

    await database.write(delete)
    assert await rows(database, models.BrowserSession) == []
    assert await rows(database, models.Entitlement) == []
