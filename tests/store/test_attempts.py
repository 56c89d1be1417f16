"""Sign-in attempts: decided once, five wrong codes, limited resends, a lifetime from the mail's acceptance."""

import dataclasses
from datetime import timedelta

from gatepost_idp.database import Database
from gatepost_idp.store import attempts, requests
from gatepost_idp.store.attempts import Attempt, AttemptState
from gatepost_idp.transaction import Transaction, Work
from tests.store.parts import NOW, at_once
from tests.store.test_requests import BROWSER, END, REQUEST

ATTEMPT = Attempt(
    id="attempt",
    request_id=REQUEST.id,
    browser_hash=BROWSER,
    email="Alice@example.com",
    email_key="alice@example.com",
    seed=bytes(range(32)),
    key_id="0123abcd",
    reference="amber falcon",
    stored_state="pending",
    wrong_codes=0,
    browser="Firefox on Linux",
    network="2001:db8::/64",
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=10),
    polled_at=None,
    resend_at=NOW + timedelta(seconds=30),
)


async def add(database: Database) -> None:
    def work(tx: Transaction) -> None:
        requests.add(tx, REQUEST, BROWSER, END)
        attempts.add(tx, ATTEMPT)

    await database.write(work)


async def found(database: Database) -> Attempt:
    attempt = await database.read(lambda tx: attempts.find(tx, ATTEMPT.id))
    assert attempt is not None
    return attempt


def turning(into: AttemptState) -> Work[bool]:
    return lambda tx: attempts.turn(tx, ATTEMPT.id, into, NOW)


async def test_an_attempt_comes_back_as_it_was(database: Database) -> None:
    """Including its seed, from which link and code are derived again."""
    await add(database)
    assert await found(database) == ATTEMPT
    assert await database.read(lambda tx: attempts.find(tx, "another")) is None


async def test_an_attempt_turns_once(database: Database) -> None:
    """Link, code and "It wasn't me" in parallel: the first one decides, for good."""
    await add(database)
    asked: list[AttemptState] = ["consumed", "cancelled"] * 10
    answers = await at_once(database, [turning(into) for into in asked])
    assert answers.count(True) == 1
    assert (await found(database)).stored_state == asked[answers.index(True)]
    assert await database.write(turning("consumed")) is False


async def test_an_expired_attempt_cannot_turn(database: Database) -> None:
    """It expires exactly by the clock, to the millisecond."""
    await add(database)
    last = ATTEMPT.expires_at - timedelta(milliseconds=1)
    attempt = await found(database)
    assert (attempt.state(last), attempt.state(ATTEMPT.expires_at)) == ("pending", "expired")
    assert await database.write(lambda tx: attempts.turn(tx, ATTEMPT.id, "consumed", ATTEMPT.expires_at)) is False
    assert await database.write(lambda tx: attempts.turn(tx, ATTEMPT.id, "consumed", last)) is True
    assert (await found(database)).state(ATTEMPT.expires_at) == "consumed"


async def test_five_wrong_codes_lock_the_attempt(database: Database) -> None:
    """The remaining tries are counted down; a locked attempt refuses the link too."""
    await add(database)
    counting = [await database.write(lambda tx: attempts.count_wrong_code(tx, ATTEMPT.id, NOW)) for _ in range(6)]
    assert counting == [4, 3, 2, 1, 0, 0]
    assert (await found(database)).stored_state == "locked"
    assert await database.write(turning("consumed")) is False


async def test_wrong_codes_in_parallel_are_all_counted(database: Database) -> None:
    """Of twenty concurrent guesses five are counted, then the attempt is locked."""
    await add(database)
    left = await at_once(database, [lambda tx: attempts.count_wrong_code(tx, ATTEMPT.id, NOW)] * 20)
    assert sorted(left, reverse=True)[:5] == [4, 3, 2, 1, 0]
    attempt = await found(database)
    assert (attempt.stored_state, attempt.wrong_codes) == ("locked", 5)


async def test_a_wrong_code_does_not_change_what_is_over(database: Database) -> None:
    """A used attempt stays used."""
    await add(database)
    await database.write(turning("consumed"))
    assert await database.write(lambda tx: attempts.count_wrong_code(tx, ATTEMPT.id, NOW)) == 0
    assert (await found(database)).stored_state == "consumed"


async def test_a_mail_is_sent_again_once_in_thirty_seconds(database: Database) -> None:
    """Not earlier, and of twenty concurrent clicks then one counts."""
    await add(database)
    early, due = NOW + timedelta(seconds=29), NOW + timedelta(seconds=30)
    following = due + timedelta(seconds=30)
    assert await database.write(lambda tx: attempts.take_resend(tx, ATTEMPT.id, early, following)) is False
    answers = await at_once(database, [lambda tx: attempts.take_resend(tx, ATTEMPT.id, due, following)] * 20)
    assert answers.count(True) == 1
    assert (await found(database)).resend_at == following


async def test_what_is_over_is_not_sent_again(database: Database) -> None:
    """A cancelled attempt mails nobody."""
    await add(database)
    await database.write(turning("cancelled"))
    assert await database.write(lambda tx: attempts.take_resend(tx, ATTEMPT.id, END, END)) is False


async def test_the_minutes_run_from_the_first_acceptance(database: Database) -> None:
    """A resend does not prolong them."""
    await add(database)
    first, second = NOW + timedelta(minutes=15), NOW + timedelta(minutes=20)
    await database.write(lambda tx: attempts.mark_accepted(tx, ATTEMPT.id, NOW, first))
    await database.write(lambda tx: attempts.mark_accepted(tx, ATTEMPT.id, NOW, second))
    assert (await found(database)).expires_at == first


async def test_the_waiting_tab_is_known_to_be_alive(database: Database) -> None:
    """The time of its last poll is stored."""
    await add(database)
    await database.write(lambda tx: attempts.mark_polled(tx, ATTEMPT.id, NOW))
    assert await found(database) == dataclasses.replace(ATTEMPT, polled_at=NOW)
