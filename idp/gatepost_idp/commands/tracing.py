"""``gatepost trace ID``: the recorded steps of one authorization, and what to do about a failure."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from gatepost_idp.store.traces import Step


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="From an error page, a log line, or a client's id.")],
    as_json: Json = False,
) -> None:
    """Show what happened to one authorization, step by step."""
    from gatepost_idp import traces
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import traces as store

    key = traces.typed(trace_id)
    steps = console.in_database(lambda tx: store.story(tx, key, system_clock()))
    if not steps:
        console.fail(
            f"Nothing is known about {key}: it is mistyped, older than a day, or from another database.", as_json
        )
    told = [_told(step) for step in steps]
    advice = what_to_do(told)
    seen: dict[str, str] = {}
    lines = [line for step in told for line in _lines(step, seen)]
    head = f"Trace {key}, {told[0]['at'][:10]}, times in UTC"
    lines = [head, "", *lines]
    console.show({"id": key, "steps": told, "what_to_do": advice}, as_json, "\n".join([*lines, "", advice]))


def what_to_do(steps: list[dict[str, Any]]) -> str:
    """One line of advice, from the last step that says something."""
    calls = [s for s in steps if s["step"] in ("token", "revoke")]  # more telling than pages reloaded afterwards
    last = next((s for s in reversed(calls or steps) if s["step"] not in ("discovery", "mail")), steps[-1])
    mail = next((s for s in reversed(steps) if s["step"] == "mail"), None)
    if mail and mail["outcome"] == "refused" and last["step"].startswith("sign-in"):
        last = mail
    if last["outcome"] == "refused":
        name = "the sign-in mail" if last["step"] == "mail" else last["step"]
        wanted = f"expected: {last['expected']}" if last.get("expected") else f"see the log for {last['trace_id']}"
        return f"What to do: {name} failed, {last.get('reason') or last['status']}; {wanted}"
    return f"What to do: {_GO_ON.get(_place(last), 'nothing failed.')}"


_GO_ON = {
    "discovery": "the client read the metadata and came no further; its own log says why.",
    "register": "the client has its id and never opened /authorize; its own log says why.",
    "authorize": "the browser was sent to sign in and never arrived; can it reach OAUTH_ISSUER?",
    "sign-in": "the person has not finished signing in; they need the newest mail, in the browser that started.",
    "consent": "the person has not answered the consent page.",
    "answered": "the client was given its answer and never came to /token; its callback did not receive or accept it.",
    "denied": "the person said no; nothing failed.",
    "token": "nothing failed here: the client has its tokens. What fails now fails at the resource server.",
}


def _place(step: dict[str, Any]) -> str:
    """The key of ``_GO_ON`` for a step."""
    if step["told"].get("decision") == "deny" or step["step"].endswith(" deny"):
        return "denied"
    if step["told"].get("next") in ("back to the client", "a code at once"):
        return "answered"
    return str(step["step"]).partition(" ")[0]


def _told(step: "Step") -> dict[str, Any]:
    from gatepost_idp.protocol import instant

    return {
        "at": instant(step.at).isoformat(timespec="milliseconds"),
        "step": step.step,
        "outcome": step.outcome,
        "trace_id": step.trace_id,
        "client_id": step.client_id,
        "network": step.network,
        "joined_by": step.joined,
        **json.loads(step.detail),
    }


_WHO = ("client_id", "network", "user_agent")


def _lines(step: dict[str, Any], seen: dict[str, str]) -> list[str]:
    """A step for people: its head, then what was asked, told, received and expected.

    Client, network and user agent are printed only when they change; ``seen`` holds the last ones.
    """
    outcome = "REFUSED" if step["outcome"] == "refused" else "ok"
    status = f" {step['status']}" if step["status"] else ""
    by = f"  (joined by {step['joined_by']})" if step["joined_by"] else ""
    said = {**step["asked"], **step["told"], "network": step["network"], "client_id": step["client_id"]}
    for name in _WHO:
        if said.get(name) and seen.get(name) != said[name]:
            seen[name] = said[name]
        else:
            said.pop(name, None)
    why = {name: step[name] for name in ("reason", "received", "expected") if step.get(name)}
    shown = [f"            {name}: {value}" for name, value in said.items() if value]
    return [
        f"{step['at'][11:23]}  {step['step']}  {outcome}{status}{by}",
        *shown,
        *(f"         >  {name}: {value}" for name, value in why.items()),
    ]
