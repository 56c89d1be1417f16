"""axe-core on every page, on a phone and on a desktop, in light and in dark: WCAG 2.2, levels A and AA."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.looking import AUDIT, RULES, audit
from tests.browser.pages import LONG, walk, walk_aside
from tests.browser.windows import Window
from tests.support.serving import Idp
from tests.support.smtp import link_of

Windows = Callable[..., Window]

SIZES = [(320, 640), (1280, 800)]


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_road(idp: Idp, window: Windows, axe: str, scheme: str, size: tuple[int, int]) -> None:
    """From the home page to the finish page, including errors on the way."""
    one = window(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    found = {name: audit(one, axe) for name in walk(idp, one)}
    assert len(found) == 9
    assert not {name: violations for name, violations in found.items() if violations}


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_beside_the_road(
    idp: Idp, window: Windows, axe: str, scheme: str, size: tuple[int, int]
) -> None:
    """Another device, ended links, one tap, cookies, finished requests, unknown addresses."""
    options: dict[str, Any] = {"viewport": {"width": size[0], "height": size[1]}, "color_scheme": scheme}
    one, other = window(**options), window(**options)
    found = {name: audit(shown, axe) for name, shown in walk_aside(idp, one, other)}
    assert len(found) == 13
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
