"""Chromium for the tests: windows whose console is watched, and the client that waits behind a loopback address."""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Route

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HTTPS_CALLBACK = "https://client.test/callback"


def chromium_path() -> str | None:
    """Where Chromium is, if it is installed."""
    return shutil.which("chromium")


def launched(playwright: Playwright) -> Browser:
    """A Chromium without a window."""
    return playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))


@dataclass
class Window:
    """One person's browser: its own cookies, and every error in its console."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors of the console, of scripts and of the Content Security Policy; a 4xx page does not count."""
    callbacks: list[str] = field(default_factory=list)
    """Addresses of the https client that were opened."""

    def tab(self) -> Page:
        """Another tab of the same browser."""
        return self.context.new_page()

    def text(self) -> str:
        """What is to be read in the main part of the page."""
        return " ".join(self.page.inner_text("main").split())

    def sees(self, words: str, seconds: float = 5) -> None:
        """Returns once the page says so."""
        self.page.get_by_text(words).first.wait_for(timeout=seconds * 1000)

    def presses(self, name: str) -> None:
        """Clicks the button or link of that name."""
        self.page.get_by_role("button", name=name).or_(self.page.get_by_role("link", name=name)).first.click()


@contextlib.contextmanager
def opened(browser: Browser, **options: Any) -> Iterator[Window]:
    """A separate browser; raises AssertionError at the end if any page had errors."""
    context = browser.new_context(**options)
    context.set_default_timeout(8000)
    window = Window(context, context.new_page())

    def console(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource: the server responded"):
            window.complaints.append(f"{message.text} ({message.location.get('url', '')[:100]})")

    def arrives(route: Route) -> None:
        window.callbacks.append(route.request.url)
        route.fulfill(content_type="text/html", body="<!doctype html><title>App</title><h1>The app goes on</h1>")

    context.on("console", console)
    context.on("weberror", lambda error: window.complaints.append(str(error.error)))
    context.route(f"{HTTPS_CALLBACK}*", arrives)
    try:
        yield window
    finally:
        context.close()
    assert not window.complaints, window.complaints


class Listening(ThreadingHTTPServer):
    """A program on this computer that waits for its callback, as Claude Code does."""

    daemon_threads = True

    def __init__(self) -> None:
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), _Callback)

    @property
    def redirect_uri(self) -> str:
        """Where it waits."""
        return f"http://127.0.0.1:{self.server_port}/callback"


class _Callback(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if isinstance(self.server, Listening) and self.path.startswith("/callback"):
            self.server.paths.append(self.path)
        body = b"<!doctype html><title>App</title><h1>The app goes on</h1>"
        self.send_response(200 if self.path.startswith("/callback") else 204)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body) if self.path.startswith("/callback") else 0))
        self.end_headers()
        if self.path.startswith("/callback"):
            self.wfile.write(body)

    def log_message(self, format: str, *_arguments: Any) -> None:  # noqa: A002 (the name it has in http.server)
        """Says nothing."""


@contextlib.contextmanager
def local_program() -> Iterator[Listening]:
    """The program, while the block runs."""
    server = Listening()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
