"""The account pages in a browser: axe-core and the smallest phone find nothing, and everything works by keyboard."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.browser.looking import audit, fits
from tests.browser.windows import HTTPS_CALLBACK, Window
from tests.support.oauth import answer_of, registered
from tests.support.serving import Idp
from tests.support.smtp import code_of, notice_to, text_of

Windows = Callable[..., Window]
EMAIL = "somebody.with.a.long.name@department.of.a.company.example.com"


def signs_in(idp: Idp, window: Window, path: str) -> None:
    """Opens a page of the account and signs in by the mailed code."""
    window.page.goto(f"{idp.issuer}{path}")
    window.page.fill("#email", EMAIL)
    window.presses("Email me a link")
    window.page.fill("#code", code_of(idp.postbox.wait(EMAIL)))
    window.presses("Sign in with this code")
    window.page.wait_for_url(f"**{path}")


def connects(idp: Idp, window: Window, redirect_uri: str, times: int = 1) -> None:
    """Connects an app with a long name."""
    client = registered(idp, client_name="An app with quite a long name of its own", redirect_uris=[redirect_uri])
    window.page.route("http://127.0.0.1:1/*", lambda route: route.fulfill(status=204))
    for _ in range(times):
        window.page.goto(client.authorize_url(prompt="consent"))
        window.presses("Continue to")
        target = window.page.locator("[data-target]").get_attribute("data-target")
        client.redeem(answer_of(str(target))["code"])


def walk(idp: Idp, window: Window) -> Iterator[str]:
    """Every page of the account, with something on it."""
    signs_in(idp, window, "/account")
    yield "empty"
    connects(idp, window, "http://127.0.0.1:1/callback", times=2)
    for name in ("tokens", "delete", "access"):
        window.page.goto(f"{idp.issuer}/account/{name}")
        yield name
    window.presses("Save")
    window.sees("Saved.")
    yield "access, saved"
    window.page.goto(f"{idp.issuer}/account/tokens")
    window.page.evaluate("document.querySelector('#name-1').form.noValidate = true")
    window.presses("Make the token")
    window.sees("Give it a name")
    yield "tokens, refused"
    window.page.fill("#name-1", "A script that runs at night")
    window.presses("Make the token")
    window.sees("Tick at least one thing that it may do.")
    yield "tokens, nothing ticked"
    window.page.get_by_text("Repeat a text").click()
    window.presses("Make the token")
    window.sees("Copy your token now")
    yield "tokens, made"
    yield from _ends(idp, window)


def _ends(idp: Idp, window: Window) -> Iterator[str]:
    window.page.goto(f"{idp.issuer}/account")
    yield "full"
    link = re.search(r"http\S+/account/cut-off\S+", text_of(notice_to(idp.postbox, EMAIL)))
    assert link
    window.page.goto(link.group())
    yield "disconnect?"
    window.presses("Disconnect it")
    window.sees("It is disconnected")
    yield "disconnected"
    window.page.goto(f"{idp.issuer}/account")
    window.presses("Sign out everywhere")
    window.sees("You are signed out")
    yield "signed out"


@pytest.mark.parametrize("size", [(320, 640), (1280, 800)], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_and_a_phone_find_nothing(idp: Idp, window: Windows, axe: str, scheme: str, size: tuple[int, int]) -> None:
    """WCAG 2.2 A and AA, no sideways scroll, no target too small for a thumb."""
    one = window(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    found = {}
    for name in walk(idp, one):
        found[name] = audit(one, axe)
        fits(one, name, scheme)
    assert len(found) == 12
    assert not {name: violations for name, violations in found.items() if violations}


def test_an_app_is_disconnected_by_keyboard_alone(idp: Idp, window: Windows) -> None:
    """Tab to the button, Enter, and the page says what was done."""
    one = window()
    signs_in(idp, one, "/account")
    connects(idp, one, "http://127.0.0.1:1/callback")
    one.page.goto(f"{idp.issuer}/account")
    for _ in range(20):
        one.page.keyboard.press("Tab")
        if one.page.evaluate("document.activeElement.innerText") == "Disconnect":
            break
    one.page.keyboard.press("Enter")
    one.sees("Disconnected.")
    assert one.page.get_by_role("status").count() == 1


def test_without_script_everything_works(idp: Idp, window: Windows) -> None:
    """Scopes are changed, a token is made and an app is disconnected in a browser that runs no script."""
    with_script, without = window(), window(java_script_enabled=False)
    signs_in(idp, with_script, "/account")
    connects(idp, with_script, "http://127.0.0.1:1/callback")
    without.context.add_cookies(with_script.context.cookies())  # type: ignore[arg-type]  # what it gave, it takes
    without.page.goto(f"{idp.issuer}/account/access")
    without.page.get_by_text("Repeat a text").click()
    without.presses("Save")
    without.sees("Saved.")
    without.page.goto(f"{idp.issuer}/account/tokens")
    without.page.fill("#name-1", "Script")
    without.page.get_by_text("Repeat a text").click()
    without.presses("Make the token")
    without.sees("Copy your token now")
    without.page.goto(f"{idp.issuer}/account")
    without.presses("Disconnect")
    without.sees("Disconnected.")


def test_an_https_app_goes_on_by_itself(idp: Idp, window: Windows) -> None:
    """The consent page with its choice of days, in the browser: a day is chosen, and the date is kept."""
    one = window()
    signs_in(idp, one, "/account")
    client = registered(idp, redirect_uris=[HTTPS_CALLBACK])
    one.page.goto(client.authorize_url())
    one.page.get_by_text("For 1 day").click()
    one.presses("Continue to client.test")
    one.page.wait_for_url(f"{HTTPS_CALLBACK}*")
    one.page.goto(f"{idp.issuer}/account")
    until = idp.clock()
    assert f"until {until.day + 1} {until:%B %Y}" in one.text() or until.day > 27
