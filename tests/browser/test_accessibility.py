"""axe-core on every page, on a phone and on a desktop, in light and in dark: WCAG 2.2, levels A and AA."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import LONG, walk, walk_aside
from tests.browser.windows import Window
from tests.interop.node import packages
from tests.support.serving import Idp
from tests.support.smtp import link_of

Windows = Callable[..., Window]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = [(320, 640), (1280, 800)]
AUDIT = """async rules => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: rules } });
  return found.violations.map(one => `${one.id}: ${one.nodes.map(node => node.html.slice(0, 120)).join(" | ")}`);
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The library itself, put into pages by the debugger, which no policy of theirs concerns."""
    return Path(packages() / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def _audit(window: Window, axe: str) -> Any:
    window.page.evaluate(axe)
    return window.page.evaluate(AUDIT, RULES)


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_road(idp: Idp, window: Windows, axe: str, scheme: str, size: tuple[int, int]) -> None:
    """From the home page to the finish page, errors on the way included."""
    one = window(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    found = {name: _audit(one, axe) for name in walk(idp, one)}
    assert len(found) == 9
    assert not {name: violations for name, violations in found.items() if violations}


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_beside_the_road(
    idp: Idp, window: Windows, axe: str, scheme: str, size: tuple[int, int]
) -> None:
    """Another device, ended links, one tap, cookies, what is finished, what is not there."""
    options: dict[str, Any] = {"viewport": {"width": size[0], "height": size[1]}, "color_scheme": scheme}
    one, other = window(**options), window(**options)
    found = {name: _audit(shown, axe) for name, shown in walk_aside(idp, one, other)}
    assert len(found) == 12
    assert not {name: violations for name, violations in found.items() if violations}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_mail(idp: Idp, window: Windows, axe: str, scheme: str) -> None:
    """The HTML part, as a mail program shows it; landmarks and headings are the program's own."""
    road = window()
    for name in walk(idp, road):
        if name == "waiting":
            break
    letter = idp.postbox.wait(LONG)
    assert link_of(letter)
    html = letter.get_body(("html",))
    assert html is not None
    mail = window(color_scheme=scheme)
    mail.page.set_content(str(html.get_content()))
    mail.page.evaluate(axe)
    assert mail.page.evaluate(AUDIT, RULES[:-1]) == []
