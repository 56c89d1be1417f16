"""Checks with a token: whether it is accepted, which scopes it lacks for which tools, and whether streams flow."""

import base64
import json
import re

from pydantic import BaseModel, ValidationError

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.visit import MCP_HEADERS, Visit
from gatepost_idp.operate.doctor.outside.wire import Answer, Unanswered

TOKEN_REFUSED = Fault(
    "token-refused",
    "Signed in, then asked to sign in again.",
    "a token of this issuer, for this resource, that has not expired",
    "the token; OAUTH_ISSUER or MCP_RESOURCE_URL if its iss or aud differs",
    "connect again and use the new token",
)
TOKEN_WITHOUT_TOOLS = Fault(
    "token-without-tools",
    "Connected but no tools: the token has none of the scopes.",
    "at least one scope of the resource",
    "gatepost users grant",
    "gatepost users grant alice@example.com demo:read; it takes effect at the next refresh",
)
TOKEN_LACKS_SCOPES = Fault(
    "token-lacks-scopes",
    "Connected, but some tools are missing.",
    "the scope that each tool needs, if this person should have it",
    "gatepost users grant",
    "gatepost users grant alice@example.com demo:ops; it takes effect at the next refresh",
    "information",
)
STREAM_HELD_BACK = Fault(
    "stream-held-back",
    "Connected, and then nothing happens: streamed answers come late or never.",
    "an answer's head as soon as the server sends it",
    "reverse proxy: buffering",
    "nginx: proxy_buffering off; proxy_read_timeout 1h for /mcp",
)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b64token of RFC 6750 section 2.1


class Hidden(BaseModel):
    """A tool that the token cannot call, and the scope that the tool needs."""

    name: str
    scope: str


class Told(BaseModel):
    """The part of the result of ``whoami`` that matters here."""

    email: str | None = None
    scopes: list[str]
    hidden_tools: list[Hidden]

    @property
    def who(self) -> str:
        """The person's address for an example command, or a placeholder."""
        return self.email or "ADDRESS"


async def _token(visit: Visit) -> list[Finding]:
    if not visit.token:
        return []
    if _TOKEN.fullmatch(visit.token) is None:  # before it gets into a header, and from there into an error
        return [TOKEN_REFUSED.seen("it contains characters that no token has")]
    answer = await visit.post_mcp(_bearer(visit), body=_call("tools/list"))
    if isinstance(answer, Finding):
        return [answer]
    if answer.status == 200:
        return []
    return [TOKEN_REFUSED.seen(f"{answer}; {await _reason(visit)}")]


async def _scopes(visit: Visit) -> list[Finding]:
    if not visit.token:
        return []
    answer = await visit.post_mcp(_bearer(visit), body=_call("tools/call", name="whoami", arguments={}))
    if isinstance(answer, Finding):
        return [answer]
    try:
        told = Told.model_validate(_result(answer).get("structuredContent"))
    except ValidationError:
        return []  # another product's server, with a different `whoami` or none
    fault = TOKEN_LACKS_SCOPES if told.scopes else TOKEN_WITHOUT_TOOLS
    return [
        fault.seen(f"no {tool.scope}, which {tool.name} needs", example=f"gatepost users grant {told.who} {tool.scope}")
        for tool in told.hidden_tools
    ]


async def _stream(visit: Visit) -> list[Finding]:
    """Opens a stream that stays open: its head arrives at once unless a proxy buffers the response."""
    if not visit.token:
        return []
    asked = (*MCP_HEADERS[2:], ("accept", "text/event-stream"), _bearer(visit))
    try:
        await visit.raw("GET", visit.url, asked, whole=False)
    except Unanswered as problem:
        return [STREAM_HELD_BACK.seen(f"GET {visit.url} with a token: {problem}")]
    return []


def _bearer(visit: Visit) -> tuple[str, str]:
    return ("authorization", f"Bearer {visit.token}")


def _call(method: str, **parameters: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()


def _result(answer: Answer) -> dict[str, object]:
    """The JSON-RPC result, from JSON or from the last event of a stream; empty if there is none."""
    text = answer.body.decode("utf-8", "replace")
    lines = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    try:
        found = json.loads(lines[-1] if lines else text)
    except (ValueError, RecursionError):
        return {}
    result = found.get("result") if isinstance(found, dict) else None
    return result if isinstance(result, dict) else {}


async def _reason(visit: Visit) -> str:
    """Why a token may have been refused, from its unverified claims; reports only iss, aud and exp."""
    claims = _claims(visit.token)
    if not claims:
        return "it is opaque: it may have expired, or INTROSPECTION_CLIENT_ID is not set"
    if claims.get("iss") != await visit.issuer():
        return f"its iss is {claims.get('iss')}"
    audience = claims.get("aud")
    if visit.url not in (audience if isinstance(audience, list) else [audience]):
        return f"its aud is {audience}"
    expires = claims.get("exp")
    if isinstance(expires, int | float) and expires < visit.now().timestamp():
        return "it has expired"
    return "its signature is not from a key of this issuer"


def _claims(token: str) -> dict[str, object]:
    segments = token.split(".")
    if len(segments) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(segments[1] + "=" * (-len(segments[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


TOKEN = Check("token", "The token", _token, (TOKEN_REFUSED,), ("issuer", "authorization"))
SCOPES = Check("token-scopes", "Scopes of the token", _scopes, (TOKEN_WITHOUT_TOOLS, TOKEN_LACKS_SCOPES), ("token",))
STREAM = Check("stream", "A stream", _stream, (STREAM_HELD_BACK,), ("token",))
