"""Decides whether a remembered consent covers a request: in silence, with one tap, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gatepost_idp import redirects
from gatepost_idp.store.clients import Client
from gatepost_idp.store.consents import Agreement
from gatepost_idp.store.requests import Request


@dataclass(frozen=True, slots=True)
class Memory:
    """``silent``: nothing needs to be asked; ``one_tap``: one button; ``ask``: the whole page."""

    kind: Literal["silent", "one_tap", "ask"]
    agreement: Agreement | None = None


def recall(request: Request, client: Client, agreements: Sequence[Agreement]) -> Memory:
    """What is remembered of ``agreements``, all of them of this person, kind of client, redirect host and resource.

    Silence needs an id that nobody else can know. Otherwise a malicious server could forward its victim's challenge
    here under an id it knows and redeem the code with the verifier that the client hands it (mix-up; FastMCP
    GHSA-6x8h-498w-gv8c). Nobody can prove who listens on loopback or a private scheme (RFC 8252 section 8.6).
    """
    covering = [agreement for agreement in agreements if set(request.scope) <= set(agreement.asked)]
    own = next((agreement for agreement in covering if agreement.client_id == request.client_id), None)
    newest = own or next(iter(covering), None)
    if newest and not set(request.scope) <= set(newest.approved):
        # A step-up for what was left unticked looks like any reconnect: from memory it would end in the same 403.
        return Memory("ask", newest)
    if own and client.unguessable and request.resource_named and not redirects.is_private(request.redirect_uri):
        return Memory("silent", own)
    return Memory("one_tap", newest) if newest else Memory("ask")


def approved(request: Request, ticked: Sequence[str]) -> tuple[str, ...]:
    """What of the request stays: no more than was asked, whatever a tampered form says."""
    return tuple(name for name in request.scope if name in ticked)


def lives(most: int) -> tuple[int, ...]:
    """For how many days a person may let a consent be remembered, 0 for this time only; the last is the usual."""
    return tuple(dict.fromkeys((*(days for days in (0, 1, 30) if days < most), most)))


def days(chosen: str, most: int) -> int:
    """The days that a form asks for; what the page did not offer counts as this time only."""
    return next((days for days in lives(most) if str(days) == chosen), 0)
