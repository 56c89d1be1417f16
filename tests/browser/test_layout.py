"""Every page on the smallest phone, light and dark: nothing runs off the side, nothing is too small for a thumb."""

from collections.abc import Callable
from typing import Literal

import pytest

from tests.browser.pages import LONG, walk
from tests.browser.windows import Window
from tests.support.serving import Idp
from tests.support.smtp import link_of

Windows = Callable[..., Window]

FINDINGS = """() => {
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const off = [...document.querySelectorAll("main *, header *, footer *")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && !element.closest(".decoy, .unseen") && (box.right > innerWidth + 1 || box.left < -1);
  });
  const targets = document.querySelectorAll("button, a.button, summary, input:not([type=hidden])");
  const small = [...targets].filter(element => {
    const target = element.type === "checkbox" ? element.closest("label") : element;
    const box = target.getBoundingClientRect();
    return box.width > 1 && !element.closest(".decoy") && (box.height < 44 || box.width < 44);
  });
  const named = element => `${element.tagName} ${element.innerText || element.name}`.slice(0, 60);
  return { wide, off: off.map(named), small: small.map(named) };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_320_px(idp: Idp, window: Windows, scheme: Literal["light", "dark"]) -> None:
    """320 px wide, with a long address and a long name: no sideways scroll, no target below 44 px, on any page."""
    phone = window(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    other = window(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    seen = []
    for name in walk(idp, phone):
        seen.append(name)
        _fits(phone, name, scheme)
        if name == "waiting":
            other.page.goto(link_of(idp.postbox.wait(LONG)))
            other.page.get_by_text("Show my code").click()
            _fits(other, "elsewhere", scheme)
    other.presses("It wasn’t me")
    _fits(other, "ended", scheme)
    assert len(seen) == 9


def _fits(window: Window, name: str, scheme: str) -> None:
    assert window.page.evaluate(FINDINGS) == {"wide": False, "off": [], "small": []}, name
    ground = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(","))
    assert (shade < 384) is (scheme == "dark"), (name, ground)
