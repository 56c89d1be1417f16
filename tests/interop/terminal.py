"""A program that prints a URL to open, and a person who opens it and whose browser returns to the program."""

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2

from tests.support.person import Person

SECONDS = 60
LISTENS_SECONDS = 10
# No program in a test opens a real browser: what `open` falls back to on Linux does nothing.
NO_BROWSER = {"BROWSER": "true", "DISPLAY": "", "WAYLAND_DISPLAY": "", "XDG_CURRENT_DESKTOP": ""}


class Terminal:
    """A program's output, line by line; ``said`` keeps it."""

    def __init__(self, process: "subprocess.Popen[str]", person: Person) -> None:
        self.said: list[str] = []
        self._process = process
        self._person = person

    def lines(self) -> Iterator[str]:
        """Its lines as they arrive; a URL in a line is opened before the line is yielded."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            for address in re.findall(r"https?://\S+/authorize\?\S+", line):
                self._open(address)
            yield line
        self._process.wait(SECONDS)

    def write(self, text: str) -> None:
        """Writes a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def request(self, number: int, method: str, **params: Any) -> dict[str, Any]:
        """Sends a JSON-RPC request over standard input, to a program that speaks MCP there; returns the response."""
        self.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        for line in self.lines():
            if line.startswith("{") and (message := json.loads(line)).get("id") == number:
                return dict(message)
        raise AssertionError(f"no answer to {method}:\n{''.join(self.said)}")

    def _open(self, address: str) -> None:
        answer = _delivered(self._person.walk(address))
        assert answer.status_code == 200, answer.text


def _delivered(callback: str) -> httpx2.Response:
    """The program's answer. mcp-remote listens only after printing the URL, and a test is faster than a person."""
    deadline = time.monotonic() + LISTENS_SECONDS
    while True:
        try:
            return httpx2.get(callback, trust_env=False, follow_redirects=True)
        except httpx2.ConnectError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def watched(process: "subprocess.Popen[str]", person: Person) -> Iterator[Terminal]:
    """The terminal of ``process``, which is killed at the end of the block, or if it takes too long."""
    with process:
        giving_up = threading.Timer(SECONDS, process.kill)  # otherwise a read waits forever
        giving_up.start()
        try:
            yield Terminal(process, person)
        finally:
            giving_up.cancel()
            process.kill()
