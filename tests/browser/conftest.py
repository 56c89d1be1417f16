"""Chromium, started once per file; if it is not installed these tests are skipped."""

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
    """The browser of one file: Playwright's event loop must not outlive it, as other tests run their own loops."""
    if chromium_path() is None:
        pytest.skip("install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Browser) -> Iterator[Callable[..., Window]]:
    """Opens windows, each a separate browser; errors in their consoles fail the test at its end."""
    with contextlib.ExitStack() as stack:

        def open_window(**options: Any) -> Window:
            return stack.enter_context(opened(chromium, **options))

        yield open_window


@pytest.fixture(scope="module")
def axe() -> str:
    """The library's source, injected by the debugger, to which the pages' policies do not apply."""
    return Path(packages() / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
