"""``gatepost doctor``: prints the checks' outcomes as they come; exit code 1 on a failure."""

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
        str,
        typer.Argument(
            metavar="[MCP_URL]", help="The MCP URL that people paste; without it, only this machine is checked."
        ),
    ] = "",
    email: Annotated[
        str, typer.Option(metavar="A", help="The person whose scopes to check, in this machine's database.")
    ] = "",
    token: Annotated[
        str, typer.Option(metavar="T", help="An access token to try; - reads it from standard input.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Check a deployment, from the public URL inwards, and name the setting to change."""
    import asyncio

    from rich.console import Console

    from gatepost_idp.operate.doctor.doctor import Case, Doctor
    from gatepost_idp.operate.doctor.examination import first
    from gatepost_idp.protocol import system_clock

    given = sys.stdin.readline().strip() if token == "-" else token
    case = Case(mcp_url, email, given, _tools() if email else {}, _survey)
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    outcomes: list[Outcome] = []
    page = _Page(console)

    async def run() -> None:
        with console.status("") as status:
            async for outcome in Doctor(system_clock).outcomes(case, lambda title: status.update(f"{title} …")):
                outcomes.append(outcome)
                if not as_json:
                    page.add(outcome)

    asyncio.run(run())
    start = first(outcomes)
    if as_json:
        print(json.dumps(_document(outcomes, start)))
    else:
        page.end(start)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


def _tools() -> dict[str, str | None]:
    """The scope that each tool of the resource server needs, from its own program."""
    import subprocess

    asked = [sys.executable, "-m", "gatepost_resource", "--tools"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
        return dict(json.loads(said))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _survey() -> dict[str, object]:
    """The state of each backend tool, from the resource server's program."""
    import subprocess

    asked = [sys.executable, "-m", "gatepost_resource", "tools", "list", "--json"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {"refused": done.stderr.strip()}
    except (OSError, subprocess.SubprocessError, ValueError) as problem:
        return {"refused": f"it does not answer ({type(problem).__name__})"}


class _Page:
    """Output for people: one line per check, and one for all checks skipped after the same failure."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._left_out: list[str] = []
        self._cause = ""

    def add(self, outcome: "Outcome") -> None:
        """Prints an outcome; one of a skipped check only once it is known how many more are skipped."""
        if outcome.left_out != self._cause:
            self._flush()
        if outcome.left_out:
            self._cause = outcome.left_out
            self._left_out.append(outcome.title)
            return
        if not outcome.findings:
            self._console.print("ok   ", style="green", end=" ")
            self._console.print(outcome.title, markup=False)
        for finding in outcome.findings:
            self._finding(outcome.title, finding)

    def end(self, start: "Finding | None") -> None:
        """Prints the summary and where to begin."""
        self._flush()
        self._console.print()
        if start is None:
            self._console.print("All is well.", style="green")
            return
        self._console.print(f"Begin with: {start.setting}", style="bold", markup=False)

    def _finding(self, title: str, finding: "Finding") -> None:
        word, style = _WORDS[finding.level]
        self._console.print(f"{word}  ", style=style, end="")
        self._console.print(f"{title}: {finding.fault}", markup=False)
        for name, text in _lines(finding):
            self._console.print(f"      {name:<9} {text}", markup=False)

    def _flush(self) -> None:
        if self._left_out:
            told = ", ".join(self._left_out)
            self._console.print(f"skip  after {self._cause}: {told}", style="dim", markup=False)
        self._left_out, self._cause = [], ""


def _lines(finding: "Finding") -> list[tuple[str, str]]:
    lines = [
        ("seen", finding.seen),
        ("expected", finding.expected),
        ("change", finding.setting),
        ("example", finding.example),
    ]
    return [(name, text) for name, text in lines if text]


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
