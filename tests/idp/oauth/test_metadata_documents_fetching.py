"""A4: fetching a metadata document from a real HTTPS server: each guard, tested by its attack."""

import asyncio
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import trustme

from gatepost_idp.clients import fetcher as fetching
from gatepost_idp.clients import metadata_document
from gatepost_idp.clients.document_request import MAX_BYTES
from gatepost_idp.clients.fetcher import SECONDS, Fetcher
from gatepost_idp.clients.metadata_document import Fetched, NoDocument
from tests.support.documents import DocumentHost, Talk, document, response, showing
from tests.support.ports import free_port

STATUSES = ["201 Created", "204 No Content", "206 Partial", "304 Not Modified", "401 No", "403 Forbidden",
            "404 Not Found", "410 Gone", "429 Slow", "500 Fault", "503 Away"]  # fmt: skip  # a table
KINDS = ["", "text/html", "text/plain", "application/xml", "text/json", "application/jsonp", "application/octet-stream",
         "multipart/form-data; boundary=application/json"]  # fmt: skip  # a table
PRIVATE = ["10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "fd00:ec2::254",
           "100.64.0.1", "168.63.129.16", "224.0.0.1", "0.0.0.0"]  # fmt: skip  # a table

pytestmark = pytest.mark.clause("A4.fetch")


@pytest.fixture(scope="module")
def shared_host() -> Iterator[DocumentHost]:
    with showing() as shown:
        yield shown


@pytest.fixture
def host(shared_host: DocumentHost) -> DocumentHost:
    """A host without requests so far."""
    shared_host.asked.clear()
    shared_host.answers.clear()
    return shared_host


async def fetched(fetcher: Fetcher, url: str, etag: str = "") -> Fetched:
    """The result of a fetch; the fetcher is then closed."""
    try:
        return await fetcher.fetch(metadata_document.parse(url), etag)
    finally:
        fetcher.close()


async def refusal(fetcher: Fetcher, url: str) -> str:
    """Why a fetch is refused, as the page says it."""
    with pytest.raises(NoDocument) as refused:
        await fetched(fetcher, url)
    return refused.value.words


def answering(host: DocumentHost, body: bytes, status: str = "200 OK", **headers: str) -> str:
    """A URL with this answer."""
    host.answers["/client.json"] = response(body, status, **headers)
    return host.url()


def talking(host: DocumentHost, talk: Talk) -> str:
    """A URL whose answer is sent bit by bit."""
    host.answers["/client.json"] = talk
    return host.url()


async def test_a_document_is_fetched(host: DocumentHost) -> None:
    """The name is sent in TLS and in Host, the path unchanged, and nothing else: no cookie, no referrer."""
    url = host.show("/%41/client.json?a=%42", headers={"etag": '"one"'})
    found = await fetched(host.fetcher(), url)
    assert json.loads(found.body or b"")["client_id"] == url
    assert found.etag == '"one"'
    [asked] = host.asked
    assert (asked.name, asked.target) == ("client.test", "/%41/client.json?a=%42")
    assert asked.headers == {
        "host": f"client.test:{host.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "Gatepost",
        "connection": asked.headers.get("connection", ""),
    }


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("place", ["https://127.0.0.1/x", "http://169.254.169.254/latest/", "/other.json", "OTHER"])
async def test_a_redirect_is_not_followed(host: DocumentHost, status: str, place: str) -> None:
    """Neither to private addresses nor to a correct document beside it."""
    other = host.show("/other.json")
    url = answering(host, b"{}", status, location=other if place == "OTHER" else place)
    assert "redirects" in await refusal(host.fetcher(), url)
    assert [asked.target for asked in host.asked] == ["/client.json"]


@pytest.mark.parametrize("status", STATUSES)
async def test_only_200_is_an_answer(host: DocumentHost, status: str) -> None:
    """Whatever the body; 304 counts only if a tag was sent."""
    url = answering(host, json.dumps(document(host.url())).encode(), status)
    await refusal(host.fetcher(), url)


@pytest.mark.parametrize("kind", KINDS)
async def test_another_content_type_is_refused(host: DocumentHost, kind: str) -> None:
    """A page that somebody could upload to a domain is not that domain's document."""
    url = answering(host, json.dumps(document(host.url())).encode(), content_type=kind)
    assert "content type" in await refusal(host.fetcher(), url)


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/oauth-client+json"]
)
async def test_json_content_types_are_taken(host: DocumentHost, kind: str) -> None:
    """Any application/…+json too, as the draft says."""
    assert (await fetched(host.fetcher(), answering(host, b"{}", content_type=kind))).body == b"{}"


# --- Size and time --------------------------------------------------------------------------------------------------


async def test_a_document_of_five_kib_is_taken_and_one_byte_more_is_not(host: DocumentHost) -> None:
    """With Content-Length and without."""
    for headers in ({}, {"content_length": ""}):
        assert (await fetched(host.fetcher(), answering(host, b" " * MAX_BYTES, **headers))).body == b" " * MAX_BYTES
        assert "longer" in await refusal(host.fetcher(), answering(host, b" " * (MAX_BYTES + 1), **headers))


@pytest.mark.parametrize("length", ["5121", "99999999999", "9" * 20])
async def test_a_long_content_length_is_believed_at_once(host: DocumentHost, length: str) -> None:
    """It is refused without waiting for the body."""

    def wait(line: ssl.SSLSocket) -> None:
        line.sendall(response(b"", content_length=length))
        time.sleep(2)

    url = talking(host, wait)
    before = time.monotonic()
    await refusal(host.fetcher(), url)
    assert time.monotonic() - before < 1.5


async def test_an_endless_body_is_cut(host: DocumentHost) -> None:
    """Endless chunks: reading ends after five KiB, and the connection is closed."""
    cut = threading.Event()

    def endless(line: ssl.SSLSocket) -> None:
        line.sendall(response(b"", content_length="", transfer_encoding="chunked"))
        try:
            while True:
                line.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
        except OSError:
            cut.set()

    assert "longer" in await refusal(host.fetcher(), talking(host, endless))
    assert await asyncio.to_thread(cut.wait, 5)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_a_compressed_body_is_refused_unread(host: DocumentHost, encoding: str) -> None:
    """A decompression bomb is never unpacked: identity was asked for, and nothing else is accepted."""
    bomb = gzip.compress(b" " * 50_000_000)[:4000]
    assert "compressed" in await refusal(host.fetcher(), answering(host, bomb, content_encoding=encoding))


@pytest.mark.parametrize("where", ["head", "body"])
async def test_a_slow_drip_ends_after_five_seconds(
    host: DocumentHost, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The limit is for the whole fetch: each single byte would be in time."""
    assert SECONDS == 5
    monkeypatch.setattr(fetching, "SECONDS", 1.0)

    def drip(line: ssl.SSLSocket) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\n" if where == "head" else response(b"", content_length="5000"))
        for _ in range(100):
            line.sendall(b"x")
            time.sleep(0.1)

    before = time.monotonic()
    assert "seconds" in await refusal(host.fetcher(), talking(host, drip))
    assert 0.9 < time.monotonic() - before < 2.5


async def test_a_name_server_that_does_not_answer_counts_as_well(
    host: DocumentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name resolution is part of the five seconds."""
    monkeypatch.setattr(fetching, "SECONDS", 0.2)

    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    assert "seconds" in await refusal(host.fetcher(resolve=never), host.show())


@pytest.mark.clause("A4.bounded")
async def test_names_that_hang_stop_nobody_elses_document(host: DocumentHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup cannot be cancelled: it counts against the network that caused it until it ends."""
    find, hang, hung = socket.getaddrinfo, threading.Event(), list[str]()

    def looked_up(name: str, *rest: Any) -> Any:
        if name.endswith(".slow.test"):
            hung.append(name)
            hang.wait()
        return find("127.0.0.1", *rest)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.setattr(fetching, "SECONDS", 0.3)
    fetcher = host.fetcher(resolve=None)

    async def wants(name: str, network: str) -> str:
        try:
            fetched = await fetcher.fetch(metadata_document.parse(host.show(name=name)), network=network)
        except NoDocument as refused:
            return refused.reason
        return str(fetched.body)

    try:
        for attempt in range(3):
            asked = [wants(f"{attempt}-{number}.slow.test", "192.0.2.1") for number in range(20)]
            assert not [body for body in await asyncio.gather(*asked) if "client_id" in body]
        assert len(hung) == fetching.AT_ONCE_FROM_A_NETWORK
        assert await wants("client.test", "192.0.2.1") == "too many fetches"
        assert "client_id" in await wants("client.test", "192.0.2.2")
    finally:
        hang.set()


# --- Addresses ------------------------------------------------------------------------------------------------------


def resolving(*answers: list[str]) -> Any:
    """A resolver that answers differently each time, and counts its calls."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        return left.pop(0)

    resolve.left = left  # type: ignore[attr-defined]  # for the test to read
    return resolve


@pytest.mark.clause("A4.addresses")
async def test_a_name_that_is_bound_anew_is_not_looked_up_twice(host: DocumentHost) -> None:
    """DNS rebinding: public at the check, private at the connection. There is one lookup, used for both."""
    resolve = resolving(["127.0.0.1"], ["169.254.169.254"])
    await fetched(host.fetcher(resolve=resolve), host.show())
    assert resolve.left == [["169.254.169.254"]]
    assert len(host.asked) == 1


@pytest.mark.clause("A4.addresses")
@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["fe80::1%lo", "127.0.0.1"], []])
async def test_one_address_that_is_not_public_refuses_the_name(host: DocumentHost, addresses: list[str]) -> None:
    """Every address is checked, not only the one that would be used, and no connection is made."""
    assert "not public" in await refusal(host.fetcher(resolve=resolving(addresses)), host.show())
    assert host.asked == []


@pytest.mark.clause("A4.addresses")
@pytest.mark.parametrize("name", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]",
                                  "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0", "[::]"])  # fmt: skip
async def test_loopback_is_refused_however_it_is_written(host: DocumentHost, name: str) -> None:
    """With the machine's own resolver and the default rule, a real listener gets no connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        assert "not public" in await refusal(Fetcher(), f"https://{name}:{port}/client.json")
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.clause("A4.addresses")
@pytest.mark.parametrize("address", PRIVATE)
async def test_a_private_address_behind_a_name_is_refused(host: DocumentHost, address: str) -> None:
    """By the default rule; the whole table is in tests/idp/ground."""
    assert "not public" in await refusal(Fetcher(resolve=resolving([address])), host.show())


@pytest.mark.clause("A4.addresses")
async def test_no_proxy_of_the_environment_is_used(host: DocumentHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name again, past the check."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert (await fetched(host.fetcher(), host.show())).body


async def test_the_next_address_is_tried_where_one_takes_no_connection(host: DocumentHost) -> None:
    """It is enough if one address works."""
    fetcher = host.fetcher(resolve=resolving(["127.0.0.2", "127.0.0.1"]), is_allowed=lambda _each: True)
    assert (await fetched(fetcher, host.show())).body


@pytest.mark.parametrize("name", ["unknown.test", "a.b.client.test", "client.test.evil.test"])
async def test_a_certificate_for_another_name_is_refused(host: DocumentHost, name: str) -> None:
    """The connection goes to an IP address, but the certificate must be for the name."""
    assert "secure" in await refusal(host.fetcher(), host.show(name=name))
    assert host.asked == []


async def test_a_certificate_of_an_unknown_authority_is_refused(host: DocumentHost) -> None:
    """So is a server without TLS."""
    tls = ssl.create_default_context()
    trustme.CA().configure_trust(tls)
    assert "secure" in await refusal(host.fetcher(tls=tls), host.show())
    assert "secure" in await refusal(host.fetcher(tls=None), host.show())
    assert host.asked == []


async def test_a_server_that_breaks_off_is_refused(host: DocumentHost) -> None:
    """In the middle of the head or the body, or with an answer that is not HTTP."""
    for said in (b"", b"HTTP/1.1 200", response(b"{}", content_length="50"), b"SSH-2.0-OpenSSH\r\n", b"\x00" * 5000):
        host.answers["/client.json"] = said
        assert await refusal(host.fetcher(), host.url())


# --- Freshness ------------------------------------------------------------------------------------------------------


@pytest.mark.clause("A4.cache")
@pytest.mark.parametrize(
    ("headers", "fresh_for"),
    [
        ({}, timedelta(hours=1)),
        ({"cache_control": "public"}, timedelta(hours=1)),
        ({"cache_control": "public, max-age=7200"}, timedelta(hours=2)),
        ({"cache_control": 'Max-Age="7200"'}, timedelta(hours=2)),
        ({"cache_control": "max-age=7200", "age": "3600"}, timedelta(hours=1)),
        ({"cache_control": "max-age=0"}, timedelta(minutes=5)),
        ({"cache_control": "max-age=7200", "age": "999999"}, timedelta(minutes=5)),
        ({"cache_control": "max-age=31536000, immutable"}, timedelta(days=1)),
        ({"cache_control": "max-age=99999999999999999999"}, timedelta(days=1)),
        ({"cache_control": "no-store"}, timedelta(minutes=5)),
        ({"cache_control": "no-cache, max-age=7200"}, timedelta(minutes=5)),
        ({"cache_control": "max-age=-5"}, timedelta(hours=1)),
        ({"cache_control": "s-max-age=7200x-max-age=7200"}, timedelta(hours=1)),
    ],
    ids=str,
)
async def test_how_long_a_document_is_fresh(host: DocumentHost, headers: dict[str, str], fresh_for: timedelta) -> None:
    """As long as its server says, but at least five minutes and at most a day."""
    assert (await fetched(host.fetcher(), answering(host, b"{}", **headers))).fresh_for == fresh_for


@pytest.mark.clause("A4.cache")
async def test_a_document_that_did_not_change_is_not_sent_again(host: DocumentHost) -> None:
    """The tag is sent back unchanged; one that is no valid header value is dropped."""
    url = answering(host, b"", "304 Not Modified", content_length="", cache_control="max-age=7200")
    found = await fetched(host.fetcher(), url, '"one"')
    assert (found.body, found.etag, found.fresh_for) == (None, '"one"', timedelta(hours=2))
    assert host.asked[0].headers["if-none-match"] == '"one"'
    for tag in ('"' + "x" * 300 + '"', '"\u00e4"'):
        assert (await fetched(host.fetcher(), answering(host, b"{}", etag=tag))).etag == ""
