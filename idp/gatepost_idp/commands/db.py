"""``gatepost db …``: the database's schema."""

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

app = typer.Typer(no_args_is_help=True, help="The database's schema.")


@app.command("upgrade")
def upgrade(as_json: Json = False) -> None:
    """Bring the database to this version's schema."""
    from gatepost_idp.models import SCHEMA
    from gatepost_idp.store import schema

    before = console.with_engine(schema.upgrade)
    console.show({"before": before, "now": SCHEMA}, as_json, f"The database is at {SCHEMA}.")


@app.command("check")
def check(as_json: Json = False) -> None:
    """Say whether the database is at this version's schema; exit code 1 where it is not."""
    from gatepost_idp.models import SCHEMA
    from gatepost_idp.store import schema

    try:
        console.with_engine(schema.check)
    except schema.WrongSchema as wrong:
        console.fail(str(wrong), as_json)
    console.show({"schema": SCHEMA}, as_json, f"The database is at {SCHEMA}, as this version wants it.")
