"""Redirect addresses: which may be registered, and which match what was registered."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost_idp import redirects

WEB = "https://client.example/callback"
LOOPBACK = "http://localhost/callback"
IPV4 = "http://127.0.0.1/callback"
IPV6 = "http://[::1]/callback"
CURSOR = "cursor://anysphere.cursor-mcp/oauth/callback"
APP = "com.example.app:/callback"

TABLE = [
    # Registered, requested, whether they match.
    # https: byte for byte.
    (WEB, WEB, True),
    (WEB, "https://client.example/callback/", False),
    (WEB, "https://client.example/callback?", False),
    (WEB, "https://client.example/callback?x=1", False),
    (WEB, "https://client.example/callback#", False),
    (WEB, "https://client.example/callback#fragment", False),
    (WEB, "https://client.example/Callback", False),
    (WEB, "https://client.example/callbac", False),
    (WEB, "https://client.example/callback2", False),
    (WEB, "https://client.example/callback/../callback", False),
    (WEB, "https://client.example/./callback", False),
    (WEB, "https://client.example//callback", False),
    (WEB, "https://client.example/%63allback", False),
    (WEB, "https://client.example/callback%20", False),
    (WEB, "https://client.example/callback ", False),
    (WEB, " https://client.example/callback", False),
    (WEB, "https://client.example/callback\n", False),
    (WEB, "https://client.example/callback\t", False),
    (WEB, "https://client.example/callback\0", False),
    (WEB, "https://client.example:443/callback", False),
    (WEB, "https://client.example:8443/callback", False),
    (WEB, "https://client.example./callback", False),
    (WEB, "https://CLIENT.example/callback", False),
    (WEB, "HTTPS://client.example/callback", False),
    (WEB, "http://client.example/callback", False),
    (WEB, "//client.example/callback", False),
    (WEB, "/callback", False),
    (WEB, "client.example/callback", False),
    (WEB, "https://client.example", False),
    (WEB, "https://www.client.example/callback", False),
    (WEB, "https://client.example.evil.example/callback", False),
    (WEB, "https://evilclient.example/callback", False),
    (WEB, "https://client.example@evil.example/callback", False),
    (WEB, "https://evil.example/https://client.example/callback", False),
    (WEB, "https://evil.example\\@client.example/callback", False),
    (WEB, "https://client.example\\.evil.example/callback", False),
    (WEB, "https://client.example%2f.evil.example/callback", False),
    (WEB, "https://user:password@client.example/callback", False),
    (WEB, "https://cl\N{LATIN SMALL LETTER DOTLESS I}ent.example/callback", False),
    (WEB, "https:client.example/callback", False),
    (WEB, "https:/client.example/callback", False),
    (WEB, "https:///client.example/callback", False),
    (WEB, "https://client.example/callback*", False),
    (WEB, "", False),
    # A registered port and query belong to the address.
    ("https://client.example:8443/cb?a=1", "https://client.example:8443/cb?a=1", True),
    ("https://client.example:8443/cb?a=1", "https://client.example/cb?a=1", False),
    ("https://client.example:8443/cb?a=1", "https://client.example:8444/cb?a=1", False),
    ("https://client.example:8443/cb?a=1", "https://client.example:8443/cb", False),
    ("https://client.example:8443/cb?a=1", "https://client.example:8443/cb?a=1&b=2", False),
    ("https://client.example", "https://client.example", True),
    ("https://client.example", "https://client.example/", False),
    ("https://client.example/", "https://client.example", False),
    # Loopback over http: any port, the rest as registered.
    (LOOPBACK, "http://localhost/callback", True),
    (LOOPBACK, "http://localhost:3000/callback", True),
    (LOOPBACK, "http://localhost:65535/callback", True),
    (LOOPBACK, "http://localhost:0/callback", True),
    ("http://localhost:3000/callback", "http://localhost:4000/callback", True),
    ("http://localhost:3000/callback", LOOPBACK, True),
    (LOOPBACK, "http://localhost:65536/callback", False),
    (LOOPBACK, "http://localhost:-1/callback", False),
    (LOOPBACK, "http://localhost:port/callback", False),
    (LOOPBACK, "http://localhost:/callback", False),
    (LOOPBACK, "http://localhost:3000/other", False),
    (LOOPBACK, "http://localhost:3000/callback/", False),
    (LOOPBACK, "http://localhost:3000/callback?x=1", False),
    (LOOPBACK, "http://localhost:3000/callback#x", False),
    (LOOPBACK, "https://localhost:3000/callback", False),
    (LOOPBACK, "http://localhost.evil.example:3000/callback", False),
    (LOOPBACK, "http://localhost:3000@evil.example/callback", False),
    (LOOPBACK, "http://evil.example:3000/callback", False),
    (LOOPBACK, "http://user@localhost:3000/callback", False),
    (LOOPBACK, "http://localhost.:3000/callback", False),
    ("http://localhost:3000/callback?a=1", "http://localhost:5000/callback?a=1", True),
    ("http://localhost:3000/callback?a=1", "http://localhost:5000/callback?a=2", False),
    # localhost, 127.0.0.1 and [::1] are three different listeners.
    (IPV4, "http://127.0.0.1:33418/callback", True),
    (IPV6, "http://[::1]:33418/callback", True),
    (IPV4, "http://localhost/callback", False),
    (IPV4, "http://[::1]/callback", False),
    (IPV6, "http://127.0.0.1/callback", False),
    (IPV6, "http://localhost/callback", False),
    (LOOPBACK, "http://127.0.0.1/callback", False),
    (LOOPBACK, "http://[::1]/callback", False),
    # Other spellings of loopback match nothing.
    (IPV4, "http://127.0.0.2/callback", False),
    (IPV4, "http://127.1/callback", False),
    (IPV4, "http://2130706433/callback", False),
    (IPV4, "http://0x7f000001/callback", False),
    (IPV4, "http://0177.0.0.1/callback", False),
    (IPV4, "http://0.0.0.0/callback", False),
    (IPV6, "http://[0:0:0:0:0:0:0:1]/callback", False),
    (IPV6, "http://[::ffff:127.0.0.1]/callback", False),
    (IPV6, "http://[::1%25lo]/callback", False),
    (IPV6, "http://[::1/callback", False),
    # https on loopback is an https address: its port counts.
    ("https://localhost:8443/cb", "https://localhost:8443/cb", True),
    ("https://localhost:8443/cb", "https://localhost:9443/cb", False),
    # Private schemes: byte for byte, ports too.
    (CURSOR, CURSOR, True),
    (CURSOR, "cursor://anysphere.cursor-mcp/oauth/callback?x=1", False),
    (CURSOR, "CURSOR://anysphere.cursor-mcp/oauth/callback", False),
    (CURSOR, "vscode://anysphere.cursor-mcp/oauth/callback", False),
    (CURSOR, "cursor://evil/oauth/callback", False),
    ("cursor://localhost:1/cb", "cursor://localhost:2/cb", False),
    (APP, APP, True),
    (APP, "com.example.app://callback", False),
    (APP, "com.example.app:callback", False),
]


@pytest.mark.clause("A3")
@pytest.mark.parametrize(("registered", "asked", "verdict"), TABLE)
def test_an_address_matches_what_was_registered(registered: str, asked: str, verdict: bool) -> None:
    """Exactly, except for the port of a loopback address."""
    assert redirects.matches((registered,), asked) is verdict


def test_one_of_several_registered_addresses_is_enough() -> None:
    """Cursor registers three together; and nothing matches if nothing is registered."""
    registered = ("http://localhost:8787/callback", "https://www.cursor.com/agents/mcp/oauth/callback", CURSOR)
    for asked in (*registered, "http://localhost:1/callback"):
        assert redirects.matches(registered, asked)
    assert not redirects.matches((), WEB)


REFUSED = [
    "",
    "not a url",
    "callback",
    "/callback",
    "//client.example/cb",
    "?code=1",
    "#",
    "https",
    "https:",
    "https://",
    "https:///cb",
    "https://:443/cb",
    "https://client.example:/cb",
    "https://client.example:99999/cb",
    "https://client.example:x/cb",
    "https://[::1/cb",
    "https://[zz]/cb",
    "http://client.example/cb",
    "http://10.0.0.1/cb",
    "http://192.168.0.1/cb",
    "http://169.254.169.254/latest",
    "http://0.0.0.0:3000/cb",
    "http://",
    "http:localhost/cb",
    "https://user@client.example/cb",
    "https://user:password@client.example/cb",
    "https://@client.example/cb",
    "http://user@localhost/cb",
    "cursor://user@host/cb",
    "https://client.example/cb#",
    "https://client.example/cb#fragment",
    "cursor://host/cb#fragment",
    "https://*.client.example/cb",
    "https://client.example/*",
    "https://client.example/cb?next=*",
    "https://client.example/c b",
    "https://client.example/c\tb",
    "https://client.example/c\nb",
    "https://client.example/c\r\nSet-Cookie:x",
    "https://client.example/c\0b",
    "https://client.example/c\x7fb",
    "https://client.example/c\\b",
    'https://client.example/c"b',
    "https://client.example/c<b>",
    "https://client.example/c^b",
    "https://client.example/c`b",
    "https://client.example/c{b}",
    "https://client.example/c|b",
    "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/cb",
    "https://client.example/c\N{LATIN SMALL LETTER U WITH DIAERESIS}b",
    "https://client\N{FULLWIDTH SOLIDUS}.example/cb",
    "https://client.example/\N{RIGHT-TO-LEFT OVERRIDE}cb",
    "https://%6cocalhost/cb",
    "https://client%2eexample/cb",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "javascript://client.example/%0aalert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "data:text/html,x",
    "DATA:text/html;base64,eA==",
    "file:///etc/passwd",
    "file://host/share",
    "vbscript:msgbox(1)",
    "blob:https://client.example/1",
    "about:blank",
    "view-source:https://client.example",
    "filesystem:https://client.example/x",
    "intent://host/#Intent;end",
    "intent://host/cb",
    "ftp://client.example/cb",
    "ws://client.example/cb",
    "mailto:alice@example.com",
    "tel:112",
    "1app:/cb",
    "-app:/cb",
    "my_app:/cb",
    "app:",
    "app://",
    "https://client.example/" + "a" * (2049 - len("https://client.example/")),
]


@pytest.mark.clause("A3")
@pytest.mark.parametrize("uri", REFUSED)
def test_a_dangerous_address_cannot_be_registered(uri: str) -> None:
    """Nor can it be requested, even if an old row has it."""
    assert redirects.split(uri) is None
    assert not redirects.matches((uri,), uri)


@pytest.mark.clause("A3.never")
@pytest.mark.parametrize(
    "scheme",
    ["javascript", "data", "file", "vbscript", "blob", "about", "ftp", "ws", "wss", "mailto", "tel", "sms",
     "view-source", "filesystem", "chrome", "intent", "jar"],
)  # fmt: skip  # a table of words
def test_a_scheme_that_runs_or_leads_elsewhere_is_never_an_app(scheme: str) -> None:
    """In any letter case, with or without a host."""
    for uri in (f"{scheme}:x", f"{scheme}://client.example/cb", f"{scheme.upper()}:/cb"):
        assert redirects.split(uri) is None, uri


ACCEPTED = [
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.com/api/mcp/auth_callback",
    "https://chatgpt.com/connector_platform_oauth_redirect",
    "https://chatgpt.com/connector/oauth/a-B_c~1",
    "https://www.cursor.com/agents/mcp/oauth/callback",
    "https://vscode.dev/redirect",
    "https://client.example",
    "https://client.example:8443/cb?a=1&b=%20c",
    "https://xn--bcher-kva.example/cb",
    "https://[2001:db8::1]/cb",
    "https://localhost:8443/cb",
    "http://localhost:3000/callback",
    "http://127.0.0.1:33418/",
    "http://127.0.0.1:33418",
    "http://[::1]:1/",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "vscode://ms-vscode.mcp/callback",
    "com.example:/cb",
    "com.example:cb",
    "https://client.example/" + "a" * (2048 - len("https://client.example/")),
]


@pytest.mark.clause("A3")
@pytest.mark.parametrize("uri", ACCEPTED)
def test_what_real_clients_use_can_be_registered(uri: str) -> None:
    """Each can be registered, and matches itself."""
    assert redirects.split(uri) is not None
    assert redirects.matches((uri,), uri)


@pytest.mark.parametrize(
    ("uri", "shown", "is_private"),
    [
        (WEB, "client.example", False),
        ("https://Client.example:8443/cb", "client.example:8443", False),
        ("https://xn--bcher-kva.example/cb", "xn--bcher-kva.example", False),
        ("https://localhost:8443/cb", "localhost:8443", True),
        ("https://127.0.0.1/cb", "127.0.0.1", True),
        ("https://[::1]:1/cb", "[::1]:1", True),
        ("http://localhost:3000/cb", "localhost", True),
        ("http://127.0.0.1:3000/cb", "127.0.0.1", True),
        ("http://[::1]:3000/cb", "[::1]", True),
        (CURSOR, "cursor:", True),
        (APP, "com.example.app:", True),
        ("javascript:alert(1)", "javascript:alert(1)", True),
    ],
)
@pytest.mark.clause("A10")
def test_a_person_reads_where_an_address_leads(uri: str, shown: str, is_private: bool) -> None:
    """The host, with a warning if nobody can prove who listens; consent is remembered for the host shown."""
    assert redirects.host_shown(uri) == shown
    assert redirects.is_private(uri) is is_private


@pytest.mark.parametrize(
    ("uri", "stored"),
    [
        (WEB, WEB),
        ("https://localhost:8443/cb", "https://localhost:8443/cb"),
        ("http://localhost:3000/cb", "http://localhost/cb"),
        ("http://localhost:3000/cb?port=:3000", "http://localhost/cb?port=:3000"),
        ("http://localhost:3000/localhost:3000", "http://localhost/localhost:3000"),
        ("http://[::1]:3000/cb", "http://[::1]/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1/cb"),
        ("http://127.0.0.1:3000", "http://127.0.0.1"),
        (CURSOR, CURSOR),
        ("nonsense", "nonsense"),
    ],
)
def test_a_registration_stores_loopback_without_its_port(uri: str, stored: str) -> None:
    """So that a client that uses another port each time stays one kind."""
    assert redirects.canonical(uri) == stored
    assert redirects.canonical(stored) == stored


ADDRESSES = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"[a-z]{1,6}:/{0,3}[-a-z0-9.:@\[\]%?#/*]{0,30}", fullmatch=True),
    st.from_regex(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{0,6})?(/[a-z]{0,3})?(\?[a-z]?)?", fullmatch=True),
)


@pytest.mark.clause("A3")
@settings(max_examples=300, deadline=None)
@given(registered=ADDRESSES, asked=ADDRESSES)
def test_whatever_matches_could_have_been_registered(registered: str, asked: str) -> None:
    """No input raises, and whatever matches is safe and has the same host and path."""
    redirects.canonical(asked)
    redirects.host_shown(asked)
    if redirects.split(asked) is not None:
        assert redirects.matches((asked,), asked)
        assert redirects.matches((redirects.canonical(asked),), asked)
    if redirects.matches((registered,), asked):
        found, was = redirects.split(asked), redirects.split(registered)
        assert found is not None
        assert was is not None
        assert (found.scheme, found.hostname, found.path, found.query) == (
            was.scheme,
            was.hostname,
            was.path,
            was.query,
        )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Claude", "Claude"),
        ("  Claude \n\t Code ", "Claude Code"),
        ("Cla\0u\x1bde", "Cla u de"),
        ("Bank\N{RIGHT-TO-LEFT OVERRIDE}knaB", "Bank knaB"),
        ("zero\N{ZERO WIDTH SPACE}width\N{WORD JOINER}", "zero width"),
        ("no\N{NO-BREAK SPACE}break\N{LINE SEPARATOR}line", "no break line"),
        ("\ud800", ""),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "\N{HORIZONTAL ELLIPSIS}"),
        ("\N{GREEK SMALL LETTER ALPHA}" * 50, "\N{GREEK SMALL LETTER ALPHA}" * 39 + "\N{HORIZONTAL ELLIPSIS}"),
        ("", ""),
    ],
)
def test_a_clients_name_is_inert_text(name: str, shown: str) -> None:
    """One line, no control or direction characters, no more than fits: it is the client's own claim."""
    assert redirects.plain_name(name) == shown


@pytest.mark.clause("A10.loopback")
@pytest.mark.parametrize("uri", ["", "nothing", "https://user@localhost/", "http://client.example/"])
def test_what_could_not_be_registered_is_no_program_of_this_computer(uri: str) -> None:
    """Nobody can prove who listens there, but it is not shown as a program that the person runs."""
    assert not redirects.is_loopback(uri)
    assert redirects.is_private(uri)


@pytest.mark.clause("A10.loopback")
@pytest.mark.parametrize(
    ("uri", "own"),
    [(LOOPBACK, True), (IPV4, True), (IPV6, True), ("https://localhost:8443/x", True), (WEB, False), (APP, False)],
)
def test_a_program_on_this_computer_is_told_from_a_site(uri: str, own: bool) -> None:
    """A page says which of the two it is: an app's own scheme names no computer."""
    assert redirects.is_loopback(uri) is own
    assert redirects.is_private(uri) is (uri != WEB)
