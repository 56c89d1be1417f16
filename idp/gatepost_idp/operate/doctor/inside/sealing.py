"""Checks whether SECRET_KEY opens the keys in the database."""

from functools import partial

from gatepost_idp.keys import opens
from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.protocol import milliseconds
from gatepost_idp.store import keys

KEY_LOST = Fault(
    "key-lost",
    "The server exits at start, or everybody has to sign in again after a move.",
    "the SECRET_KEY under which the signing keys were sealed",
    "SECRET_KEY",
    "SECRET_KEY=OLD,NEW (the last signs, all verify); with SQLite the file secret_key beside the database",
)


async def _keys(installation: Installation) -> list[Finding]:
    rows = await installation.read(partial(keys.living, now_ms=milliseconds(installation.now())))
    secret_keys = installation.settings.kept_secret_keys
    if opens(secret_keys, rows):
        return []
    if secret_keys is None:
        return [KEY_LOST.seen(f"no SECRET_KEY and no file {installation.settings.secret_key_path}")]
    return [KEY_LOST.seen("the database's signing keys were sealed under another key")]


KEYS = Check("keys", "Signing keys", _keys, (KEY_LOST,), ("files", "schema"))
