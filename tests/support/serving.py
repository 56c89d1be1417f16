"""The IdP in a thread of the test process, over real HTTP and SMTP, with a clock that the test controls."""

import asyncio
import contextlib
import io
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.types import ASGIApp

from gatepost_idp import app as application
from gatepost_idp.clients.fetcher import Fetcher
from gatepost_idp.database import Database
from gatepost_idp.settings import Settings
from gatepost_idp.store import schema
from tests.support.ports import free_port
from tests.support.smtp import Postbox, receiving


class Clock:
    """A clock that runs by itself and jumps when told to."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._stopped: datetime | None = None

    def __call__(self) -> datetime:
        return (self._stopped or datetime.now(UTC)) + self._ahead

    def stop(self) -> None:
        """Stops the clock, so that two flows can be compared byte for byte."""
        self._stopped = datetime.now(UTC)

    def forward(self, **duration: float) -> None:
        """Jumps ahead by a timedelta's arguments."""
        self._ahead += timedelta(**duration)


@dataclass
class Idp:
    """A running authorization server. ``base``: where it listens; ``issuer``: its issuer identifier."""

    base: str
    issuer: str
    settings: Settings
    clock: Clock
    postbox: Postbox

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request without cookies or redirects; ``path`` is below the issuer."""
        with httpx2.Client(trust_env=False, verify=False, timeout=20) as client:
            return client.request(method, f"{self.issuer}{path}", **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, form: dict[str, Any] | None = None, **options: Any) -> httpx2.Response:
        """Posts a form."""
        return (
            self.request("POST", path, data=form, **options)
            if form is not None
            else self.request("POST", path, **options)
        )

    def register(self, **metadata: Any) -> dict[str, Any]:
        """Registers a client (RFC 7591); returns its client information."""
        body = {"client_name": "Test client", "redirect_uris": ["https://client.test/callback"], **metadata}
        answer = self.request("POST", "/register", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


def settings_of(folder: Path, postbox: Postbox, port: int, **changes: Any) -> Settings:
    """Settings for a test server; rate limits are wide unless the test is about them."""
    given: dict[str, Any] = {
        "oauth_issuer": f"http://localhost:{port}",
        "mcp_resource_url": "http://localhost:9001/mcp",
        "idp_port": port,
        "database_url": f"sqlite:///{folder / 'gatepost.db'}",
        "smtp_host": "127.0.0.1",
        "smtp_port": postbox.port,
        "smtp_security": "none",
        "mail_from": "gatepost@example.test",
        "metrics_address": "",
        "limit_address": "1000/minute",
        "limit_network": "1000/minute",
        "limit_total": "1000/minute",
        **changes,
    }
    return Settings(**given)


@contextlib.contextmanager
def serving(folder: Path, **changes: Any) -> Iterator[Idp]:
    """An authorization server on a new database, with its own mail server."""
    with receiving() as postbox:
        port = free_port()
        settings = settings_of(folder, postbox, port, **changes)
        upgrade(settings)
        clock = Clock()
        with listening(settings, clock, port):
            yield Idp(f"http://127.0.0.1:{port}", settings.oauth_issuer, settings, clock, postbox)


@contextlib.contextmanager
def listening(settings: Settings, clock: Clock, port: int, fetcher: Fetcher | None = None) -> Iterator[None]:
    """Serves the IdP in a thread until the block ends; ``fetcher`` finds clients' metadata documents."""
    with answering(application.create(settings, clock, fetcher), port):
        yield


@contextlib.contextmanager
def answering(app: ASGIApp, port: int) -> Iterator[None]:
    """Serves one application in a thread until the block ends."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the server did not start"
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), f"the server did not stop:\n{_doing(thread, loops[0])}"


def _doing(thread: threading.Thread, loop: asyncio.AbstractEventLoop) -> str:
    """The stacks of a thread and of each task of its loop."""
    told = io.StringIO()
    frame = sys._current_frames().get(thread.ident or 0)
    traceback.print_stack(frame, file=told)
    for task in asyncio.all_tasks(loop):
        task.print_stack(file=told)
    return told.getvalue()


def upgrade(settings: Settings) -> None:
    """Brings the database to this version's schema."""
    database = Database(settings.database_url)
    try:
        schema.upgrade(database.engine)
    finally:
        database.close()
