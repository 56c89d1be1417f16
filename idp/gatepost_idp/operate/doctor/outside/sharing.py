"""Checks CORS: whether Claude's pages may call, and whether a proxy changes the headers."""

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside import routing
from gatepost_idp.operate.doctor.outside.routing import IDP, RESOURCE, Place
from gatepost_idp.operate.doctor.outside.visit import INITIALIZE, MCP_HEADERS, Visit
from gatepost_idp.operate.doctor.outside.wire import Answer, Headers, Unanswered

ORIGIN_REFUSED = Fault(
    "origin-refused",
    "Could not connect from a web page; the log says origin_refused.",
    "an origin that may call",
    "ALLOWED_ORIGINS",
    "ALLOWED_ORIGINS=https://claude.ai,https://claude.com",
)
PREFLIGHT_SWALLOWED = Fault(
    "preflight-swallowed",
    "Could not connect from a web page; its console mentions CORS or a preflight.",
    "the server's own answer to OPTIONS",
    "reverse proxy: OPTIONS",
    "pass OPTIONS on like any other method",
)
SHARING_DOUBLED = Fault(
    "sharing-doubled",
    "Could not connect from a web page; its console mentions multiple values.",
    "one Access-Control-Allow-Origin, the server's own",
    "reverse proxy: its own CORS headers",
    "nginx: no add_header Access-Control-Allow-Origin",
)
SHARING_STRIPPED = Fault(
    "sharing-stripped",
    "Could not connect from a web page, which never sees the challenge.",
    "Access-Control-Allow-Origin, and WWW-Authenticate in Access-Control-Expose-Headers",
    "reverse proxy: Access-Control-* headers",
    "let the answer's headers through",
)
INSPECTOR_REFUSED = Fault(
    "inspector-refused",
    "The MCP Inspector does not connect in its direct mode, but does through its own proxy.",
    "its origin, if it should be allowed",
    "ALLOWED_ORIGINS",
    "ALLOWED_ORIGINS=https://claude.ai,https://claude.com,http://localhost:6274",
    "information",
)
CLAUDE_ORIGINS = ("https://claude.ai", "https://claude.com")
INSPECTOR = "http://localhost:6274"
_WANTED = "authorization, content-type, mcp-protocol-version"


async def _mcp(visit: Visit) -> list[Finding]:
    found = [await _preflight(visit, RESOURCE, visit.url, origin) for origin in CLAUDE_ORIGINS]
    refused = [finding for finding in found if finding is not None]
    if refused:
        return refused[:1] if refused[0].fault != ORIGIN_REFUSED.name else refused
    if stripped := await _stripped(visit):
        return [stripped]
    inspector = await _preflight(visit, RESOURCE, visit.url, INSPECTOR)
    if inspector is not None and inspector.fault == ORIGIN_REFUSED.name:
        return [INSPECTOR_REFUSED.seen(inspector.seen)]
    return []


async def _issuer(visit: Visit) -> list[Finding]:
    url = (await visit.issuer_document()).get("token_endpoint")
    if not isinstance(url, str):
        return []
    finding = await _preflight(visit, IDP, url, CLAUDE_ORIGINS[0])
    return [finding] if finding else []


async def _preflight(visit: Visit, place: Place, url: str, origin: str) -> Finding | None:
    asked: Headers = (
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", _WANTED),
    )
    try:
        answer = await visit.raw("OPTIONS", url, asked)
    except Unanswered as problem:
        return routing.unanswered(f"OPTIONS {url}", problem)
    seen = f"OPTIONS {url} from {origin}: {answer}"
    allowed = answer.all("access-control-allow-origin")
    if len(allowed) > 1 or any("," in value for value in allowed):
        return SHARING_DOUBLED.seen(f"{seen}, {', '.join(allowed)}")
    if answer.status == 403 and place is RESOURCE:
        return ORIGIN_REFUSED.seen(seen, example=f"ALLOWED_ORIGINS={','.join((*CLAUDE_ORIGINS, *_more(origin)))}")
    if not 200 <= answer.status < 300 or allowed not in ((origin,), ("*",)):
        return PREFLIGHT_SWALLOWED.seen(seen)
    return None


def _more(origin: str) -> tuple[str, ...]:
    return () if origin in CLAUDE_ORIGINS else (origin,)


async def _stripped(visit: Visit) -> Finding | None:
    """Sends the actual request of a page, whose response and challenge must be readable."""
    try:
        answer = await visit.raw("POST", visit.url, (*MCP_HEADERS, ("origin", CLAUDE_ORIGINS[0])), INITIALIZE)
    except Unanswered as problem:
        return routing.unanswered(f"POST {visit.url}", problem)
    return None if _is_readable(answer) else SHARING_STRIPPED.seen(_shared(answer))


def _is_readable(answer: Answer) -> bool:
    exposed = ",".join(answer.all("access-control-expose-headers")).lower()
    return bool(answer.header("access-control-allow-origin")) and "www-authenticate" in exposed


def _shared(answer: Answer) -> str:
    found = [f"{name}: {value}" for name, value in answer.headers if name.startswith("access-control-")]
    return "; ".join(found) or "no Access-Control-* header"


_SWALLOWED = (PREFLIGHT_SWALLOWED, SHARING_DOUBLED)
MCP = Check("cors", "CORS", _mcp, (ORIGIN_REFUSED, *_SWALLOWED, SHARING_STRIPPED, INSPECTOR_REFUSED), ("mcp",))
ISSUER = Check("cors-issuer", "CORS of the issuer", _issuer, _SWALLOWED, ("endpoints",))
