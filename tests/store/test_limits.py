"""Rate limits in time windows: a try counts under all rules or none, even with concurrent counting."""

from datetime import UTC, datetime, timedelta

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.store import limits
from gatepost_idp.store.limits import Rule
from gatepost_idp.transaction import Work
from tests.store.parts import at_once, between, rows

START = datetime(2026, 11, 21, tzinfo=UTC)


def taking(*rules: Rule, at: float = 0) -> Work[int]:
    """One try, ``at`` seconds after the start."""
    return lambda tx: limits.take(tx, rules, START + timedelta(seconds=at))


async def count_of(database: Database, key: str) -> int:
    return sum(row.count for row in await rows(database, models.LimitWindow) if row.key.startswith(f"{key}/"))


async def test_so_many_and_no_more(database: Database) -> None:
    """The result is 0, then the seconds to wait, then 0 again in a window that begins with the next try."""
    rule = Rule("a", 3, 60)
    assert [await database.write(taking(rule, at=10)) for _ in range(4)] == [0, 0, 0, 60]
    assert await database.write(taking(rule, at=69.9)) == 1
    assert [await database.write(taking(rule, at=70)) for _ in range(4)] == [0, 0, 0, 60]


async def test_a_border_of_the_clock_is_no_way_round(database: Database) -> None:
    """Two tries a second apart both count, wherever in a minute they fall."""
    rule = Rule("a", 1, 60)
    assert await database.write(taking(rule, at=59.5)) == 0
    assert await database.write(taking(rule, at=60.5)) == 59


async def test_a_refused_try_does_not_lengthen_the_wait(database: Database) -> None:
    """Refused tries are not counted, so trying again does not lengthen the wait."""
    rule = Rule("a", 1, 60)
    await database.write(taking(rule))
    for second in range(1, 60):
        assert await database.write(taking(rule, at=second)) == 60 - second
    assert await database.write(taking(rule, at=60)) == 0
    assert await count_of(database, "a") == 1


async def test_of_twenty_parallel_tries_three_pass(database: Database) -> None:
    """The count holds in a race."""
    answers = await at_once(database, [taking(Rule("a", 3, 60))] * 20)
    assert sorted(answers)[:4] == [0, 0, 0, 60]


async def test_two_processes_count_together(replicas: tuple[Database, Database]) -> None:
    """A second replica, or a restart, grants no second allowance."""
    assert (await between(replicas, lambda: taking(Rule("a", 3, 60)))).count(0) == 3


async def test_all_rules_count_or_none(database: Database) -> None:
    """A try that one rule refuses does not count under the others; the result is the longest wait."""
    wide, narrow = Rule("wide", 10, 3600), Rule("narrow", 1, 60)
    assert await database.write(taking(wide, narrow)) == 0
    assert await database.write(taking(wide, narrow)) == 60
    assert await count_of(database, "wide") == 1
    assert await database.write(taking(narrow, Rule("wide", 1, 3600))) == 3600


async def test_all_rules_count_or_none_in_a_race(database: Database) -> None:
    """A try that the shared rule refuses at the last moment does not count against the caller."""
    for game in range(4):
        works = [taking(Rule(f"person {n} of {game}", 10, 60), Rule(f"all of {game}", 5, 60)) for n in range(20)]
        answers = await at_once(database, works)
        assert answers.count(0) == 5
        counted = [await count_of(database, f"person {n} of {game}") for n in range(20)]
        assert counted == [int(answer == 0) for answer in answers]
        assert await count_of(database, f"all of {game}") == 5


async def test_keys_and_periods_do_not_mix(database: Database) -> None:
    """Another person's tries, and another rule's of the same person, are counted apart."""
    assert await database.write(taking(Rule("a", 1, 60), Rule("a", 2, 3600))) == 0
    assert await database.write(taking(Rule("b", 1, 60))) == 0
    assert await database.write(taking(Rule("a", 1, 60), Rule("a", 2, 3600), at=60)) == 0
    assert await database.write(taking(Rule("a", 1, 60), Rule("a", 2, 3600), at=120)) == 3480


async def test_no_rules_refuse_nothing(database: Database) -> None:
    """An empty list of rules means no limit."""
    assert await database.write(taking()) == 0


async def test_a_window_says_when_it_may_be_purged(database: Database) -> None:
    """From the end of its window on."""
    await database.write(taking(Rule("a", 1, 60), at=10))
    [row] = await rows(database, models.LimitWindow)
    assert row.expires_at == int((START + timedelta(seconds=70)).timestamp() * 1000)
