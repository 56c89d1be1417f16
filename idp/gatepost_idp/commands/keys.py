"""``gatepost keys …``: the keys that sign tokens."""

from typing import TYPE_CHECKING, Annotated

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from gatepost_idp.transaction import Transaction

app = typer.Typer(no_args_is_help=True, help="The keys that sign tokens.")

Now = Annotated[
    bool,
    typer.Option(
        "--now", help="For a stolen key: sign with the new ones at once, and refuse every token of the older ones."
    ),
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the signing keys that verify."""
    from gatepost_idp.protocol import instant, milliseconds, system_clock
    from gatepost_idp.store import keys as store

    rows = console.in_database(lambda tx: store.living(tx, milliseconds(system_clock())))
    found = [
        {
            "kid": row.kid,
            "algorithm": row.algorithm,
            "active_at": instant(row.active_at).isoformat(timespec="seconds"),
            "retired_at": instant(row.retired_at).isoformat(timespec="seconds") if row.retired_at else None,
        }
        for row in rows
    ]
    console.show_table(found, as_json)


@app.command("rotate")
def rotate(now: Now = False, as_json: Json = False) -> None:
    """Make new signing keys; they sign after a minute, and the old ones verify for one more token lifetime."""
    from datetime import timedelta

    from gatepost_idp.keys import rotate
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.store.audit import COMMAND_LINE

    settings = load_or_exit()
    life = timedelta(minutes=settings.access_token_minutes)

    def made(tx: "Transaction") -> list[dict[str, str]]:
        console.check_secret_key(tx, settings)
        rows = rotate(tx, settings.secret_keys, system_clock(), life, at_once=now, network=COMMAND_LINE)
        return [{"kid": row.kid, "algorithm": row.algorithm} for row in rows]

    keys = console.in_database(made)
    when = "within 10 seconds; tokens of older keys are refused" if now else "in 60 seconds"
    text = "\n".join(f"New {key['algorithm']} key {key['kid']}; it signs {when}." for key in keys)
    console.show({"keys": keys}, as_json, text)
