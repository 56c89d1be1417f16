"""The trace of authorizations: which steps belong to a story, and which are dropped as too old or too many."""

import itertools
from datetime import timedelta
from functools import partial

from gatepost_idp.database import Database
from gatepost_idp.protocol import milliseconds
from gatepost_idp.store import traces
from gatepost_idp.store.traces import Step
from tests.store.parts import NOW

_numbers = itertools.count()


def step(name: str, minutes: float, trace_id: str, client_id: str = "", network: str = "198.51.100.7") -> Step:
    """A step that many minutes after NOW."""
    at = milliseconds(NOW + timedelta(minutes=minutes))
    return Step(f"{at:012x}{next(_numbers):06x}", at, trace_id, client_id, network, name, "ok", "{}")


async def kept(database: Database, *steps: Step) -> None:
    """Stores steps, last ones first: the order of writing is not the order of events."""
    await database.write(partial(traces.add, steps=steps[::-1]))


async def story(database: Database, key: str, minutes: float = 60) -> list[tuple[str, str]]:
    """Names and ids of the steps in the story of ``key``, that many minutes after NOW."""
    now = NOW + timedelta(minutes=minutes)
    return [(s.step, s.trace_id) for s in await database.read(partial(traces.story, key=key, now=now))]


async def test_a_story_stands_in_the_order_in_which_it_happened(database: Database) -> None:
    """Whether it is asked for by its id, by the id of its registration, or by its client."""
    await kept(
        database, step("discovery", 0, "d"), step("register", 1, "r", "c"), step("authorize", 2, "a", "c"),
        step("sign-in page", 3, "a"), step("token", 4, "a", "c"),
    )  # fmt: skip  # a list
    whole = [("discovery", "d"), ("register", "r"), ("authorize", "a"), ("sign-in page", "a"), ("token", "a")]
    assert await story(database, "a") == whole
    assert await story(database, "c") == whole
    assert await story(database, "d") == whole[:1]
    assert await story(database, "unknown") == []


async def test_a_story_older_than_a_day_is_not_told(database: Database) -> None:
    """Whether or not it has been deleted yet."""
    await kept(database, step("authorize", 0, "a", "c"), step("token", 1, "a", "c"))
    assert len(await story(database, "a", 24 * 60 - 1)) == 2
    assert await story(database, "a", 24 * 60) == [("token", "a")]
    assert await story(database, "c", 24 * 60 + 1) == []


async def test_discovery_counts_only_from_the_same_network_and_just_before(database: Database) -> None:
    """Before a registration and before an authorization, not in the hour between them, and not another network's."""
    await kept(
        database, step("discovery", -6, "long before"), step("discovery", -4, "before"), step("register", 0, "r", "c"),
        step("discovery", 30, "between"), step("register", 58, "of another", "other"), step("register", 59, "refused"),
        step("discovery", 59, "elsewhere", network="203.0.113.9"), step("authorize", 60, "a", "c"),
        step("discovery", 61, "after"),
    )  # fmt: skip  # a list
    told = [trace_id for _, trace_id in await story(database, "a", 70)]
    assert told == ["before", "r", "refused", "a"]


async def test_a_call_that_names_no_authorization_counts_for_its_client_for_ten_minutes(database: Database) -> None:
    """A call that names another authorization of the same client never counts."""
    await kept(
        database, step("token", -1, "before", "c"), step("authorize", 0, "a", "c"), step("token", 1, "lost", "c"),
        step("authorize", 2, "b", "c"), step("token", 3, "b", "c"), step("token", 9, "late", "c"),
        step("token", 11, "too late", "c"), step("token", 1, "of another", "other"),
    )  # fmt: skip  # a list
    assert [trace_id for _, trace_id in await story(database, "a")] == ["a", "lost", "late"]


async def test_only_the_newest_steps_of_a_day_stay(database: Database) -> None:
    """Older steps go, and of the rest the oldest beyond the limit."""
    await kept(database, *(step("authorize", number, f"t{number}") for number in range(10)))
    await database.write(partial(traces.trim, most=8, now=NOW + timedelta(days=1)))
    assert await story(database, "t0") == []
    assert await story(database, "t2") == [("authorize", "t2")]
    await database.write(partial(traces.trim, most=3, now=NOW))
    assert await story(database, "t6") == []
    assert await story(database, "t7") == [("authorize", "t7")]
    await database.write(partial(traces.trim, most=3, now=NOW))
    assert await story(database, "t7") == [("authorize", "t7")]
