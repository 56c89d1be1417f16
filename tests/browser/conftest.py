"""Chromium, started once for each file; where it is not installed these tests are skipped."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.windows import Window, chromium_path, launched, opened
from tests.interop.node import packages


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of one file: Playwright's own loop must not outlive it, for other tests run loops of theirs."""
    if chromium_path() is None:
        pytest.skip("install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Browser) -> Iterator[Callable[..., Window]]:
    """Opens windows, each a browser of its own; what their consoles complained of fails the test at its end."""
    with contextlib.ExitStack() as stack:

        def open_window(**options: Any) -> Window:
            return stack.enter_context(opened(chromium, **options))

        yield open_window


@pytest.fixture(scope="module")
def axe() -> str:
    """The library itself, put into pages by the debugger, which no policy of theirs concerns."""
    return Path(packages() / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
