"""Statements, clauses and tests refer to each other with nothing left over."""

import re

from tests.claims import collected
from tests.requirements import CLAUSES
from tests.standards import FOLDER, ORDER, documents
from tests.standards.page import PAGE, page

KNOWN = {clause.id: clause for clause in CLAUSES}
STATEMENTS = [statement for document in documents() for statement in document.statements]
# The documents that were gone through completely: a clause whose source names one must belong to a statement.
_GONE_THROUGH = re.compile(
    r"RFC (6749|6750|7009|7591|7636|7662|8252|8414|8707|9068|9207|9700|9728)|OAuth 2\.1|MCP 2026.*auth"
)


def held() -> set[str]:
    """Every clause that some test claims."""
    return set().union(*collected().values())


def test_every_clause_that_a_test_names_exists() -> None:
    """A typo in a mark would leave a clause without its test, unnoticed."""
    unknown = {test: claimed - KNOWN.keys() for test, claimed in collected().items() if claimed - KNOWN.keys()}
    assert not unknown


def test_every_clause_has_a_test() -> None:
    """A part is covered by a test that names it; a head, by one that names it or any of its parts."""
    claimed = held()
    heads = {KNOWN[one].head for one in claimed & KNOWN.keys()}
    assert not [clause.id for clause in CLAUSES if not clause.not_yet and clause.id not in claimed | heads]


def test_a_clause_that_is_not_built_yet_has_no_test() -> None:
    """The note is removed when the test is added."""
    assert not {clause.id for clause in CLAUSES if clause.not_yet} & held()


def test_every_test_of_the_protocol_names_its_clause() -> None:
    """A test that covers no clause needs one: an existing one, or a new one in the list."""
    assert not [test for test, claimed in collected("idp/oauth").items() if not claimed]


def test_the_list_is_in_order() -> None:
    """Each id appears once, each part has its head, and each clause has a text and a source."""
    assert len(KNOWN) == len(CLAUSES)
    assert all(clause.head in KNOWN for clause in CLAUSES)
    assert all(clause.text.endswith(".") and clause.source for clause in CLAUSES)


def test_every_statement_is_held_or_says_why_not() -> None:
    """By clauses that exist, by a departure, or by what it rests on outside this code."""
    assert not [one.id for one in STATEMENTS if not (one.held or one.departs or one.rests_on)]
    unknown = {one.id: set(one.held) - KNOWN.keys() for one in STATEMENTS if set(one.held) - KNOWN.keys()}
    assert not unknown


def test_what_is_held_in_part_says_so() -> None:
    """Otherwise a clause beside a departure leaves open which of the two is true."""
    assert not [one.id for one in STATEMENTS if one.held and one.departs and not one.departs.startswith("In part")]


def test_every_clause_is_asked_for() -> None:
    """By a statement that names it, its head or a part of it, unless it is our own or another document's."""
    named = {clause for statement in STATEMENTS for clause in statement.held}
    asked = named | {KNOWN[clause].head for clause in named}
    owed = [clause for clause in CLAUSES if clause.level in ("MUST", "SHOULD") and _GONE_THROUGH.search(clause.source)]
    assert not [clause.id for clause in owed if clause.id not in asked]


def test_the_statements_are_in_order() -> None:
    """Every file is read, each text is a sentence, and statements follow the order of their document's sections."""
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(ORDER)
    for statement in STATEMENTS:
        for text in (statement.text, statement.departs, statement.rests_on):
            assert text == "" or (text.endswith(".") and "\n" not in text and "|" not in text), statement.id
    for document in documents():
        numbers = [_number(one.id.removeprefix(f"{document.id}-")) for one in document.statements]
        assert numbers == sorted(numbers) or not all(numbers), document.id


def test_the_page_is_as_the_sources_have_it() -> None:
    """`make requirements` rewrites it."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make requirements`, or python -m tests.standards.page"


def _number(key: str) -> list[tuple[int, str]]:
    """The parts of ``4.1.2.a`` as a sort key; empty for a section that has a name instead of a number."""
    if not key[0].isdigit():
        return []
    return [(int(part), "") if part.isdigit() else (0, part) for part in key.split(".")]
