"""Silent consent: only if every condition holds; otherwise one tap, or the whole page."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from gatepost_idp.consent import rules
from gatepost_idp.store.clients import Client
from gatepost_idp.store.consents import Agreement
from gatepost_idp.store.requests import Request
from tests.store.parts import CALLBACK, CLIENT, KIND, NOW
from tests.store.test_requests import REQUEST

ASKED = dataclasses.replace(REQUEST, prompt=(), max_age=None, scope=("demo:read", "demo:echo"))
REGISTERED = Client(
    id=CLIENT,
    row=KIND,
    origin="registered",
    name="Claude",
    redirect_uris=(CALLBACK,),
    auth_method="none",
    grant_types=("authorization_code", "refresh_token"),
    id_token_algorithm="RS256",
    secret_hash=None,
    resource="",
    disabled=False,
)
AGREED = Agreement(CLIENT, ("demo:read", "demo:echo"), ("demo:read", "demo:echo"), NOW + timedelta(days=30))
NARROWED = dataclasses.replace(AGREED, approved=("demo:read",))
ANOTHER = dataclasses.replace(AGREED, client_id="gp_dc_kind.two.mac")


def asked(**changes: Any) -> Request:
    return dataclasses.replace(ASKED, **changes)


def test_a_remembered_consent_is_silent() -> None:
    """With the same registration, an https redirect, a named resource, and no more scopes than before."""
    memory = rules.recall(ASKED, REGISTERED, [AGREED])
    assert (memory.kind, memory.agreement) == ("silent", AGREED)


def test_a_client_with_a_secret_is_silent_too() -> None:
    """Nobody else can use its id."""
    confidential = dataclasses.replace(REGISTERED, origin="manual", secret_hash=b"h" * 32)
    assert rules.recall(ASKED, confidential, [AGREED]).kind == "silent"


def test_fewer_scopes_than_before_are_covered() -> None:
    """Even none at all; the order does not matter."""
    for scope in [("demo:echo",), (), ("demo:echo", "demo:read")]:
        assert rules.recall(asked(scope=scope), REGISTERED, [AGREED]).kind == "silent"


@pytest.mark.clause("A10")
@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://localhost:3000/callback",
        "http://127.0.0.1:3000/callback",
        "http://[::1]:3000/callback",
        "https://localhost:8443/callback",
        "https://127.0.0.1/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "com.example:/callback",
    ],
)
def test_loopback_and_private_schemes_are_never_silent(redirect_uri: str) -> None:
    """Nobody can prove who listens there (RFC 8252 section 8.6)."""
    memory = rules.recall(asked(redirect_uri=redirect_uri), REGISTERED, [AGREED])
    assert (memory.kind, memory.agreement) == ("one_tap", AGREED)


@pytest.mark.clause("A7")
def test_a_request_that_names_no_resource_is_not_silent() -> None:
    """The default resource is a guess, so the person confirms it."""
    assert rules.recall(asked(resource_named=False), REGISTERED, [AGREED]).kind == "one_tap"


def test_an_id_that_others_know_is_not_silent() -> None:
    """A public client made by hand: a malicious server could forward its victim's challenge under that id."""
    by_hand = dataclasses.replace(REGISTERED, origin="manual")
    assert rules.recall(ASKED, by_hand, [AGREED]).kind == "one_tap"


def test_another_registration_of_the_same_kind_is_one_tap() -> None:
    """The consent for the other one is offered, never taken for granted."""
    memory = rules.recall(ASKED, REGISTERED, [ANOTHER])
    assert (memory.kind, memory.agreement) == ("one_tap", ANOTHER)


def test_ones_own_agreement_comes_before_a_newer_one_of_another() -> None:
    """Silence depends on the consent for this registration."""
    memory = rules.recall(ASKED, REGISTERED, [ANOTHER, AGREED])
    assert (memory.kind, memory.agreement) == ("silent", AGREED)


def test_more_scopes_than_before_are_asked_for() -> None:
    """The whole page is shown, even if one of the new scopes is harmless, whichever registration had less."""
    wider = asked(scope=("demo:read", "demo:echo", "demo:ops"))
    assert rules.recall(wider, REGISTERED, [AGREED, ANOTHER]).kind == "ask"
    assert rules.recall(asked(scope=("openid",)), REGISTERED, [AGREED]).kind == "ask"


def test_two_agreements_do_not_add_up() -> None:
    """Each consent stands for itself."""
    narrow = [dataclasses.replace(AGREED, asked=(name,)) for name in ("demo:read", "demo:echo")]
    assert rules.recall(ASKED, REGISTERED, narrow).kind == "ask"


def test_ones_own_narrower_agreement_is_not_widened_by_anothers() -> None:
    """What the other registration may do is then one tap away, not silent."""
    own = dataclasses.replace(AGREED, asked=("demo:read",))
    memory = rules.recall(ASKED, REGISTERED, [own, ANOTHER])
    assert (memory.kind, memory.agreement) == ("one_tap", ANOTHER)


def test_where_nothing_was_agreed_everything_is_asked() -> None:
    """Without any consent the whole page is shown."""
    assert rules.recall(ASKED, REGISTERED, []) == rules.Memory("ask")


def test_what_was_unticked_is_asked_for_again() -> None:
    """A step-up looks like any reconnect: answered silently, it would end in the same refusal as before."""
    memory = rules.recall(ASKED, REGISTERED, [NARROWED])
    assert (memory.kind, memory.agreement) == ("ask", NARROWED)
    assert rules.recall(asked(scope=("demo:read",)), REGISTERED, [NARROWED]).kind == "silent"


def test_what_was_unticked_here_is_not_taken_from_another_registration() -> None:
    """The answer for this registration comes before one for another, however wide that was."""
    memory = rules.recall(ASKED, REGISTERED, [ANOTHER, NARROWED])
    assert (memory.kind, memory.agreement) == ("ask", NARROWED)


@pytest.mark.parametrize(
    ("ticked", "approved"),
    [
        (["demo:read", "demo:echo"], ("demo:read", "demo:echo")),
        (["demo:echo", "demo:read"], ("demo:read", "demo:echo")),
        (["demo:read", "demo:read"], ("demo:read",)),
        (["demo:ops"], ()),
        (["demo:read", "demo:ops", "*", ""], ("demo:read",)),
        ([], ()),
    ],
)
def test_a_form_approves_no_more_than_was_asked(ticked: list[str], approved: tuple[str, ...]) -> None:
    """Whatever a tampered form says."""
    assert rules.approved(ASKED, ticked) == approved


@pytest.mark.parametrize(
    ("most", "lives"), [(365, (0, 1, 30, 365)), (30, (0, 1, 30)), (7, (0, 1, 7)), (1, (0, 1)), (0, (0,))]
)
def test_a_consent_is_remembered_no_longer_than_the_operator_allows(most: int, lives: tuple[int, ...]) -> None:
    """For the durations on the page; a form with another value counts as this time only."""
    assert rules.lives(most) == lives
    assert [rules.days(str(days), most) for days in lives] == list(lives)
    assert rules.days(str(most + 1), most) == 0
