"""P: no answer is built from a request's Host or X-Forwarded-*, and pages have their security headers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.idp.oauth.wire import FORM, Server, authorize, error_of, page_of, running
from tests.support.forwarded import FORWARDED
from tests.support.line import Line, Request
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person

FOREIGN = [
    "evil.test",
    "evil.test:9000",
    "localhost.evil.test",
    "evil.test:localhost",
    "127.0.0.1.evil.test",
    "127.0.0.2",
    "0.0.0.0",
    "[::2]:9000",
    "localhost@evil.test",
    "localhost, evil.test",
    "localhost/evil.test",
    "169.254.169.254",
    "auth.example.com",
]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the issuer https://auth.example.com, and one more Host for a proxy that rewrites it."""
    changes: dict[str, Any] = {
        "oauth_issuer": "https://auth.example.com",
        "mcp_resource_url": "https://mcp.example.com/mcp",
        "allowed_hosts": ("auth.internal",),
    }
    with running(tmp_path_factory.mktemp("public"), **changes) as server:
        server.issuer = server.base
        yield server


@pytest.mark.clause("P1")
@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/authorize", "/.well-known/oauth-authorization-server", "/token", "/", "/sign-in/x"])
def test_a_foreign_host_is_refused(server: Server, host: str, path: str) -> None:
    """421 in plain words, before anything else, against DNS rebinding and cache poisoning."""
    answer = server.get(path, headers={"host": host})
    assert answer.status_code == 421
    assert host not in answer.text
    assert "evil" not in str(answer.headers)


@pytest.mark.clause("P1")
def test_a_host_that_comes_twice_is_nobodys(server: Server) -> None:
    """421, even if the first of them is ours: a proxy in front may have read the other (RFC 9112 section 3.2)."""
    line = Line("127.0.0.1", server.settings.idp_port)
    own = line.authority
    for hosts in ((own, b"evil.test"), (b"evil.test", own), (own, own)):
        answer = line.send(Request("GET", b"/", tuple((b"host", host) for host in hosts)))
        assert answer.status == 421, hosts
    assert line.send(Request("GET", b"/")).status == 200
    line.close()


@pytest.mark.clause("P1")
def test_a_foreign_host_can_do_nothing(server: Server, alice: Person, client: TestClient) -> None:
    """It can neither register nor redeem: the code is still valid afterwards."""
    code = client.code(alice)
    form = f"grant_type=authorization_code&client_id={client.id}&code={code}&code_verifier={client.verifier}"
    assert server.raw("/token", form.encode(), host="evil.test").status_code == 421
    answer = server.request(
        "POST", "/register", json={"redirect_uris": ["https://x.test/"]}, headers={"host": "x.test"}
    )
    assert answer.status_code == 421
    assert server.raw("/token", form.encode()).status_code == 200


@pytest.mark.clause("P1")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_under_any_host(server: Server, path: str) -> None:
    """A load balancer probes by IP address."""
    assert server.get(path, headers={"host": "10.0.0.7:9000"}).status_code == 200


@pytest.mark.clause("P1")
@pytest.mark.parametrize(
    "host",
    [
        "auth.example.com",
        "AUTH.EXAMPLE.COM",
        "auth.example.com:443",
        "auth.internal",
        "auth.internal:9000",
        "127.0.0.1:1",
        "localhost",
        "[::1]:9000",
    ],
)
def test_the_public_host_and_the_allowed_ones_are_served(public: Server, host: str) -> None:
    """Loopback too, whose names nobody else can claim; and the document is the same under each."""
    answer = public.get("/.well-known/oauth-authorization-server", headers={"host": host})
    assert answer.status_code == 200
    assert answer.json()["issuer"] == "https://auth.example.com"
    assert answer.json()["token_endpoint"] == "https://auth.example.com/token"


@pytest.mark.clause("P1")
@pytest.mark.parametrize(
    "path", ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/jwks.json"]
)
def test_forwarded_headers_change_no_document(server: Server, path: str) -> None:
    """node-oidc-provider builds them from Host by default."""
    answer = server.get(path, headers=FORWARDED)
    assert answer.content == server.get(path).content
    assert "evil" not in str(answer.headers)


@pytest.mark.clause("P1")
def test_forwarded_headers_change_no_redirect_and_no_cookie(server: Server, client: TestClient) -> None:
    """Neither the redirect to the sign-in, nor an error's redirect, nor whether a cookie is Secure."""
    for changes in ({}, {"response_type": "token"}):
        path = client.authorize_url(**changes).removeprefix(server.issuer)
        answer = server.get(path, headers=FORWARDED)
        assert "evil" not in str(answer.headers)
        assert "203.0.113.9" not in str(answer.headers)
        if changes:
            error_of(answer, client)
        else:
            assert answer.headers["location"].startswith("/sign-in/")
            cookie = answer.headers["set-cookie"].lower()
            assert "secure" not in cookie
            assert "domain=" not in cookie


@pytest.mark.clause("P1", "P4")
def test_forwarded_headers_change_no_page(server: Server, client: TestClient) -> None:
    """Pages and their headers are built only from settings."""
    for path in ("/", "/nothing", "/authorize?client_id=x"):
        answer = server.get(path, headers=FORWARDED)
        assert "evil" not in answer.text
        assert "evil" not in str(answer.headers)


@pytest.mark.clause("P1", "P4")
def test_cookies_of_a_public_server_are_held_to_its_host(public: Server) -> None:
    """__Host-, Secure, HttpOnly, SameSite=Lax, Path=/, no domain; even over plain http behind a proxy."""
    client = registered(public)
    answer = authorize(client, resource="https://mcp.example.com/mcp")
    assert answer.status_code == 303
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name.startswith("__Host-")
    attributes = {part.strip().lower().partition("=")[0] for part in rest.split(";")[1:]}
    assert attributes == {"path", "max-age", "httponly", "samesite", "secure"}
    assert "samesite=lax" in rest.lower()
    assert "path=/;" in rest.lower()


@pytest.mark.clause("P1")
@pytest.mark.parametrize(
    "path", ["//evil.test", "//evil.test/", "/\\evil.test/", "/%2fevil.test/", "/.//evil.test/", "/token/../"]
)
def test_no_path_becomes_a_redirect(server: Server, path: str) -> None:
    """A trailing slash is never answered by a redirect, so none can lead to another host."""
    answer = server.line.get(f"{server.issuer}{path}")
    assert answer.status_code < 500
    assert "location" not in answer.headers


@pytest.mark.clause("P2")
@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_no_limit_is_escaped_by_a_forged_address(tmp_path: Path, header: str) -> None:
    """A flood with a different forged address in each request counts as one caller's, and is limited, in JSON."""
    with running(tmp_path) as idp:
        statuses = [
            idp.request(
                "POST", "/register", content=b"[]", headers={header: f"198.51.{n // 250}.{n % 250 + 1}"}
            ).status_code
            for n in range(610)
        ]
        assert set(statuses) == {400, 429}
        answer = idp.request("POST", "/register", content=b"[]", headers={header: "203.0.113.77"})
        assert answer.status_code == 429
        assert answer.json()["error"] == "temporarily_unavailable"
        assert answer.headers["retry-after"]
        assert answer.headers["access-control-allow-origin"] == "*"


PAGES = ["/", "/nothing", "/authorize", "/sign-in/x", "/consent/x", "/sign-in/link?t=x"]


@pytest.mark.clause("P4")
@pytest.mark.parametrize("path", PAGES)
def test_each_page_holds_itself_in(server: Server, path: str) -> None:
    """No script but ours, no framing, no form to elsewhere, no sniffing, no cache, no Referer to other sites."""
    held_in(server.get(path).headers)


@pytest.mark.clause("P4")
def test_the_pages_of_a_journey_hold_themselves_in(server: Server, newcomer: Callable[[], Person]) -> None:
    """Email, waiting, consent, finish and finished page: no answer with a code stays in a cache."""
    person, client = newcomer(), registered(server)
    seen = [person.open(client.authorize_url())]
    person.ask_for_mail()
    assert person.page is not None
    seen.append(person.page)
    person.sign_in_by_code()
    seen.append(person.page)
    form = person.form("decision")
    address = str(person.page.url)
    person.submit(form, decision="allow")
    seen.append(person.page)
    assert "code" in answer_of(person.answer())
    seen.append(person.open(address))
    assert len({page.text for page in seen}) == 5
    for page in seen:
        assert page.status_code == 200
        held_in(page.headers)


@pytest.mark.clause("P4")
def test_the_answer_to_the_client_is_in_no_cache_and_no_referer(server: Server, newcomer: Callable[[], Person]) -> None:
    """302, no-store, no-referrer: the code reaches only the client."""
    person, client = newcomer(), registered(server)
    client.connect(person)
    answer = person.open(client.authorize_url())
    assert answer.status_code == 302
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.clause("P4", "E5")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_an_unknown_address_is_a_page_of_ours(server: Server, method: str) -> None:
    """404 or 405, with our pages' headers."""
    answer = server.request(method, "/no/such/place")
    assert answer.status_code in (404, 405)
    held_in(answer.headers)
    if method != "HEAD":
        page_of(answer, answer.status_code)


@pytest.mark.clause("E5")
@pytest.mark.parametrize("path", ["/sign-in/x", "/consent/x", "/consent/x/again", "/sign-in/x/y/code"])
@pytest.mark.parametrize(
    "body", [b"", b"%00", b"csrf=%ff", b"csrf=" + b"a" * 1000, b"a=1&" * 2000, b"csrf=" + b"a" * 900_000]
)
def test_a_form_of_a_page_that_cannot_be_read_is_refused(server: Server, path: str, body: bytes) -> None:
    """4xx as a page: never a framework's JSON, never 422."""
    answer = server.raw(path, body)
    assert 400 <= answer.status_code < 500
    assert answer.status_code != 422
    assert answer.headers["content-type"].startswith("text/html"), answer.text


def held_in(headers: Any) -> None:
    """Asserts the security headers that each page must have."""
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert policy["base-uri"] == ["'none'"]
    assert policy["form-action"] == ["'self'"]
    for name in ("script-src", "style-src"):
        assert all(source.startswith("'sha256-") for source in policy[name])
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] in ("same-origin", "no-referrer")
    assert FORM["content-type"] not in headers.get("content-type", "")
