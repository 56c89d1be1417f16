"""The server's state: mail, keys, limits, and the findings of doctor's inside checks."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gatepost_idp import limits
from gatepost_idp.admin.acts import Acts
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.settings import Settings
from gatepost_idp.store import keys, outbox_state
from gatepost_idp.store import limits as windows
from gatepost_idp.store.outbox_state import OutboxState
from gatepost_idp.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Found:
    """A finding of doctor; ``level`` is failure, warning or information."""

    level: str
    seen: str
    setting: str
    expected: str


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key; ``retired_at``: when it stops verifying, None if not yet retired."""

    kid: str
    algorithm: str
    active_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of sign-in mails; ``used`` is set only for the server's total."""

    setting: str
    value: str
    used: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that the page shows. ``mail_problem`` is empty while mail can be sent."""

    mail_problem: str
    outbox: OutboxState
    keys: tuple[Key, ...]
    limits: tuple[Limit, ...]
    findings: tuple[Found, ...]


class Health:
    """The step of the state page: asks the database, the outbox and doctor."""

    def __init__(
        self,
        acts: Acts,
        settings: Settings,
        mail_problem: Callable[[], str],
        findings: Callable[[], Awaitable[Sequence[Found]]],
    ) -> None:
        self._acts = acts
        self._settings = settings
        self._mail_problem = mail_problem
        self._findings = findings

    async def see(self) -> State:
        """The current state; doctor's findings are at most a minute old."""
        findings = tuple(await self._findings())
        outbox, found_keys, found_limits = await self._acts.see(
            lambda tx, now: (outbox_state.state(tx, now), _keys(tx, now), self._limits(tx, now))
        )
        return State(self._mail_problem(), outbox, found_keys, found_limits, findings)

    def _limits(self, tx: Transaction, now: datetime) -> tuple[Limit, ...]:
        rules = limits.rules("total", "", self._settings.limit_total)
        used = ", ".join(f"{windows.used(tx, rule, now)} of {rule.amount}" for rule in rules)
        return (
            Limit("LIMIT_TOTAL", self._settings.limit_total, used),
            Limit("LIMIT_NETWORK", self._settings.limit_network),
            Limit("LIMIT_ADDRESS", self._settings.limit_address),
        )


def _keys(tx: Transaction, now: datetime) -> tuple[Key, ...]:
    return tuple(
        Key(row.kid, row.algorithm, instant(row.active_at), instant(row.retired_at) if row.retired_at else None)
        for row in keys.living(tx, milliseconds(now))
    )
