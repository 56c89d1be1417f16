"""Metadata documents without the network: which URLs may name a client, what documents may say, public addresses."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost_idp.clients import metadata_document, pinned
from gatepost_idp.clients.metadata import Registration
from gatepost_idp.clients.metadata_document import MAX_URL, NoDocument
from gatepost_idp.clients.public_addresses import is_public
from tests.support.documents import document

URL = "https://client.test/oauth/client.json"


def said(**changes: Any) -> Registration:
    return metadata_document.read(URL, json.dumps(document(URL, **changes)).encode())


# --- URLs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://client.test/a", "client.test", 443, "/a"),
        ("https://Client.TEST/a", "client.test", 443, "/a"),
        ("https://client.test:8443/a/b.json?x=y", "client.test", 8443, "/a/b.json?x=y"),
        ("https://client.test/%2E%2Ea/...", "client.test", 443, "/%2E%2Ea/..."),
        ("https://client.test/a/@b:c", "client.test", 443, "/a/@b:c"),
        ("https://localhost/a", "localhost", 443, "/a"),
        ("https://[2001:DB8::1]/a", "2001:db8::1", 443, "/a"),
        ("https://client.test/" + "a" * (MAX_URL - 20), "client.test", 443, "/" + "a" * (MAX_URL - 20)),
    ],
)
def test_a_url_may_name_a_client(url: str, host: str, port: int, target: str) -> None:
    """https with a path, which is requested exactly as written."""
    found = metadata_document.parse(url)
    assert (found.host, found.port, found.target) == (host, port, target)


@pytest.mark.parametrize(
    "url",
    [
        "http://client.test/a", "HTTPS://client.test/a", "ftp://client.test/a", "https:/client.test/a", "://a/b",
        "https://client.test", "https://client.test/", "https://client.test?a=b", "https://client.test/?a=b",
        "https:///a", "https://user@client.test/a", "https://user:pw@client.test/a", "https://client.test@evil.test/a",
        "https://client.test/a#", "https://client.test/a#b", "https://client.test/a?b#c",
        "https://client.test/.", "https://client.test/..", "https://client.test/a/./b", "https://client.test/a/../b",
        "https://client.test/%2e/b", "https://client.test/a/%2E%2e", "https://client.test/a/.%2e/b",
        "https://client.test/a/%2e%2e%2fb", "https://client.test/a%2f..%2fb", "https://client.test/a/..%5cb",
        "https://client.test\\a/b", "https://client.test/a\\b", "https://client.test/a b", "https://client.test/a\nb",
        "https://client.test/a\x00", "https://cl\u0456ent.test/a", "https://client.test/\u00e4",
        "https://client.test/%zz", "https://client.test/a%", "https://client.test/a%2",
        "https://client.test:/a", "https://client.test:0/a", "https://client.test:65536/a", "https://client.test:x/a",
        "https://client.test:080808/a", "https://.client.test/a", "https://client..test/a", "https://client.test./a",
        "https://client%2etest/a", "https://[fe80::1%25eth0]/a", "https://[::1/a", "https://::1/a", "https://*.test/a",
        "https://" + "a" * 64 + ".test/a", "https://client.test/" + "a" * MAX_URL, " https://client.test/a",
    ],
)  # fmt: skip  # a table
def test_a_url_may_not_name_a_client(url: str) -> None:
    """Another scheme, no path, dot segments in any spelling, users, fragments, odd characters, odd hosts, too long."""
    with pytest.raises(NoDocument):
        metadata_document.parse(url)


@given(st.text(max_size=60))
def test_no_text_makes_a_url_that_says_another_host(text: str) -> None:
    """Whatever follows the host name, a request goes to that host or nowhere."""
    try:
        found = metadata_document.parse(f"https://client.test/{text}")
    except NoDocument:
        return
    assert (found.host, found.port) == ("client.test", 443)


# --- Documents ------------------------------------------------------------------------------------------------------


def test_a_document_says_who_a_client_is() -> None:
    """By the rules of registration: unsupported metadata is dropped, loopback ports do not count."""
    found = said(
        redirect_uris=["javascript:alert(1)", "http://127.0.0.1:4000/cb", "https://client.test/cb"],
        grant_types=["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        client_uri="https://client.test",
        logo_uri="javascript:alert(1)",
        scope="everything",
        jwks_uri="http://169.254.169.254/",
    )
    assert found == Registration(
        client_name="Test client",
        redirect_uris=("http://127.0.0.1/cb", "https://client.test/cb"),
        token_endpoint_auth_method="none",
        grant_types=("authorization_code", "refresh_token"),
        client_uri="https://client.test",
    )


@pytest.mark.clause("A4.public")
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": "https://client.test/oauth/other.json"},
        {"client_id": URL + "/"},
        {"client_id": URL.upper()},
        {"client_id": URL.replace("client.test", "CLIENT.test")},
        {"client_id": URL.replace("client.json", "%63lient.json")},
        {"client_id": URL.replace("client.test", "client.test:443")},
        {"client_id": 1},
        {"client_secret": "shared"},
        {"client_secret": ""},
        {"client_secret_expires_at": 0},
        {"redirect_uris": None},
        {"redirect_uris": []},
        {"redirect_uris": "https://client.test/callback"},
        {"redirect_uris": ["http://client.test/callback", "javascript:alert(1)", "https://*.client.test/"]},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "client_secret_jwt"},
        {"token_endpoint_auth_method": "client_secret_post", "token_endpoint_auth_methods_supported": ["none"]},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.test/jwks.json"},
        {
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        },
        {"token_endpoint_auth_method": "tls_client_auth"},
        {"client_name": ["a"]},
    ],
    ids=str,
)
def test_a_document_that_may_not_stand_for_its_url(changes: dict[str, Any]) -> None:
    """A client_id that differs by one byte, a public secret, no redirect, no supported authentication method."""
    with pytest.raises(NoDocument):
        said(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"token_endpoint_auth_method": "none"},
        {
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        },
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
    ],
    ids=str,
)
def test_a_document_without_a_secret_is_a_public_client(changes: dict[str, Any]) -> None:
    """ChatGPT prefers a key and also lists `none`: then only PKCE protects it."""
    assert said(**changes).token_endpoint_auth_method == "none"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"null", b"[]", b'"x"', b"1", b"{", b"\xff\xfe{}", b"\xef\xbb\xbf<html>", b"{}",
        b"[" * 5000, b'{"client_id":' + b'{"a":' * 800, b'{"x":' + b"[" * 2500 + b"]" * 2500 + b"}",
        b'{"client_id": NaN}',
    ],
    ids=range(13),
)  # fmt: skip  # a table
def test_what_is_no_document(text: bytes) -> None:
    """Nothing, other JSON, deep JSON, other bytes: refused with an explanation."""
    with pytest.raises(NoDocument) as refused:
        metadata_document.read(URL, text)
    assert refused.value.words.endswith(".")


# --- Pinned copies --------------------------------------------------------------------------------------------------


def test_the_pinned_copies_are_right_documents() -> None:
    """Each is for its own URL and valid as a fetched one, and they have one date, not in the future."""
    found = pinned.documents()
    assert {url: each.registration.client_name for url, each in found.items()} == {
        "https://claude.ai/oauth/mcp-oauth-client-metadata": "Claude",
        "https://claude.ai/oauth/claude-code-client-metadata": "Claude Code",
        "https://chatgpt.com/oauth/client.json": "ChatGPT",
        "https://chatgpt.com/oauth/codex/client.json": "Codex",
        "https://vscode.dev/oauth/client-metadata.json": "Visual Studio Code",
    }
    for url, each in found.items():
        metadata_document.parse(url)
        assert each.registration.redirect_uris
        assert each.registration.grant_types == ("authorization_code", "refresh_token")
        assert each.written_at < datetime.now(UTC)


# --- Addresses ------------------------------------------------------------------------------------------------------

INNER_IPV4 = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.255", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1",
    "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "232.1.1.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
]  # fmt: skip  # a table
PUBLIC_IPV4 = ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.255.255",
               "172.32.0.1", "192.0.1.1", "192.169.0.1", "198.17.255.255", "198.20.0.1", "223.255.255.255"]  # fmt: skip
INNER_IPV6 = [
    "::", "::1", "::2", "100::1", "100:0:0:1::1", "64:ff9b:1::1", "64:ff9b:1::8.8.8.8", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1",
    "2001:20::1", "2001:30::1", "2001:db8::1", "2002::1", "2620:4f:8000::1", "3fff::1", "3fff:fff::1", "5f00::1",
    "4000::1", "1fff::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "2a00::1%1", "fec0::1",
    "ff02::1", "ff0e::1", "ffff::1",
]  # fmt: skip  # a table
PUBLIC_IPV6 = ["2001:200::1", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1", "2c0f::1", "2003::1"]


@pytest.mark.parametrize("address", [*PUBLIC_IPV4, *PUBLIC_IPV6, *(f"64:ff9b::{each}" for each in PUBLIC_IPV4)])
def test_a_public_address(address: str) -> None:
    """Global unicast, even next to each special range; for NAT64 the embedded IPv4 address decides."""
    assert is_public(address)


@pytest.mark.parametrize("address", [*INNER_IPV4, *INNER_IPV6])
def test_an_address_that_is_not_public(address: str) -> None:
    """Private, loopback, link-local, shared, multicast, documentation, reserved, and clouds' internal addresses."""
    assert not is_public(address)


@pytest.mark.parametrize("inner", [*INNER_IPV4, "8.8.8.8"])
def test_an_ipv4_address_hides_in_no_ipv6_form(inner: str) -> None:
    """Mapped, compatible, translated, 6to4, and NAT64 with local prefixes, in whatever spelling."""
    high, low = (int(part) for part in inner.split(".")[:2]), (int(part) for part in inner.split(".")[2:])
    pair = "{:02x}{:02x}:{:02x}{:02x}".format(*high, *low)
    forms = [f"::ffff:{inner}", f"::ffff:{pair}", f"::FFFF:{inner}", f"0:0:0:0:0:ffff:{inner}", f"::{inner}",
             f"::ffff:0:{inner}", f"2002:{pair}::1", f"64:ff9b:1::{inner}"]  # fmt: skip
    if inner != "8.8.8.8":
        forms += [f"64:ff9b::{inner}", f"64:ff9b::{pair}"]
    assert not [form for form in forms if is_public(form)]


@pytest.mark.parametrize(
    "text", ["", "localhost", "8.8.8", "0x8080808", "134744072", "8.8.8.8/32", "[2a00::1]", "\uff18.8.8.8"]
)
def test_what_is_no_address_is_not_public(text: str) -> None:
    """Text that is not an address is never public."""
    assert not is_public(text)
