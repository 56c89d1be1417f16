"""Recognises responses that come from something in front of the server, for all checks alike."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from gatepost_idp.operate.doctor.finding import Fault, Finding
from gatepost_idp.operate.doctor.outside.wire import Answer, Unanswered


@dataclass(frozen=True, slots=True)
class Place:
    """One of the two servers: the settings of its public URL and its listener, and an example route."""

    name: str
    url_setting: str
    listens: str
    route: str


RESOURCE = Place(
    "the resource server",
    "MCP_RESOURCE_URL",
    "RESOURCE_HOST and RESOURCE_PORT",
    "reverse_proxy 127.0.0.1:9001 for /mcp and /.well-known/oauth-protected-resource*",
)
IDP = Place(
    "the authorization server",
    "OAUTH_ISSUER",
    "IDP_HOST and IDP_PORT",
    "reverse_proxy 127.0.0.1:9000 for everything that is not the resource server's",
)

TOO_LATE = Fault(
    "too-late",
    "Could not connect, after a while: Claude waits 10 s.",
    "an answer within 10 s",
    "reverse proxy: time-outs, or the machine's load",
    "check whether the same address answers at once on the machine itself",
)
CUT_OFF = Fault(
    "cut-off",
    "Could not connect.",
    "an HTTP answer",
    "reverse proxy",
    "its error log says why it hung up",
)
HOST_REFUSED = Fault(
    "host-refused",
    "Could not connect; the log says foreign_host or host_refused.",
    "a server that knows its public name",
    "OAUTH_ISSUER or MCP_RESOURCE_URL",
    "OAUTH_ISSUER=https://auth.example.com, then start the server again",
)
HOST_REWRITTEN = Fault(
    "host-rewritten",
    "Could not connect, though both URLs are set correctly; the log says foreign_host or host_refused.",
    "the Host that the client sent",
    "ALLOWED_HOSTS",
    "let the proxy pass Host on (nginx: proxy_set_header Host $host), or ALLOWED_HOSTS=what it sends",
)
SERVER_AWAY = Fault(
    "server-away",
    "Could not connect; the proxy answers 502, 503 or 504.",
    "a running server where the proxy looks for it",
    "IDP_PORT or RESOURCE_PORT",
    "the port in the proxy's configuration is IDP_PORT (9000) or RESOURCE_PORT (9001)",
)
SERVER_NOT_READY = Fault(
    "server-not-ready",
    "Could not connect; the server answers 503 itself.",
    "a server that is ready",
    "DATABASE_URL, or what /readyz on METRICS_ADDRESS says",
    "curl http://127.0.0.1:9100/readyz",
)
SERVER_FAULT = Fault(
    "server-fault",
    "Could not connect; the server answers 500.",
    "no fault",
    "the server's log",
    "the line with event=fault says why",
)
REDIRECTED = Fault(
    "redirected",
    "Could not connect: clients lose their POST to a redirect.",
    "the answer at this very address",
    "reverse proxy: redirect",
    "no redirect to another host, scheme or slash for these addresses",
)
SIGN_IN_IN_FRONT = Fault(
    "sign-in-in-front",
    "Could not connect: something in front of the server asks for its own sign-in.",
    "the server's own answer",
    "reverse proxy: its own sign-in (basic auth, Cloudflare Access, oauth2-proxy)",
    "exempt Gatepost's addresses: Gatepost signs people in itself",
)
FILTERED = Fault(
    "filtered",
    "Could not connect from Claude, though a browser gets through.",
    "the server's own answer for programs too",
    "bot filter or firewall in front of the server",
    "allow Claude's addresses and user agent; no challenge page on Gatepost's addresses",
)
NOT_ROUTED = Fault(
    "not-routed",
    "Could not connect, or a login loop: an address leads to another server, or to none.",
    "JSON from the server",
    "reverse proxy: path",
    RESOURCE.route,
)
ERRORS_REPLACED = Fault(
    "errors-replaced",
    "The client says that the server's answer is not JSON.",
    "the server's own JSON, on errors too",
    "reverse proxy: error pages",
    "nginx: proxy_intercept_errors off; no error_page for these addresses",
)

FAULTS = (
    TOO_LATE,
    CUT_OFF,
    HOST_REFUSED,
    HOST_REWRITTEN,
    SERVER_AWAY,
    SERVER_NOT_READY,
    SERVER_FAULT,
    REDIRECTED,
    SIGN_IN_IN_FRONT,
    FILTERED,
    NOT_ROUTED,
    ERRORS_REPLACED,
)


def unanswered(asked: str, problem: Unanswered) -> Finding:
    """The finding for a request without an HTTP response."""
    return (TOO_LATE if problem.reason == "late" else CUT_OFF).seen(f"{asked}: {problem}")


def host_refused(place: Place, asked: str, public: str, is_configured: bool) -> Finding:
    """The finding for a 421: if the name is configured correctly, a proxy must have rewritten Host."""
    if is_configured:
        return HOST_REWRITTEN.seen(f"{asked}: 421")
    example = f"{place.url_setting}={public}, then start the server again"
    return HOST_REFUSED.seen(f"{asked}: 421", setting=place.url_setting, example=example)


def misrouted(place: Place, method: str, url: str, answer: Answer) -> Finding | None:
    """The finding if something other than the server answered, or it failed; None if the answer may be its own."""
    seen = f"{method} {url}: {answer}"
    if 300 <= answer.status < 400:
        return _redirected(url, answer, seen)
    if answer.status in (502, 503, 504) and answer.document is None:
        return SERVER_AWAY.seen(seen, setting=place.listens)
    if answer.status == 503 and place is IDP:
        return SERVER_NOT_READY.seen(seen)
    if answer.status == 401 and _is_foreign_challenge(answer):
        return SIGN_IN_IN_FRONT.seen(f"{seen}, {answer.header('www-authenticate')}")
    if answer.status in (403, 406, 429) and answer.document is None:
        return FILTERED.seen(f"{seen}{_filter_name(answer)}")
    if answer.status == 500 and answer.document is not None:
        return SERVER_FAULT.seen(seen)
    return None


def _redirected(url: str, answer: Answer, seen: str) -> Finding:
    location = answer.header("location")
    target = urlsplit(location)
    moved = target.hostname is not None and target.hostname != urlsplit(url).hostname
    if moved and ("login" in location or "auth" in location or "sso" in location):
        return SIGN_IN_IN_FRONT.seen(f"{seen} to {location.partition('?')[0]}")
    return REDIRECTED.seen(f"{seen} to {location.partition('?')[0]}")


def _is_foreign_challenge(answer: Answer) -> bool:
    challenges = answer.all("www-authenticate")
    return bool(challenges) and not any(challenge.lower().startswith("bearer") for challenge in challenges)


def _filter_name(answer: Answer) -> str:
    server = answer.header("server")
    return f", from {server}" if server else ""
