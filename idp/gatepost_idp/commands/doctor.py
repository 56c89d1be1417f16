"""``gatepost doctor``: prints what the checks find, as they find it; exit code 1 on a failure."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from rich.console import Console

    from gatepost_idp.operate.doctor.finding import Finding, Outcome

_WORDS = {"failure": ("FAIL", "bold red"), "warning": ("warn", "yellow"), "information": ("note", "cyan")}


def doctor(
    mcp_url: Annotated[
        str, typer.Argument(metavar="[MCP_URL]", help="The URL that people paste; without it only this machine's side.")
    ] = "",
    email: Annotated[str, typer.Option(metavar="A", help="Whose scopes to look at, in this machine's database.")] = "",
    token: Annotated[str, typer.Option(metavar="T", help="An access token to try; - reads it from a line.")] = "",
    as_json: Json = False,
) -> None:
    """Check a deployment, from the public URL inwards, and name the setting that mends what is wrong."""
    import asyncio

    from rich.console import Console

    from gatepost_idp.operate.doctor.doctor import Case, Doctor
    from gatepost_idp.operate.doctor.examination import first
    from gatepost_idp.protocol import system_clock

    given = sys.stdin.readline().strip() if token == "-" else token
    case = Case(mcp_url, email, given, _tools() if email else {})
    console = Console(highlight=False, soft_wrap=True)
    outcomes: list[Outcome] = []

    async def run() -> None:
        with console.status("") as status:
            async for outcome in Doctor(system_clock).outcomes(case, lambda title: status.update(f"{title} …")):
                outcomes.append(outcome)
                if not as_json:
                    _print(console, outcome)

    asyncio.run(run())
    start = first(outcomes)
    if as_json:
        print(json.dumps(_document(outcomes, start)))
    else:
        _print_end(console, start)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


def _tools() -> dict[str, str | None]:
    """The scope that each tool of the resource server needs; it is another program, so it is asked as one."""
    import subprocess

    asked = [sys.executable, "-m", "gatepost_resource", "--tools"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
        return dict(json.loads(said))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _print(console: "Console", outcome: "Outcome") -> None:
    if outcome.left_out:
        console.print(f"skip  {outcome.title}: after {outcome.left_out}", style="dim", markup=False)
    elif not outcome.findings:
        console.print("ok   ", style="green", end=" ")
        console.print(outcome.title, markup=False)
    for finding in outcome.findings:
        word, style = _WORDS[finding.level]
        console.print(f"{word}  ", style=style, end="")
        console.print(f"{outcome.title}: {finding.fault}", markup=False)
        for name, text in _lines(finding):
            console.print(f"      {name:<9} {text}", markup=False)


def _lines(finding: "Finding") -> list[tuple[str, str]]:
    lines = [
        ("seen", finding.seen),
        ("expected", finding.expected),
        ("change", finding.setting),
        ("example", finding.example),
    ]
    return [(name, text) for name, text in lines if text]


def _print_end(console: "Console", start: "Finding | None") -> None:
    console.print()
    if start is None:
        console.print("All is well.", style="green")
        return
    console.print(f"Begin with: {start.setting}", style="bold", markup=False)


def _document(outcomes: "list[Outcome]", start: "Finding | None") -> dict[str, object]:
    return {
        "ok": not any(outcome.failed for outcome in outcomes),
        "begin_with": start.setting if start else None,
        "checks": [
            {
                "check": outcome.check,
                "left_out_after": outcome.left_out or None,
                "findings": [asdict(finding) for finding in outcome.findings],
            }
            for outcome in outcomes
        ],
    }
