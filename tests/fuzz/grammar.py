"""Generates requests: meaningful ones with a part or two altered, so that they get past the first check."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote_plus

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.doors import MEANT, Door
from tests.support.line import Headers, Request

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"

ODD = [
    b"", b"+", b"%00", b"%0d%0aset-cookie:%20a=b", b"%c3%a9", b"%ff%fe", b"%ed%a0%80", b"%F0%9F%94%91", b"%", b"%zz",
    b"\xc3\xa9", b"\xff", b"%22", b"'", b"%5c", b"%3Cx%3E", b"%7B%7B7*7%7D%7D", b"%24%7Bx%7D", b"null", b"-1", b"1e400",
    b"9" * 400, b"a" * 5000, b"https://evil.test/", b"//evil.test", b"javascript:alert(1)", b"https:evil.test",
    b"https://client.test@evil.test", b"https://client.test/callback/../x", b"https://client.test/callback%23x",
    b"none", b"none%20login", b"plain", b"S256", b"code%20token", b"https://evil.test/mcp", b"%e2%80%ae",
    b"%cc%81" * 90, b"%ef%bb%bf", b"%c0%af", b"127.0.0.1", b"gp_ac_x", b"gp_rt_x", b"1;DROP", b"%25%30%30",
    b"%e2%84%aa", b"%c4%b0",
]  # fmt: skip  # a list of odd values, percent-encoded as they go out

STRANGERS = [
    b"https://evil.test/", b"//evil.test", b"javascript:alert(1)", b"https:evil.test", b"https://client.test@evil.test",
    b"https://client.test/callback/../x", b"https://client.test/callback%23x", b"https://client.test.evil.test/callback",
    b"https://client.test/callback/", b"https://client.test/callback%3Fa=b", b"http://client.test/callback",
    b"https://CLIENT.test/callback", b"https://client.test:443/callback", b"http://localhost:4000/cb",
    b"http://127.0.0.1.evil.test:4000/cb", b"http://127.0.0.1:4000/cb/x", b"http://127.0.0.1:99999/cb",
    b"http://127.0.0.1:4000@evil.test/cb", b"http://[::1]:4000/cb", b"http://0.0.0.0:4000/cb", b"cursor://client/cb/x",
    b"cursor://evil/cb", b"https://client.test%5c@evil.test", b"https://client.test%0d%0a/callback", b"data:,x",
    b"http://127.0.0.1:4000%09/cb", b"https://evil.test/mcp", b"http://localhost:9001/MCP",
]  # fmt: skip  # a list of addresses that are not registered

TEXTS = st.text(max_size=30).map(lambda text: quote_plus(text, errors="surrogatepass").encode())
LOOSE = st.one_of(st.sampled_from(ODD), TEXTS, TEXTS, st.binary(max_size=12).map(lambda raw: quote_plus(raw).encode()))


@dataclass(frozen=True)
class Known:
    """The real ids, secrets and tokens of a run, so that requests refer to something."""

    values: dict[str, list[str]]
    clients: list[tuple[str, str]]
    basic: list[str]
    bearers: list[str]
    cookies: list[str] = field(default_factory=list)

    def meant(self, name: str) -> list[bytes]:
        """Plausible values of this parameter, as sent."""
        found = self.values.get(name) or MEANT.get(name) or ["x"]
        return [quote_plus(value, safe=":/").encode() for value in found]

    def credentials(self, names: tuple[str, ...]) -> list[tuple[tuple[bytes, bytes], ...]]:
        """A client's credentials, when sent as parameters."""
        said = [(("client_id", client_id), ("client_secret", secret)) for client_id, secret in self.clients]
        return [tuple((n.encode(), quote_plus(v).encode()) for n, v in one if n in names and v) for one in said]


T = TypeVar("T")
Pairs = list[tuple[bytes, bytes]]
Change = Callable[[Pairs], Pairs]
_ALSO = [*(name.encode() for name in MEANT), b"resource", b"request", b""]


def encoded(pairs: Pairs) -> bytes:
    """A query or a form."""
    return b"&".join(name + b"=" + value for name, value in pairs)


def parameters(known: Known, names: tuple[str, ...]) -> SearchStrategy[bytes]:
    """All parameters of the request; some replaced, left out or repeated, and unknown ones added."""
    others = (name for name in names if name not in ("client_id", "client_secret"))
    rest = st.tuples(*(st.tuples(st.just(name.encode()), st.sampled_from(known.meant(name))) for name in others))
    whole = st.builds(tuple.__add__, st.sampled_from(known.credentials(names)), rest)
    name = st.sampled_from([one.encode() for one in names] or [b""])
    value = name.flatmap(lambda one: st.tuples(st.just(one), odd_for(one)))
    set_one: SearchStrategy[Change] = value.map(lambda pair: lambda pairs: _set(pairs, *pair))
    change = st.one_of(
        *[set_one] * 4,
        name.map(lambda one: lambda pairs: [pair for pair in pairs if pair[0] != one]),
        value.map(lambda pair: lambda pairs: [*pairs, pair]),
        name.map(lambda one: lambda pairs: pairs + [pair for pair in pairs if pair[0] == one]),
        st.tuples(st.sampled_from(_ALSO) | TEXTS, apart(LOOSE)).map(lambda pair: lambda pairs: [*pairs, pair]),
    )
    changes = st.one_of(st.tuples(), st.tuples(change), st.tuples(change, change))
    noise = st.binary(max_size=200) | st.sampled_from([b"&" * 3000, b"a=b&" * 200, b"=", b"&&", b"a", b"a" * 70_000])
    return st.one_of(*[st.builds(_changed, whole, changes)] * 9, noise)


def odd_for(name: bytes) -> SearchStrategy[bytes]:
    """Invalid values for a parameter; for a URL mostly another URL."""
    return st.one_of(st.sampled_from(STRANGERS), apart(LOOSE)) if name in (b"redirect_uri", b"resource") else LOOSE


def _changed(pairs: tuple[tuple[bytes, bytes], ...], changes: tuple[Change, ...]) -> bytes:
    found = list(pairs)
    for change in changes:
        found = change(found)
    return encoded(found)


def _set(pairs: Pairs, name: bytes, value: bytes) -> Pairs:
    return [(found, value if found == name else its) for found, its in pairs]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "\0", "\ud800", "a" * 5000, "https://evil.test/", "javascript:x", 10**400, -0.0, "__proto__"]),
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)
NO_JSON = [
    b"", b"null", b"{", b"[" * 50_000, b"{" * 500, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 900 + b"]" * 900,
    b'{"a":NaN}', b"\xef\xbb\xbf{}", b'"\xff"', b'{"redirect_uris":["\\ud800:x"]}', b'{"a":1}{"a":1}', b"\0",
    b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', "{}".encode("utf-16"), b"1" * 5000, b"[]",
    b" " * 200_000, b'{"redirect_uris":[' + b'"https://a.test/",' * 3000 + b'"https://b.test/"]}',
]  # fmt: skip  # a list of bytes


_UNCHANGED: list[tuple[int, int, Any]] = []
_CHANGES = st.just(_UNCHANGED) | st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), ANY_JSON), max_size=2)


def objects(whole: SearchStrategy[dict[str, Any]]) -> SearchStrategy[bytes]:
    """JSON with up to two members altered, anywhere in the first two levels; or not JSON at all."""
    bent = st.builds(_bent, whole, _CHANGES).map(_dumped)
    return st.one_of(*[bent] * 8, ANY_JSON.map(_dumped), st.sampled_from(NO_JSON), st.binary(max_size=80))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _bent(whole: dict[str, Any], changes: list[tuple[int, int, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(whole))
    for first, second, value in changes:
        name = list(found)[first % len(found)]
        inner = found[name]
        if isinstance(inner, dict) and inner and second % 3:
            inner[list(inner)[second % len(inner)]] = value
        elif isinstance(inner, list) and inner and second % 3:
            inner[second % len(inner)] = value
        else:
            found[name] = value
    return found


URIS = st.one_of(
    st.sampled_from(["https://client.test/callback", "http://127.0.0.1:4000/cb", "cursor://client/cb"]),
    st.builds(
        "{}:{}{}".format,
        st.sampled_from(["https", "http", "javascript", "data", "x", "com.example", "file", "ws"]),
        st.sampled_from(["", "//", "//localhost", "//127.0.0.1:", "//[::1]", "//user@", "//a.test:99999/", "///"]),
        st.text(max_size=12),
    ),
)
REGISTRATIONS = st.fixed_dictionaries(
    {"redirect_uris": st.lists(URIS, min_size=1, max_size=3)},
    optional={
        "client_name": st.text(max_size=50) | st.sampled_from(["\u202eevil", "a" * 900, "<b>", "\0"]),
        "token_endpoint_auth_method": st.sampled_from(["none", "client_secret_post", "client_secret_basic", "x"]),
        "grant_types": st.lists(st.sampled_from(["authorization_code", "refresh_token", "x"]), max_size=3),
        "client_uri": URIS,
        "logo_uri": URIS,
        "scope": st.text(max_size=20),
        "contacts": st.lists(st.text(max_size=9), max_size=2),
        "jwks": ANY_JSON,
    },
)


def program_requests(known: Known, doors: tuple[Door, ...]) -> SearchStrategy[Request]:
    """Requests to the endpoints for programs that take a form or JSON."""
    return carried(st.one_of(*(_request(known, door) for door in doors)), known)


def _request(known: Known, door: Door) -> SearchStrategy[Request]:
    path = door.path.encode()
    if door.json:
        bodies = objects(REGISTRATIONS)
        return st.builds(lambda body: Request("POST", path, ((b"content-type", JSON),), body), bodies)
    if door.form:
        authorized = st.sampled_from([*[()] * 8, *(((b"authorization", value.encode()),) for value in known.basic)])
        return st.builds(
            lambda body, more: Request("POST", path, ((b"content-type", FORM), *more), body),
            parameters(known, door.form),
            authorized,
        )
    queries = parameters(known, door.query) if door.query else st.just(b"")
    tokens = st.sampled_from(known.bearers if door.bearer else [""])
    return st.builds(lambda query, token: Request("GET", _target(path, query), bearing(token)), queries, tokens)


def bearing(token: str) -> Headers:
    """The header of this access token; none for no token."""
    return ((b"authorization", b"Bearer " + token.encode()),) if token else ()


def _target(path: bytes, query: bytes) -> bytes:
    """In a request line no space, control or byte above ASCII may stand; as a browser does, those are encoded."""
    safe = b"".join(bytes((b,)) if 33 <= b < 127 and b not in b"#" else b"%%%02X" % b for b in query)
    return path + (b"?" + safe if safe else b"")


VALUES = st.sampled_from([
    b"", b"x", b"null", b"*", b"a" * 3000, b"\xff\xfe", b"\xc3\xa9", b"https://evil.test", b"null, null", b"'", b"-1",
    b"Basic", b"Basic \xff", b"Basic Og==", b"Bearer", b"Bearer  x y", b"Bearer " + b"a." * 900, b"Negotiate x",
    b"gzip", b"chunked", b"close", b"127.0.0.1", b"for=1.1.1.1;host=evil", b"application/json", b"text/html",
    b"websocket", b"Upgrade", b"multipart/form-data", b"multipart/form-data; boundary=x", b"100-continue", b"bytes=0-1",
    b"application/x-www-form-urlencoded; charset=utf-16", b"text/plain;charset=\xff", b"application/json;charset=x",
    b"PUT", b"/admin", b"a=b; gp-session-00000000=gp_se_x", b"1999-01-01", b'"x"', b"=?utf-8?q?x?=",
])  # fmt: skip  # a list of values
NAMES = st.sampled_from([
    b"host", b"authorization", b"origin", b"cookie", b"accept", b"content-type", b"x-forwarded-for", b"forwarded",
    b"x-forwarded-host", b"x-forwarded-proto", b"x-http-method-override", b"x-original-url", b"range", b"if-none-match",
    b"expect", b"upgrade", b"connection", b"content-encoding", b"accept-encoding", b"referer", b"user-agent",
    b"sec-fetch-site", b"mcp-protocol-version", b"mcp-session-id", b"mcp-method", b"mcp-name", b"last-event-id", b"te",
    b"access-control-request-method", b"access-control-request-headers", b"x", b"content-type", b"authorization",
])  # fmt: skip  # a list of names, the likelier ones twice
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "LOCK"]
TAILS = [
    b"/",
    b"//",
    b"/x",
    b"%00",
    b"%2f",
    b"%2e%2e",
    b"%ff",
    b";x",
    b".json",
    b"/..",
    b"%0a",
    b"?",
    b"?%ff=%00",
    b"//x/",
]


Bend = Callable[[Request], Request]


def bends(known: Known) -> SearchStrategy[Bend]:
    """Alterations: mostly none; else another method, target, headers, or a body in pieces."""
    cookies = [b"gp-session=x", *(value.encode() for value in known.cookies)]
    origins = [b"https://claude.ai", b"http://localhost:1", b"null", b"https://evil.test"]
    strange: SearchStrategy[Bend] = st.one_of(
        st.builds(lambda name, value: lambda r: r.plus((name, value)), NAMES, VALUES),
        st.builds(lambda name, value: lambda r: _replaced(r, name, value), NAMES, VALUES),
        st.sampled_from(VERBS).map(lambda verb: lambda r: replace(r, method=verb)),
        st.sampled_from(TAILS).map(lambda tail: lambda r: replace(r, target=r.target + tail)),
        st.lists(st.integers(1, 70), min_size=1, max_size=4).map(lambda sizes: lambda r: _in_chunks(r, sizes)),
        st.sampled_from(cookies).map(lambda value: lambda r: r.plus((b"cookie", value))),
        st.sampled_from(origins).map(lambda value: lambda r: r.plus((b"origin", value))),
    )
    straight: SearchStrategy[Bend] = st.just(lambda r: r)
    return apart(st.one_of(*[straight] * 6, apart(strange)))


def apart(cases: SearchStrategy[T]) -> SearchStrategy[T]:
    """The same as a single branch: hypothesis would flatten a one_of inside another into many."""
    return cases.map(lambda case: case)


def carried(requests: SearchStrategy[Request], known: Known) -> SearchStrategy[Request]:
    """The requests, some of them altered twice."""
    return st.builds(lambda request, first, second: second(first(request)), requests, bends(known), bends(known))


def _replaced(request: Request, name: bytes, value: bytes) -> Request:
    kept = tuple((found, its) for found, its in request.headers if found != name)
    return replace(request, headers=(*kept, (name, value)))


def _in_chunks(request: Request, sizes: list[int]) -> Request:
    return request if request.body is None else replace(request, chunks=tuple(sizes))


def basic(client_id: str, secret: str) -> str:
    """HTTP Basic (RFC 6749 section 2.3.1)."""
    return "Basic " + b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
