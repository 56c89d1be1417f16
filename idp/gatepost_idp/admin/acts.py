"""Administrators' actions: the role is checked, and the audit log written, in the transaction of each change."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from gatepost_idp.database import Database
from gatepost_idp.errors import PageProblem, Way
from gatepost_idp.protocol import Clock
from gatepost_idp.store import audit, people
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.audit import Source
from gatepost_idp.transaction import Transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Act:
    """The administrator who acts, with network and trace id."""

    admin: Session
    source: Source


class Acts:
    """The admin pages' access to the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def see(self, work: Callable[[Transaction, datetime], T]) -> T:
        """Runs a read; does not check the role."""
        now = self._clock()
        return await self._database.read(lambda tx: work(tx, now))

    async def do(self, act: Act, work: Callable[[Transaction, datetime], T]) -> T:
        """Runs a change; raises PageProblem, and changes nothing, if the role was revoked meanwhile."""
        now = self._clock()

        def checked(tx: Transaction) -> T:
            if not people.is_admin(tx, act.admin.account_id):
                raise not_theirs(act.admin.email)
            return work(tx, now)

        return await self._database.write(checked)


def note(
    tx: Transaction, act: Act, event: str, now: datetime, *, account_id: str = "", address: str = "",
    client_id: str = "", grant_id: str = "", detail: str = "",
) -> None:  # fmt: skip  # one row
    """Records the action in the audit log; ``detail`` must hold no secret and nothing personal."""
    audit.record(
        tx,
        event,
        now,
        account_id=account_id,
        address=address,
        actor=act.admin.account_id,
        client_id=client_id,
        grant_id=grant_id,
        trace_id=act.source.trace_id,
        network=act.source.network,
        detail=detail,
    )


def not_theirs(email: str, csrf: str = "") -> PageProblem:
    """The 403 page; the same for every path and form, so that it does not reveal what exists.

    ``csrf``: the browser's token, for the button that signs in with another address.
    """
    return PageProblem(
        "This page is for administrators",
        "Only the people who run this service can open it.",
        f"You are signed in as {email}. Nothing was done.",
        "If you are one of them, sign in with the address that has the role.",
        hint="To make the first administrator: gatepost users grant ADDRESS admin",
        status=403,
        reason="not an administrator",
        way=Way("Use another address", "/admin/switch", csrf) if csrf else None,
    )
