"""Nothing blocking runs in the event loop's thread: each C function that a hot operation calls there is checked.

asyncio's debug mode and a watchdog measure time, which varies on a busy machine. This names the call.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_idp import app as application
from tests.speed.hot import Hot, connected
from tests.speed.test_statements import COSTS

# Sleep, files and the disk, sockets, name look-ups, databases, other programs, deliberately slow hashes.
_WAITS = {
    "time": {"sleep"},
    "_io": {"open", "open_code"},
    "io": {"open", "open_code"},
    "posix": {"open", "stat", "fsync", "fdatasync", "waitpid", "system"},
    "select": {"select"},
    "_socket": {"getaddrinfo", "gethostbyname"},
    "sqlite3": {"connect"},
    "_sqlite3": {"connect"},
    "_posixsubprocess": {"fork_exec"},
    "_hashlib": {"scrypt", "pbkdf2_hmac"},
    "_thread": {"start_new_thread"},  # waits until it runs
}
_WAITING_OBJECTS = ("sqlite3", "psycopg", "_socket", "select")
_POOLS = ("_adjust_thread_count",)  # the database's threads, which are limited
_LOOPS_OWN = ("/asyncio/", "/selectors.py", "/socket.py")


def _waits(frame: FrameType, function: Any) -> bool:
    """Whether a C function may block; those that asyncio itself calls do not, as its sockets are non-blocking."""
    if any(part in frame.f_code.co_filename for part in _LOOPS_OWN):
        return False
    if function.__name__ == "start_new_thread" and frame.f_back and frame.f_back.f_code.co_name in _POOLS:
        return False
    module = str(getattr(function, "__module__", None) or "")
    owner = type(getattr(function, "__self__", None)).__module__
    return function.__name__ in _WAITS.get(module, ()) or owner.startswith(_WAITING_OBJECTS)


class Watched:
    """An application whose thread is watched from its start; ``waited`` names what it should not have called."""

    def __init__(self, app: ASGIApp, waited: list[str]) -> None:
        self._app = app
        self._waited = waited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on."""
        sys.setprofile(self._look)
        await self._app(scope, receive, send)

    def _look(self, frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and _waits(frame, function):
            self._waited.append(f"{function.__qualname__} in {frame.f_code.co_qualname}")


@pytest.fixture(scope="module")
def waited() -> list[str]:
    return []


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory, waited: list[str]) -> Iterator[Hot]:
    create = application.create
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(application, "create", lambda *given: Watched(create(*given), waited))
        with connected(tmp_path_factory.mktemp("loop")) as one:
            yield one


@pytest.mark.parametrize("operation", COSTS)
def test_no_hot_operation_waits_in_the_loop(hot: Hot, waited: list[str], operation: str) -> None:
    """What waits for the database or the disk does so in another thread."""
    asking = hot.prepared(operation)
    waited.clear()
    assert asking().status_code < 400
    assert not waited, waited


def test_the_pages_of_a_sign_in_wait_for_nothing_either(hot: Hot, waited: list[str]) -> None:
    """Address, mail, code, consent: a second visit, after every template was read once."""
    for _ in range(2):
        hot.person.browser.cookies.clear()
        waited.clear()
        hot.client.connect(hot.person, prompt="consent")
    assert not waited, waited


async def test_a_call_that_waits_would_be_found(tmp_path: Path) -> None:
    """A sleep, a file and a database, each by name."""
    waited: list[str] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        import sqlite3

        time.sleep(0)  # noqa: ASYNC251 (the crime itself)
        (tmp_path / "file").write_text("x")
        sqlite3.connect(":memory:").execute("SELECT 1").close()

    async def nothing(*_: object) -> Any:
        return {}

    before = sys.getprofile()
    try:
        await Watched(app, waited)({"type": "http"}, nothing, nothing)
    finally:
        sys.setprofile(before)
    names = {one.split(" in ")[0] for one in waited}
    assert {"sleep", "open", "connect", "Connection.execute"} <= names
