"""Whatever is sent, the answer is never a 5xx, and nobody without a token can fill memory."""

import json
import socket
from typing import Any

import pytest

from tests.resource.running import ERAS, LIST, MODERN, Running, calling, modern

DEEP = 3000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a number": b"1",
    "a text": b'"tools/call"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a NUL": b"\x00",
    "a NUL inside": b'{"jsonrpc":"2.0","id":1,"method":"tools/\x00list"}',
    "broken UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}',
    "UTF-16": '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
    "half a surrogate": b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
    "half a document": b'{"jsonrpc":"2.0","id":1,',
    "two documents": b'{"jsonrpc":"2.0"}{"jsonrpc":"2.0"}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep lists, open": b"[" * 100_000,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a huge number": b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    "NaN": b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
    "no jsonrpc": b'{"id":1,"method":"ping"}',
    "a form": b"method=tools/list",
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", BODIES)
def test_a_broken_body_is_the_senders_mistake(resource: Running, era: str, kind: str) -> None:
    """4xx in either era, for a caller with a valid token."""
    response = resource.post(BODIES[kind], resource.token(), era, mcp_method="ping")
    assert 400 <= response.status_code < 500


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "parameters",
    [
        None,
        [],
        "x",
        {},
        {"name": None},
        {"name": 5},
        {"name": ["demo_echo"]},
        {"name": "demo_echo", "arguments": "x"},
        {"name": "demo_echo", "arguments": []},
        {"name": "demo_echo\x00", "arguments": {}},
        {"name": "demo_echo", "arguments": {"text": "\x00"}},
        {"name": "x" * 100_000},
        {"name": "demo_echo", "arguments": {"text": "x", "more": {"a": [1]}}},
        {"name": "demo_echo", "arguments": {"text": "x"}, "_meta": 5},
    ],
)
def test_a_call_with_odd_parameters_is_answered(resource: Running, era: str, parameters: Any) -> None:
    """A JSON-RPC error, an error result or a result; never a 5xx."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    response = resource.post(json.dumps(_for(era, message)).encode(), resource.token(), era, mcp_method="tools/call")
    assert response.status_code < 500
    assert "jsonrpc" in response.text


@pytest.mark.parametrize("era", ERAS)
def test_a_call_with_an_odd_id_calls_nothing(resource: Running, era: str) -> None:
    """Without a valid JSON-RPC id it is not a request: nothing is called, and nothing breaks."""
    for odd in (b"{}", b"[]", b"null", b"true", b"1.5"):
        message = (
            json.dumps(_for(era, calling("demo_echo", text="hello"))).encode().replace(b'"id": 1', b'"id": ' + odd)
        )
        response = resource.post(message, resource.token(), era, mcp_method="tools/call", mcp_name="demo_echo")
        assert response.status_code < 500, odd
        assert "hello" not in response.text, odd


def _for(era: str, message: dict[str, Any]) -> dict[str, Any]:
    return modern(message) if era == MODERN and isinstance(message["params"], dict) else message


@pytest.mark.parametrize("era", ERAS)
def test_a_megabyte_is_too_much(resource: Running, era: str) -> None:
    """413, with or without a Content-Length."""
    big = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"x" * 1_000_000 + b'"}}'
    assert resource.post(big, resource.token(), era).status_code == 413
    headers = {"authorization": f"Bearer {resource.token()}", "content-type": "application/json"}
    chunks = (big[at : at + 50_000] for at in range(0, len(big), 50_000))
    assert resource.request("POST", content=chunks, headers=headers).status_code == 413


def test_half_of_a_megabyte_is_not(resource: Running) -> None:
    """The limit stops unreasonable bodies, not long ones."""
    text = {"text": "x" * 9_000, "other": "y" * 400_000}
    response = resource.post(calling("demo_echo", **text), resource.token())
    assert response.status_code == 200


def test_a_stranger_is_refused_before_the_body_is_read(resource: Running) -> None:
    """Headers that announce a large body, and no body: the 401 does not wait for it."""
    host, port = resource.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        lines = [
            "POST /mcp HTTP/1.1",
            f"Host: {host}:{port}",
            "Content-Type: application/json",
            "Content-Length: 500000",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 401 " in connection.recv(200)


@pytest.mark.parametrize(
    "path",
    [
        "/%00",
        "/mcp%00",
        "/%ff%fe",
        "/mcp/../../etc/passwd",
        "/mcp//",
        "//evil.example/mcp",
        "/mcp;x",
        "/MCP",
        "/%2e%2e",
    ],
)
def test_odd_paths_are_not_found(resource: Running, path: str) -> None:
    """404, and never a redirect."""
    host, port = resource.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(200).split(b" ")[1] in (b"404", b"400")


@pytest.mark.parametrize("era", ERAS)
def test_the_content_type_must_be_json(resource: Running, era: str) -> None:
    """The types that a plain HTML form can send are refused, with or without a token."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        headers = {"content_type": kind}
        response = resource.post(LIST, resource.token(), era, **headers)
        assert 400 <= response.status_code < 500, kind


@pytest.mark.parametrize("version", ["1999-01-01", "2026-07-28x", "", "\xff", "2026-07-28, 2025-11-25"])
def test_unknown_protocol_versions_are_refused_in_words(resource: Running, version: str) -> None:
    """400 with a JSON-RPC error, not a guess."""
    headers = [
        (b"authorization", f"Bearer {resource.token()}".encode()),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"mcp-protocol-version", version.encode("latin-1")),
    ]
    response = resource.request("POST", json=LIST, headers=headers)
    assert 400 <= response.status_code < 500


def test_headers_and_body_of_the_2026_era_must_agree(resource: Running) -> None:
    """Proxies route by Mcp-Name and Mcp-Method: a call that hides behind another name is refused."""
    response = resource.post(calling("demo_get_time"), resource.token(), MODERN, mcp_name="whoami")
    assert response.status_code == 400


@pytest.mark.parametrize("era", ERAS)
def test_the_wrong_type_is_refused_in_words_that_say_the_right_one(resource: Running, era: str) -> None:
    """415 and 406 are JSON-RPC errors in either era; the SDK's own lack a body or a content type."""
    kind = resource.post(LIST, resource.token(), era, content_type="text/plain")
    accept = resource.post(LIST, resource.token(), era, accept="text/html")
    assert (kind.status_code, accept.status_code) == (415, 406)
    for answer, wanted in ((kind, "Content-Type: application/json"), (accept, "Accept: application/json")):
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["id"] is None
        assert wanted in answer.json()["error"]["message"]


@pytest.mark.parametrize("era", ERAS)
def test_an_unknown_prompt_is_the_callers_mistake(
    resource: Running, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets Invalid params and logs no error: anybody with a token could fill the log."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "nothing", "arguments": {}}}
    answer = resource.post(message, resource.token(), era)
    assert answer.json()["error"] == {"code": -32602, "message": "Unknown prompt: nothing"}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
