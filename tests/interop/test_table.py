"""docs/clients.md states exactly what was run."""

import ast

from tests.interop.programs import HERE, PROGRAMS
from tests.interop.table import FILE, render


def test_the_page_is_what_the_tests_show() -> None:
    """After changing a client, a version or a test, run `make clients`."""
    assert FILE.read_text(encoding="utf-8") == render()


def test_every_program_on_the_page_is_run_by_a_test() -> None:
    """Read from the source, in both directions, so that it works if only this file is run."""
    marked = {
        ast.literal_eval(argument)
        for path in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.program"
        for argument in node.args
    }
    assert marked == {program.key for program in PROGRAMS}
