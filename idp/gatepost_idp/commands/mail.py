"""``gatepost mail …``: a test, and addresses that the mail server refused."""

from typing import TYPE_CHECKING

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from gatepost_idp.transaction import Transaction

app = typer.Typer(no_args_is_help=True, help="Mail: a test, and addresses that the mail server refused.")


@app.command("test")
def send_test(address: str, as_json: Json = False) -> None:
    """Send a test mail and say what the mail server answered; exit code 1 if it did not accept it."""
    import asyncio
    import ssl

    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.mail.letters import Letters
    from gatepost_idp.mail.smtp import deliver
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.signin import addresses

    settings = load_or_exit()
    if addresses.parse(address) is None:
        console.fail(f"{address!r} is not an email address.", as_json)
    if not settings.smtp_host:
        console.fail("SMTP_HOST: is not set. Example: SMTP_HOST=smtp.example.com", as_json)
    letter = Letters(settings, catalogues.load(settings)).test(address, system_clock())
    delivery = asyncio.run(deliver(settings, ssl.create_default_context(), letter, address))
    said = (
        f"{settings.smtp_host}:{settings.smtp_port} ({settings.smtp_security}): {delivery.outcome}: {delivery.answer}"
    )
    if delivery.outcome != "accepted":
        console.fail(said, as_json)
    console.show({"outcome": delivery.outcome, "answer": delivery.answer}, as_json, said)


@app.command("suppressed")
def suppressed(as_json: Json = False) -> None:
    """List addresses that get no mail for a day because the mail server refused them."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import outbox

    console.show_table(console.in_database(lambda tx: outbox.suppressed(tx, system_clock())), as_json)


@app.command("allow")
def allow(address: str, as_json: Json = False) -> None:
    """Let mail go to a suppressed address again."""
    from gatepost_idp.store import outbox

    def work(tx: "Transaction") -> bool:
        is_lifted = outbox.allow(tx, address)
        if is_lifted:
            console.note(tx, "mail.allowed", address=address.lower())
        return is_lifted

    if not console.in_database(work):
        console.fail(f"{address} is not suppressed; list them: gatepost mail suppressed", as_json)
    console.show({"email": address, "suppressed": False}, as_json, f"Mail to {address} goes out again.")
