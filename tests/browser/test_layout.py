"""Every page on the smallest phone, light and dark: nothing runs off the side, nothing is too small for a thumb."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from tests.browser.windows import Window
from tests.support.oauth import registered
from tests.support.serving import Idp
from tests.support.smtp import link_of

Windows = Callable[..., Window]

LONG = "a.rather.long.first.name.and.a.surname+with-a-tag@department.of.a.company.example.com"
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


def _walk(idp: Idp, window: Window) -> Iterator[str]:
    """From the client to the finish page of a program on this computer; yields at each page."""
    client = registered(idp, client_name="Claude " * 20, redirect_uris=["http://127.0.0.1:1/callback"])
    for name, url in (
        ("home", f"{idp.issuer}/"),
        ("error", client.authorize_url(redirect_uri="https://evil.example/")),
        ("address", client.authorize_url(state="x" * 500)),
    ):
        window.page.goto(url)
        yield name
    window.page.evaluate("document.querySelector('#email').form.noValidate = true")
    _sends(window, "#email", f"{LONG}, another", "Email me a link", "Enter one email address")
    yield "address, refused"
    _sends(window, "#email", LONG, "Email me a link", "Check your mail")
    yield "waiting"
    _sends(window, "#code", "0000 0000", "Sign in with this code", "4 tries left")
    yield "waiting, wrong code"
    window.page.goto(link_of(idp.postbox.wait(LONG)))
    window.sees("You are signed in")
    yield "signed in"
    window.presses("Go on here instead")
    window.sees("Nobody can prove which one")
    yield "consent"
    window.page.route("http://127.0.0.1:1/*", lambda route: route.fulfill(status=204))  # stays on the page
    window.presses("Continue to 127.0.0.1 on this computer")
    window.sees("Does nothing happen?")
    yield "finish"


def _sends(window: Window, field: str, text: str, button: str, then: str) -> None:
    """Types into a field and sends it."""
    window.page.fill(field, text)
    window.presses(button)
    window.sees(then)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_320_px(idp: Idp, window: Windows, scheme: Literal["light", "dark"]) -> None:
    """320 px wide, with a long address and a long name: no sideways scroll, no target below 44 px, on any page."""
    phone = window(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    other = window(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    seen = []
    for name in _walk(idp, phone):
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
