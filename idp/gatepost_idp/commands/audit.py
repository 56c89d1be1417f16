"""``gatepost audit`` prints the audit log, filtered; ``gatepost audit verify`` checks its seals."""

import json
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from datetime import datetime

    from gatepost_idp.audit import Verdict
    from gatepost_idp.store.audit import Event

app = typer.Typer(
    invoke_without_command=True,
    help="Print the audit log, oldest first; --json prints one JSON object per line.",
)
_BEFORE = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_When = Annotated[str, typer.Option(metavar="WHEN", help="2026-11-21, 2026-11-21T12:00:00Z, or 90m, 24h, 7d ago.")]


@app.callback()
def audit(
    context: typer.Context,
    event: Annotated[str, typer.Option(help="An event, or how its name begins: `grant`, `refused`.")] = "",
    email: Annotated[str, typer.Option(metavar="A", help="About, or by, the person with this address.")] = "",
    client: Annotated[str, typer.Option(metavar="C", help="A client, or every registration of its kind.")] = "",
    trace: Annotated[str, typer.Option(metavar="T", help="A trace id, from an error page or a log line.")] = "",
    since: _When = "",
    until: _When = "",
    as_json: Json = False,
) -> None:
    """Print the audit log, oldest first: as text, or with --json as one JSON object per line."""
    if context.invoked_subcommand is not None:
        return
    from gatepost_idp import traces
    from gatepost_idp.store import audit as store

    account_id, address = _whom(email, as_json) if email else ("", "")
    wanted = store.Wanted(
        event=event,
        account_id=account_id,
        address=address,
        client_id=client,
        trace_id=traces.typed(trace) if trace else "",
        since=_instant("--since", since, as_json),
        until=_instant("--until", until, as_json),
    )
    for events in console.stream(partial(store.page, wanted=wanted), lambda event: event.id):
        for one in events:
            print(json.dumps(_object(one)) if as_json else _line(one))


def _whom(email: str, as_json: bool) -> tuple[str, str]:
    """The account's id and the mailbox's key, which also finds events from before the mailbox had an account."""
    from gatepost_idp.signin import addresses
    from gatepost_idp.store import accounts

    address = addresses.parse(email)
    if address is None:
        console.fail(f"{email!r} is not an email address.", as_json)
    found = console.in_database(lambda tx: accounts.by_key(tx, address.key))
    return found.id if found else "", address.key


def _instant(option: str, text: str, as_json: bool) -> "datetime | None":
    from datetime import UTC, datetime, timedelta

    from gatepost_idp.protocol import system_clock

    if not text:
        return None
    try:
        if ago := _BEFORE.fullmatch(text):
            return system_clock() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        console.fail(
            f"{option} {text!r} is not a time; write 2026-11-21, 2026-11-21T12:00:00Z, or 24h for a day ago", as_json
        )
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _object(event: "Event") -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.at.isoformat(timespec="milliseconds"),
        "event": event.event,
        "email": event.email,
        "account_id": event.account_id,
        "address": event.address,
        "actor": event.actor,
        "client_id": event.client_id,
        "grant_id": event.grant_id,
        "trace_id": event.trace_id,
        "network": event.network,
        "detail": event.detail,
        "batch": event.batch,
        "salt": event.salt.hex() if event.salt else None,
        "who": event.who.hex() if event.who else None,
    }


def _line(event: "Event") -> str:
    named = (("client", event.client_id), ("grant", event.grant_id), ("by", event.actor), ("trace", event.trace_id))
    said = [f"{name}={value}" for name, value in named if value]
    who = event.email or event.address or event.account_id or "-"
    at = event.at.isoformat(" ", "milliseconds").removesuffix("+00:00")
    return "  ".join((at, event.event, who, event.network or "-", *said, *([event.detail] if event.detail else [])))


@app.command("verify")
def verify(as_json: Json = False) -> None:
    """Check every seal in the log; names the first broken batch and event, with exit code 1."""
    from rich.console import Console

    from gatepost_idp.audit import verify as check
    from gatepost_idp.settings import load_or_exit

    page = Console(stderr=True)
    with console.opened() as beside, page.status("Checking …", refresh_per_second=4) as status:
        checked = check(
            beside.database, load_or_exit().secret_keys, lambda done: status.update(f"Checking: {done} batches …")
        )
        verdict = beside.run(checked)
    console.show(_verdict(verdict), as_json, _words(verdict))
    if verdict.broken:
        if not as_json:
            print(_broken(verdict), file=sys.stderr)
        raise typer.Exit(1)


def _verdict(verdict: "Verdict") -> dict[str, Any]:
    head, broken = verdict.head, verdict.broken
    return {
        "ok": broken is None,
        "batches": verdict.batches,
        "first_batch": verdict.first or None,
        "events": verdict.sealed,
        "erased": verdict.erased,
        "not_sealed_yet": verdict.unsealed,
        "head": {"batch": head.number, "digest": head.digest.hex()} if head else None,
        "broken": {"batch": broken.batch, "event": broken.event or None, "reason": broken.words} if broken else None,
    }


def _words(verdict: "Verdict") -> str:
    lines = [f"{verdict.batches} batches with {verdict.sealed} events are as they were sealed."]
    if verdict.first > 1:
        lines.append(f"The log begins with batch {verdict.first}; earlier ones were dropped after AUDIT_DAYS.")
    if verdict.erased:
        lines.append(f"The personal details in {verdict.erased} events are erased.")
    lines.append(f"{verdict.unsealed} events are not sealed yet.")
    if verdict.head:
        lines.append(f"Head: batch {verdict.head.number}, {verdict.head.digest.hex()}; keep it elsewhere to compare.")
    return "\n".join(lines)


def _broken(verdict: "Verdict") -> str:
    broken = verdict.broken
    if broken is None:
        return ""
    return f"BROKEN at batch {broken.batch}{f', event {broken.event}' if broken.event else ''}: {broken.words}."
