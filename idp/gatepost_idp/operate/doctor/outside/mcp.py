"""Checks whether the MCP URL answers 401 without a token, with a challenge that names this URL's metadata."""

import re

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside import routing
from gatepost_idp.operate.doctor.outside.address import URL_LACKS_PATH
from gatepost_idp.operate.doctor.outside.routing import NOT_ROUTED, RESOURCE
from gatepost_idp.operate.doctor.outside.visit import Visit, root_of
from gatepost_idp.operate.doctor.outside.wire import Answer

CHALLENGE_MISSING = Fault(
    "challenge-missing",
    "Could not connect, and no sign-in page ever opens.",
    "401 with WWW-Authenticate: Bearer",
    "reverse proxy: WWW-Authenticate",
    "let the answer's WWW-Authenticate header through",
)
NOT_PROTECTED = Fault(
    "not-protected",
    "Tools answer without a sign-in.",
    "401 for a request without a token",
    "the server behind the MCP URL",
    RESOURCE.route,
)
CHALLENGE_ELSEWHERE = Fault(
    "challenge-elsewhere",
    "Could not connect: the challenge points to another host or path.",
    "resource_metadata at this URL's own host and path",
    "MCP_RESOURCE_URL",
    "MCP_RESOURCE_URL=https://mcp.example.com/mcp",
)
_METADATA = re.compile(r'resource_metadata="?([^",\s]+)')


async def _endpoint(visit: Visit) -> list[Finding]:
    answer = await visit.post_mcp()
    if isinstance(answer, Finding):
        return [answer]
    if answer.status == 401:
        found = answer.header("www-authenticate")
        return [] if found else [CHALLENGE_MISSING.seen(f"POST {visit.url}: 401 without WWW-Authenticate")]
    if answer.status == 200 and answer.document is not None and "jsonrpc" in answer.document:
        return [NOT_PROTECTED.seen(f"POST {visit.url}: {answer}")]
    return [await _elsewhere(visit, answer)]


async def _elsewhere(visit: Visit, answer: Answer) -> Finding:
    """Why the URL is not the resource server's; the metadata at the root may name the right one."""
    root = await visit.get(RESOURCE, f"{root_of(visit.url)}/.well-known/oauth-protected-resource")
    named = (root.document or {}).get("resource") if isinstance(root, Answer) else None
    seen = f"POST {visit.url}: {answer}"
    if isinstance(named, str) and named != visit.url and named.startswith(visit.url.rstrip("/") + "/"):
        return URL_LACKS_PATH.seen(seen, expected=named, example=named)
    return NOT_ROUTED.seen(seen, expected="401 from the resource server", setting="reverse proxy: path of the MCP URL")


async def _challenge(visit: Visit) -> list[Finding]:
    answer = await visit.post_mcp()
    if isinstance(answer, Finding):
        return [answer]
    named = _METADATA.search(", ".join(answer.all("www-authenticate")))
    if named is None:
        return [CHALLENGE_MISSING.seen(f"{answer.header('www-authenticate')}: no resource_metadata")]
    if named[1] != visit.well_known:
        example = f"MCP_RESOURCE_URL={visit.url}"
        return [CHALLENGE_ELSEWHERE.seen(named[1], expected=visit.well_known, example=example)]
    return []


ENDPOINT = Check(
    "mcp",
    "Answer of the MCP URL",
    _endpoint,
    (*routing.FAULTS, CHALLENGE_MISSING, NOT_PROTECTED),
    ("certificate",),
)
CHALLENGE = Check("challenge", "Challenge", _challenge, (CHALLENGE_MISSING, CHALLENGE_ELSEWHERE), ("mcp",))
