"""Refresh tokens: rotation, one successor for each repeat, and the end of the family on theft."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import col, update

from gatepost_idp import crypto, models
from gatepost_idp.database import Database
from gatepost_idp.protocol import Refused, milliseconds
from gatepost_idp.store import accounts, exchanges, grants, refresh_tokens
from gatepost_idp.store.grants import Granted
from gatepost_idp.transaction import Transaction, Work
from tests.store.parts import (
    CLIENT,
    GRACE,
    NETWORK,
    NOW,
    RESOURCE,
    at_once,
    between,
    connection,
    counted,
    refresh_token_of,
    rotating,
    rows,
    the_row,
)

SOON = timedelta(milliseconds=1)
REFUSED = "The refresh token is no longer valid. Start the authorization again."
ANEW = "a new authorization"


async def ended(database: Database) -> str | None:
    """Why the only grant ended; None while it is alive."""
    grant = await the_row(database, models.AuthorizationGrant)
    return grant.end_reason if grant.ended_at is not None else None


@pytest.mark.clause("A8")
async def test_a_refresh_token_is_rotated(database: Database) -> None:
    """Its successor belongs to the same connection, and only the newest token is unspent."""
    first = refresh_token_of(await connection(database))
    at = NOW + timedelta(minutes=14)
    granted = await database.write(rotating(first, at))
    second = refresh_token_of(granted)
    assert second != first
    assert second.startswith("gp_rt_")
    assert (await the_row(database, models.RefreshToken, token_hash=crypto.token_hash(first))).spent_at is not None
    assert (await the_row(database, models.RefreshToken, token_hash=crypto.token_hash(second))).spent_at is None
    assert (await the_row(database, models.AuthorizationGrant)).used_at == milliseconds(at)
    assert isinstance(granted, Granted)
    assert granted.nonce is None  # OIDC Core section 12.2
    assert len(await rows(database, models.AuditEvent, event="grant.refreshed")) == 1


@pytest.mark.clause("A8")
async def test_twenty_parallel_refreshes_give_one_successor(database: Database) -> None:
    """Racing processes of one client all get the same token, and it is stored once."""
    token = refresh_token_of(await connection(database))
    answers = await at_once(database, (rotating(token) for _ in range(20)))
    assert len({refresh_token_of(answer) for answer in answers}) == 1
    assert len(await rows(database, models.RefreshToken)) == 2
    assert len(await rows(database, models.AuditEvent, event="grant.refreshed")) == 1
    assert await ended(database) is None


@pytest.mark.clause("A8")
async def test_a_token_is_spent_by_one_statement(database: Database) -> None:
    """Of twenty that run it at once one changes a row, and its salt is the one that is kept."""
    of = crypto.token_hash(refresh_token_of(await connection(database)))
    salts = [bytes([number]) * 16 for number in range(20)]
    spending = [
        lambda tx, salt=salt: tx.run(refresh_tokens._SPEND_REFRESH, of=of, now=1, new_salt=salt) for salt in salts
    ]
    answers = await at_once(database, spending)
    assert answers.count(1) == 1
    assert (await the_row(database, models.RefreshToken)).salt == salts[answers.index(1)]


@pytest.mark.clause("A8")
async def test_the_successor_is_one_between_processes(replicas: tuple[Database, Database]) -> None:
    """Two replicas asked at once compute the same successor."""
    token = refresh_token_of(await connection(replicas[0]))
    answers = await between(replicas, lambda: rotating(token))
    assert len({refresh_token_of(answer) for answer in answers}) == 1
    assert len(await rows(replicas[0], models.RefreshToken)) == 2


@pytest.mark.clause("A8")
async def test_a_repeat_within_the_grace_gets_the_same_successor(database: Database) -> None:
    """A lost answer does no harm, up to the last moment of the grace, even if the successor has been used."""
    first = refresh_token_of(await connection(database))
    second = refresh_token_of(await database.write(rotating(first)))
    third = refresh_token_of(await database.write(rotating(second, NOW + SOON)))
    assert refresh_token_of(await database.write(rotating(first, NOW + GRACE))) == second
    assert refresh_token_of(await database.write(rotating(second, NOW + GRACE))) == third
    assert len(await rows(database, models.RefreshToken)) == 3


@pytest.mark.clause("A8")
async def test_a_repeat_after_the_grace_ends_the_family(database: Database) -> None:
    """It counts as theft: the newest token ends too."""
    first = refresh_token_of(await connection(database))
    second = refresh_token_of(await database.write(rotating(first)))
    assert await database.write(rotating(first, NOW + GRACE + SOON)) == Refused(
        "invalid_grant", REFUSED, "refresh token replayed; its family is ended",
        "a token spent before, after the grace", "the newest refresh token", "trace", "refused.refresh_replayed",
    )  # fmt: skip  # one row
    assert await ended(database) == "refresh token replayed"
    assert await database.write(rotating(second, NOW + GRACE + SOON)) == Refused(
        "invalid_grant", REFUSED, "ended grant", "refresh token replayed", ANEW, "trace", "refused.grant_ended"
    )
    # Within the grace, too, nobody gets a token of a family that ended.
    assert isinstance(await database.write(rotating(second)), Refused)


@pytest.mark.clause("A8")
async def test_an_erased_salt_can_compute_no_successor(database: Database) -> None:
    """Salts are erased only after their grace; a repeat then ends the family, whatever its clock says."""
    first = refresh_token_of(await connection(database))
    await database.write(rotating(first))
    assert len((await the_row(database, models.RefreshToken, token_hash=crypto.token_hash(first))).salt or b"") == 16
    assert await database.write(lambda tx: refresh_tokens.erase_salts(tx, GRACE, NOW + GRACE)) == 0
    assert await database.write(lambda tx: refresh_tokens.erase_salts(tx, GRACE, NOW + GRACE + SOON)) == 1
    assert await database.write(lambda tx: refresh_tokens.erase_salts(tx, GRACE, NOW + GRACE + SOON)) == 0
    assert [row.salt for row in await rows(database, models.RefreshToken)] == [None, None]
    assert isinstance(await database.write(rotating(first)), Refused)
    assert await ended(database) == "refresh token replayed"


async def test_each_token_has_a_salt_of_its_own(database: Database) -> None:
    """So that one family's successors reveal nothing about another's."""
    token = refresh_token_of(await connection(database))
    for _ in range(3):
        token = refresh_token_of(await database.write(rotating(token)))
    salts = [row.salt for row in await rows(database, models.RefreshToken) if row.spent_at is not None]
    assert len(set(salts)) == 3


@pytest.mark.clause("A8")
async def test_another_client_spends_and_ends_nothing(database: Database) -> None:
    """A token is useless to another client, and still works for its own."""
    token = refresh_token_of(await connection(database))
    refused = await database.write(rotating(token, client_id="another client"))
    assert isinstance(refused, Refused)
    assert refused.error == "invalid_grant"
    assert isinstance(await database.write(rotating(token)), Granted)
    assert isinstance(await database.write(rotating(token, NOW + timedelta(days=1), client_id="other")), Refused)
    assert await ended(database) is None


@pytest.mark.clause("A7")
async def test_another_resource_is_an_invalid_target(database: Database) -> None:
    """A connection is for one resource; naming another spends nothing, naming the same or none is accepted."""
    token = refresh_token_of(await connection(database))
    refused = await database.write(rotating(token, resource="https://other.test/mcp"))
    assert isinstance(refused, Refused)
    assert refused.error == "invalid_target"
    assert isinstance(await database.write(rotating(token, resource=RESOURCE)), Granted)


async def test_an_unknown_token_is_refused(database: Database) -> None:
    """An unknown token is refused, and ends nothing."""
    await connection(database)
    assert isinstance(await database.write(rotating("gp_rt_nobody's")), Refused)
    assert await ended(database) is None


@pytest.mark.clause("A13")
async def test_a_scope_taken_away_is_gone_at_the_next_refresh(database: Database) -> None:
    """It returns when it is granted again: what was consented to does not shrink."""
    granted = await connection(database)
    token = refresh_token_of(granted)
    await database.write(lambda tx: accounts.revoke_scope(tx, granted.account_id, RESOURCE, "demo:echo"))
    answer = await database.write(rotating(token))
    assert isinstance(answer, Granted)
    assert answer.approved == ("demo:read", "demo:echo")
    assert answer.held == {"demo:read"}
    await database.write(lambda tx: accounts.grant_scope(tx, granted.account_id, RESOURCE, "demo:echo", NOW))
    answer = await database.write(rotating(refresh_token_of(answer)))
    assert isinstance(answer, Granted)
    assert answer.held == {"demo:read", "demo:echo"}


async def test_a_disabled_person_refreshes_no_more(database: Database) -> None:
    """From the next refresh on; once enabled again, the connection works again."""
    granted = await connection(database)
    token = refresh_token_of(granted)
    switch = update(models.Account).where(col(models.Account.id) == granted.account_id)
    await database.write(lambda tx: tx.session.exec(switch.values(disabled_at=1)).rowcount)
    assert await database.write(rotating(token)) == Refused(
        "invalid_grant", REFUSED, "disabled account", "", ANEW, "trace", "refused.account_disabled"
    )
    await database.write(lambda tx: tx.session.exec(switch.values(disabled_at=None)).rowcount)
    assert isinstance(await database.write(rotating(token)), Granted)


async def test_a_token_expires_and_each_refresh_renews_its_days(database: Database) -> None:
    """A connection lives while it is used; the error for a late refresh says how late it was."""
    token = refresh_token_of(await connection(database))
    at = NOW + timedelta(days=30)
    refused = await database.write(rotating(token, at))
    received = "the refresh token 0 s after its end"
    assert refused == Refused("invalid_grant", REFUSED, "expired", received, ANEW, "trace")
    renewed = rotating(token, at - SOON, expires_at=at + timedelta(days=30))
    token = refresh_token_of(await database.write(renewed))
    assert isinstance(await database.write(rotating(token, at + timedelta(days=30) - SOON)), Granted)


async def test_a_connection_lives_a_year_at_the_most(database: Database) -> None:
    """However often it was refreshed."""
    token = refresh_token_of(await connection(database))
    at, year = NOW, timedelta(days=365)
    while at < NOW + year - timedelta(days=29):
        at += timedelta(days=29)
        token = refresh_token_of(await database.write(rotating(token, at, expires_at=at + timedelta(days=30))))
    newest = await the_row(database, models.RefreshToken, token_hash=crypto.token_hash(token))
    assert newest.expires_at == milliseconds(NOW + year)
    assert isinstance(await database.write(rotating(token, NOW + year)), Refused)


@pytest.mark.clause("A15.end")
async def test_a_connection_stands_to_its_last_millisecond(database: Database) -> None:
    """Its access tokens outlast it, so userinfo and token exchange check the connection's end themselves."""
    granted = await connection(database)
    end = NOW + timedelta(days=365)

    def stands(tx: Transaction, now: datetime) -> tuple[bool, bool]:
        subject = exchanges.of_access_token(tx, granted.grant_id, ("demo:read",), end, 0, now)
        return grants.standing(tx, granted.grant_id, now) is not None, subject is not None

    assert await database.read(lambda tx: stands(tx, end - SOON)) == (True, True)
    assert await database.read(lambda tx: stands(tx, end)) == (False, False)


async def test_a_connection_ends_once(database: Database) -> None:
    """Ending it again reports that it had ended, and the log keeps the first reason."""
    granted = await connection(database)

    def end(reason: str) -> Work[bool]:
        return lambda tx: grants.end(tx, granted.grant_id, reason, NOW)

    assert [await database.write(end(reason)) for reason in ("the first", "the second")] == [True, False]
    assert await ended(database) == "the first"
    event = await the_row(database, models.AuditEvent, event="grant.ended")
    assert (event.detail, event.network) == ("the first", "")


async def test_a_first_refresh_token_never_outlives_its_connection(database: Database) -> None:
    """Whatever expiry the caller asks for."""
    await connection(database, refresh_expires_at=NOW + timedelta(days=999))
    assert (await the_row(database, models.RefreshToken)).expires_at == milliseconds(NOW + timedelta(days=365))


@pytest.mark.clause("A11")
async def test_a_client_revokes_its_own_connection_alone(database: Database) -> None:
    """Any token of the family ends it; an unknown one or another client's does nothing; repeating is not an error."""
    first = refresh_token_of(await connection(database))
    second = refresh_token_of(await database.write(rotating(first)))

    async def revoke(token: str, client_id: str = CLIENT) -> None:
        await database.write(lambda tx: refresh_tokens.revoke(tx, crypto.token_hash(token), client_id, NOW, NETWORK))

    await revoke(second, "another client")
    await revoke("gp_rt_nobody's")
    assert await ended(database) is None
    await revoke(first)
    await revoke(second)
    assert await ended(database) == "revoked by the client"
    assert isinstance(await database.write(rotating(second)), Refused)
    assert len(await rows(database, models.AuditEvent, event="grant.ended")) == 1


async def test_a_rotation_takes_six_statements_and_a_repeat_four(database: Database) -> None:
    """Find, spend, the successor, the grant's last use, an audit row, the scopes held."""
    token = refresh_token_of(await connection(database))
    said: list[str] = []
    await database.write(counted(rotating(token), said))
    assert [" ".join(statement.split()[:3]) for statement in said] == [
        "SELECT refresh_token.grant_id, refresh_token.expires_at,",
        "UPDATE refresh_token SET",
        "INSERT INTO refresh_token",
        "UPDATE authorization_grant SET",
        "INSERT INTO audit_event",
        "SELECT entitlement.scope FROM",
    ]
    said.clear()
    await database.write(counted(rotating(token), said))
    assert len(said) == 4


@pytest.mark.clause("A8")
async def test_a_revocation_in_a_race_with_refreshes_leaves_nothing_alive(database: Database) -> None:
    """Whichever comes first, afterwards no token of the family works."""
    token = refresh_token_of(await connection(database))

    def revoking(tx: Transaction) -> Granted | Refused:
        refresh_tokens.revoke(tx, crypto.token_hash(token), CLIENT, NOW, NETWORK)
        return Refused("invalid_grant", "-", "-")

    works = [rotating(token) for _ in range(8)]
    works.insert(4, revoking)
    answers = await at_once(database, works)
    alive = {answer.refresh_token for answer in answers if isinstance(answer, Granted) and answer.refresh_token}
    assert len(alive) <= 1
    for following in (token, *alive):
        assert isinstance(await database.write(rotating(following)), Refused)
