"""Authorization requests: bound to one browser, valid for thirty minutes, answered once."""

import dataclasses
from datetime import timedelta

from gatepost_idp.database import Database
from gatepost_idp.store import requests
from gatepost_idp.store.requests import Request
from tests.store.parts import CALLBACK, CHALLENGE, CLIENT, KIND, NOW, RESOURCE, at_once, between

BROWSER = b"b" * 32
END = NOW + timedelta(minutes=30)
REQUEST = Request(
    id="request",
    trace_id="trace",
    client_id=CLIENT,
    client_row=KIND,
    redirect_uri=CALLBACK,
    state="st=ate &%\N{GREEK SMALL LETTER ALPHA}==",
    scope=("demo:read", "openid"),
    resource=RESOURCE,
    resource_named=True,
    code_challenge=CHALLENGE,
    nonce="nonce",
    prompt=("login", "consent"),
    max_age=0,
    created_at=NOW,
)


async def add(database: Database, request: Request = REQUEST) -> None:
    await database.write(lambda tx: requests.add(tx, request, BROWSER, END))


async def test_a_request_comes_back_as_it_was(database: Database) -> None:
    """Each parameter, byte for byte; an absent one stays absent."""
    bare = dataclasses.replace(
        REQUEST, id="bare", state=None, nonce=None, max_age=None, prompt=(), scope=(), resource_named=False
    )
    for request in (REQUEST, bare):
        await add(database, request)
        assert await database.read(lambda tx, of=request.id: requests.find(tx, of, BROWSER, NOW)) == request  # type: ignore[misc]  # a default binds the loop's value, which mypy does not infer


async def test_a_request_belongs_to_the_browser_that_made_it(database: Database) -> None:
    """Another browser, and one without a cookie, find nothing."""
    await add(database)
    for browser in (b"c" * 32, b"", BROWSER[:-1]):
        assert await database.read(lambda tx, of=browser: requests.find(tx, REQUEST.id, of, NOW)) is None  # type: ignore[misc]  # a default binds the loop's value, which mypy does not infer
    assert await database.read(lambda tx: requests.find(tx, "another", BROWSER, NOW)) is None


async def test_a_request_lives_until_its_end(database: Database) -> None:
    """After that nobody finds it."""
    await add(database)
    last = END - timedelta(milliseconds=1)
    assert await database.read(lambda tx: requests.find(tx, REQUEST.id, BROWSER, last)) == REQUEST
    assert await database.read(lambda tx: requests.find(tx, REQUEST.id, BROWSER, END)) is None


async def test_a_request_is_answered_once(database: Database) -> None:
    """Of twenty concurrent clicks one is the answer; afterwards the request is marked as finished."""
    await add(database)
    assert (await at_once(database, [lambda tx: requests.finish(tx, REQUEST.id, NOW)] * 20)).count(True) == 1
    assert await database.write(lambda tx: requests.finish(tx, REQUEST.id, NOW)) is False
    found = await database.read(lambda tx: requests.find(tx, REQUEST.id, BROWSER, NOW))
    assert found == dataclasses.replace(REQUEST, finished=True)


async def test_a_request_is_answered_once_between_processes(replicas: tuple[Database, Database]) -> None:
    """Two replicas give one answer."""
    await add(replicas[0])
    answers = await between(replicas, lambda: lambda tx: requests.finish(tx, REQUEST.id, NOW))
    assert answers.count(True) == 1


async def test_an_unknown_request_cannot_be_answered(database: Database) -> None:
    """Nor does an answer to one request finish another."""
    await add(database)
    assert await database.write(lambda tx: requests.finish(tx, "another", NOW)) is False
    assert await database.write(lambda tx: requests.finish(tx, REQUEST.id, NOW)) is True
