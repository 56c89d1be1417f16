"""``gatepost tools …``: lists and approves the backends' tools; the resource server's program does the work."""

import os
import sys
from typing import Annotated

import typer

from gatepost_idp.commands.console import Json

app = typer.Typer(no_args_is_help=True, help="The tools of the backends in CATALOGUE.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List each tool with its scope and state, and what changed since it was approved."""
    _hand_on("list", *(["--json"] if as_json else []))


@app.command()
def accept(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="BACKEND[/TOOL]", help="What to approve; without any, all changed and new tools."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Approve tools as they describe themselves now."""
    _hand_on("accept", *(["--yes"] if yes else []), *(["--json"] if as_json else []), "--", *(names or []))


def _hand_on(*words: str) -> None:
    # A separate package and process: the two servers communicate only over HTTP.
    os.execv(sys.executable, [sys.executable, "-m", "gatepost_resource", "tools", *words])  # noqa: S606 (no shell is wanted)
