"""Two resource servers that differ only in the short way, and the requests that are sent to both."""

import base64
import contextlib
import http.client
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource import app as application
from gatepost_resource import mcp_server
from gatepost_resource.latest import Latest
from gatepost_resource.mcp_server import ScopedServer
from gatepost_resource.short_way import ShortWay
from gatepost_resource.tools import OURS, Toolbox
from tests.resource import running
from tests.resource.issuer import Issuer
from tests.resource.running import MODERN, Running, calling, modern, serving

NOW = 1_800_000_000.0
RESOURCE = "http://127.0.0.1/mcp"
EVERYTHING = "demo:read demo:echo demo:ops"
TOOLS = [entry.name for entry in OURS]
VERSIONS = [*HANDSHAKE_PROTOCOL_VERSIONS, MODERN]
WIRES = VERSIONS[-2:]  # the newest of each era
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
Headers = list[tuple[str, str]]


class Frozen:
    """A stopped clock, so that two servers tell the same time."""

    def __call__(self) -> float:
        return NOW


@dataclass(frozen=True)
class Answer:
    """An answer, byte for byte."""

    status: int
    headers: Headers
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Way:
    """A server, and what the test can see of its inside."""

    server: Running
    line: http.client.HTTPConnection
    tools: Latest[Toolbox]
    mcp: ScopedServer
    short: ShortWay | None = None
    asked: list[str] = field(default_factory=list)
    """The path of every request that reached the SDK."""
    meanwhile: list[Callable[[], None]] = field(default_factory=list)
    """Called once, while the SDK answers."""

    def post(self, token: str, body: bytes, headers: Headers) -> Answer:
        """Posts these bytes and fields unchanged; an ordinary client would correct some."""
        self.line.putrequest("POST", "/mcp", skip_accept_encoding=True)
        for name, value in (("authorization", f"Bearer {token}"), ("content-length", str(len(body))), *headers):
            self.line.putheader(name, value)
        self.line.endheaders(body)
        answer = self.line.getresponse()
        return Answer(answer.status, answer.getheaders(), answer.read())

    def ask(self, token: str, message: dict[str, Any], version: str = VERSIONS[-2], **more: str) -> Answer:
        """One message as a client of that version sends it."""
        self.line.close()  # idle lines are hung up; this one is opened again
        return self.post(token, *sent(message, version, **more))


@contextlib.contextmanager
def way(issuer: Issuer, *, short: bool) -> Iterator[Way]:
    """A server with or without the short way; its clock is stopped."""
    found: dict[str, Any] = {}
    sdks = mcp_server.streamable_http

    def watched(server: Any, limit: int) -> ASGIApp:
        inner = sdks(server, limit)

        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            found["way"].asked.append(scope["path"])
            await inner(scope, receive, send)
            while found["way"].meanwhile:
                found["way"].meanwhile.pop()()

        return watching

    def standing(app: ASGIApp, server: Any, tools: Latest[Toolbox]) -> ASGIApp:
        found["tools"], found["mcp"] = tools, server
        found["short"] = ShortWay(app, server, tools)
        return found["short"] if short else app

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(application, "streamable_http", watched)
        patched.setattr(application, "ShortWay", standing)
        patched.setattr(running, "Clock", Frozen)
        with (
            serving(issuer, mcp_resource_url=RESOURCE) as server,
            contextlib.closing(http.client.HTTPConnection(server.base.removeprefix("http://"), timeout=10)) as line,
        ):
            found["way"] = Way(server, line, found["tools"], found["mcp"], found["short"] if short else None)
            yield found["way"]


def sent(message: dict[str, Any], version: str, **more: str) -> tuple[bytes, Headers]:
    """The body and the header fields; ``more``: further fields, or replacements."""
    fields = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    fields["mcp-protocol-version"] = version
    if version == MODERN and isinstance(params := message.get("params", {}), dict):
        message = modern(message)
        fields["mcp-method"] = str(message["method"])
        if isinstance(name := params.get("name"), str):
            fields["mcp-name"] = _field(name)
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return json.dumps(message).encode(), list(fields.items())


def _field(text: str) -> str:
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


@dataclass(frozen=True)
class Case:
    """One request."""

    name: str
    body: bytes
    headers: Headers
    holder: str = "everything"


# --- The corpus: cases that somebody thought of ---

IDS: list[Any] = [
    0, 1, -1, 2**53, 2**53 + 1, 2**70, -(10**4000), "1", "", "a-b_c.d:e+f", "é", 'q"q', "b\\b", "/", "x" * 128,
    "x" * 129, " ", "\x7f", "\u2028", None, 1.0, 1.5, True, [], {}, "null", "0\n",
]  # fmt: skip  # a list of values
TEXTS: list[Any] = [
    "Hello", "", "é", "\U0001f600", "a\n\t\u0000b", "\u2028", "\x7f", '{"a": 1}',
    "[1]", "null", "1", '"q"', "</script>",
    "x" * 10_000, "x" * 10_001, 1, -0.0, 1.5, 2**64, 10**40, True, None, [], ["a"], {}, {"text": "a"}, [[[[]]]],
]  # fmt: skip  # as above
ARGUMENTS: list[Any] = [
    {}, {"Text": "x"}, {"text": "x", "more": 1}, {"text": "x", "_meta": {}}, {"": ""}, None, [], "x", "{}", 0, False,
    {"text": {"a": {"b": {"c": [1, 2.5, None]}}}},
]  # fmt: skip  # as above
METAS: list[Any] = [
    {}, None, [], "x", {"progressToken": 1}, {"progressToken": "p"}, {"progressToken": True},
    {"traceparent": "00-" + "a" * 32},
    {"own.example/x": 1}, {"io.modelcontextprotocol/logLevel": "debug"},
    {"io.modelcontextprotocol/protocolVersion": "2025-11-25"}, {"io.modelcontextprotocol/protocolVersion": 1},
    {"io.modelcontextprotocol/clientInfo": None}, {"io.modelcontextprotocol/clientInfo": {"name": 1}},
    {"io.modelcontextprotocol/clientInfo": "x"}, {"io.modelcontextprotocol/clientCapabilities": None},
    {"io.modelcontextprotocol/clientCapabilities": {"sampling": {}, "x": [1]}},
]  # fmt: skip  # as above
MORE: list[dict[str, Any]] = [
    {"cursor": "x"}, {"cursor": None}, {"own": 1}, {"task": {}}, {"task": {"ttl": 1}}, {"requestState": "x"},
    {"requestState": None},
    {"inputResponses": {}}, {"inputResponses": []}, {"name": None}, {"name": 5}, {"name": ""}, {"name": "x" * 200},
    {"name": "demo_echo "}, {"name": "unknown"}, {"name": "é"}, {"name": ["demo_echo"]},
]  # fmt: skip  # as above
ENVELOPES: list[dict[str, Any]] = [
    {"jsonrpc": "1.0"}, {"jsonrpc": None}, {"jsonrpc": 2.0}, {"own": 1}, {"method": "tools/List"},
    {"method": "tools/call "},
    {"method": None}, {"method": 1}, {"method": "ping"}, {"method": "unknown"}, {"method": "notifications/cancelled"},
    {"params": None}, {"params": []}, {"params": "x"}, {"params": 0}, {"result": {}},
    {"error": {"code": 1, "message": "x"}},
]  # fmt: skip  # as above
_VALUES: dict[str, list[str]] = {
    "accept": [
        "*/*", "application/json", "application/*", "APPLICATION/JSON", "text/event-stream", "text/html", "", ",",
    ],
    "content-type": [
        "application/json; charset=utf-8", "Application/JSON", "application/json, text/html", "text/plain", "",
    ],
    "mcp-protocol-version": [
        *VERSIONS, "2099-01-01", "x", "", " 2026-07-28 ", "2026-07-28 , x", "2025-11-25\t",
    ],
    "mcp-method": ["tools/list", "tools/call", "TOOLS/CALL", "", "ping", " tools/call"],
    "mcp-name": ["demo_echo", "whoami", "", "Demo_Echo", _field("é"), "=?base64?ZGVtb19lY2hv?="],
    "mcp-param-text": ["Hello", "other"], "mcp-param-": [""], "Mcp-Param-Own": ["x"], "mcp-own": ["x"], "x-own": ["x"],
    "mcp-session-id": ["x", "\xe9"], "last-event-id": ["1"], "origin": ["http://localhost", "https://evil.example"],
}  # fmt: skip  # a table
FIELDS: list[Headers] = [[(name, value)] for name, values in _VALUES.items() for value in values]
WITHOUT = ["accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name"]
TWICE = ["mcp-protocol-version", "mcp-method", "mcp-name", "accept", "content-type", "mcp-session-id"]
ECHO = calling("demo_echo", text="Hello")
BASES = {"list": LIST, "echo": ECHO, "whoami": calling("whoami"), "unknown": calling("unknown")}


def corpus() -> Iterator[Case]:
    """Every case in the newest version of each era; in older versions only who calls what."""
    for version in VERSIONS:
        newest = version in WIRES
        for name, message, holder in (*_callers(), *(_messages() if newest else ())):
            yield Case(f"{version} {name}", *sent(message, version), holder)
        for base, message in BASES.items() if newest else ():
            for name, body, headers in _carried(*sent(message, version)):
                yield Case(f"{version} {base} {name}", body, headers)


def _callers() -> Iterator[tuple[str, dict[str, Any], str]]:
    for holder in HOLDERS:
        yield f"list, {holder}", LIST, holder
        for tool in (*TOOLS, "unknown"):
            yield f"{tool}, {holder}", calling(tool), holder
        yield f"echo, {holder}", ECHO, holder


def _messages() -> Iterator[tuple[str, dict[str, Any], str]]:
    for value in TEXTS:
        yield f"text {str(value)[:40]!r}", calling("demo_echo", text=value), "everything"
    for base, message in BASES.items():
        params = message.get("params", {})
        assert isinstance(params, dict)
        changed = [{"id": value} for value in IDS] + ENVELOPES
        changed += [{"params": params | {"arguments": value}} for value in ARGUMENTS]
        changed += [{"params": params | one} for one in MORE]
        for change in changed:
            yield f"{base} {str(change)[:60]}", {**message, **change}, "everything"


def _carried(body: bytes, headers: Headers) -> Iterator[tuple[str, bytes, Headers]]:
    """The same message with other header fields, and as other bytes that mean nearly the same."""
    for given in FIELDS:
        yield f"with {given}", body, [*(one for one in headers if one[0] not in dict(given)), *given]
    for name in WITHOUT:
        yield f"without {name}", body, [one for one in headers if one[0] != name]
    for name in TWICE:
        yield f"twice {name}", body, [*headers, *([one for one in headers if one[0] == name] or [(name, "x")])]
    for value in METAS:
        yield f"_meta {str(value)[:60]}", with_meta(body, value), headers
    for name, other in _other_bytes(body).items():
        yield name, other, headers


def with_meta(body: bytes, value: Any) -> bytes:
    """The message with that added to its ``_meta``."""
    message = json.loads(body)
    params = message.setdefault("params", {})
    meta = params.get("_meta", {})
    params["_meta"] = meta | value if isinstance(value, dict) else value
    return json.dumps(message).encode()


def _other_bytes(body: bytes) -> dict[str, bytes]:
    text = body.decode()
    return {
        "spaced": body.replace(b":", b" :\n ").replace(b"tools/", b"tools/"),
        "escaped": body.replace(b"tools/", b"tools\\/").replace(b"demo_echo", b"demo\\u005fecho"),
        "a batch": b"[" + body + b"]",
        "no id": b"{" + body.split(b'"id": 1, ', 1)[-1],
        "two ids": body.replace(b'"id": 1', b'"id": 1, "id": 2'),
        "two methods": body.replace(b'"method"', b'"method": "ping", "method"'),
        "two params": body.replace(b'"params"', b'"params": {}, "params"'),
        "a BOM": b"\xef\xbb\xbf" + body,
        "UTF-16": text.encode("utf-16"),
        "cut": body[:-1],
        "more behind": body + b"{}",
        "NaN": body.replace(b'"id": 1', b'"id": NaN'),
        "infinite": body.replace(b'"Hello"', b"1e400"),
        "a huge number": body.replace(b'"Hello"', b"9" * 5000),
        "half a surrogate": body.replace(b'"Hello"', b'"\\ud800"'),
        "raw UTF-8": body.replace(b"Hello", "héllo".encode()),
        "deep": body.replace(b'"Hello"', b"[" * 150 + b"]" * 150),
    }


HOLDERS: dict[str, dict[str, Any]] = {
    "everything": {"scope": EVERYTHING},
    "a new account": {"scope": "demo:read demo:echo", "entitlements": ["demo:read", "demo:echo"]},
    "the same, turned round": {"scope": "demo:echo demo:read", "entitlements": ["demo:read", "demo:echo"]},
    "nothing": {"scope": "", "entitlements": []},
    "nothing yet": {"scope": "openid", "entitlements": EVERYTHING.split()},
    "another person": {"scope": EVERYTHING, "sub": "user-2", "email": "bob@example.com", "client_name": None},
}


# --- The generator: cases that nobody thought of ---


def generated(seed: int, count: int) -> Iterator[Case]:
    """That many requests, most of them almost valid; the same ones for the same seed."""
    chance = random.Random(seed)  # noqa: S311 (to be repeated, not to be unguessable)
    for number in range(count):
        message = dict(chance.choice([LIST, ECHO, calling(chance.choice(TOOLS))]))
        if message["method"] == "tools/call" and chance.random() < 0.6:
            params = message["params"]
            assert isinstance(params, dict)
            arguments = {"text": _value(chance, 3)} if chance.random() < 0.8 else _value(chance, 3)
            message["params"] = {**params, "arguments": arguments}
        if chance.random() < 0.5:
            message["id"] = chance.choice([*IDS, chance.randrange(10**9), f"{chance.randrange(10**9):x}"])
        version = chance.choice(VERSIONS[-3:])
        body, headers = sent(_changed(chance, message), version)
        yield Case(f"seed {seed}, number {number}", body, _shuffled(chance, headers), chance.choice(list(HOLDERS)))


def _changed(chance: random.Random, message: dict[str, Any]) -> dict[str, Any]:
    if chance.random() < 0.12:
        message |= chance.choice(ENVELOPES)
    if chance.random() < 0.12 and isinstance(params := message.get("params", {}), dict):
        message["params"] = params | chance.choice(MORE)
    members = list(message.items())
    chance.shuffle(members)
    return dict(members)


def _shuffled(chance: random.Random, headers: Headers) -> Headers:
    if chance.random() < 0.15:
        given = chance.choice(FIELDS)
        headers = [*(one for one in headers if one[0] not in dict(given)), *given]
    chance.shuffle(headers)
    return headers


def _value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(9 if depth else 7)
    if kind < 3:
        return "".join(chance.choice('aé"\\/\n\u0000\u2028😀 {}[]:,1') for _ in range(chance.randrange(12)))
    if kind == 7:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == 8:
        return {_value(chance, 0) if chance.random() < 0.1 else "text": _value(chance, depth - 1) for _ in range(2)}
    return chance.choice([None, True, False, 0, chance.randrange(-(10**20), 10**20), chance.uniform(-1e9, 1e300)])
