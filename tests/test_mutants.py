"""The runner of `make mutants`: what it is told to break exists, and each change is made alone and noticed."""

import subprocess
import sys

import pytest

from tests.mutants import ROOT, TARGETS, path_of, with_all

SOURCE = '''
def f(a, b=()):
    """Words that stay."""
    if a:
        return [one + 2 for one in b if one > 1 and a != 7]
    return "word", not b, f"in {a} between"
'''
CALLS = ((0,), (1, (1, 2)), (7, (1, 2)), (1, (3,)))


@pytest.mark.parametrize("module", TARGETS)
def test_each_target_is_there_with_its_tests(module: str) -> None:
    """Otherwise a renamed module or file would be skipped."""
    assert path_of(module).is_file()
    assert all((ROOT / test.partition("::")[0]).exists() for test in TARGETS[module])


def test_each_change_is_one_and_another() -> None:
    """Inactive, all of them together change nothing; active, each gives a different program."""
    original: dict[str, object] = {}
    exec(compile(SOURCE, "original", "exec"), original)  # noqa: S102 (the source above)
    outcomes = [_outcome(number) for number in (None, *range(10))]
    assert outcomes[0] == [original["f"](*call) for call in CALLS]  # type: ignore[operator]  # from exec
    assert len(set(map(str, outcomes))) == len(outcomes)
    assert _outcome(10) == outcomes[0], "there were ten"


def _outcome(awake: int | None) -> list[object]:
    space = {"__mutant__": lambda number: number == awake}
    exec(compile(with_all(SOURCE), "changed", "exec"), space)  # noqa: S102 (the source above)
    return [space["f"](*call) for call in CALLS]


def test_the_tests_of_a_module_are_run_against_its_changes() -> None:
    """Every change tried in PKCE is noticed, by tests that reach it."""
    command = [sys.executable, "-m", "tests.mutants", "gatepost_idp.pkce", "3"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.stdout.strip() == "gatepost_idp.pkce: 2 of 2 killed, 100.0 %", run.stdout + run.stderr
    assert run.returncode == 0
