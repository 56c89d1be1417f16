"""Keys: made once even if several processes start together, rotated with an overlap, sealed under SECRET_KEY."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from gatepost_idp import models
from gatepost_idp.crypto import SealBroken, SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.keys import RELOAD_SECONDS, Keys, rotate
from gatepost_idp.operate import background
from gatepost_idp.operate.background import steadily
from gatepost_idp.store import keys as store
from gatepost_idp.transaction import DatabaseUnavailable, Work
from tests.store.parts import NOW, rows, the_row
from tests.support.processes import environment_of

OLD, NEW = SecretKeys(("old " * 10,)), SecretKeys(("new " * 10,))
BOTH = SecretKeys((*OLD.values, *NEW.values))
LIFE = timedelta(minutes=15)


class Watch:
    """A stopped clock."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


async def loaded(database: Database, watch: Watch, secret_keys: SecretKeys = OLD) -> Keys:
    keys = Keys(database, secret_keys, watch)
    await keys.load()
    return keys


def rotating(at: datetime = NOW, secret_keys: SecretKeys = OLD) -> Work[str]:
    """Rotates; returns the new ES256 key's id."""
    return lambda tx: next(row.kid for row in rotate(tx, secret_keys, at, LIFE) if row.algorithm == "ES256")


def published(keys: Keys, algorithm: str = "ES256") -> list[str]:
    """The ids in the JWKS."""
    return [key["kid"] for key in json.loads(keys.jwks)["keys"] if key["alg"] == algorithm]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that in five seconds")


async def test_who_waited_for_its_turn_makes_no_second_key(database: Database, watch: Watch) -> None:
    """Even if it read the clock before another process made the keys, or its clock is slightly behind."""
    first = await loaded(database, watch)
    watch.now -= timedelta(seconds=5)
    assert published(await loaded(database, watch)) == published(first)


async def test_the_first_start_makes_what_is_needed(database: Database, watch: Watch) -> None:
    """For each algorithm a key that signs at once, never stored in clear, and two secrets."""
    keys = await loaded(database, watch)
    stored = {row.algorithm: row for row in await rows(database, models.SigningKey)}
    assert stored.keys() == {"ES256", "RS256"}
    for algorithm, row in stored.items():
        signing = keys.signing(algorithm)
        assert (signing.kid, signing.algorithm, published(keys, algorithm)) == (row.kid, algorithm, [row.kid])
        private = signing.private.as_dict(private=True)["d"]
        assert str(private).encode() not in row.sealed_jwk
    public = {key["alg"]: set(key) - {"kid", "use", "alg"} for key in json.loads(keys.jwks)["keys"]}
    assert public == {"ES256": {"kty", "crv", "x", "y"}, "RS256": {"kty", "n", "e"}}
    assert {secret.name for secret in await rows(database, models.ServerSecret)} == {"registration", "refresh"}
    assert len(keys.registration_key) == len(keys.refresh_key) == 32
    assert keys.registration_key != keys.refresh_key


async def test_a_restart_finds_the_same_keys(database: Database, watch: Watch) -> None:
    """Tokens, registrations and connections survive a restart."""
    first, second = await loaded(database, watch), await loaded(database, watch)
    assert (second.jwks, second.registration_key, second.refresh_key) == (
        first.jwks,
        first.registration_key,
        first.refresh_key,
    )


async def test_replicas_that_start_at_once_agree(database_url: str, opened: Callable[[str], Database]) -> None:
    """Six on an empty database: one signing key, one registration key, one refresh key."""
    made = [Keys(opened(database_url), OLD, Watch()) for _ in range(6)]
    await asyncio.gather(*(keys.load() for keys in made))
    assert len({keys.jwks for keys in made}) == 1
    assert len({keys.registration_key for keys in made}) == 1
    assert len({keys.refresh_key for keys in made}) == 1


START = """
import asyncio, hashlib, sys
from gatepost_idp.crypto import SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from gatepost_idp.protocol import system_clock

async def start():
    database = Database(sys.argv[1])
    keys = Keys(database, SecretKeys(("old " * 10,)), system_clock)
    sys.stdin.readline()
    await keys.load()
    print(keys.signing().kid, hashlib.sha256(keys.refresh_key + keys.registration_key).hexdigest())
    database.close()

asyncio.run(start())
"""


def test_processes_that_start_at_once_agree(database_url: str) -> None:
    """The same with real processes, as several workers start."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", START, database_url],
            env=environment_of(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=30) for process in started]
    assert [errors for _, errors in said] == [""] * 4
    assert len({answer for answer, _ in said}) == 1


@pytest.mark.clause("R7")
async def test_a_new_key_is_published_at_once_and_signs_after_a_minute(database: Database, watch: Watch) -> None:
    """So that every cache of the JWKS knows it before the first token signed with it arrives."""
    old = (await loaded(database, watch)).signing().kid
    new = await database.write(rotating())
    keys = await loaded(database, watch)
    assert set(published(keys)) == {old, new}
    watch.now = NOW + timedelta(seconds=60) - timedelta(milliseconds=1)
    assert keys.signing().kid == old
    watch.now = NOW + timedelta(seconds=60)
    assert keys.signing().kid == new


@pytest.mark.clause("R7")
async def test_an_old_key_verifies_one_token_life_more(database: Database, watch: Watch) -> None:
    """The last token it signed stays valid until it expires; then the key goes."""
    old = (await loaded(database, watch)).signing().kid
    new = await database.write(rotating())
    last_token_ends = NOW + timedelta(seconds=60) + LIFE
    watch.now = last_token_ends
    assert old in published(await loaded(database, watch))
    watch.now = last_token_ends + timedelta(seconds=60)
    assert published(await loaded(database, watch)) == [new]


@pytest.mark.clause("R7")
async def test_rotating_twice_in_a_row_keeps_a_key_that_signs(database: Database, watch: Watch) -> None:
    """Repeated rotation does no harm: the oldest key signs until a newer one may."""
    kids = [(await loaded(database, watch)).signing().kid]
    kids += [await database.write(rotating(NOW + timedelta(seconds=seconds))) for seconds in (0, 1, 2)]
    keys = await loaded(database, watch)
    assert set(published(keys)) == set(kids)
    for seconds, signs in [(2, kids[0]), (59, kids[0]), (60, kids[1]), (61, kids[2]), (62, kids[3])]:
        watch.now = NOW + timedelta(seconds=seconds)
        assert keys.signing().kid == signs
    watch.now = NOW + timedelta(minutes=20)
    assert published(await loaded(database, watch)) == [kids[3]]


async def test_rotations_at_once_make_a_chain(database: Database, watch: Watch) -> None:
    """If two operators rotate at the same moment, every key but the last will retire."""
    await loaded(database, watch)
    await asyncio.gather(*(database.write(rotating()) for _ in range(5)))
    retiring = [row.retired_at is not None for row in await rows(database, models.SigningKey)]
    assert sorted(retiring) == [False] * 2 + [True] * 10


@contextlib.asynccontextmanager
async def followed(keys: Keys) -> AsyncIterator["asyncio.Task[None]"]:
    """Follows the keys as a running server does, only faster."""
    task = asyncio.create_task(steadily("keys", keys.reload, 0.01))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.clause("R7")
async def test_a_rotation_elsewhere_is_followed(database: Database, watch: Watch) -> None:
    """A running server publishes within seconds a key made by the command line or another replica."""
    assert RELOAD_SECONDS <= 10
    keys = await loaded(database, watch)
    async with followed(keys):
        await database.write(rotating())
        await until(lambda: len(published(keys)) == 2)


@pytest.mark.clause("R7")
async def test_rotations_are_followed_after_the_database_was_away(
    database: Database, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed poll does not end the polling."""
    keys = await loaded(database, watch)
    looks = 0
    read = database.read

    async def away_at_first(work: Work[Any]) -> Any:
        nonlocal looks
        looks += 1
        if looks <= 2:
            raise DatabaseUnavailable("gone for a moment")
        return await read(work)

    monkeypatch.setattr(database, "read", away_at_first)
    monkeypatch.setattr(background, "AFTER_FAILURE_SECONDS", 0.01)
    async with followed(keys) as task:
        await database.write(rotating())
        await until(lambda: task.done() or len(published(keys)) == 2)
        assert not task.done()


async def test_keys_sealed_anew_elsewhere_do_not_stop_who_has_them_open(database: Database, watch: Watch) -> None:
    """SECRET_KEY changes replica by replica: one with only the old key goes on signing with the keys it has open."""
    keys = await loaded(database, watch, OLD)
    kid = keys.signing().kid
    async with followed(keys) as task:
        await loaded(database, watch, BOTH)
        await asyncio.sleep(0.1)
        assert not task.done()
        assert keys.signing().kid == kid
        assert published(keys) == [kid]


async def test_a_rotated_secret_key_seals_everything_anew(database: Database, watch: Watch) -> None:
    """After one start with both keys the old one can be dropped: nothing is lost, and nobody has to sign in again."""
    await loaded(database, watch)
    await database.write(rotating())
    before = await loaded(database, watch)
    await loaded(database, watch, BOTH)
    after = await loaded(database, watch, NEW)
    assert (after.jwks, after.registration_key, after.refresh_key) == (
        before.jwks,
        before.registration_key,
        before.refresh_key,
    )
    assert after.signing().kid == before.signing().kid
    sealed = [row.sealed_jwk for row in await rows(database, models.SigningKey)]
    sealed += [row.sealed for row in await rows(database, models.ServerSecret)]
    assert len(sealed) == 6
    assert all(NEW.seals_with_newest(seal) for seal in sealed)


async def test_a_dropped_secret_key_is_said_and_nothing_is_made_in_its_place(database: Database, watch: Watch) -> None:
    """New keys would silently end every connection; instead the operator is told to put the old key back."""
    await loaded(database, watch)
    before = [row.model_dump() for row in await rows(database, models.SigningKey)]
    with pytest.raises(SealBroken, match="no longer in SECRET_KEY") as caught:
        await loaded(database, watch, NEW)
    assert OLD.values[0] not in str(caught.value)
    assert [row.model_dump() for row in await rows(database, models.SigningKey)] == before


async def test_a_seal_that_was_changed_is_noticed(database: Database, watch: Watch) -> None:
    """An attacker who can write to the database cannot plant their own key."""
    await loaded(database, watch)
    row = await the_row(database, models.SigningKey, algorithm="ES256")
    row.sealed_jwk = row.sealed_jwk[:-1] + bytes([row.sealed_jwk[-1] ^ 1])
    await database.write(lambda tx: store.save(tx, row))
    with pytest.raises(SealBroken, match="was changed"):
        await loaded(database, watch)


async def test_a_seal_serves_its_own_purpose_alone(database: Database, watch: Watch) -> None:
    """A sealed secret copied to another's place does not open."""
    await loaded(database, watch)
    registration = await the_row(database, models.ServerSecret, name="registration")
    swapped = models.ServerSecret(name="refresh", sealed=registration.sealed)
    await database.write(lambda tx: store.save(tx, swapped))
    with pytest.raises(SealBroken):
        await loaded(database, watch)
