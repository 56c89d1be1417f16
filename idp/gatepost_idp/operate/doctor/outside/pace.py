"""Checks whether a large body gets through, answers come in time, and the clocks agree."""

from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.visit import Visit

BODY_LIMITED = Fault(
    "body-limited",
    "Tools fail when given a longer text.",
    "a body of 256 KiB let through",
    "reverse proxy: body size",
    "nginx: client_max_body_size 1m",
)
SLOW = Fault(
    "slow",
    "Connecting fails now and then: Claude waits 10 s.",
    "an answer within 3 s",
    "reverse proxy: time-outs, or the machine's load",
    "check whether the same address answers at once on the machine itself",
    "warning",
)
CLOCKS_DIFFER = Fault(
    "clocks-differ",
    "Signed in, but every token is refused as expired or as not valid yet.",
    "clocks within two minutes of each other",
    "the machine's clock",
    "timedatectl set-ntp true",
)
BODY_BYTES = 256 * 1024
LEEWAY = timedelta(minutes=2)


async def _body(visit: Visit) -> list[Finding]:
    answer = await visit.post_mcp(body=b'{"padding":"' + b"x" * BODY_BYTES + b'"}')
    if isinstance(answer, Finding):
        return [answer]
    if answer.status == 401:
        return []
    return [BODY_LIMITED.seen(f"POST {visit.url} with {BODY_BYTES // 1024} KiB: {answer}")]


async def _pace(visit: Visit) -> list[Finding]:
    url, seconds = visit.wire.slowest()
    if seconds < visit.network.patience * 0.3:
        return []
    return [SLOW.seen(f"{url}: {seconds:.1f} s")]


async def _clock(visit: Visit) -> list[Finding]:
    answer = await visit.post_mcp()
    said = "" if isinstance(answer, Finding) else answer.header("date")
    try:
        there = parsedate_to_datetime(said)
    except ValueError:
        return []  # a server need not say (RFC 9110 section 6.6.1)
    here = visit.now()
    apart = abs(here - there.astimezone(UTC))
    if apart <= LEEWAY:
        return []
    return [CLOCKS_DIFFER.seen(f"there it is {there:%H:%M:%S} UTC, here {here:%H:%M:%S} UTC")]


BODY = Check("body", "A longer body", _body, (BODY_LIMITED,), ("mcp",))
PACE = Check("pace", "Pace", _pace, (SLOW,), ("mcp",))
CLOCK = Check("clocks", "Clocks", _clock, (CLOCKS_DIFFER,), ("mcp",))
