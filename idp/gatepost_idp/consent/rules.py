"""Decides whether a remembered consent covers a request: silently, with one tap, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gatepost_idp import redirects
from gatepost_idp.store.clients import Client
from gatepost_idp.store.consents import Agreement
from gatepost_idp.store.requests import Request


@dataclass(frozen=True, slots=True)
class Memory:
    """``silent``: no page; ``one_tap``: one button; ``ask``: the whole consent page."""

    kind: Literal["silent", "one_tap", "ask"]
    agreement: Agreement | None = None


def recall(request: Request, client: Client, agreements: Sequence[Agreement]) -> Memory:
    """How ``agreements``, all of this person, client row, redirect host and resource, cover the request.

    ``silent`` requires a client_id that nobody else can use. Otherwise a malicious server could forward its victim's
    code_challenge here under a client_id that it knows, and redeem the code with the verifier that the client sends it
    (mix-up; FastMCP GHSA-6x8h-498w-gv8c). Loopback and private schemes are never silent: nobody can prove who listens
    there (RFC 8252 section 8.6).
    """
    covering = [agreement for agreement in agreements if set(request.scope) <= set(agreement.asked)]
    own = next((agreement for agreement in covering if agreement.client_id == request.client_id), None)
    newest = own or next(iter(covering), None)
    if newest and not set(request.scope) <= set(newest.approved):
        # A step-up for a scope left unticked looks like any reconnect; answered from memory, it would end in the same
        # 403.
        return Memory("ask", newest)
    if own and client.unguessable and request.resource_named and not redirects.is_private(request.redirect_uri):
        return Memory("silent", own)
    return Memory("one_tap", newest) if newest else Memory("ask")


def approved(request: Request, ticked: Sequence[str]) -> tuple[str, ...]:
    """The requested scopes that are in ``ticked``: never more than requested, whatever a tampered form says."""
    return tuple(name for name in request.scope if name in ticked)


def lives(most: int) -> tuple[int, ...]:
    """The choices, in days, for how long a consent is remembered; 0 is this time only, the last is the default."""
    return tuple(dict.fromkeys((*(days for days in (0, 1, 30) if days < most), most)))


def days(chosen: str, most: int) -> int:
    """The days chosen in a form; 0 for a value that the page did not offer."""
    return next((days for days in lives(most) if str(days) == chosen), 0)
