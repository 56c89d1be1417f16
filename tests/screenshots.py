"""Pictures of the pages: ``python -m tests.screenshots`` writes six for the documentation to docs/images, and every
page and the mail, light and dark, to screenshots/ for review."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.pages import walk, walk_aside
from tests.browser.windows import launched, opened
from tests.support.oauth import registered
from tests.support.serving import Idp, serving
from tests.support.smtp import code_of, link_of

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
ALL = IMAGES.parents[1] / "screenshots"
CARD = {"width": 500, "height": 640}
PHONE = {"width": 390, "height": 760}
MARGIN = 20
EMAIL = "alice@example.com"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"
MOST_BYTES = 120 * 1024


def main() -> None:
    """Walks once from Claude to the finish page and takes a picture of each page on the way."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), mcp_resource_url="http://localhost:9001/mcp") as idp,
        sync_playwright() as playwright,
    ):
        browser = launched(playwright)
        _walk(idp, browser)
        browser.close()
    for scheme in ("light", "dark"):
        _every_page(scheme)
    for picture in sorted(IMAGES.glob("*.png")):
        size = picture.stat().st_size
        print(f"{picture.name}: {size // 1024} KiB")
        assert size < MOST_BYTES, f"{picture.name} is too large for a README"


def _walk(idp: Idp, browser: Browser) -> None:
    client = registered(idp, client_name="Claude", redirect_uris=["https://claude.ai/api/mcp/auth_callback"])
    with _page(browser, CARD) as page, _page(browser, CARD) as mail, _page(browser, PHONE) as phone:
        page.route("https://claude.ai/**", lambda route: route.fulfill(status=204))
        page.goto(client.authorize_url())
        page.fill("#email", EMAIL)
        _picture(page, "sign-in")
        idp.clock.forward(seconds=2)
        page.get_by_role("button", name="Email me a link").click()
        letter = idp.postbox.wait(EMAIL)
        page.get_by_text("Your mail has been sent").wait_for()
        page.evaluate("document.activeElement.blur()")
        _picture(page, "waiting")
        html = letter.get_body(("html",))
        assert html is not None
        mail.set_content(str(html.get_content()))
        _picture(mail, "mail")
        phone.goto(link_of(letter))
        phone.get_by_text("Show my code").click()
        phone.evaluate("document.activeElement.blur()")
        _picture(phone, "elsewhere")
        page.fill("#code", code_of(letter))
        page.get_by_role("button", name="Sign in with this code").click()
        page.get_by_role("button", name="Continue to claude.ai").wait_for()
        _picture(page, "consent")
        page.get_by_role("button", name="Continue to claude.ai").click()
        page.get_by_text("All set").wait_for()
        _picture(page, "finish")


def _every_page(scheme: Any) -> None:
    """Each page at a phone's width, and the mail."""
    folder = ALL / scheme
    folder.mkdir(parents=True, exist_ok=True)
    options: Any = {"viewport": {"width": 390, "height": 760}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with tempfile.TemporaryDirectory() as data, serving(Path(data)) as idp, sync_playwright() as playwright:
        browser = launched(playwright)
        with (
            opened(browser, **options) as road,
            opened(browser, **options) as aside,
            opened(browser, **options) as other,
        ):
            for name in walk(idp, road):
                _whole(road.page, folder, name)
            for name, shown in walk_aside(idp, aside, other):
                _whole(shown.page, folder, name)
            html = idp.postbox.mails[0].get_body(("html",))
            assert html is not None
            mail = other.tab()
            mail.set_content(str(html.get_content()))
            _whole(mail, folder, "mail")
        browser.close()
    print(f"{folder.relative_to(ALL.parent)}: {len(list(folder.glob('*.png')))} pictures")


def _whole(page: Page, folder: Path, name: str) -> None:
    page.screenshot(path=folder / (re.sub(r"[^a-z]+", "-", name).strip("-") + ".png"), full_page=True)


@contextmanager
def _page(browser: Browser, size: Any) -> Iterator[Page]:
    context = browser.new_context(
        viewport=size, device_scale_factor=1.25, color_scheme="light", reduced_motion="reduce", user_agent=CHROME
    )
    try:
        yield context.new_page()
    finally:
        context.close()


def _picture(page: Page, name: str) -> None:
    """The page down to the end of its content, with a small margin below."""
    bottom = page.evaluate(
        """() => {
          const shown = [...document.querySelectorAll("main, footer p, .card")];
          return Math.max(...shown.map(element => element.getBoundingClientRect().bottom));
        }"""
    )
    size = page.viewport_size
    assert size is not None
    page.set_viewport_size({"width": size["width"], "height": round(bottom) + MARGIN})
    page.screenshot(path=IMAGES / f"{name}.png")
    page.set_viewport_size(size)


if __name__ == "__main__":
    main()
