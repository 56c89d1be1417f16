"""The one function that decides what comes next for a request, at every edge: sign-in, consent, silence, refusal."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from gatepost_idp.authorize.journey import Step, next_step
from gatepost_idp.consent.rules import Memory
from gatepost_idp.protocol import Refused
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.consents import Agreement
from gatepost_idp.store.requests import Request
from tests.store.parts import CLIENT, NOW, SCOPES
from tests.store.test_requests import REQUEST

AGREED = Agreement(CLIENT, SCOPES, SCOPES, NOW + timedelta(days=30))
SILENT, ONE_TAP, ASK = Memory("silent", AGREED), Memory("one_tap", AGREED), Memory("ask")
MILLISECOND = timedelta(milliseconds=1)
NOBODY_IS_IN = Refused("login_required", "Nobody is signed in.", "prompt=none")
MUST_BE_ASKED = Refused("consent_required", "The person has to be asked first.", "prompt=none")


def asked(prompt: str = "", **changes: Any) -> Request:
    return dataclasses.replace(REQUEST, **{"prompt": tuple(prompt.split()), "max_age": None, **changes})


def signed_in(at: datetime) -> Session:
    return Session("account", "alice@example.com", at, seen_lately=True)


BEFORE = signed_in(NOW - timedelta(minutes=10))


@pytest.mark.clause("A12.prompt")
@pytest.mark.parametrize(
    ("prompt", "session", "memory", "step"),
    [
        ("", None, ASK, "sign_in"),
        ("none", None, SILENT, NOBODY_IS_IN),
        ("", BEFORE, ASK, "ask"),
        ("", BEFORE, ONE_TAP, "one_tap"),
        ("", BEFORE, SILENT, "silent"),
        ("none", BEFORE, ASK, MUST_BE_ASKED),
        ("none", BEFORE, ONE_TAP, MUST_BE_ASKED),
        ("none", BEFORE, SILENT, "silent"),
        ("consent", BEFORE, SILENT, "ask"),
        ("select_account", BEFORE, SILENT, "one_tap"),
        ("select_account", BEFORE, ASK, "ask"),
        ("select_account consent", BEFORE, SILENT, "ask"),
        ("login", BEFORE, SILENT, "sign_in"),
    ],
)
def test_who_is_there_what_is_remembered_and_what_is_asked_decide(
    prompt: str, session: Session | None, memory: Memory, step: Step | Refused
) -> None:
    """With the exact error of each refusal, which the client reads (OIDC Core 3.1.2.6)."""
    assert next_step(asked(prompt), session, memory, NOW) == step


@pytest.mark.clause("A12.prompt", "A12.max-age")
@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": 0}])
def test_a_sign_in_counts_that_is_as_old_as_the_request(changes: dict[str, Any]) -> None:
    """Even in the same millisecond; an earlier one is done again."""
    request, now = asked(**changes), NOW + timedelta(minutes=5)
    assert next_step(request, signed_in(NOW), SILENT, now) == "silent"
    assert next_step(request, signed_in(NOW - MILLISECOND), SILENT, now) == "sign_in"


@pytest.mark.clause("A12.max-age")
def test_a_sign_in_may_be_as_old_as_max_age_and_no_older() -> None:
    """OpenID Connect Core section 3.1.2.1: exactly max_age still counts."""
    request, then = asked(max_age=60), NOW - timedelta(seconds=60)
    assert next_step(request, signed_in(then), SILENT, NOW) == "silent"
    assert next_step(request, signed_in(then - MILLISECOND), SILENT, NOW) == "sign_in"


@pytest.mark.parametrize("memory", [ASK, ONE_TAP, SILENT], ids=lambda memory: memory.kind)
def test_a_page_of_this_server_asks_for_no_consent(memory: Memory) -> None:
    """No client is involved, only a person who has to be signed in."""
    own = asked(client_id="", redirect_uri="/account")
    assert next_step(own, None, memory, NOW) == "sign_in"
    assert next_step(own, BEFORE, memory, NOW) == "own_page"
