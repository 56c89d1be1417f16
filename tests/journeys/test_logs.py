"""Both servers' logs of a journey: JSON, each line with its trace or request id, and no query strings."""

import json
from pathlib import Path

import httpx2

from tests.support.mcp_client import Storage, connected
from tests.support.person import Person
from tests.support.processes import Server, deployed
from tests.support.smtp import receiving

QUERY = ("?", "code=", "state=", "code_challenge", "redirect_uri=")


async def test_logs_are_json_with_ids_and_without_queries(tmp_path: Path) -> None:
    """The answer to a refused call names its id in the log, at both servers."""
    with (
        receiving() as postbox,
        deployed(tmp_path, postbox.port, LOG_FORMAT="json", LOG_LEVEL="debug") as both,
        Person("logged@example.com", postbox) as person,
    ):
        async with connected(both.mcp, person, Storage()) as client:
            await client.call_tool("whoami", {})
            secrets = "client_id=x&code=gp_ac_secret&state=secret"
            refused = httpx2.get(f"{both.issuer}/authorize?{secrets}", trust_env=False)
            challenged = httpx2.post(f"{both.mcp}?{secrets}", trust_env=False, headers={"authorization": "Bearer x.y"})
    idp, resource = lines(both.idp), lines(both.resource)  # once both have ended: a line follows its answer
    assert all({"event", "level", "timestamp"} <= line.keys() for line in [*idp, *resource])
    about_requests = [line for line in idp if line["event"] in ("request", "refused", "page_refused", "mail_sent")]
    assert all(line.get("trace_id") or line.get("grant") for line in about_requests)
    assert refused.headers["x-trace-id"] in {line.get("trace_id") for line in idp}
    named = [line["event"] for line in resource if line.get("request_id") == challenged.headers["x-request-id"]]
    assert named == ["refused", "request"]
    for line in [*idp, *resource]:
        assert not [mark for mark in QUERY if mark in json.dumps(line)], line


def lines(server: Server) -> list[dict[str, str]]:
    """Its log, each line an object."""
    found = [json.loads(line) for line in server.logged().splitlines()]
    assert len(found) > 3
    return found
