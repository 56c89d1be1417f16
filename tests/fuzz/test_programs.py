"""Whatever is sent to the endpoints for programs, the answer is one that the RFCs define."""

import json
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import strategies as st

from tests.fuzz.doors import IDP
from tests.fuzz.grammar import FORM, JSON, ODD, REGISTRATIONS, encoded, objects, program_requests
from tests.fuzz.messages import mcp_requests
from tests.fuzz.noise import noise
from tests.fuzz.running import VERIFIER, Target, run
from tests.support.line import Raw, Request
from tests.support.oauth import challenge_of

TOKENS = tuple(door for door in IDP if door.kind == "tokens")
DOCUMENTS = tuple(door for door in IDP if door.kind == "document")
AUTHORIZE = tuple(door for door in IDP if door.path == "/authorize")
NEVER = ("javascript", "data", "file", "vbscript", "blob", "about")


@pytest.mark.clause("E1", "E2", "E4", "E5", "E6", "E7")
def test_tokens_registration_and_documents(target: Target) -> None:
    """JSON with a registered error and no-store, or success."""

    def work(request: Request) -> None:
        target.idp_judge.check(request, target.idp.send(request))

    with target.well():
        run(0.22, program_requests(target.known, (*TOKENS * 4, *DOCUMENTS)), work)


@pytest.mark.clause("E1", "E2", "E5", "E7")
def test_each_parameter_with_each_odd_value(target: Target) -> None:
    """One by one, in otherwise valid requests: random generation would rarely produce these."""
    for door in (door for door in TOKENS if door.form):
        right = [*target.known.credentials(door.form)[0]]
        right += [(name.encode(), target.known.meant(name)[0]) for name in door.form if name not in dict_of(right)]
        for name in door.form:
            for odd in ODD:
                pairs = [(found, odd if found == name.encode() else its) for found, its in right]
                request = Request("POST", door.path.encode(), ((b"content-type", FORM),), encoded(pairs))
                target.idp_judge.check(request, target.idp.send(request))


def dict_of(pairs: list[tuple[bytes, bytes]]) -> dict[str, bytes]:
    """The parameters already present."""
    return {name.decode(): value for name, value in pairs}


@pytest.mark.clause("A3.never", "A5.bad-input", "P3")
def test_what_is_registered_can_be_used(target: Target) -> None:
    """Only acceptable redirect URIs of those sent are registered, and no page breaks on the other metadata."""

    def work(body: bytes) -> None:
        request = Request("POST", b"/register", ((b"content-type", JSON),), body)
        answer = target.idp.send(request)
        target.idp_judge.check(request, answer)
        if answer.status == 201:
            information = json.loads(answer.body)
            assert set(information["redirect_uris"]) <= set(json.loads(body)["redirect_uris"]), request
            for uri in information["redirect_uris"]:
                may_be_registered(uri)
            shown(target, information["client_id"], information["redirect_uris"][0])

    with target.well():
        run(0.05, objects(REGISTRATIONS), work)


def may_be_registered(uri: str) -> None:
    """RFC 9700 section 4.1, RFC 8252 section 7."""
    scheme, _, rest = uri.partition(":")
    assert scheme.lower() not in NEVER, uri
    assert uri.isascii(), uri
    assert "#" not in uri, uri
    assert "@" not in rest.removeprefix("//").partition("/")[0].partition("?")[0], uri
    if scheme.lower() == "http":
        assert urlsplit(uri).hostname in ("localhost", "127.0.0.1", "::1"), uri


def shown(target: Target, client_id: str, redirect_uri: str) -> None:
    """The email page of a request by this client."""
    asked = f"client_id={client_id}&redirect_uri={quote(redirect_uri)}&code_challenge={challenge_of(VERIFIER)}"
    target_of = f"/authorize?{asked}&response_type=code&code_challenge_method=S256".encode()
    answer = target.idp.send(Request("GET", target_of))
    assert answer.status == 303, (redirect_uri, answer)
    cookie = answer.get("set-cookie").partition(";")[0].encode()
    page = Request("GET", answer.get("location").encode(), ((b"cookie", cookie),))
    answer = target.idp.send(page)
    target.idp_judge.check(page, answer)
    assert answer.status == 200, (redirect_uri, answer)


@pytest.mark.clause("A3.no-open-redirect", "A6.error", "E5")
def test_authorize(target: Target) -> None:
    """The redirect goes to a registered URI with ``iss``, to the sign-in, or nowhere."""

    def work(request: Request) -> None:
        target.idp_judge.check(request, target.idp.send(request))

    with target.well():
        run(0.13, program_requests(target.known, AUTHORIZE), work)


@pytest.mark.clause("R2", "R3", "E5")
def test_mcp(target: Target) -> None:
    """JSON-RPC, or a refusal whose challenge says where to get a token."""

    def work(request: Request) -> None:
        target.resource_judge.check(request, target.resource.send(request))

    with target.well():
        run(0.2, mcp_requests(target.known), work)


@pytest.mark.clause("E5", "P1")
@pytest.mark.parametrize("name", ["idp", "resource"])
def test_bytes_that_are_hardly_http(target: Target, name: str) -> None:
    """There is an answer, or the connection is closed."""
    line, judge = (target.idp, target.idp_judge) if name == "idp" else (target.resource, target.resource_judge)

    def work(raw: Raw) -> None:
        judge.check_noise(raw, line.send_raw(raw))

    with target.well():
        run(0.04, noise(line.authority), work)


def test_other_addresses(target: Target) -> None:
    """Unknown addresses are answered with our own text."""
    segments = st.sampled_from(
        ["x", "mcp", "token", "sign-in", ".well-known", "..", "%2e%2e", "%00", "%ff", "é", "admin"]
    )
    paths = st.lists(segments | st.text(max_size=8), min_size=1, max_size=4).map("/".join)

    def work(path: str) -> None:
        request = Request("GET", f"/{quote(path, safe='/%', errors='surrogatepass')}".encode())
        target.idp_judge.check(request, target.idp.send(request))
        target.resource_judge.check(request, target.resource.send(request))

    with target.well():
        run(0.01, paths, work)
