"""Writes docs/requirements.md, which a security reviewer opens first: ``python -m tests.standards.page``."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.claims import collected
from tests.requirements import CLAUSES, Clause
from tests.standards import Document, Statement, documents

PAGE = Path(__file__).resolve().parents[2] / "docs" / "requirements.md"
_IN_PART = "In part. "
_NAMES = {clause.id for clause in CLAUSES} | {one.id for document in documents() for one in document.statements}
_NAME = re.compile(r"\b(?:RFC|OAUTH|MCP|[A-Z]\d)(?:[\w.-]*\w)?")
_NOT_YET = {clause.id for clause in CLAUSES if clause.not_yet}
_INTRODUCTION = """\
# What the standards require, and what covers it

Every MUST and SHOULD of the documents below that binds an authorization server or a resource server, in our own
words. Each is **covered** by clauses of [tests/requirements.py](../tests/requirements.py), and each clause by
[the tests that name it](#clauses-and-their-tests); or we **depart** from it and say why; or it **rests** on something
outside this code. The tests check in both directions that nothing is left over. A level in parentheses applies only to
its part of a statement.

What is not built yet is marked. This page is generated from [tests/standards/](../tests/standards/) and the marks on
the tests; `make requirements` rewrites it.
"""


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page; the same sources give the same page."""
    return "\n".join([_INTRODUCTION, *_summary(), *_departures(), *_every_document(), *_clauses()])


def _summary() -> Iterator[str]:
    yield "| document | statements | departures | not yet | |"
    yield "| --- | --- | --- | --- | --- |"
    for document in documents():
        departures = sum(1 for one in document.statements if one.departs)
        waiting = sum(1 for one in document.statements if not _NOT_YET.isdisjoint(one.held))
        yield (
            f"| [{document.title}](#{_anchor(document.id)}) | {len(document.statements)} | {departures or '–'} |"
            f" {waiting or '–'} | {document.about} |"
        )
    yield ""


def _departures() -> Iterator[str]:
    yield "## Departures"
    yield ""
    departures = [one for document in documents() for one in document.statements if one.departs]
    for statement in sorted(departures, key=lambda one: one.level):  # each MUST first
        if not statement.departs.removeprefix(_IN_PART).startswith("See "):  # listed once, where it refers to
            yield f"- {_link(statement.id)} {statement.level}: {statement.text} {_departure(statement)}"
    yield ""


def _departure(statement: Statement) -> str:
    label = "In part." if statement.departs.startswith(_IN_PART) else "Departs."
    return f"**{label}** {_linked(statement.departs.removeprefix(_IN_PART))}"


def _every_document() -> Iterator[str]:
    for document in documents():
        yield f'<a id="{_anchor(document.id)}"></a>'
        yield ""
        yield f"## [{document.title}]({document.url})"
        yield ""
        yield f"{document.about}."
        yield ""
        yield from _table(document)
        if document.aside:
            yield "Sections without a statement here:"
            yield ""
            yield from (f"- {sections}: {_linked(why)}" for sections, why in document.aside)
            yield ""


def _table(document: Document) -> Iterator[str]:
    yield "| section | | requirement | covered by |"
    yield "| --- | --- | --- | --- |"
    for statement in document.statements:
        section = f"[{statement.id.removeprefix(document.id + '-')}]({document.address(statement.section)})"
        place = f'<a id="{_anchor(statement.id)}"></a>{section}'
        yield f"| {place} | {statement.level} | {statement.text} | {_held(statement)} |"
    yield ""


def _held(statement: Statement) -> str:
    links = ", ".join(_link(clause) + (" (not yet)" if clause in _NOT_YET else "") for clause in statement.held)
    departs = _departure(statement) if statement.departs else ""
    rests = f"*Rests on:* {_linked(statement.rests_on)}" if statement.rests_on else ""
    return "<br>".join(part for part in (links, departs, rests) if part)


def _clauses() -> Iterator[str]:
    yield "## Clauses and their tests"
    yield ""
    yield "OURS: promised by this product, required by no standard. A head, such as A1, is covered by its parts too."
    yield ""
    for clause in CLAUSES:
        note = f" **Not yet:** {clause.not_yet}." if clause.not_yet else ""
        yield (
            f'- <a id="{_anchor(clause.id)}"></a>**{clause.id}** {clause.level}: {clause.text}'
            f" <sub>{clause.source}</sub>{note}"
        )
        yield from (f"  - {_test(test)}" for test in _tests_of(clause))


def _tests_of(clause: Clause) -> list[str]:
    return [test for test, claimed in collected().items() if clause.id in claimed]


def _test(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[`{name}`](../tests/{path})"


def _link(identifier: str) -> str:
    return f"[{identifier}](#{_anchor(identifier)})"


def _linked(text: str) -> str:
    """``text``, with links for the clauses and statements that it names."""
    return _NAME.sub(lambda found: _link(found[0]) if found[0] in _NAMES else found[0], text)


def _anchor(identifier: str) -> str:
    return identifier.lower()


if __name__ == "__main__":
    main()
