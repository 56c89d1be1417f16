"""Every page on the smallest phone, light and dark: no sideways scroll, no target too small for a thumb."""

from collections.abc import Callable
from typing import Literal

import pytest

from tests.browser.looking import fits
from tests.browser.pages import LONG, walk
from tests.browser.windows import Window
from tests.support.serving import Idp
from tests.support.smtp import link_of

Windows = Callable[..., Window]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_320_px(idp: Idp, window: Windows, scheme: Literal["light", "dark"]) -> None:
    """320 px wide, with a long address and a long name: no sideways scroll, no target below 44 px, on any page."""
    phone = window(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    other = window(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    seen = []
    for name in walk(idp, phone):
        seen.append(name)
        fits(phone, name, scheme)
        if name == "waiting":
            other.page.goto(link_of(idp.postbox.wait(LONG)))
            other.page.get_by_text("Show my code").click()
            fits(other, "elsewhere", scheme)
    other.presses("It wasn’t me")
    fits(other, "ended", scheme)
    assert len(seen) == 9
