"""Chromium, started once for each file; where it is not installed these tests are skipped."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.windows import Window, chromium_path, launched, opened


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
