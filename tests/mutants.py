"""Breaks the code in small ways, one at a time, and runs the tests that cover it: ``python -m tests.mutants``.

Arguments are modules; without any, all of ``TARGETS``. A number N among them tries only every Nth change, for a first
look. A change that no test notices has survived, and is printed.
mutmut copies the sources beside the tests, and then finds neither the two packages nor their templates. Here nothing
is written: this file, as a pytest plugin, loads the module with every change in it, each inactive, and pytest runs once
to see which test reaches which change. Then, for each change, a fork of that process activates it and runs those tests
until one fails. A change in code that runs at import, such as a constant, takes a separate process and every test.

A change is: a negated comparison or condition, ``and`` for ``or``, a ``not`` left out, a number plus one, a different
word, a difference for a sum. Docstrings, annotations and decorators stay as they are.
"""

import ast
import copy
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHOSEN = "GATEPOST_MUTANT"
"""What the plugin is to do: ``module every 4``, or ``module only 17`` for one change, active from the start."""
NOTES = ROOT / "var" / "mutants"
"""A file for each module says which test noticed each change, and how. Check it for chance failures, such as a server
that did not start in time."""
GOAL = 85  # percent killed
SECONDS = 300  # plus five times what the tests take without a change: one that makes them hang is noticed

OAUTH, GROUND, RESOURCE = "tests/idp/oauth", "tests/idp/ground", "tests/resource"
_TRACES = ("tests/idp/operator/test_trace_secrets.py", "tests/idp/operator/test_trace_refusals.py")
_REFUSED = f"{_TRACES[1]}::test_a_refusal_says_what_was_received_and_what_was_expected"
_AUDIT = "tests/idp/operator/test_audit.py"
_RECORDED = f"{_AUDIT}::test_a_refusal_is_recorded"
_TOKEN = (f"{OAUTH}/test_grants.py", _TRACES[1], f"{OAUTH}/test_token_endpoint.py", f"{OAUTH}/test_openid.py")
_REDEEMED = (*_TOKEN[:2], _TOKEN[3], _RECORDED)
_VERIFIER = (
    f"{RESOURCE}/test_token_shape.py",
    f"{RESOURCE}/test_forged_tokens.py",
    f"{RESOURCE}/test_challenge.py",
    f"{RESOURCE}/test_keys.py",
)
_SIGN_IN = ("code", "link", "expiry", "resend_and_limits", "addresses", "requests_side_by_side", "forms_and_cookies")
TARGETS: dict[str, tuple[str, ...]] = {
    "gatepost_idp.pkce": (f"{GROUND}/test_pkce.py",),
    "gatepost_idp.redirects": (
        f"{GROUND}/test_redirects.py",
        f"{_TRACES[0]}::test_an_address_is_shown_without_what_may_be_secret_in_it",
    ),
    "gatepost_idp.consent.rules": (f"{GROUND}/test_consent_rules.py", f"{OAUTH}/test_consent.py"),
    "gatepost_idp.authorize.checks": (
        f"{GROUND}/test_request_checks.py",
        f"{OAUTH}/test_authorize.py",
        f"{OAUTH}/test_redirects.py",
        *_TRACES,
        _RECORDED,
        f"{_AUDIT}::test_at_authorize_a_client_that_is_switched_off_is_recorded",
        f"{OAUTH}/test_metadata_documents.py::test_page_and_trace_tell_what_is_wrong_and_what_is_there_instead",
        "tests/idp/operator/test_clients_by_hand.py"
        "::test_an_error_goes_back_at_once_to_a_client_that_an_operator_knows",
    ),
    "gatepost_idp.authorize.journey": (
        f"{GROUND}/test_next_step.py",
        f"{OAUTH}/test_consent.py",
        f"{OAUTH}/test_authorize.py",
        "tests/idp/account/test_access.py",
        f"{OAUTH}/test_redirects.py::test_a_link_to_us_leads_nobody_unseen_to_a_stranger",
        f"{OAUTH}/test_redirects.py::test_an_answer_keeps_the_query_of_the_redirect",
        f"{_REFUSED}[nobody signed in]",
        f"{_REFUSED}[nobody agreed yet]",
        f"{_AUDIT}::test_the_way_to_a_connection_is_recorded",
        f"{_AUDIT}::test_saying_no_and_another_account_are_recorded",
        f"{_AUDIT}::test_a_no_of_nobody_is_recorded",
        f"{_AUDIT}::test_signing_out_on_a_page_that_is_over_is_recorded",
        "tests/idp/account/test_cut_off.py::test_one_mail_for_each_kind_of_app",
    ),
    "gatepost_idp.grants.authorization_code": _TOKEN,
    "gatepost_idp.grants.refresh_token": _TOKEN,
    "gatepost_idp.grants.client_credentials": (f"{OAUTH}/test_token_exchange.py",),
    "gatepost_idp.grants.token_exchange": (f"{OAUTH}/test_token_exchange.py",),
    "gatepost_idp.store.exchanges": (
        f"{OAUTH}/test_token_exchange.py",
        "tests/idp/admin/test_backends.py",
        "tests/store/test_refresh.py",
        "tests/store/test_exchanges.py",
    ),
    "gatepost_idp.store.codes": ("tests/store/test_codes.py", *_REDEEMED),
    "gatepost_idp.store.refresh_tokens": ("tests/store/test_refresh.py", *_REDEEMED),
    "gatepost_idp.store.grants": (
        "tests/store/test_codes.py",
        "tests/store/test_refresh.py",
        *_REDEEMED,
        f"{OAUTH}/test_introspection.py::test_the_access_tokens_of_a_client_that_was_switched_off_are_inactive",
        f"{OAUTH}/test_metadata_documents.py::test_a_disabled_url_is_refused_in_every_version",
    ),
    "gatepost_idp.signin.steps": (
        *(f"tests/idp/signin/test_{part}.py" for part in _SIGN_IN),
        "tests/idp/operator/test_who_may_sign_in.py",
        "tests/idp/signin/test_outbox.py::test_what_was_sent_stays_sent_while_the_server_is_away",
        "tests/idp/signin/test_outbox.py::test_a_mail_that_nothing_can_take_is_late_before_it_is_tried",
        f"{_AUDIT}::test_refused_sign_ins_are_recorded",
        f"{_AUDIT}::test_the_way_to_a_connection_is_recorded",
    ),
    "gatepost_idp.store.idle_accounts": ("tests/store/test_idle_accounts.py",),
    "gatepost_resource.exchange": (f"{RESOURCE}/test_exchange.py",),
    "gatepost_resource.access_token": _VERIFIER,
    "gatepost_resource.verifier": (*_VERIFIER, f"{RESOURCE}/test_introspection.py"),
}
"""Each module with the tests that must notice its changes, the quick ones first."""

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
    """Prints each survivor, and the share of changes noticed per module; returns 1 if a module misses the goal."""
    return max([_pytest(module, f"every {every}") for module in modules or TARGETS])


def _pytest(module: str, mode: str, **options: Any) -> int:
    command = [sys.executable, "-m", "pytest", "-qq", "-x", "-s", "-p", "no:cacheprovider", "-p", "tests.mutants"]
    command += ["-k", "not postgresql"]  # which would be started for each change
    environment = {**os.environ, CHOSEN: f"{module} {mode}"}
    return subprocess.run([*command, *TARGETS[module]], cwd=ROOT, env=environment, check=False, **options).returncode


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every change that can be made to ``module``."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    for number, (place, new) in enumerate(_changes(tree)):
        yield Mutant(module, number, place.lineno, ast.unparse(place), ast.unparse(new))


def with_all(source: str) -> ast.Module:
    """The module with every change in it: ``new if __mutant__(number) else old`` for each."""
    tree = ast.parse(source)
    places: dict[ast.expr, list[ast.expr]] = defaultdict(list)
    numbers: dict[ast.expr, list[int]] = defaultdict(list)
    for number, (place, new) in enumerate(_changes(tree)):
        places[place].append(copy.deepcopy(new))
        numbers[place].append(number)
    changed = _Carries(places, numbers).visit(tree)
    return ast.fix_missing_locations(changed)  # type: ignore[no-any-return]  # ast types visit as Any


class _Carries(ast.NodeTransformer):
    def __init__(self, places: dict[ast.expr, list[ast.expr]], numbers: dict[ast.expr, list[int]]) -> None:
        self._places, self._numbers = places, numbers

    def visit(self, node: ast.AST) -> Any:
        told: Any = self.generic_visit(node)
        if isinstance(node, ast.expr) and node in self._places:
            for number, new in zip(self._numbers[node], self._places[node], strict=True):
                asked = ast.Call(ast.Name("__mutant__", ast.Load()), [ast.Constant(number)], [])
                told = ast.copy_location(ast.IfExp(asked, new, told), node)
        return told


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each expression below ``node`` that can be changed, with its replacement, in source order."""
    if isinstance(node, ast.expr):
        yield from ((node, new) for new in _instead_of(node))
    if isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield node.test, ast.UnaryOp(ast.Not(), node.test)
    for child in _children(node):
        yield from _changes(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Only code: no annotation, decorator, docstring or literal part of an f-string."""
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
    """The path of its source."""
    folder = "idp" if module.startswith("gatepost_idp") else "resource"
    return ROOT / folder / f"{module.replace('.', '/')}.py"


class _Loader(importlib.abc.InspectLoader):
    """Loads the module with its changes."""

    def __init__(self, module: str, awake: "_Awake") -> None:
        self._module, self._awake = module, awake

    def get_source(self, fullname: str) -> str:
        return path_of(self._module).read_text(encoding="utf-8")

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__mutant__"] = self._awake
        tree = with_all(self.get_source(self._module))
        exec(compile(tree, str(path_of(self._module)), "exec"), module.__dict__)  # noqa: S102 (this is what it is for)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, awake: "_Awake") -> None:
        self._module, self._awake = module, awake

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        place = str(path_of(fullname))
        return importlib.util.spec_from_file_location(fullname, place, loader=_Loader(fullname, self._awake))


class _Awake:
    """Whether a change is active; called at its place each time that the tests reach it."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.passed: set[int] = set()

    def __call__(self, number: int) -> bool:
        self.passed.add(number)
        return number == self.number


class _LeavesAtOnce:
    """Saves a second: pytest collects garbage five times when it ends."""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        os._exit(int(exitstatus))


class _Watch:
    """Records how long each test takes and which changes it reaches; what a file's tests share counts for each."""

    def __init__(self, awake: _Awake, told: Path) -> None:
        self._awake, self._told = awake, told
        self._seen: dict[str, tuple[float, list[int]]] = {}
        self._shared: dict[str, set[int]] = defaultdict(set)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._awake.passed.clear()
        began = time.monotonic()
        result = yield
        self._seen[item.nodeid] = (time.monotonic() - began, sorted(self._awake.passed))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        before = set(self._awake.passed)
        result = yield
        if fixturedef.scope != "function":
            self._shared[_file(request.node.nodeid)] |= self._awake.passed - before
        return result

    def pytest_sessionfinish(self) -> None:
        told = {
            test: (seconds, [*passed, *self._shared[_file(test)]]) for test, (seconds, passed) in self._seen.items()
        }
        self._told.write_text(json.dumps(told), encoding="utf-8")


class _Notes:
    """Records which test noticed a change."""

    def __init__(self, mutant: Mutant, notes: Path) -> None:
        self._mutant, self._notes = mutant, notes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            reason = str(getattr(report.longrepr, "reprcrash", "")).partition("\n")[0][:200]
            with self._notes.open("a", encoding="utf-8") as file:
                file.write(f"{self._mutant.line}: {self._mutant.old}  ->  {self._mutant.new}\n")
                file.write(f"    {report.nodeid} {report.when}\n    {reason}\n")


class _Trial:
    """Tries each change in a fork, which continues as an ordinary run of the tests that reach it.

    Only in a fork does a method return None; then the hook does too, and pytest runs what is left in
    ``session.items``.
    """

    def __init__(self, module: str, every: int, awake: _Awake) -> None:
        self._module, self._awake = module, awake
        self._tried = list(mutants_of(module))[::every]
        self._notes = NOTES / f"{module}.txt"
        self._at_import: frozenset[int] = frozenset()
        self._tests: list[pytest.Item] = []
        self._seen: dict[str, tuple[float, list[int]]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        self._at_import, self._tests = frozenset(self._awake.passed), list(session.items)
        if not self._watched(session):
            return None
        NOTES.mkdir(parents=True, exist_ok=True)
        self._notes.write_text("", encoding="utf-8")
        killed = 0
        for mutant in self._tried:
            noticed = self._noticed(session, mutant)
            if noticed is None:
                return None
            killed += noticed
        percent = 100 * killed / len(self._tried)
        print(f"{self._module}: {killed} of {len(self._tried)} killed, {percent:.1f} %", flush=True)
        session.testsfailed = int(percent < GOAL)
        return True

    def _watched(self, session: pytest.Session) -> bool | None:
        """Runs every test without a change, to learn how long each takes and which changes it reaches."""
        told = Path(tempfile.mkdtemp(prefix="gatepost-mutants-"), "seen.json")
        if (child := _fork(session)) is None:
            session.config.pluginmanager.register(_Watch(self._awake, told))
            return None
        if _failed(child):
            raise pytest.UsageError(f"the tests of {self._module} fail without any change: see pytest alone")
        self._seen = json.loads(told.read_text(encoding="utf-8"))
        shutil.rmtree(told.parent)
        return True

    def _noticed(self, session: pytest.Session, mutant: Mutant) -> bool | None:
        again = _statements(mutant) if mutant.number in self._at_import else []
        if mutant.number in self._at_import and not again:
            return self._noticed_from_the_start(mutant)
        near = _readers(mutant, again) if again else {mutant.number}
        chosen = [test for test in self._tests if not near or near.intersection(self._seen[test.nodeid][1])]
        if not chosen:
            return _told(mutant, False, " (untested)")
        session.items[:] = _in_order(chosen, self._seen)
        if (child := _fork(session, sum(self._seen[test.nodeid][0] for test in chosen))) is not None:
            return _told(mutant, _failed(child), "")
        self._awake.number = mutant.number
        session.config.pluginmanager.register(_Notes(mutant, self._notes))
        _run_again(self._module, again)
        return None

    def _noticed_from_the_start(self, mutant: Mutant) -> bool:
        try:
            code = _pytest(self._module, f"only {mutant.number}", capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            code = 1
        return _told(mutant, code != 0, "")


def _statements(mutant: Mutant) -> list[ast.stmt]:
    """The statements to rerun so that a change in import-time code takes effect: the constant and what is built from
    it. Empty if that would recreate a class or function."""
    found: list[ast.stmt] = []
    names: set[str] = set()
    for statement in with_all(path_of(mutant.module).read_text(encoding="utf-8")).body:
        read = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and _is_read_at_once(statement)}
        if statement.lineno <= mutant.line <= (statement.end_lineno or 0) or read & names:
            if isinstance(statement, ast.ClassDef | ast.FunctionDef):
                return []
            names |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and _is_bound(node)}
            found.append(statement)
    return found


def _readers(mutant: Mutant, statements: list[ast.stmt]) -> set[int]:
    """The changes in functions that read what the statements bind; none if other modules may read it."""
    bound = {node.id for one in statements for node in ast.walk(one) if isinstance(node, ast.Name) and _is_bound(node)}
    if not all(name.startswith("_") for name in bound):
        return set()
    lines: set[int] = set()
    for function in ast.walk(ast.parse(path_of(mutant.module).read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if bound & {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}:
            lines.update(range(function.lineno, (function.end_lineno or 0) + 1))
    return {other.number for other in mutants_of(mutant.module) if other.line in lines}


def _is_read_at_once(statement: ast.stmt) -> bool:
    """Whether it reads its names at import; a function does so when called."""
    return not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)


def _is_bound(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _run_again(module: str, statements: list[ast.stmt]) -> None:
    """Reruns them in the module, and updates each module that imported a name from it."""
    space = vars(sys.modules[module])
    before = dict(space)
    exec(compile(ast.Module(statements, []), str(path_of(module)), "exec"), space)  # noqa: S102 (as the loader)
    for other in [one for name, one in sys.modules.items() if name.startswith(("gatepost_", "tests"))]:
        for name, value in before.items():
            if space[name] is not value and vars(other).get(name) is value:
                setattr(other, name, space[name])


def _fork(session: pytest.Session, seconds: float | None = None) -> int | None:
    """None in the child, which prints nothing, and ends itself if it takes much longer than the tests usually do."""
    gc.freeze()  # otherwise collecting garbage would copy every page of the parent
    if child := os.fork():
        return child
    session.config.pluginmanager.register(_LeavesAtOnce())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    if seconds is not None:
        signal.alarm(SECONDS + round(5 * seconds))
    return None


def _failed(child: int) -> bool:
    return os.waitpid(child, 0)[1] != 0


def _told(mutant: Mutant, noticed: bool, more: str) -> bool:
    if not noticed:
        print(f"  {mutant.module}, line {mutant.line}: {mutant.old}  ->  {mutant.new}{more}", flush=True)
    return noticed


def _in_order(tests: list[pytest.Item], seen: dict[str, tuple[float, list[int]]]) -> list[pytest.Item]:
    """The quick ones first, with a file's tests together: they may share a server."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for test in tests:
        seconds[_file(test.nodeid)].append(seen[test.nodeid][0])
    mean = {file: sum(each) / len(each) for file, each in seconds.items()}
    return sorted(tests, key=lambda test: (mean[_file(test.nodeid)], _file(test.nodeid), seen[test.nodeid][0]))


def _file(test: str) -> str:
    return test.partition("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    if _trial is not None:
        config.pluginmanager.register(_trial)


_trial: _Trial | None = None
if chosen := os.environ.get(CHOSEN):  # a pytest plugin, loaded before any conftest can import the module
    _module, _mode, _number = chosen.split()
    _awake = _Awake(int(_number) if _mode == "only" else None)
    sys.meta_path.insert(0, _Finder(_module, _awake))
    _trial = _Trial(_module, int(_number), _awake) if _mode == "every" else None

if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    sys.exit(main([name for name in sys.argv[1:] if not name.isdigit()], every=next(iter(numbers), 1)))
