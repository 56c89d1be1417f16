"""Bytes that no client library sends: broken framing, odd targets, contradictory headers."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.grammar import VERBS
from tests.support.line import Raw

LINES = [
    b"host: evil.test", b"host:", b"content-length: 5", b"content-length: 7", b"content-length: -1", b" folded", b": x",
    b"content-length: 99999999999999999999", b"transfer-encoding: chunked", b"transfer-encoding: x, chunked", b"x",
    b"content-type: application/x-www-form-urlencoded", b"content-type: application/json", b"expect: 100-continue",
    b"connection: upgrade", b"upgrade: h2c", b"upgrade: websocket", b"sec-websocket-key: x", b"connection: close",
    b"\xff: \xff", b"x: " + b"a" * 70_000, b"authorization: Basic \x01", b"authorization: Bearer x", b"x:\0",
]  # fmt: skip  # a list of lines
TARGETS = [
    b"/token", b"/register", b"/mcp", b"/authorize?x", b"/sign-in/x", b"/", b"*", b"http://evil.test/token", b"/%",
    b"//evil.test/token", b"evil.test:443", b"/%zz", b"/\xff", b"/\0", b"/token?\xff", b"/a b", b"", b"?", b"/token#x",
    b"/" + b"a" * 70_000, b"http://[::1", b"/../../etc/passwd",
]  # fmt: skip  # a list of targets
METHODS = [*(verb.encode() for verb in VERBS), b"CONNECT", b"FOO", b"get", b"", b"PRI"]
VERSIONS = [*[b"HTTP/1.1"] * 6, b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"", b"RTSP/1.0"]
BODIES = [b"", b"a=b&c", b"{}", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"\0" * 9]


def noise(authority: bytes) -> SearchStrategy[Raw]:
    """A request of such parts, or random bytes. ``authority``: the server's own Host."""
    line = st.sampled_from([*[b"host: " + authority] * 4, *LINES])
    built = st.builds(
        _assembled,
        st.sampled_from(METHODS),
        st.sampled_from(TARGETS),
        st.sampled_from(VERSIONS),
        st.lists(line, max_size=5),
        st.sampled_from(BODIES) | st.binary(max_size=60),
    )
    return st.one_of(built, built, built, st.binary(max_size=100)).map(Raw)


def _assembled(method: bytes, target: bytes, version: bytes, lines: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join([b"%b %b %b" % (method, target, version), *lines, b"", body])
