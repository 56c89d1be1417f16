"""Requirements and tests hold one another: no unknown clause in a test, no clause of ours without a test."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.requirements import CLAUSES

TESTS = Path(__file__).parent
KNOWN = {clause.id: clause for clause in CLAUSES}


def claims(tree: ast.AST) -> Iterator[str]:
    """The ids in each ``pytest.mark.clause(…)`` below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.clause"):
            yield from (str(ast.literal_eval(argument)) for argument in node.args)


def each_test(module: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Each test function of a file with the clauses that its own decorators and the file's ``pytestmark`` name."""
    shared = {
        claimed
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for claimed in claims(node.value)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name, shared.union(*(claims(decorator) for decorator in node.decorator_list))


@cache
def collected(below: str = "") -> dict[str, set[str]]:
    """What every test below a folder claims: read from the source, so that it holds for a run of this file alone."""
    return {
        f"{path.relative_to(TESTS)}::{name}": claimed
        for path in sorted((TESTS / below).rglob("test_*.py"))
        for name, claimed in each_test(ast.parse(path.read_text(encoding="utf-8")))
    }


def held() -> set[str]:
    """Every clause that some test claims."""
    return set().union(*collected().values())


def test_every_clause_that_a_test_names_exists() -> None:
    """A typing mistake in a mark would leave a clause without its test, and nobody would see it."""
    unknown = {test: claimed - KNOWN.keys() for test, claimed in collected().items() if claimed - KNOWN.keys()}
    assert not unknown


def test_every_clause_has_a_test() -> None:
    """A part is held by a test that names it; a head by one that names it or any of its parts."""
    claimed = held()
    heads = {KNOWN[one].head for one in claimed & KNOWN.keys()}
    assert not [clause.id for clause in CLAUSES if not clause.not_yet and clause.id not in claimed | heads]


def test_a_clause_that_is_not_built_yet_has_no_test() -> None:
    """The note goes when the test comes."""
    assert not {clause.id for clause in CLAUSES if clause.not_yet} & held()


def test_every_test_of_the_protocol_names_its_clause() -> None:
    """The other way round: a test that holds no clause asks for one, here or in the list."""
    assert not [test for test, claimed in collected("idp/oauth").items() if not claimed]


def test_the_list_is_in_order() -> None:
    """Each id once; each part has its head; each clause says what and where from."""
    assert len(KNOWN) == len(CLAUSES)
    assert all(clause.head in KNOWN for clause in CLAUSES)
    assert all(clause.text.endswith(".") and clause.source for clause in CLAUSES)
