"""``gatepost tools list`` and ``gatepost tools accept``: show and approve what backends' tools say of themselves.

The operator reads a backend's text at a terminal and decides by it, so unprintable characters are escaped: no escape
sequence, reversed text or invisible letter can make it look different from what it is.
"""

import argparse
import asyncio
import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from gatepost_resource import catalogue as catalogues
from gatepost_resource.backends.approvals import Approvals, ApprovalsUnusable
from gatepost_resource.backends.survey import Row, Survey, survey
from gatepost_resource.settings import Settings, SettingsError, explain
from gatepost_resource.tools import BUILTINS, OURS

PENDING = ("changed", "new")


def run(words: Sequence[str], settings: Settings) -> int:
    """Runs the words typed after ``gatepost tools``; returns the exit code. Raises SettingsError."""
    chosen = _parser().parse_args(words)
    found = asked(settings)
    if chosen.command == "list":
        _print_list(found, as_json=chosen.json, hides=settings.tool_changes == "block")
        return 0
    return _accept(found, chosen, settings)


def asked(settings: Settings) -> Survey:
    """Asks every backend of this resource for its tools; raises SettingsError."""
    catalogue = catalogues.load(settings.catalogue, settings.mcp_resource_url)
    if catalogue.backends and settings.introspection_credentials is None:
        raise SettingsError(
            explain("INTROSPECTION_CLIENT_ID", "is not set: backends are asked with tokens obtained with it")
        )
    taken = {entry.name for entry in (OURS if settings.demo_tools else BUILTINS)}
    return asyncio.run(survey(settings, catalogue.backends, taken))


def printable(text: str) -> str:
    """The text with unprintable characters escaped, which a terminal would act on or hide; line breaks stay."""
    return "".join(sign if sign.isprintable() or sign == "\n" else _spelt(sign) for sign in text)


def _spelt(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gatepost tools", description="The tools of the backends in CATALOGUE.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="each tool, its scope and its state, and what changed")
    accept = commands.add_parser("accept", help="approve tools as they describe themselves now")
    accept.add_argument(
        "names", nargs="*", metavar="BACKEND[/TOOL]", help="what to approve; without any, all changed and new tools"
    )
    accept.add_argument("--yes", action="store_true", help="do not ask")
    for command in (listing, accept):
        command.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _print_list(found: Survey, *, as_json: bool, hides: bool) -> None:
    if as_json:
        unused = [{"backend": backend, "rule": pattern} for backend, pattern in found.unused_rules]
        told = {"tools": [asdict(row) for row in found.rows], "unused_rules": unused, "problem": found.problem}
        _print(json.dumps(told))
        return
    for row in found.rows:
        name = row.backend if row.state == "down" else f"{row.backend}/{row.tool}"
        _print(printable(f"{row.state:<9} {name:<40} {row.scope}{row.reason}".rstrip().replace("\n", " ")))
        if row.state == "changed":
            _print_lines(_difference(row))
    if not found.rows:
        _print("There is no [[backend]] in CATALOGUE.")
    for backend, pattern in found.unused_rules:
        _print(printable(f"The rule {pattern!r} of {backend} matches none of its tools."))
    if any(row.state == "changed" for row in found.rows):
        _print(f"Changed tools are {'hidden' if hides else 'offered'}; `gatepost tools accept` approves them.")
    if found.problem:
        _print(printable(found.problem))


def _accept(found: Survey, chosen: argparse.Namespace, settings: Settings) -> int:
    rows = [row for row in found.rows if row.text and _is_meant(row, chosen.names)]
    unknown = [name for name in chosen.names if not any(_is_meant(row, [name]) for row in found.rows if row.text)]
    if unknown:
        sys.stderr.write(printable(f"No backend that answers has {unknown[0]}; `gatepost tools list` shows all.\n"))
        return 1
    pending = [row for row in rows if row.approved != row.text]
    if pending and not chosen.yes and not _agreed(pending):
        return 1
    texts: dict[str, dict[str, str]] = {}
    for row in pending:
        texts.setdefault(row.backend, {})[row.tool] = row.text
    try:
        # Approves what was shown, not what a backend may say by now.
        Approvals(settings.tool_approvals).add(texts, only_new=False)
    except ApprovalsUnusable as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    names = [f"{row.backend}/{row.tool}" for row in pending]
    _print(json.dumps({"accepted": names}) if chosen.json else printable(f"Accepted: {', '.join(names) or 'nothing'}"))
    return 0


def _is_meant(row: Row, names: Sequence[str]) -> bool:
    return row.backend in names or f"{row.backend}/{row.tool}" in names if names else row.state in PENDING


def _agreed(pending: Sequence[Row]) -> bool:
    for row in pending:
        sys.stderr.write(printable(f"{row.backend}/{row.tool} ({row.state})\n"))
        sys.stderr.writelines(f"{line}\n" for line in _difference(row))
    sys.stderr.write(f"Approve {len(pending)} as they are shown here? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _difference(row: Row) -> Iterator[str]:
    """A diff of the approved and the current definition, one line per member."""
    before, now = (_lines(text) for text in (row.approved, row.text))
    for line in difflib.unified_diff(before, now, "approved", "now", n=1, lineterm=""):
        yield f"    {line}"


def _lines(text: str) -> list[str]:
    pretty = json.dumps(json.loads(text), ensure_ascii=False, indent=1) if text else ""
    return printable(pretty).splitlines()


def _print_lines(lines: Iterator[str]) -> None:
    for line in lines:
        _print(line)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
