"""Runs checks in order and skips those that depend on a failed one, so that the first failure is the cause."""

import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding, Outcome

S = TypeVar("S")

CHECK_BROKE = Fault(
    "check-broke",
    "One of doctor's own checks fails.",
    "an answer, whatever is wrong",
    "none: this is a fault in doctor",
    "please report it with what was seen",
)


def _unwatched(_title: str) -> None:
    """The default ``begin``: does nothing."""


async def examine(
    checks: Sequence[Check[S]],
    subject: S,
    begin: Callable[[str], None] = _unwatched,
    lost: dict[str, str] | None = None,
) -> AsyncIterator[Outcome]:
    """Yields the outcome of each check; ``begin`` is called with the title of each check that starts.

    ``lost``: maps each failed or skipped check to the failed check behind it; passed on from one list to the next.
    """
    lost = {} if lost is None else lost
    for check in checks:
        cause = next((lost[name] for name in check.needs if name in lost), "")
        if cause:
            lost[check.name] = cause
            yield Outcome(check.name, check.title, left_out=cause)
            continue
        begin(check.title)
        outcome = Outcome(check.name, check.title, tuple(await _found(check, subject)))
        if outcome.failed:
            lost[check.name] = check.name
        yield outcome


async def _found(check: Check[S], subject: S) -> list[Finding]:
    try:
        return await check.run(subject)
    except Exception as problem:  # noqa: BLE001 (the subject may answer anything; the other checks go on)
        at = traceback.extract_tb(problem.__traceback__)[-1]  # not its text, which may contain a token
        return [CHECK_BROKE.seen(f"{check.name}: {type(problem).__name__} in {Path(at.filename).name}:{at.lineno}")]


def first(outcomes: Sequence[Outcome]) -> Finding | None:
    """Where to begin: the first failure, else the first warning, else None."""
    found = [finding for outcome in outcomes for finding in outcome.findings]
    ranked = [[finding for finding in found if finding.level == level] for level in ("failure", "warning")]
    return next((findings[0] for findings in ranked if findings), None)
