"""Generates the tables of docs/troubleshooting.md: a row for each fault, in the order of the checks."""

import sys
from collections.abc import Iterator

from gatepost_idp.operate.doctor import inside, outside
from gatepost_idp.operate.doctor.examination import CHECK_BROKE
from gatepost_idp.operate.doctor.finding import Fault

BEGIN = "<!-- made by: python -m gatepost_idp.operate.doctor.troubleshooting -->"
HEAD = "| what you see | doctor says | what to change | for example |\n| --- | --- | --- | --- |"


def faults() -> list[Fault]:
    """All faults, each once."""
    return list(dict.fromkeys(fault for _, group in _groups() for fault in group))


def table() -> str:
    """Markdown with a table for each check that introduces faults."""
    told: set[Fault] = set()
    parts = [BEGIN]
    for title, group in _groups():
        fresh = [fault for fault in dict.fromkeys(group) if fault not in told]
        told.update(fresh)
        if fresh:
            parts += [f"## {title}", "\n".join([HEAD, *map(_row, fresh)])]
    return "\n\n".join(parts) + "\n"


def _groups() -> Iterator[tuple[str, tuple[Fault, ...]]]:
    yield from ((check.title, check.faults) for check in outside.CHECKS)
    yield from ((check.title, check.faults) for check in (*inside.CHEAP, *inside.REST))
    yield "Doctor itself", (CHECK_BROKE,)


def _row(fault: Fault) -> str:
    cells = (fault.symptom, f"`{fault.name}`", fault.setting, fault.example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(table())
