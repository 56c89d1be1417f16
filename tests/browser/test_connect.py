"""/connect and the home page in a browser: on a phone, light and dark, by keyboard, copied from, and without script."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.looking import audit, fits
from tests.browser.windows import Window
from tests.support.serving import Idp, serving

Windows = Callable[..., Window]
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true })"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """One deployment for the file: nothing here changes it."""
    with serving(tmp_path_factory.mktemp("idp")) as idp:
        yield idp


@pytest.mark.parametrize("size", [(320, 640), (1280, 800)], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_and_a_phone_find_nothing(
    served: Idp, window: Windows, axe: str, scheme: str, size: tuple[int, int]
) -> None:
    """With every app's steps open: WCAG 2.2 A and AA, no sideways scroll, no target too small for a thumb."""
    one = window(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    one.page.goto(f"{served.issuer}/connect")
    one.page.evaluate(OPEN_ALL)
    assert audit(one, axe) == []
    fits(one, "connect", scheme)


def test_the_home_page_is_one_screen_on_a_phone(served: Idp, window: Windows) -> None:
    """Nobody scrolls to find the address or the way on."""
    phone = window(viewport={"width": 360, "height": 640})
    phone.page.goto(f"{served.issuer}/")
    assert phone.page.evaluate("document.documentElement.scrollHeight") <= 640
    phone.presses("Show me how")
    phone.sees("Pick your app")


def test_what_is_copied_is_what_stands_there(served: Idp, window: Windows) -> None:
    """Every button of the page copies the text before it, byte for byte, and says so."""
    one = window(permissions=["clipboard-read", "clipboard-write"])
    one.page.goto(f"{served.issuer}/connect")
    one.page.evaluate(OPEN_ALL)
    boxes = one.page.locator(".copy")
    assert boxes.count() > 12
    for number in range(boxes.count()):
        button = boxes.nth(number).get_by_role("button")
        button.click()
        boxes.nth(number).get_by_role("button", name="Copied").wait_for()
        shown: Any = boxes.nth(number).locator("pre").text_content()
        assert one.page.evaluate("navigator.clipboard.readText()") == shown


def test_the_way_round_opens_its_own_steps(served: Idp, window: Windows) -> None:
    """Claude's warning leads to Claude Desktop, by keyboard too; its steps open though they were closed."""
    one = window(viewport={"width": 390, "height": 760})
    one.page.goto(f"{served.issuer}/connect")
    one.sees("Claude cannot reach this service")
    assert not one.page.locator("#claude-desktop pre").is_visible()
    one.page.get_by_role("link", name="Claude Desktop").focus()
    one.page.keyboard.press("Enter")
    one.page.locator("#claude-desktop pre").wait_for(state="visible")


def test_without_script_everything_is_there_but_the_copy_buttons(served: Idp, window: Windows) -> None:
    """An app's steps open by themselves, and the text can be selected."""
    without = window(java_script_enabled=False)
    without.page.goto(f"{served.issuer}/connect")
    without.page.get_by_text("Claude Code", exact=True).click()
    without.sees("claude mcp add")
    assert without.page.get_by_role("button", name="Copy").count() == 0
