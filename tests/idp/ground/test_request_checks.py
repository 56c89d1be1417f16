"""What becomes of a request at /authorize once client and redirect URI are valid: scopes, limits, absent values."""

import dataclasses
from urllib.parse import urlencode

import pytest

from gatepost_idp.authorize import checks
from gatepost_idp.catalogue import Catalogue, Resource, Scope
from gatepost_idp.parameters import Parameters, parse
from gatepost_idp.protocol import Refused
from gatepost_idp.store.clients import Client
from gatepost_idp.store.requests import Request
from tests.idp.ground.test_consent_rules import REGISTERED
from tests.store.parts import CALLBACK, NOW
from tests.support.oauth import challenge_of

READ = Scope(name="a:read", title="Read", new_accounts=True)
WRITE = Scope(name="a:write", title="Write")
CATALOGUE = Catalogue(
    resource=(
        Resource(url="https://one.test/mcp", name="One", scope=(READ, WRITE)),
        Resource(url="https://two.test/mcp", name="Two", scope=(READ,)),
    )
)


def checked(client: Client = REGISTERED, **asked: str) -> Request | Refused:
    right = {
        "response_type": "code",
        "client_id": client.id,
        "code_challenge": challenge_of("v" * 43),
        "code_challenge_method": "S256",
    }
    found = parse(urlencode(right | asked))
    assert isinstance(found, Parameters)
    return checks.request_of(found, client, CALLBACK, CATALOGUE, NOW)


def passed(client: Client = REGISTERED, **asked: str) -> Request:
    found = checked(client, **asked)
    assert isinstance(found, Request), found
    return found


@pytest.mark.clause("A13.unknown", "A13.default-scope")
def test_what_is_not_asked_stays_absent() -> None:
    """State, nonce, prompt and max_age stay absent; resource and scope have defaults."""
    found = passed()
    assert (found.state, found.nonce, found.prompt, found.max_age, found.resource_named) == (
        None,
        None,
        (),
        None,
        False,
    )
    assert (found.resource, found.scope) == ("https://one.test/mcp", ("a:read",))


@pytest.mark.clause("A12.prompt", "A12.max-age", "A13.state", "A7.bound")
def test_what_is_asked_is_kept() -> None:
    """Each parameter is kept under its own name."""
    found = passed(
        state="s", nonce="n", prompt="login consent select_account", max_age="7", resource="https://two.test/mcp"
    )
    kept = (found.state, found.nonce, found.prompt, found.max_age, found.resource_named, found.resource)
    assert kept == ("s", "n", ("login", "consent", "select_account"), 7, True, "https://two.test/mcp")


@pytest.mark.clause("A12.max-age")
def test_an_age_has_nine_digits_at_most() -> None:
    """About thirty years; more could overflow a column."""
    assert passed(max_age="9" * 9).max_age == 999_999_999
    assert isinstance(checked(max_age="1" + "0" * 9), Refused)


@pytest.mark.clause("A1.response-type")
def test_the_response_mode_of_a_code_may_be_named() -> None:
    """query is the default anyway (OAuth 2.0 Multiple Response Types section 2.1)."""
    assert passed(response_mode="query") is not None
    assert isinstance(checked(response_mode="Query"), Refused)


@pytest.mark.clause("A7.unknown")
def test_of_several_resources_each_is_named_to_who_asks_for_another() -> None:
    """The operator sees in the trace which ones exist."""
    found = checked(resource="https://three.test/mcp")
    assert isinstance(found, Refused)
    assert (found.received, found.expected) == (
        "https://three.test/mcp",
        "one of: https://one.test/mcp, https://two.test/mcp",
    )


@pytest.mark.clause("C6", "A13.default-scope")
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("", ("a:write",)),
        ("a:read", ("a:write",)),
        ("a:read a:write", ("a:write",)),
        ("openid a:read", ("a:write", "openid")),
    ],
)
def test_an_operators_scopes_are_all_that_a_client_gets(asked: str, given: tuple[str, ...]) -> None:
    """They are the maximum, and the default if nothing among them was asked for."""
    by_hand = dataclasses.replace(REGISTERED, origin="manual", scope=("a:write",))
    assert passed(by_hand, scope=asked).scope == given
