"""A15: the caller's token is exchanged for a backend's, which is cached; tools and backends never see the caller's."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from gatepost_resource import exchange
from gatepost_resource.access_token import BearerToken, Identifiers
from gatepost_resource.catalogue import Catalogue
from gatepost_resource.challenge import Challenge
from gatepost_resource.counts import Counts
from gatepost_resource.exchange import BackendTokens, NoToken
from gatepost_resource.introspection import Introspection
from gatepost_resource.issuer import Issuer as Wire
from gatepost_resource.jwks import IssuerKeys
from gatepost_resource.latest import Latest
from gatepost_resource.verifier import Verifier
from tests.resource.issuer import Issuer
from tests.resource.running import Clock

pytestmark = pytest.mark.clause("A15")
CRM = "https://crm.test/mcp"
FILES = "https://files.test/mcp"
READ = frozenset({"crm:read"})
MCP = "http://localhost:9001/mcp"


def held(*scopes: str, life: float = 900) -> BearerToken:
    """The token as a verifier returns it."""
    return BearerToken("alice", "client-1", scopes or ("crm:read", "crm:write"), frozenset(), int(time.time() + life))


class Asking:
    """The exchange, its clock, and the issuer that it asks."""

    def __init__(self, issuer: Issuer, wire: Wire, credentials: tuple[str, str] | None) -> None:
        self.issuer = issuer
        self.clock, self.monotonic = Clock(), Clock()
        self.tokens = BackendTokens(wire, credentials, self.clock, self.monotonic)

    def later(self, seconds: float) -> None:
        self.clock.offset += seconds
        self.monotonic.offset += seconds

    async def person(self, bearer: str = "bearer", url: str = CRM, scopes: frozenset[str] = READ) -> str:
        return await self.tokens.for_person(bearer, held(), url, scopes)

    async def refused(self, **given: Any) -> NoToken:
        with pytest.raises(NoToken) as none:
            await self.person(**given)
        return none.value

    @property
    def asked(self) -> list[dict[str, str]]:
        return self.issuer.exchanged


@contextlib.asynccontextmanager
async def asking_of(issuer: Issuer, credentials: tuple[str, str] | None) -> AsyncIterator[Asking]:
    wire = Wire(issuer.url)
    try:
        yield Asking(issuer, wire, credentials)
    finally:
        await wire.aclose()


@pytest.fixture
async def asking(issuer: Issuer) -> AsyncIterator[Asking]:
    async with asking_of(issuer, issuer.credentials) as one:
        yield one


async def test_what_is_asked_of_the_issuer(asking: Asking) -> None:
    """RFC 8693, section 2.1: the bearer, the backend, and those of its scopes that the bearer has."""
    token = await asking.person(scopes=frozenset({"crm:write", "crm:read", "crm:delete"}))
    assert token == "backend-token-1"
    assert asking.asked == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "bearer",
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "resource": CRM,
            "scope": "crm:read crm:write",
        }
    ]


async def test_lists_are_asked_for_in_nobodys_name(asking: Asking) -> None:
    """Lists are read with a client-credentials token for the backend, without scopes."""
    await asking.tokens.for_lists(CRM)
    assert asking.asked == [{"grant_type": "client_credentials", "resource": CRM}]


async def test_a_token_is_kept_until_shortly_before_its_end(asking: Asking) -> None:
    """Many calls share one exchange; the token is not used in its last half minute, when calls may be on their way."""
    for _ in range(3):
        assert await asking.person() == "backend-token-1"
    asking.later(300 - exchange.MARGIN_SECONDS - 2)
    assert await asking.person() == "backend-token-1"
    asking.later(4)
    assert await asking.person() == "backend-token-2"


async def test_a_token_is_kept_to_the_moment(asking: Asking) -> None:
    """At the end of that time it is no longer used."""
    now = time.time()
    asking.tokens._monotonic = lambda: now
    await asking.person()
    now += 300 - exchange.MARGIN_SECONDS
    assert await asking.person() == "backend-token-2"


async def test_a_clock_that_goes_back_keeps_no_token_beyond_its_end(asking: Asking) -> None:
    """The backend has another clock, by which the token has expired."""
    await asking.person()
    asking.clock.offset -= 3600
    asking.monotonic.offset += 300
    assert await asking.person() == "backend-token-2"


async def test_a_token_that_is_nearly_over_still_serves(asking: Asking) -> None:
    """Such as that of a caller whose own token is about to expire."""
    asking.issuer.backend_life = 20
    assert await asking.person() == "backend-token-1"
    asking.later(9)
    assert await asking.person() == "backend-token-1"
    asking.later(2)
    assert await asking.person() == "backend-token-2"


async def test_no_token_is_anothers(asking: Asking) -> None:
    """Each bearer, backend and set of scopes has its own token, and so has nobody."""
    found = [
        await asking.person(),
        await asking.person(bearer="another"),
        await asking.person(url=FILES),
        await asking.person(scopes=frozenset({"crm:write"})),
        await asking.tokens.for_lists(CRM),
        await asking.tokens.for_lists(FILES),
    ]
    assert len(set(found)) == len(found) == len(asking.asked)


async def test_many_at_once_are_one_question(asking: Asking) -> None:
    """Concurrent requests share one exchange, and one caller's cancellation does not cancel it for the others."""
    asking.issuer.delay = 0.2
    first, *others = [asyncio.create_task(asking.person()) for _ in range(20)]
    await asyncio.sleep(0.05)
    first.cancel()
    assert set(await asyncio.gather(*others)) == {"backend-token-1"}
    assert len(asking.asked) == 1


async def test_the_issuer_is_not_asked_by_a_crowd_at_once(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most twenty exchanges run at a time, here two; the others wait their turn."""
    monkeypatch.setattr(exchange, "MAX_ASKED_AT_ONCE", 2)
    issuer.delay = 0.2
    async with asking_of(issuer, issuer.credentials) as asking:
        await asyncio.gather(*(asking.person(bearer=f"bearer-{number}") for number in range(5)))
    assert (len(issuer.exchanged), issuer.most_at_once) == (5, 2)


async def test_memory_is_bounded(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most recently used tokens stay in the cache."""
    monkeypatch.setattr(exchange, "MAX_REMEMBERED", 2)
    for bearer in ("one", "two", "one", "three"):
        await asking.person(bearer=bearer)
    assert len(asking.tokens._answers) == 2
    assert len(asking.asked) == 3
    await asking.person(bearer="one")
    assert len(asking.asked) == 3
    await asking.person(bearer="two")
    assert len(asking.asked) == 4


# --- No token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["invalid_request", "invalid_target", "invalid_scope", "unauthorized_client"])
async def test_a_refusal_counts_for_a_few_seconds(asking: Asking, error: str) -> None:
    """A caller who keeps trying does not flood the issuer; the reason given is the issuer's."""
    asking.issuer.refuses = 400, {"error": error, "error_description": "No."}
    for _ in range(3):
        none = await asking.refused()
        assert (none.error, str(none)) == (error, f"the issuer gives no token: {error}: No.")
    assert len(asking.asked) == 1
    asking.issuer.refuses = None
    asking.later(exchange.REFUSED_SECONDS + 1)
    assert await asking.person() == "backend-token-2"


async def test_wrong_credentials_are_named(issuer: Issuer) -> None:
    """The issuer's 401 is for the operator to fix; without credentials the issuer is not asked."""
    async with asking_of(issuer, ("tools", "wrong")) as asking:
        assert (await asking.refused()).error == "invalid_client"
    async with asking_of(issuer, None) as asking:
        none = await asking.refused()
    missing = "INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET are not set"
    assert (none.error, str(none)) == ("invalid_client", missing)
    assert issuer.exchanged == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": "x"},
        {"access_token": "x", "token_type": "Bearer"},
        {"access_token": "x", "token_type": "N_A", "expires_in": 300},
        {"access_token": ["x"], "token_type": "Bearer", "expires_in": 300},
        {"access_token": "x", "token_type": "Bearer", "expires_in": "300"},
    ],
    ids=json.dumps,
)
async def test_an_answer_without_a_token_is_none(asking: Asking, answer: dict[str, Any]) -> None:
    """A 200 from the issuer without a usable token counts as none."""
    asking.issuer.refuses = 200, answer
    none = await asking.refused()
    assert (none.error, str(none)) == ("temporarily_unavailable", "the issuer's answer holds no token")


async def test_a_token_may_be_long_and_a_reason_may_not(asking: Asking) -> None:
    """The issuer's reason goes into the log, so a long one is left out."""
    asking.issuer.refuses = 200, {"access_token": "t" * 4000, "token_type": "Bearer", "expires_in": 300}
    assert await asking.person() == "t" * 4000
    for length, said in ((200, "d" * 200), (201, "")):
        asking.issuer.refuses = 400, {"error": "invalid_target", "error_description": "d" * length}
        none = await asking.refused(bearer=f"of {length}")
        assert str(none) == f"the issuer gives no token: invalid_target: {said}"


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_trouble_is_asked_about_again_soon(asking: Asking, status: int) -> None:
    """After a second, since it may be over."""
    asking.issuer.refuses = status, {"error": "temporarily_unavailable"}
    await asking.refused()
    await asking.refused()
    assert len(asking.asked) == 1
    asking.issuer.refuses = None
    asking.later(exchange.UNAVAILABLE_SECONDS + 1)
    assert await asking.person() == "backend-token-2"


async def test_an_issuer_that_is_away_gives_no_token(asking: Asking) -> None:
    """Tokens obtained before stay in use."""
    await asking.person()
    asking.issuer.stop()
    assert await asking.person() == "backend-token-1"
    none = await asking.refused(bearer="another")
    assert none.error == "temporarily_unavailable"
    assert str(none).startswith("the issuer cannot be asked: ")
    assert "ConnectError" not in str(none)  # except for its reason


async def test_a_slow_issuer_holds_nobody_for_ever(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """After five seconds, here less, the exchange fails."""
    monkeypatch.setattr(exchange, "ANSWER_SECONDS", 0.1)
    asking.issuer.delay = 1.0
    began = time.monotonic()
    none = await asking.refused()
    assert (none.error, str(none)) == ("temporarily_unavailable", "the issuer cannot be asked: TimeoutError")
    assert time.monotonic() - began < 0.9


async def test_who_may_do_nothing_there_is_not_asked_about(asking: Asking) -> None:
    """Without a scope of the backend, or with an expired token, the issuer would refuse, so it is not asked."""
    none = await asking.refused(scopes=frozenset({"files:read"}))
    assert (none.error, str(none)) == ("insufficient_scope", "the caller's token has no scope that the backend needs")
    asking.later(901)
    none = await asking.refused()
    assert (none.error, str(none)) == ("invalid_token", "the caller's token has expired")
    assert asking.asked == []


@pytest.mark.parametrize(("now", "error"), [(999.0, "invalid_client"), (1000.0, "invalid_token")])
async def test_a_token_is_over_at_its_last_second(now: float, error: str) -> None:
    """As RFC 7519 has it; a second earlier it still counts as valid."""
    wire = Wire("http://localhost:1")
    tokens = BackendTokens(wire, None, lambda: now, time.monotonic)
    with pytest.raises(NoToken) as none:
        await tokens.for_person("bearer", BearerToken("alice", "client-1", ("crm:read",), frozenset(), 1000), CRM, READ)
    assert none.value.error == error
    await wire.aclose()


# --- Where the bearer is --------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def behind_the_challenge(issuer: Issuer) -> AsyncIterator[tuple[httpx2.AsyncClient, list[str]]]:
    """The challenge around an app that reads all a tool could read and asks for a backend's token."""
    wire, clock = Wire(issuer.url), Clock()
    expected = Identifiers(issuer.url, MCP)
    keys = IssuerKeys(wire, time.monotonic)
    introspection = Introspection(wire, expected, issuer.credentials, clock, time.monotonic)
    verifier = Verifier(expected, keys, introspection, clock)
    tokens = BackendTokens(wire, issuer.credentials, clock, time.monotonic)
    seen: list[str] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(repr([scope["headers"], vars(scope["user"]), vars(scope["auth"]), dict(Request(scope).headers)]))
        token = await tokens.for_caller(scope["user"].token, CRM, READ)
        await JSONResponse({"token": token})(scope, receive, send)

    app = Challenge(inside, verifier, "https://m.test", Latest(Catalogue("Tools", ())), Counts())
    transport = httpx2.ASGITransport(app=app)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:9001") as client:
            yield client, seen
    finally:
        await keys.aclose()
        await wire.aclose()


@pytest.mark.clause("R3.no-passthrough")
async def test_the_bearer_is_exchanged_and_shown_to_nobody_inside(issuer: Issuer) -> None:
    """It is neither in the caller nor in the request headers that a tool can read, be it a JWT or a personal token."""
    jwt = issuer.token(MCP, scope="crm:read")
    personal = f"gp_pt_{'s' * 43}"
    issuer.told[personal] = issuer.claims(MCP, scope="crm:read")
    async with behind_the_challenge(issuer) as (client, seen):
        for number, bearer in enumerate((jwt, personal), start=1):
            answer = await client.post("/mcp", headers={"authorization": f"Bearer {bearer}", "x-other": "kept"})
            assert answer.json() == {"token": f"backend-token-{number}"}
            assert issuer.exchanged[-1]["subject_token"] == bearer
            assert bearer not in seen[-1]
            assert "kept" in seen[-1]


async def test_requests_side_by_side_exchange_their_own(issuer: Issuer) -> None:
    """Each uses its own bearer, however they are interleaved."""
    issuer.delay = 0.05
    bearers = [issuer.token(MCP, sub=f"user-{number}", scope="crm:read") for number in range(8)]
    async with behind_the_challenge(issuer) as (client, _):
        asked = (client.post("/mcp", headers={"authorization": f"Bearer {bearer}"}) for bearer in bearers)
        answers = await asyncio.gather(*asked)
    found = [int(answer.json()["token"].rpartition("-")[2]) for answer in answers]
    assert [issuer.exchanged[number - 1]["subject_token"] for number in found] == bearers


async def test_outside_of_a_request_nobody_is_calling(asking: Asking) -> None:
    """Background tasks have no bearer, not even the latest caller's."""
    with exchange.called_with("bearer"):
        assert await asking.tokens.for_caller(held(), CRM, READ) == "backend-token-1"
    with pytest.raises(NoToken, match=r"^nobody's request is being answered$") as none:
        await asking.tokens.for_caller(held(), CRM, READ)
    assert none.value.error == "invalid_token"
    with pytest.raises(LookupError, match=r"^nobody's request is being answered$"):
        exchange.owner()
    with exchange.called_with("bearer"):
        assert exchange.owner() == hashlib.sha256(b"bearer").digest()
