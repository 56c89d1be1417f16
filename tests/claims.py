"""Which test claims which clause: read from the tests' sources, so that it works if only one file is run."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent


@cache
def collected(below: str = "") -> dict[str, set[str]]:
    """What each test below a folder claims, by ``path/below/tests.py::name``."""
    return {
        f"{path.relative_to(TESTS).as_posix()}::{name}": claimed
        for path in sorted((TESTS / below).rglob("test_*.py"))
        for name, claimed in _each_test(ast.parse(path.read_text(encoding="utf-8")))
    }


def _each_test(module: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Each test function of a file, with the clauses that its decorators and the file's ``pytestmark`` name."""
    shared = {
        claimed
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for claimed in _claims(node.value)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name, shared.union(*(_claims(decorator) for decorator in node.decorator_list))


def _claims(tree: ast.AST) -> Iterator[str]:
    """The ids in each ``pytest.mark.clause(…)`` below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.clause"):
            yield from (str(ast.literal_eval(argument)) for argument in node.args)
