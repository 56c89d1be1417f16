"""R3: the issuer is asked, rarely, about a bearer that is not a JWT, which is accepted only if it says so."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.resource.issuer import Issuer
from tests.resource.running import LIST, Running, at_once, challenge, serving

pytestmark = pytest.mark.clause("R3.opaque")
TOKEN = "gp_pt_" + "a" * 43


def made_up(number: int) -> str:
    """A made-up token in the right form, as a stranger who has read the source would send."""
    return f"gp_pt_{number:043}"


@contextlib.contextmanager
def introspecting(issuer: Issuer, **settings: Any) -> Iterator[Running]:
    client_id, secret = issuer.credentials
    own = {"introspection_client_id": client_id, "introspection_client_secret": secret, **settings}
    with serving(issuer, **own) as running:
        yield running


@pytest.fixture
def resource(issuer: Issuer) -> Iterator[Running]:
    with introspecting(issuer) as running:
        yield running


def knows(resource: Running, token: str = TOKEN, **changes: Any) -> None:
    """Makes the issuer vouch for a token."""
    resource.issuer.told[token] = resource.issuer.claims(resource.mcp, resource.clock(), **changes)


def tools(answer: httpx2.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {tool["name"] for tool in answer.json()["result"]["tools"]}


def asked(resource: Running, token: str = TOKEN) -> httpx2.Response:
    return resource.post(LIST, token)


def test_an_active_token_shows_the_tools_of_its_scopes(resource: Running) -> None:
    """The same tools as a JWT with those scopes."""
    knows(resource, scope="demo:read")
    assert tools(asked(resource)) == tools(asked(resource, resource.token(scope="demo:read")))
    assert resource.issuer.introspected == [TOKEN]


def test_an_inactive_token_is_refused(resource: Running) -> None:
    """401 invalid_token with the challenge, as for any other token."""
    refused = asked(resource)
    assert refused.status_code == 401
    assert challenge(refused)["error"] == "invalid_token"


def test_a_token_with_missing_scope_is_offered_step_up(resource: Running) -> None:
    """403 with what to ask for."""
    knows(resource, scope="demo:read", entitlements=["demo:echo"])
    refused = resource.call("demo_echo", TOKEN, text="hello")
    assert refused.status_code == 403
    assert challenge(refused)["scope"] == "demo:read demo:echo"


def test_an_answer_counts_for_half_a_minute(resource: Running) -> None:
    """Many calls share one request; a revoked token is noticed within the promised minute."""
    knows(resource)
    for _ in range(5):
        tools(asked(resource))
    assert len(resource.issuer.introspected) == 1
    resource.issuer.told.clear()
    resource.later(29)
    tools(asked(resource))
    resource.later(2)
    assert asked(resource).status_code == 401
    assert len(resource.issuer.introspected) == 2


def test_a_token_is_refused_after_its_end_whatever_was_remembered(resource: Running) -> None:
    """A cached answer ends with `exp`."""
    knows(resource, exp=int(resource.clock()) + 5)
    tools(asked(resource))
    resource.issuer.told.clear()
    resource.later(6)
    assert asked(resource).status_code == 401


def test_a_clock_that_goes_back_makes_no_answer_count_for_longer(resource: Running) -> None:
    """Neither an active nor an inactive answer: the half minute and the ten seconds do not depend on the clock."""
    knows(resource)
    tools(asked(resource))
    assert asked(resource, made_up(0)).status_code == 401
    resource.issuer.told.clear()
    resource.clock.offset -= 3600
    resource.monotonic.offset += 31
    assert asked(resource).status_code == 401
    knows(resource, made_up(0))
    tools(asked(resource, made_up(0)))


def test_a_storm_with_one_bad_token_asks_once_in_ten_seconds(resource: Running) -> None:
    """A stranger's repeated token costs the issuer one request in ten seconds."""
    assert {asked(resource).status_code for _ in range(20)} == {401}
    assert len(resource.issuer.introspected) == 1
    resource.later(11)
    knows(resource)
    tools(asked(resource))


def test_many_calls_at_once_with_one_token_are_one_question(resource: Running) -> None:
    """The second waits for the answer to the first."""
    knows(resource)
    resource.issuer.delay = 0.3
    answers = at_once(10, lambda _: asked(resource))
    assert {answer.status_code for answer in answers} == {200}
    assert resource.issuer.introspected == [TOKEN]


def test_a_flood_of_made_up_tokens_reaches_the_issuer_twenty_at_a_time(resource: Running) -> None:
    """However many arrive, the others wait their turn."""
    resource.issuer.delay = 0.2
    answers = at_once(60, lambda number: asked(resource, made_up(number)))
    assert {answer.status_code for answer in answers} == {401}
    assert 1 < resource.issuer.most_at_once <= 20


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://other.test/mcp"},
        {"aud": None},
        {"iss": "https://other.test"},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"sub": None},
        {"client_id": None},
        {"scope": ["demo:read"]},
        {"entitlements": "demo:ops"},
        {"active": "true"},
        {"active": 1},
    ],
)
def test_an_active_token_that_is_not_for_this_resource_or_not_whole_is_refused(
    resource: Running, changes: dict[str, Any]
) -> None:
    """The issuer's word is checked as a JWT's claims are: audience above all (RFC 7662, section 4)."""
    knows(resource, **changes)
    assert asked(resource).status_code == 401


@pytest.mark.parametrize("status", [500, 302, 404])
def test_an_issuer_that_fails_is_not_the_tokens_fault(resource: Running, status: int) -> None:
    """503 with Retry-After, so that no client discards a valid token; the failure is not cached."""
    knows(resource)
    resource.issuer.status = status
    refused = asked(resource)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    resource.issuer.status = 200
    tools(asked(resource))


def test_an_issuer_that_is_away_lets_nobody_in(resource: Running) -> None:
    """503 for personal tokens; JWTs are still checked with the known keys."""
    knows(resource)
    jwt = resource.token()
    resource.issuer.stop()
    assert asked(resource).status_code == 503
    tools(asked(resource, jwt))


def test_a_slow_issuer_is_given_up(resource: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """After five seconds, here 0.3."""
    monkeypatch.setattr("gatepost_resource.introspection.ANSWER_SECONDS", 0.3)
    resource.issuer.delay = 2
    assert asked(resource).status_code == 503


def test_wrong_credentials_are_the_operators_to_mend(issuer: Issuer, capfd: pytest.CaptureFixture[str]) -> None:
    """503, and the log names the setting, never the secret."""
    with introspecting(issuer, introspection_client_secret="quite wrong") as resource:
        knows(resource)
        assert asked(resource).status_code == 503
    said = capfd.readouterr()
    assert "INTROSPECTION_CLIENT_ID" in said.out + said.err
    assert "quite wrong" not in said.out + said.err


def test_an_endpoint_that_moved_is_found(issuer: Issuer) -> None:
    """A failure causes the metadata to be fetched again, whether or not the keys moved too."""
    with introspecting(issuer) as resource:
        knows(resource)
        issuer.metadata = {"introspection_endpoint": f"{issuer.url}/told"}
        issuer.gone = ["/introspect"]
        assert asked(resource).status_code == 503
        tools(asked(resource))


def test_an_endpoint_elsewhere_is_not_asked(issuer: Issuer) -> None:
    """Tampered metadata cannot make this server send a token or a secret to another origin."""
    elsewhere = issuer.twin()
    issuer.metadata = {"introspection_endpoint": f"{elsewhere.url}/introspect"}
    with introspecting(issuer) as resource:
        knows(resource)
        assert asked(resource).status_code == 503
    assert elsewhere.introspected == []


def test_without_credentials_only_jwts_are_taken(issuer: Issuer) -> None:
    """A personal token is refused, and the issuer is not asked."""
    with serving(issuer) as resource:
        knows(resource)
        assert asked(resource).status_code == 401
        tools(asked(resource, resource.token()))
    assert issuer.introspected == []


def test_a_forged_jwt_is_not_asked_about(resource: Running) -> None:
    """A bearer in the form of a JWT is checked here: with a bad signature it is refused without asking the issuer."""
    head, body, _ = resource.token().split(".")
    assert asked(resource, f"{head}.{body}.{'A' * 86}").status_code == 401
    assert resource.issuer.introspected == []


@pytest.mark.parametrize(
    "bearer",
    ["stranger", "a" * 49, TOKEN[:-1], f"{TOKEN}a", f"{TOKEN[:-1]}=", TOKEN.upper(), TOKEN.replace("pt", "rt")],
)
def test_of_a_bearer_without_the_form_of_a_personal_token_nobody_is_asked(resource: Running, bearer: str) -> None:
    """The issuer is not asked about what it cannot have issued as one, let alone about a refresh token."""
    knows(resource, bearer)
    assert asked(resource, bearer).status_code == 401
    assert resource.issuer.introspected == []


def test_a_flood_of_made_up_tokens_does_not_shut_off_a_known_one(
    resource: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that were active when last asked about keep their own request slots and their own cache."""
    monkeypatch.setattr("gatepost_resource.introspection.MAX_REMEMBERED", 10)
    knows(resource)
    tools(asked(resource))
    at_once(20, lambda number: asked(resource, made_up(number)))
    resource.monotonic.offset += 31
    resource.issuer.delay = 1
    with ThreadPoolExecutor(40) as strangers:
        flood = [strangers.submit(asked, resource, made_up(100 + number)) for number in range(40)]
        time.sleep(0.5)
        tools(asked(resource))
        assert not all(one.done() for one in flood), "it had to wait for all of them"
