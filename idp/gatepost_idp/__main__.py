"""The command line ``gatepost …``; each command imports what it needs when run, so that ``--help`` is fast."""

import os
import sys
from typing import Annotated

import typer

from gatepost_idp import __version__
from gatepost_idp.commands import audit, clients, console, db, doctor, keys, mail, tools, tracing, users

cli = typer.Typer(no_args_is_help=True, add_completion=False)
_RUN, _PEOPLE, _LOOK, _KEEP = "Run it", "People, clients, tools, mail", "See what happens", "Maintain it"
for name, group, panel in (
    ("users", users, _PEOPLE),
    ("clients", clients, _PEOPLE),
    ("mail", mail, _PEOPLE),
    ("tools", tools, _PEOPLE),
    ("audit", audit, _LOOK),
    ("db", db, _KEEP),
    ("keys", keys, _KEEP),
):
    cli.add_typer(group.app, name=name, rich_help_panel=panel)


def main() -> None:
    """The entry point of ``gatepost`` and ``python -m gatepost_idp``; a wrong setting is one line and exit code 2."""
    try:
        cli(prog_name="gatepost")
    except Exception as problem:
        from gatepost_idp.settings import SettingsError  # imported late, so that --help is fast

        if not isinstance(problem, SettingsError):
            raise
        console.tell(str(problem), "--json" in sys.argv)
        raise SystemExit(2) from None


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(f"gatepost {__version__}")
        raise typer.Exit


@cli.callback()
def gatepost(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version.")
    ] = False,
) -> None:
    """Sign-in by mail, consent and tokens for MCP."""


@cli.command(rich_help_panel=_RUN)
def demo(
    public: Annotated[
        str | None, typer.Option(metavar="URL", help="The https URL of a tunnel to port 9000 on this machine.")
    ] = None,
) -> None:
    """Run the whole product on this machine: both servers, a mailbox, SQLite."""
    from gatepost_idp.demo import run

    raise typer.Exit(run(public))


@cli.command(rich_help_panel=_RUN)
def idp() -> None:
    """Run the authorization server."""
    from gatepost_idp.operate import garbage

    garbage.hold_back()
    from gatepost_idp.operate.serve import serve
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    console.check_start(settings)
    serve(settings.idp_host, settings.idp_port, settings.workers)


@cli.command(rich_help_panel=_RUN)
def resource() -> None:
    """Run the resource server: MCP, with the tools that each token's scopes allow."""
    # A separate package and process: the two servers communicate only over HTTP.
    os.execv(sys.executable, [sys.executable, "-m", "gatepost_resource"])  # noqa: S606 (no shell is wanted)


# Last, since help shows the panels in this order, and those of groups after them.
cli.command("doctor", rich_help_panel=_LOOK)(doctor.doctor)
cli.command("trace", rich_help_panel=_LOOK)(tracing.trace)

if __name__ == "__main__":
    main()
