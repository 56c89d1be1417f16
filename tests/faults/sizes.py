"""The sizes of the fault tests: small on every change, the full column of docs/reliability.md by ``make torture``."""

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """``at_once`` and ``refreshes``: concurrent requests, ``rounds`` times; ``kills`` and ``starts`` of processes;
    ``chains``: connections under load; ``outage``: seconds; ``patience``: seconds within which everything that starts
    together must be ready; ``rotations`` of keys; ``forged`` tokens; ``mail_outage``: seconds, during which ``mails``
    are requested; tokens of a ``day``; ``replicas`` for the journeys."""

    at_once: int
    refreshes: int
    rounds: int
    kills: int
    chains: int
    outage: float
    starts: int
    patience: float
    rotations: int
    forged: int
    mail_outage: float
    mails: int
    day: int
    replicas: tuple[int, ...]


CI = Sizes(
    at_once=25,
    refreshes=25,
    rounds=5,
    kills=5,
    chains=6,
    outage=5,
    starts=5,
    patience=60,
    rotations=3,
    forged=500,
    mail_outage=20,
    mails=24,
    day=10_000,
    replicas=(3,),
)
FULL = Sizes(
    at_once=200,
    refreshes=50,
    rounds=100,
    kills=100,
    chains=20,
    outage=60,
    starts=50,
    patience=600,
    rotations=20,
    forged=10_000,
    mail_outage=900,
    mails=1000,
    day=1_000_000,
    replicas=(1, 2, 3),
)
SIZES = FULL if os.environ.get("GATEPOST_TORTURE") == "full" else CI
BACK_SECONDS = 5.0
"""Seconds within which everything works again after a fault is over."""
EDGE = 50
"""Concurrent redemptions on SQLite at full size: there is one writer."""


def told(words: str) -> None:
    """Prints a figure, or a test's progress: at full size somebody is watching ``make torture``."""
    print(words)
    if SIZES is FULL:
        print(f"   {words}", file=sys.__stderr__, flush=True)
