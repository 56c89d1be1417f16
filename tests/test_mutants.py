"""The runner of `make mutants`: what it is told to break exists, and what it makes is other code."""

import ast

import pytest

from tests.mutants import ROOT, TARGETS, mutants_of, mutated, path_of


@pytest.mark.parametrize("module", TARGETS)
def test_each_target_is_there_with_its_tests(module: str) -> None:
    """A module or file that was renamed would else be passed over."""
    assert path_of(module).is_file()
    assert all((ROOT / test.partition("::")[0]).exists() for test in TARGETS[module])


def test_each_change_is_one_and_another() -> None:
    """Of one module: every number gives code that runs and differs from the original and from each other change."""
    source = path_of("gatepost_idp.consent.rules").read_text(encoding="utf-8")
    changed = [ast.unparse(mutated(source, one.number)) for one in mutants_of("gatepost_idp.consent.rules")]
    assert len(changed) > 15
    assert len({*changed, ast.unparse(ast.parse(source))}) == len(changed) + 1
    for text in changed:
        compile(text, "mutant", "exec")
