"""Behind Caddy, nginx and HAProxy, with the files that operators copy: the journey, and what no caller can alter."""

import json
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from tests.journeys.connecting import LOOPBACK, connection
from tests.proxies.deployed import Public, Visitor
from tests.proxies.tunnel import CLIENT
from tests.support.forwarded import FORWARDED, masked
from tests.support.mcp_client import Storage
from tests.support.smtp import link_of, text_of

VISIBLE = ["demo_echo", "demo_get_help", "demo_get_time", "request_access", "whoami"]


async def test_the_whole_journey(public: Public) -> None:
    """Discovery, registration, mail, link, consent, tokens, each tool and a refresh, all at public addresses."""
    with public.person("alice@example.com") as person:
        person.browser.headers["x-forwarded-for"] = "203.0.113.9"
        mails = len(person.postbox.to(person.email))
        person.by_link = True
        line: dict[str, Any] = {"proxy": public.tunnel.url, "verify": public.context}
        async with connection(public.mcp, person, Storage(), **line) as connected:
            assert await connected.tools() == VISIBLE
            for name in VISIBLE:
                result = await connected.call(name, **({"text": "hello"} if name == "demo_echo" else {}))
                assert not result.is_error, result
            first, _ = connected.tokens()
            connected.outlive_access_token()
            assert person.email in str((await connected.call("whoami")).structured_content)
            assert connected.tokens()[0] != first
        stayed_outside(person, public)
        mail = person.postbox.to(person.email)[mails]
        assert link_of(mail).startswith(f"{public.issuer}/sign-in/link?")
        assert f"network {CLIENT}\r\n" in text_of(mail)


def stayed_outside(person: Visitor, public: Public) -> None:
    """No URL, redirect or cookie that the browser received belongs to the network behind the proxy."""
    issuer = public.issuer + "/"
    assert person.submitted
    for answer in person.seen:
        address = str(answer.request.url)
        assert address.startswith(issuer), address
        target = urljoin(address, answer.headers.get("location", address))
        assert target.startswith((issuer, LOOPBACK)), target
        for cookie in answer.headers.get_list("set-cookie"):
            assert cookie.startswith("__Host-"), cookie
            assert "; Secure" in cookie
            assert "domain" not in cookie.lower()


def test_the_keys_came_from_the_public_issuer(public: Public) -> None:
    """By its public name, through the proxy, with a certificate that SSL_CERT_FILE makes trusted."""
    assert f"{urlsplit(public.issuer).hostname}:443" in public.tunnel.asked
    assert [line["issuer"] for line in logged(public, "keys_fetched")] == [public.issuer]


def logged(public: Public, event: str) -> Iterator[dict[str, str]]:
    """The resource server's lines about ``event``."""
    lines = (json.loads(line) for line in public.resource.logged().splitlines())
    return (line for line in lines if line["event"] == event)


def test_no_header_of_a_caller_changes_an_answer(public: Public) -> None:
    """Documents, pages, the challenge and errors are the same, except for what is random in every answer."""
    with public.client() as line:
        for method, url in asked(public):
            plain, spoofed = line.request(method, url), line.request(method, url, headers=FORWARDED)
            assert spoofed.status_code == plain.status_code, url
            assert masked(spoofed.text) == masked(plain.text), url
            assert told(spoofed) == told(plain), url
            assert "evil" not in f"{spoofed.headers} {spoofed.text}"


def asked(public: Public) -> list[tuple[str, str]]:
    """Everything that a client requests before it has a token, and some URLs that a person may type."""
    issuer, mcp = urlsplit(public.issuer), urlsplit(public.mcp)
    documents = [f"{issuer.path}/.well-known/{name}" for name in ("oauth-authorization-server", "openid-configuration")]
    inserted = [f"/.well-known/{name}{issuer.path}" for name in ("oauth-authorization-server", "openid-configuration")]
    places = [*documents, *inserted, f"{issuer.path}/jwks.json", f"{issuer.path}/", f"{issuer.path}/no/such/page"]
    places += [f"{issuer.path}/authorize?client_id=unknown"]
    metadata = ["/.well-known/oauth-protected-resource", f"/.well-known/oauth-protected-resource{mcp.path}"]
    return [
        *(("GET", f"https://{issuer.netloc}{place}") for place in places),
        *(("GET", f"https://{mcp.netloc}{place}") for place in metadata),
        ("GET", public.mcp),
        ("POST", public.mcp),
        ("POST", f"{public.issuer}/token/"),
        ("OPTIONS", f"{public.issuer}/token"),
    ]


def told(answer: httpx2.Response) -> list[tuple[str, str]]:
    """The headers, without the date."""
    return sorted((name, masked(value)) for name, value in answer.headers.items() if name != "date")


def test_the_address_in_the_log_is_the_callers_own(public: Public) -> None:
    """It is the rightmost hop that is not our proxy; what a caller writes is to its left."""
    with public.client() as line:
        for forged in ("203.0.113.9", "127.0.0.1", "203.0.113.9, 10.0.0.1", "10.0.0.1, 127.0.0.1"):
            line.get(public.mcp, headers={"x-forwarded-for": forged, "forwarded": f"for={forged}"})
    assert {request["address"] for request in logged(public, "request")} == {CLIENT}
    assert not list(logged(public, "forwarded_for_not_believed"))


@pytest.mark.parametrize("document", ["oauth-authorization-server", "oauth-protected-resource"])
def test_a_foreign_name_gets_nothing(public: Public, document: str) -> None:
    """By Host or by an absolute-form request line: the answer is the proxy's own, a refusal, or unchanged."""
    base = urlsplit(public.issuer if "authorization" in document else public.mcp)
    place = f"/.well-known/{document}{base.path}"
    mine = raw(public, base.netloc, place, base.netloc)
    assert b" 200 " in mine.partition(b"\r\n")[0]
    assert public.issuer.encode() in mine
    assert public.issuer.encode() not in raw(public, base.netloc, place, "evil.test")
    for line, host in ((f"https://evil.test{place}", base.netloc), (f"https://{base.netloc}{place}", "evil.test")):
        answer = raw(public, base.netloc, line, host)
        assert b"evil" not in answer.partition(b"\r\n\r\n")[0]
        assert body(answer) == body(mine) or public.issuer.encode() not in answer


def raw(public: Public, name: str, target: str, host: str) -> bytes:
    """The whole answer to a GET with the given request line and Host, sent to ``name`` over TLS."""
    with public.tunnel.connection(name) as plain, public.context.wrap_socket(plain, server_hostname=name) as line:
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        try:
            while data := line.recv(65536):
                answer += data
        except ssl.SSLEOFError:  # closed without a TLS close_notify, which does not matter here
            pass
        return answer


def body(answer: bytes) -> bytes:
    """The JSON object in an answer, however it was chunked."""
    found = re.search(rb"\{.*\}", answer, re.DOTALL)
    return found.group() if found else b""
