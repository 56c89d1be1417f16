"""Authorization codes: one use, by the right client, with the right redirect, verifier and resource."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, update

from gatepost_idp import crypto, models
from gatepost_idp.database import Database
from gatepost_idp.protocol import Refused, milliseconds
from gatepost_idp.store import accounts, codes
from gatepost_idp.store.grants import Granted
from gatepost_idp.transaction import Transaction
from tests.store.parts import (
    CALLBACK,
    CLIENT,
    KIND,
    NETWORK,
    NOW,
    RESOURCE,
    a_code,
    at_once,
    between,
    counted,
    person,
    redeeming,
    redemption,
    refresh_token_of,
    rotating,
    rows,
    the_row,
)

REFUSED = "The authorization code is not valid. Start the authorization again."


async def disable(database: Database, account_id: str) -> None:
    statement = update(models.Account).where(col(models.Account.id) == account_id).values(disabled_at=1)
    await database.write(lambda tx: tx.session.exec(statement).rowcount)


async def error_of(database: Database, code: str, **changes: Any) -> str:
    """The error for a request that is wrong in ``changes``."""
    refused = await database.write(redeeming(code, **changes))
    assert isinstance(refused, Refused)
    return refused.error


async def test_a_code_becomes_a_connection(database: Database) -> None:
    """The grant begins, its refresh token is stored only as a hash, and the audit log records it."""
    account_id = await person(database)
    code = await a_code(database, account_id, nonce="n", auth_time=NOW - timedelta(minutes=3))
    granted = await database.write(redeeming(code))
    assert isinstance(granted, Granted)
    assert (granted.account_id, granted.email, granted.resource) == (account_id, "alice@example.com", RESOURCE)
    assert granted.approved == ("demo:read", "demo:echo")
    assert granted.held == {"demo:read", "demo:echo"}
    assert (granted.nonce, granted.auth_time_ms) == ("n", milliseconds(NOW - timedelta(minutes=3)))
    grant = await the_row(database, models.AuthorizationGrant, id=granted.grant_id)
    assert (grant.client_id, grant.client_row, grant.scope) == (CLIENT, KIND, "demo:read demo:echo")
    assert (grant.redirect_uri, grant.browser, grant.network) == (CALLBACK, "Firefox on Linux", NETWORK)
    assert (grant.auth_time, grant.trace_id, granted.trace_id) == (granted.auth_time_ms, "trace", "trace")
    assert (grant.ended_at, grant.end_reason) == (None, "")
    assert grant.ends_at == milliseconds(NOW + timedelta(days=365))
    stored = await the_row(database, models.RefreshToken)
    assert stored.token_hash == crypto.token_hash(refresh_token_of(granted))
    assert (stored.spent_at, stored.salt, stored.expires_at) == (None, None, milliseconds(NOW + timedelta(days=30)))
    event = await the_row(database, models.AuditEvent)
    assert (event.event, event.grant_id, event.trace_id) == ("grant.started", granted.grant_id, "trace")


async def test_a_client_without_refresh_gets_no_refresh_token(database: Database) -> None:
    """For a client that does not refresh, no refresh token is stored."""
    code = await a_code(database, await person(database))
    granted = await database.write(redeeming(code, refresh_token=None, refresh_token_hash=None))
    assert isinstance(granted, Granted)
    assert granted.refresh_token is None
    assert await rows(database, models.RefreshToken) == []


@pytest.mark.clause("A8")
async def test_of_twenty_parallel_redemptions_one_wins_and_its_grant_ends(database: Database) -> None:
    """The code has leaked: one answer has tokens, the others are replays, so the grant ends."""
    code = await a_code(database, await person(database))
    answers = await at_once(database, (redeeming(code) for _ in range(20)))
    won = [answer for answer in answers if isinstance(answer, Granted)]
    lost = [answer for answer in answers if isinstance(answer, Refused)]
    assert (len(won), len(lost)) == (1, 19)
    assert {refused.error for refused in lost} == {"invalid_grant"}
    grant = await the_row(database, models.AuthorizationGrant)
    assert (grant.ended_at, grant.end_reason) == (milliseconds(NOW), "code replayed")
    assert len(await rows(database, models.RefreshToken)) == 1
    assert [event.event for event in await rows(database, models.AuditEvent, event="grant.ended")] == ["grant.ended"]
    assert isinstance(await database.write(rotating(refresh_token_of(won[0]))), Refused)


@pytest.mark.clause("A8")
async def test_a_code_is_spent_by_one_statement(database: Database) -> None:
    """Of twenty that run it at once one changes a row: that alone makes a code single use."""
    of = crypto.token_hash(await a_code(database, await person(database)))
    assert (await at_once(database, [lambda tx: tx.run(codes._SPEND_CODE, of=of, now=1)] * 20)).count(1) == 1


@pytest.mark.clause("A8")
async def test_the_race_is_the_same_between_processes(replicas: tuple[Database, Database]) -> None:
    """The database enforces single use, not a process."""
    code = await a_code(replicas[0], await person(replicas[0]))
    answers = await between(replicas, lambda: redeeming(code))
    assert sum(isinstance(answer, Granted) for answer in answers) == 1


@pytest.mark.clause("A8")
async def test_a_replay_long_after_still_ends_the_grant(database: Database) -> None:
    """A replay counts even after the code has expired."""
    code = await a_code(database, await person(database))
    await database.write(redeeming(code))
    assert isinstance(await database.write(redeeming(code, NOW + timedelta(hours=1))), Refused)
    assert (await the_row(database, models.AuthorizationGrant)).ended_at == milliseconds(NOW + timedelta(hours=1))


@pytest.mark.clause("A8")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_id": "another client"}, "invalid_grant"),
        ({"redirect_uri": "https://client.test/other"}, "invalid_grant"),
        ({"proves": lambda _challenge: False}, "invalid_grant"),
        ({"resource": "https://other.test/mcp"}, "invalid_target"),
    ],
    ids=["client", "redirect", "verifier", "resource"],
)
async def test_what_is_wrong_spends_and_ends_nothing(database: Database, change: dict[str, object], error: str) -> None:
    """A wrong request harms neither an unused code nor, later, the connection made with it."""
    code = await a_code(database, await person(database))
    assert await error_of(database, code, **change) == error
    assert isinstance(await database.write(redeeming(code)), Granted)
    assert await error_of(database, code, **change) == error
    assert (await the_row(database, models.AuthorizationGrant)).ended_at is None


@pytest.mark.clause("A1")
async def test_five_wrong_verifiers_end_the_code(database: Database) -> None:
    """After four the code still works, after five it does not: verifiers cannot be guessed."""
    for wrong, usable in [(4, True), (5, False)]:
        code = await a_code(database, await person(database, f"{wrong}@example.com"))
        for _ in range(wrong):
            assert await error_of(database, code, proves=lambda _challenge: False) == "invalid_grant"
        assert isinstance(await database.write(redeeming(code)), Granted) == usable


@pytest.mark.clause("A1")
async def test_wrong_verifiers_are_counted_in_a_race(database: Database) -> None:
    """Twenty concurrent guesses count as twenty."""
    code = await a_code(database, await person(database))
    await at_once(database, (redeeming(code, proves=lambda _challenge: False) for _ in range(20)))
    assert (await the_row(database, models.AuthorizationCode)).wrong_verifiers == 20
    assert isinstance(await database.write(redeeming(code)), Refused)


async def test_the_redirect_and_the_resource_may_be_left_out(database: Database) -> None:
    """OAuth 2.1 no longer requires the redirect here, and the resource was named at /authorize."""
    code = await a_code(database, await person(database))
    granted = await database.write(redeeming(code, redirect_uri=None, resource=None))
    assert isinstance(granted, Granted)
    assert granted.resource == RESOURCE


@pytest.mark.clause("A7")
async def test_a_slash_behind_the_resource_makes_no_other_resource(database: Database) -> None:
    """Some clients always add one; /authorize accepts it, so /token and the refresh do too."""
    code = await a_code(database, await person(database))
    granted = await database.write(redeeming(code, resource=f"{RESOURCE}/"))
    assert isinstance(granted, Granted)
    assert isinstance(await database.write(rotating(refresh_token_of(granted), resource=f"{RESOURCE}/")), Granted)


async def test_a_code_lives_one_minute(database: Database) -> None:
    """It works up to the last millisecond of the minute; after that the error says how late the request was."""
    account_id = await person(database)
    minute = timedelta(minutes=1)
    in_time = await a_code(database, account_id)
    assert isinstance(await database.write(redeeming(in_time, NOW + minute - timedelta(milliseconds=1))), Granted)
    late = await a_code(database, account_id)
    for after in (0, 999, 1000):
        refused = await database.write(redeeming(late, NOW + minute + timedelta(milliseconds=after)))
        received = f"the code {after // 1000} s after its end"
        assert refused == Refused("invalid_grant", REFUSED, "expired", received, "the code within a minute", "trace")


async def test_an_unknown_code_is_refused(database: Database) -> None:
    """An unknown code is refused, and nothing is stored."""
    assert await error_of(database, "gp_ac_nobody's") == "invalid_grant"
    assert await rows(database, models.AuditEvent) == []


async def test_a_disabled_person_gets_no_tokens(database: Database) -> None:
    """Even one disabled between consent and redemption."""
    account_id = await person(database)
    code = await a_code(database, account_id)
    await disable(database, account_id)
    assert await database.write(redeeming(code)) == Refused(
        "invalid_grant", REFUSED, "disabled account", "", "an account that is not disabled", "trace",
        "refused.account_disabled",
    )  # fmt: skip  # one row
    assert await rows(database, models.AuthorizationGrant) == []


@pytest.mark.clause("A13")
async def test_scopes_are_those_held_at_the_time(database: Database) -> None:
    """A scope revoked between consent and redemption is not in the answer, nor another resource's."""
    account_id = await person(database)
    code = await a_code(database, account_id)
    await database.write(lambda tx: accounts.revoke_scope(tx, account_id, RESOURCE, "demo:echo"))
    await database.write(lambda tx: accounts.grant_scope(tx, account_id, "https://other.test", "demo:ops", NOW))
    granted = await database.write(redeeming(code))
    assert isinstance(granted, Granted)
    assert granted.held == {"demo:read"}


async def test_only_hashes_are_stored(database: Database) -> None:
    """No column of any table holds a code or a token."""
    code = await a_code(database, await person(database))
    token = refresh_token_of(await database.write(redeeming(code)))
    following = refresh_token_of(await database.write(rotating(token)))
    stored = ""
    for table in (models.AuthorizationCode, models.AuthorizationGrant, models.RefreshToken, models.AuditEvent):
        stored += "".join(repr(row.model_dump()) for row in await rows(database, table))
    assert not [secret for secret in (code, token, following) if secret in stored or secret[6:] in stored]


async def test_a_redemption_takes_six_statements(database: Database) -> None:
    """Find, spend, start the grant, its token, an audit row, the scopes held: no query runs in a loop."""
    code = await a_code(database, await person(database))
    said: list[str] = []
    await database.write(counted(redeeming(code), said))
    assert [" ".join(statement.split()[:3]) for statement in said] == [
        "SELECT authorization_code.grant_id, authorization_code.account_id,",
        "UPDATE authorization_code SET",
        "INSERT INTO authorization_grant",
        "INSERT INTO refresh_token",
        "INSERT INTO audit_event",
        "SELECT entitlement.scope FROM",
    ]


async def test_a_redemption_that_is_run_again_answers_the_same(database: Database) -> None:
    """A transaction that was rolled back leaves nothing that would make its retry a replay."""
    code = await a_code(database, await person(database))
    asked = redemption(code)

    class Stumble(Exception):
        pass

    def stumbles(tx: Transaction) -> None:
        codes.redeem_code(tx, asked, NOW)
        raise Stumble

    with pytest.raises(Stumble):
        await database.write(stumbles)
    granted = await database.write(lambda tx: codes.redeem_code(tx, asked, NOW))
    assert isinstance(granted, Granted)
    assert granted.refresh_token == asked.refresh_token


async def test_a_code_for_another_redirect_and_resource_is_its_own(database: Database) -> None:
    """Two codes of one person and client do not mix."""
    account_id = await person(database)
    first = await a_code(database, account_id)
    second = await a_code(database, account_id, redirect_uri="https://client.test/second")
    assert await error_of(database, second, redirect_uri=CALLBACK) == "invalid_grant"
    granted = await database.write(redeeming(second, redirect_uri="https://client.test/second"))
    assert isinstance(granted, Granted)
    other = await database.write(redeeming(first))
    assert isinstance(other, Granted)
    assert other.grant_id != granted.grant_id
