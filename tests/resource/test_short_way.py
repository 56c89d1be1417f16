"""The short way answers as the SDK would: every case is sent to two servers, one with it and one without."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import pytest
from mcp.server.mcpserver import Context
from pydantic import Field
from structlog.testing import capture_logs

from gatepost_resource import demo, mcp_server, short_way
from gatepost_resource.demo import Echo
from gatepost_resource.tools import OURS, Toolbox, ToolEntry
from tests.resource.both_ways import (
    BASES,
    ECHO,
    EVERYTHING,
    HOLDERS,
    LIST,
    NOW,
    RESOURCE,
    VERSIONS,
    WIRES,
    Case,
    Headers,
    Way,
    corpus,
    generated,
    sent,
    way,
    with_meta,
)
from tests.resource.issuer import Issuer
from tests.resource.running import LEGACY, MODERN, calling

SEEDS = range(4)
EACH = 150


@pytest.fixture(scope="module")
def full(shared_issuer: Issuer) -> Iterator[Way]:
    with way(shared_issuer, short=False) as found:
        yield found


@pytest.fixture
def short(shared_issuer: Issuer) -> Iterator[Way]:
    with way(shared_issuer, short=True) as found:
        yield found


def token(way: Way, **changes: Any) -> str:
    return way.server.issuer.token(RESOURCE, now=NOW, **changes)


def compared(full: Way, short: Way, cases: Iterable[Case]) -> int:
    """Sends each case to both, to the short way until it knows it; returns how many that answered by itself."""
    tokens = {holder: token(full, **claims) for holder, claims in HOLDERS.items()}
    alone = 0
    full.line.close()  # idle lines are hung up; this one is opened again
    for case in cases:
        request = tokens[case.holder], case.body, case.headers
        expected = _seen(full, *request)
        before = 0
        for turn in range(3):
            before = len(short.asked)
            assert _seen(short, *request) == expected, f"{case.name}, turn {turn}"
        alone += len(short.asked) == before and expected[0] == 200
    return alone


def _seen(way: Way, bearer: str, body: bytes, headers: Headers) -> tuple[int, Headers, bytes]:
    """The answer byte for byte, except for what differs in every answer."""
    answer = way.post(bearer, body, headers)
    fields = [(name, value) for name, value in answer.headers if name not in ("date", "x-request-id")]
    return answer.status, sorted(fields), answer.content


def test_whatever_is_asked_both_ways_answer_alike(full: Way, short: Way) -> None:
    """Status, header fields and body are the same bytes, the first, the second and the third time."""
    assert compared(full, short, corpus()) > 500


@pytest.mark.parametrize("seed", SEEDS)
def test_what_nobody_thought_of_is_answered_alike(full: Way, short: Way, seed: int) -> None:
    """Random requests, most of them almost valid."""
    assert compared(full, short, generated(seed, EACH)) > EACH / 10


@pytest.mark.parametrize("version", WIRES)
@pytest.mark.parametrize("base", ["list", "echo", "whoami"])
def test_the_second_time_the_sdk_is_not_asked(short: Way, version: str, base: str) -> None:
    """Under another id, too."""
    bearer = token(short)
    for number in range(3):
        answer = short.ask(bearer, {**BASES[base], "id": number}, version)
        assert answer.json()["id"] == number
    assert len(short.asked) == 1


@pytest.mark.parametrize("version", WIRES)
def test_a_list_is_kept_for_its_scopes_alone(short: Way, version: str) -> None:
    """Nobody is shown what only another person's scopes allow, whoever asked first."""
    shown = {
        scope: {tool["name"] for tool in short.ask(token(short, scope=scope), LIST, version).json()["result"]["tools"]}
        for scope in [EVERYTHING, "", "demo:read", EVERYTHING, "demo:echo", ""]
    }
    assert {scope: len(names) for scope, names in shown.items()} == {
        EVERYTHING: 6,
        "": 2,
        "demo:read": 4,
        "demo:echo": 3,
    }


@pytest.mark.parametrize("version", WIRES)
def test_a_call_that_is_known_still_asks_for_its_scope(short: Way, version: str) -> None:
    """One person's call opens nothing for the next: 403 if they can get the scope, an error result if not."""
    for _ in range(2):
        assert short.ask(token(short, scope=EVERYTHING), ECHO, version).json()["result"]["structuredContent"]
    offered = token(short, scope="demo:read", entitlements=EVERYTHING.split())
    refused = token(short, scope="demo:read", entitlements=[])
    assert short.ask(offered, ECHO, version).status == 403
    for _ in range(2):
        assert short.ask(refused, ECHO, version).json()["result"]["isError"] is True


@pytest.mark.parametrize("version", WIRES)
def test_a_call_answers_its_own_caller(short: Way, version: str) -> None:
    """Answers of calls are not cached: the same frame of two people gets two answers."""
    for subject in ("user-1", "user-2", "user-1"):
        answer = short.ask(token(short, sub=subject), calling("whoami"), version).json()
        assert answer["result"]["structuredContent"]["subject"] == subject
    assert len(short.asked) == 1


@pytest.mark.parametrize("version", WIRES)
def test_another_table_is_another_list(short: Way, version: str) -> None:
    """Lists cached for the old table are dropped at once."""
    bearer = token(short, scope=EVERYTHING)
    for count in (6, 2, 6):
        short.tools.replace(Toolbox(OURS[-count:]))
        for _ in range(2):
            assert len(short.ask(bearer, LIST, version).json()["result"]["tools"]) == count


@pytest.mark.parametrize("version", WIRES)
def test_an_answer_out_of_the_old_table_is_not_kept_for_the_new(short: Way, version: str) -> None:
    """The table is replaced while the SDK is answering."""
    bearer = token(short, scope=EVERYTHING)
    short.meanwhile.append(lambda: short.tools.replace(Toolbox(OURS[-2:])))
    assert len(short.ask(bearer, LIST, version).json()["result"]["tools"]) == 6
    assert len(short.ask(bearer, LIST, version).json()["result"]["tools"]) == 2


@pytest.mark.parametrize("version", WIRES)
def test_a_tool_that_is_gone_is_not_called(short: Way, version: str) -> None:
    """Even if the frame of its call was cached."""
    bearer = token(short, scope=EVERYTHING)
    for _ in range(2):
        short.ask(bearer, ECHO, version)
    short.tools.replace(Toolbox([entry for entry in OURS if entry.name != "demo_echo"]))
    for _ in range(2):
        assert b"Unknown tool" in short.ask(bearer, ECHO, version).content


def test_who_asks_for_ever_new_lists_fills_no_memory(short: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many lists are cached, the least recently used go first, and equal ones are stored once."""
    monkeypatch.setattr(short_way, "MAX_FRAMES", 4)
    bearer = token(short)
    for number in range(10):
        short.ask(bearer, LIST, accept=f"application/json;v={number}")
        short.ask(bearer, LIST)
    assert short.short is not None
    kept = list(short.short._answers.current().values())
    assert len(kept) == 4
    assert len({id(one) for one in kept}) == 1
    assert len(short.asked) == 11


def test_who_narrows_a_token_again_and_again_fills_no_memory(short: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """n scopes have 2^n sets, each with its own list: only the most recently used are cached."""
    monkeypatch.setattr(mcp_server, "MAX_LISTS", 2)
    for number, scope in enumerate(("demo:echo", "demo:ops", "demo:echo demo:ops", "demo:read demo:ops")):
        for one in ("demo:read", scope):
            short.ask(token(short, scope=one), LIST, accept=f"application/json;v={number}")
    kept = [frozenset({"demo:read"}), frozenset({"demo:read", "demo:ops"})]
    assert list(short.mcp._lists.current()) == kept


def test_a_frame_that_is_long_is_not_kept(short: Way) -> None:
    """Its header fields would be kept too."""
    for _ in range(2):
        assert short.ask(token(short), LIST, accept="application/json" + ",x" * 3000).status == 200
    assert len(short.asked) == 2


@pytest.mark.parametrize("version", WIRES)
@pytest.mark.parametrize("meta", [{"progressToken": 1}, {"traceparent": "00-" + "a" * 32}, {"own.example/x": 1}])
def test_whoever_asks_for_more_than_the_answer_has_the_whole_way(
    short: Way, version: str, meta: dict[str, Any]
) -> None:
    """Progress, tracing, custom metadata: the SDK handles them, and no frame is cached for each."""
    body, headers = sent(ECHO, version)
    for _ in range(2):
        assert short.post(token(short), with_meta(body, meta), headers).status == 200
    assert len(short.asked) == 2


async def _of_its_request(text: str, context: Context[Any, Any]) -> Echo:
    return Echo(text=f"{text} {context.request_id}")


async def _of_a_field(text: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Text"})]) -> Echo:
    return Echo(text=text)


@pytest.mark.parametrize("tool", [_of_its_request, _of_a_field])
def test_a_tool_that_needs_more_of_its_request_has_the_whole_way(short: Way, tool: Callable[..., Any]) -> None:
    """The context of the call, or an argument that is also sent as a header (2026-07-28)."""
    short.mcp.add_tool(tool, name="odd", structured_output=True)
    short.tools.replace(Toolbox([ToolEntry("odd", None, "Odd", "")]))
    for text in ("once", "twice"):
        answer = short.ask(token(short), calling("odd", text=text), MODERN, mcp_param_text=text)
        assert answer.json()["result"]["structuredContent"]["text"].startswith(text)
        assert short.ask(token(short), calling("odd", text=text), LEGACY[1]).status == 200
    missing = short.ask(token(short), calling("odd", text="x"), MODERN)
    assert missing.status == (400 if tool is _of_a_field else 200)
    assert len(short.asked) == 5


@pytest.mark.parametrize("version", WIRES)
def test_whoever_traces_has_the_whole_way(shared_issuer: Issuer, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """With tracing, every span of the SDK is emitted."""
    monkeypatch.setattr(short_way, "get_tracer_provider", object)
    with way(shared_issuer, short=True) as traced:
        for _ in range(2):
            assert traced.ask(token(traced), ECHO, version).status == 200
        assert len(traced.asked) == 2


@pytest.mark.parametrize("version", WIRES)
def test_a_tool_that_breaks_tells_the_log_and_nobody_else(
    full: Way, short: Way, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """The answer is the SDK's, in general words; the traceback goes to our log."""
    bearer = token(short)
    for _ in range(2):
        short.ask(bearer, calling("demo_get_time"), version)

    def breaks(_: float) -> str:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(demo, "iso", breaks)
    with capture_logs() as lines:
        answer = short.ask(bearer, calling("demo_get_time"), version)
    assert answer.content == full.ask(bearer, calling("demo_get_time"), version).content
    assert b"secret" not in answer.content
    assert [line["tool"] for line in lines if line["event"] == "tool_crashed"] == ["demo_get_time"]


def test_every_version_of_the_wire_is_compared() -> None:
    """The corpus covers every version that the SDK speaks."""
    assert len(VERSIONS) >= 5
    assert [LEGACY[1], MODERN] == WIRES
    assert {case.name.partition(" ")[0] for case in corpus()} == set(VERSIONS)
