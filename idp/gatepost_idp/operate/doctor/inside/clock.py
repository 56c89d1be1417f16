"""Checks whether the clock is behind the latest time stored in the database."""

from datetime import timedelta
from functools import partial

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.store import keys

CLOCK_BEHIND = Fault(
    "clock-behind",
    "Links and codes seem to last for hours; tokens are refused as not valid yet.",
    "a clock that is right",
    "the machine's clock",
    "timedatectl set-ntp true",
)
LEEWAY = timedelta(minutes=2)


async def _clock(installation: Installation) -> list[Finding]:
    now = installation.now()
    rows = await installation.read(partial(keys.living, now_ms=milliseconds(now)))
    newest = max((instant(row.created_at) for row in rows), default=now)
    if newest <= now + LEEWAY:
        return []
    return [CLOCK_BEHIND.seen(f"it is {now:%Y-%m-%d %H:%M} UTC here; a key was made at {newest:%Y-%m-%d %H:%M} UTC")]


CLOCK = Check("clock", "Clock", _clock, (CLOCK_BEHIND,), ("schema",))
