"""E: whatever comes, the open doors answer 4xx or do what was asked; no 5xx, no 422, no way out to a stranger."""

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.idp.oauth.wire import Server
from tests.support.oauth import TestClient, challenge_of, registered

BOUNDED = settings(max_examples=150, deadline=None, database=None, derandomize=True)
VERIFIER = "v" * 43
REDIRECTS = ["https://client.test/callback", "http://127.0.0.1:4000/cb", "cursor://client/cb"]
ODD = [
    "", " ", "\0", "\r\nset-cookie: a=b", "é", "\ud800", "🔑", "%00", "%", "'", '"', "\\", "<x>", "{{7*7}}", "null",
    "-1",
    "9" * 400, "a" * 5000, "https://evil.test/", "//evil.test", "javascript:alert(1)", "https://client.test@evil.test",
    "https://client.test/callback/../x", "none", "none login", "plain", "S256", "code token", "https://evil.test/mcp",
]  # fmt: skip  # a list of odd values


MEANT: dict[str, list[str]] = {
    "client_id": ["CLIENT"],
    "redirect_uri": [*REDIRECTS, "http://127.0.0.1:5000/cb"],
    "response_type": ["code"],
    "code_challenge": [challenge_of(VERIFIER)],
    "code_challenge_method": ["S256"],
    "scope": ["demo:read", "openid demo:ops"],
    "state": ["s"],
    "resource": ["http://localhost:9001/mcp"],
    "prompt": ["login", "none", "consent"],
    "max_age": ["0", "10"],
    "nonce": ["n"],
    "request_uri": [""],
    "grant_type": ["authorization_code", "refresh_token"],
    "code": ["gp_ac_x"],
    "code_verifier": [VERIFIER],
    "refresh_token": ["gp_rt_x"],
    "client_secret": ["gp_cs_x"],
    "token": ["x"],
}
"""For each parameter what a client might mean; CLIENT stands for the id."""

_LOOSE = st.one_of(st.sampled_from(ODD), st.text(max_size=60))
_PAIR = st.sampled_from(sorted(MEANT)).flatmap(
    lambda name: st.tuples(st.just(name), st.one_of(st.sampled_from(MEANT[name]), st.sampled_from(MEANT[name]), _LOOSE))
)


def spoilt(*names: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    """A request that has what it needs, with some of it replaced, and more added: often enough almost right."""
    whole = st.tuples(*(st.tuples(st.just(name), st.sampled_from(MEANT[name])) for name in names))
    more = st.lists(st.one_of(_PAIR, st.tuples(st.text(max_size=12), _LOOSE)), max_size=4)
    replaced = st.dictionaries(st.sampled_from(names), _LOOSE, max_size=2)
    return st.builds(
        lambda base, changes, added: [(name, changes.get(name, value)) for name, value in base] + added,
        whole,
        replaced,
        more,
    )


def encoded(client: TestClient, pairs: list[tuple[str, str]]) -> str:
    """The pairs as a client sends them; half a surrogate goes out as the bytes that it cannot be."""
    return urlencode(
        [(name, client.id if value == "CLIENT" else value) for name, value in pairs], errors="surrogatepass"
    )


def refused_well(answer: httpx2.Response) -> None:
    """A refusal for a program: 400 or 401, JSON, an error, no-store."""
    assert answer.status_code in (400, 401), (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["error"]
    assert "detail" not in answer.json()


@pytest.fixture(scope="module")
def target(server: Server) -> TestClient:
    """A client with one address of each kind."""
    return registered(server, redirect_uris=REDIRECTS)


@pytest.mark.clause("E5", "A3.no-open-redirect", "A6.error")
@BOUNDED
@given(
    pairs=spoilt("client_id", "redirect_uri", "response_type", "code_challenge", "code_challenge_method", "resource")
)
def test_authorize_leads_to_the_client_to_the_sign_in_or_nowhere(
    target: TestClient, pairs: list[tuple[str, str]]
) -> None:
    """302 to a registered address with an error and iss, 303 to our own page, or a page."""
    answer = target.idp.get(f"/authorize?{encoded(target, pairs)}")
    assert answer.status_code in (302, 303, 400), (answer.status_code, answer.text)
    location = answer.headers.get("location", "")
    if answer.status_code == 302:
        assert location.startswith((*(f"{uri}?" for uri in REDIRECTS), "http://127.0.0.1:5000/cb?"))
        assert "error=" in location
        assert "&iss=" in location
        assert location.isascii()
    if answer.status_code == 303:
        assert urlsplit(location)[:2] == ("", "")
        assert location.startswith("/sign-in/")
    if answer.status_code == 400:
        assert not location
    assert not {"a", "b"} & {cookie.partition("=")[0] for cookie in answer.headers.get_list("set-cookie")}


@pytest.mark.clause("E1", "E2", "E4", "E5")
@BOUNDED
@given(pairs=spoilt("client_id", "grant_type", "code", "code_verifier", "redirect_uri", "refresh_token"))
@example(pairs=[("client_id", "CLIENT"), ("grant_type", "refresh_token"), ("refresh_token", "\ud800")])
def test_the_token_endpoint_refuses_well(target: TestClient, pairs: list[tuple[str, str]]) -> None:
    """Nothing here is worth a token."""
    assert isinstance(target.idp, Server)
    refused_well(target.idp.raw("/token", encoded(target, pairs).encode()))


@pytest.mark.clause("E1", "E2", "E5")
@BOUNDED
@given(body=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode(errors="ignore"))))
@pytest.mark.parametrize("path", ["/token", "/revoke", "/register"])
def test_bytes_are_refused_well(target: TestClient, path: str, body: bytes) -> None:
    """Whatever they are."""
    assert isinstance(target.idp, Server)
    refused_well(target.idp.raw(path, body))


_URIS = st.one_of(
    st.sampled_from(REDIRECTS),
    st.sampled_from([value for value in ODD if value != "\ud800"]),
    st.builds(
        "{}:{}".format,
        st.sampled_from(["https", "http", "javascript", "data", "x", "com.example"]),
        st.text(max_size=20),
    ),
    st.builds(
        "{}://{}/{}".format, st.sampled_from(["https", "http", "file"]), st.text(max_size=12), st.text(max_size=12)
    ),
    st.builds("http://{}{}".format, st.sampled_from(["localhost", "127.0.0.1", "[::1]"]), st.text(max_size=12)),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)
_METADATA = st.fixed_dictionaries(
    {"redirect_uris": st.one_of(st.lists(_URIS, max_size=4), st.lists(_URIS, max_size=4), _JSON)},
    optional={
        "client_name": st.one_of(st.text(max_size=50), _JSON),
        "token_endpoint_auth_method": st.one_of(st.sampled_from(["none", "client_secret_post"]), _JSON),
        "grant_types": st.one_of(st.lists(st.sampled_from(["authorization_code", "refresh_token", "x"])), _JSON),
        "response_types": _JSON,
        "client_uri": st.one_of(_URIS, _JSON),
        "logo_uri": st.one_of(_URIS, _JSON),
        "scope": _JSON,
        "contacts": _JSON,
    },
)


@pytest.mark.clause("A5.bad-input", "A3.never", "E1", "E2", "E5")
@BOUNDED
@given(metadata=st.one_of(_METADATA, _METADATA, _JSON))
def test_registration_registers_or_refuses_well(server: Server, metadata: Any) -> None:
    """201 with addresses that were sent and may be, or 400; and what is registered breaks no page."""
    answer = server.request("POST", "/register", content=json.dumps(metadata).encode())
    if answer.status_code != 201:
        refused_well(answer)
        return
    information = answer.json()
    assert information["redirect_uris"]
    assert set(information["redirect_uris"]) <= set(metadata["redirect_uris"])
    for uri in information["redirect_uris"]:
        scheme, _, rest = uri.partition(":")
        assert scheme.lower() not in ("javascript", "data", "file", "vbscript", "blob", "about"), uri
        assert uri.isascii(), uri
        assert "#" not in uri, uri
        assert "@" not in rest.removeprefix("//").partition("/")[0].partition("?")[0], uri
        if scheme.lower() == "http":
            assert urlsplit(uri).hostname in ("localhost", "127.0.0.1", "::1"), uri
    client = TestClient(server, information, information["redirect_uris"][0])
    assert server.get(client.authorize_url().removeprefix(server.issuer)).status_code == 303
