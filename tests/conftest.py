"""Fixtures of the whole suite; with GATEPOST_NO_SKIPS set, as in CI, a skipped test is a failed one."""

import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import freezegun
import pytest
import structlog

from tests.support.person import Person
from tests.support.processes import Deployment, deployed
from tests.support.serving import Idp, serving
from tests.support.smtp import Postbox, receiving

freezegun.configure(extend_ignore_list=["_pytest.terminal.", "_pytest.runner."])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def stays_itself() -> Iterator[None]:
    """Fails a command that execs another program: that would silently end the test run with the program's exit code."""

    def refused(*_: object) -> None:
        raise AssertionError("run this command in a process of its own")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "execv", refused)
        yield


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[Idp]:
    """An authorization server with a clock that the test controls."""
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def people(idp: Idp) -> Iterator[Callable[[str], Person]]:
    """Creates people who sign in at ``idp``, each in a separate browser."""
    made: list[Person] = []

    def person(email: str = "alice@example.com") -> Person:
        made.append(Person(email, idp.postbox))
        return made[-1]

    yield person
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def postbox() -> Iterator[Postbox]:
    """The mail server of the session's deployment."""
    with receiving() as received:
        yield received


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox) -> Iterator[Deployment]:
    """Both servers as processes, shared by the session; so each test uses its own person."""
    with deployed(tmp_path_factory.mktemp("deployment"), postbox.port) as both:
        yield both


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("GATEPOST_NO_SKIPS") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    # A server in a thread logs while a command's output is read; stderr is looked up each time, as pytest replaces it.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    config.addinivalue_line("markers", "clause(*ids): the clauses of tests/requirements.py that the test holds")
    config.addinivalue_line("markers", "program(*keys): the programs of tests/interop/programs.py that the test runs")
