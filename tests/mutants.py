"""Breaks the code in small ways, one at a time, and runs the tests that hold it: ``python -m tests.mutants``.

Arguments are modules; without any, all of ``TARGETS``. A number N among them tries every Nth change only, for a first
look. A change that no test notices has survived, and is printed.
mutmut wants to copy the sources beside the tests, and then finds neither the two packages nor their templates. Here
nothing is written: the process that runs the tests is told which change to make (``GATEPOST_MUTANT=module:number``),
and this same file, as a plugin of pytest, makes it while the module is imported.

A change is: a comparison or a condition turned round, ``and`` for ``or``, a ``not`` left out, a number one more, a word
another word, a sum a difference. Docstrings, annotations and decorators stay as they are.
"""

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHOSEN = "GATEPOST_MUTANT"
GOAL = 85  # percent killed
SECONDS = 300  # a change that makes the tests hang was noticed

OAUTH, GROUND, RESOURCE = "tests/idp/oauth", "tests/idp/ground", "tests/resource"
_TRACES = ("tests/idp/operator/test_trace_secrets.py", "tests/idp/operator/test_trace_refusals.py")
_TOKEN = (f"{OAUTH}/test_grants.py", _TRACES[1], f"{OAUTH}/test_token_endpoint.py", f"{OAUTH}/test_openid.py")
_VERIFIER = (
    f"{RESOURCE}/test_token_shape.py",
    f"{RESOURCE}/test_forged_tokens.py",
    f"{RESOURCE}/test_challenge.py",
    f"{RESOURCE}/test_keys.py",
)
TARGETS: dict[str, tuple[str, ...]] = {
    "gatepost_idp.pkce": (f"{GROUND}/test_pkce.py", f"{OAUTH}/test_grants.py"),
    "gatepost_idp.redirects": (
        f"{GROUND}/test_redirects.py",
        f"{_TRACES[0]}::test_an_address_is_shown_without_what_may_be_secret_in_it",
    ),
    "gatepost_idp.consent.rules": (f"{GROUND}/test_consent_rules.py", f"{OAUTH}/test_consent.py"),
    "gatepost_idp.authorize.checks": (f"{OAUTH}/test_authorize.py", f"{OAUTH}/test_redirects.py", *_TRACES),
    "gatepost_idp.authorize.journey": (f"{OAUTH}/test_consent.py", f"{OAUTH}/test_authorize.py", "tests/idp/account"),
    "gatepost_idp.grants.authorization_code": _TOKEN,
    "gatepost_idp.grants.refresh_token": _TOKEN,
    "gatepost_idp.grants.token_exchange": (f"{OAUTH}/test_token_exchange.py",),
    "gatepost_idp.store.exchanges": (f"{OAUTH}/test_token_exchange.py", "tests/idp/admin/test_backends.py"),
    "gatepost_idp.store.grants": ("tests/store/test_codes.py", "tests/store/test_refresh.py", *_TOKEN),
    "gatepost_idp.signin.steps": ("tests/idp/signin",),
    "gatepost_resource.access_token": _VERIFIER,
    "gatepost_resource.verifier": (*_VERIFIER, f"{RESOURCE}/test_introspection.py"),
}
"""Each module with the tests that have to notice, the quick ones first."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip  # a table
_SUMS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.BitOr: ast.BitAnd,
}  # fmt: skip  # a table


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: ``old`` and ``new`` are source text of the smallest expression around it."""

    module: str
    number: int
    line: int
    old: str
    new: str


def main(modules: list[str], every: int) -> int:
    """Prints each survivor, and the share of each module that was noticed; 1 where a module misses the goal."""
    missed = 0
    for module in modules or TARGETS:
        tried = list(mutants_of(module))[::every]
        survivors = [mutant for mutant in tried if survives(mutant)]
        percent = 100 * (len(tried) - len(survivors)) / len(tried)
        print(f"{module}: {len(tried) - len(survivors)} of {len(tried)} killed, {percent:.1f} %", flush=True)
        missed += percent < GOAL
    return 1 if missed else 0


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every change that can be made to ``module``."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    for number, (place, new) in enumerate(_changes(tree)):
        yield Mutant(module, number, place.lineno, ast.unparse(place), ast.unparse(new))


def survives(mutant: Mutant) -> bool:
    """Whether the tests pass with it; then it is printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "tests.mutants"]
    environment = {**os.environ, CHOSEN: f"{mutant.module}:{mutant.number}"}
    try:
        run = subprocess.run(
            [*command, *TARGETS[mutant.module]],
            cwd=ROOT,
            env=environment,
            timeout=SECONDS,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    if run.returncode == 0:
        print(f"  {mutant.module}, line {mutant.line}: {mutant.old}  ->  {mutant.new}", flush=True)
    return run.returncode == 0


def mutated(source: str, number: int) -> ast.Module:
    """The module with the change of that number made."""
    tree = ast.parse(source)
    place, new = list(_changes(tree))[number]
    return ast.fix_missing_locations(_Replaces(place, new).visit(tree))  # type: ignore[no-any-return]  # ast types visit as Any


class _Replaces(ast.NodeTransformer):
    def __init__(self, place: ast.expr, new: ast.expr) -> None:
        self._place, self._new = place, new

    def visit(self, node: ast.AST) -> Any:
        return ast.copy_location(self._new, self._place) if node is self._place else self.generic_visit(node)


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each expression below ``node`` that can be changed, with what stands in its place, in the source's order."""
    if isinstance(node, ast.expr):
        yield from ((node, new) for new in _instead_of(node))
    if isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield node.test, ast.UnaryOp(ast.Not(), node.test)
    for child in _children(node):
        yield from _changes(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What is code: no annotation, decorator, docstring or literal part of an f-string."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            is_alias = isinstance(child, ast.Subscript) and ast.unparse(child.value) == "Literal"
            is_part = isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)
            if isinstance(child, ast.AST) and not (is_text or is_alias or is_part):
                yield child


def _instead_of(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            new = copy.copy(node)
            new.ops = [*node.ops[:index], _COMPARISONS[type(operator)](), *node.ops[index + 1 :]]
            yield new
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
        yield ast.BinOp(node.left, _SUMS[type(node.op)](), node.right)
    elif isinstance(node, ast.Constant):
        yield from _other_constant(node.value)


def _other_constant(value: object) -> Iterator[ast.expr]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, str):
        yield ast.Constant(f"X{value}X")


def path_of(module: str) -> Path:
    """Where its source stands."""
    folder = "idp" if module.startswith("gatepost_idp") else "resource"
    return ROOT / folder / f"{module.replace('.', '/')}.py"


class _Loader(importlib.abc.InspectLoader):
    """Loads the one module with its change."""

    def __init__(self, module: str, number: int) -> None:
        self._module, self._number = module, number

    def get_source(self, fullname: str) -> str:
        return path_of(self._module).read_text(encoding="utf-8")

    def exec_module(self, module: ModuleType) -> None:
        tree = mutated(self.get_source(self._module), self._number)
        exec(compile(tree, str(path_of(self._module)), "exec"), module.__dict__)  # noqa: S102 (this is what it is for)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, number: int) -> None:
        self._module, self._number = module, number

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        place = str(path_of(fullname))
        return importlib.util.spec_from_file_location(fullname, place, loader=_Loader(fullname, self._number))


def _numbers() -> Iterator[str]:
    return (argument for argument in sys.argv[1:] if argument.isdigit())


if chosen := os.environ.get(CHOSEN):
    name, _, index = chosen.partition(":")
    sys.meta_path.insert(0, _Finder(name, int(index)))

if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if not name.isdigit()], every=next(map(int, _numbers()), 1)))
