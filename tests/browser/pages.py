"""The pages in the order in which a person sees them, for tests that check each."""

from collections.abc import Iterator

from tests.browser.windows import HTTPS_CALLBACK, Window
from tests.support.oauth import answer_of, registered
from tests.support.serving import Idp
from tests.support.smtp import code_of, link_of

LONG = "a.rather.long.first.name.and.a.surname+with-a-tag@department.of.a.company.example.com"


def walk(idp: Idp, window: Window) -> Iterator[str]:
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
    window.presses("Continue here instead")
    window.sees("Nobody can prove which one")
    yield "consent"
    window.page.route("http://127.0.0.1:1/*", lambda route: route.fulfill(status=204))  # stays on the page
    window.presses("Continue to 127.0.0.1 on this computer")
    window.sees("Is nothing happening?")
    yield "finish"


def _sends(window: Window, field: str, text: str, button: str, then: str) -> None:
    """Types into a field and sends it."""
    window.page.fill(field, text)
    window.presses(button)
    window.sees(then)


def walk_aside(idp: Idp, window: Window, other: Window) -> Iterator[tuple[str, Window]]:
    """The other pages: another device, ended links, one tap, cookies, finished requests."""
    email = "aside@example.com"
    client = registered(idp, client_name="Claude", redirect_uris=[HTTPS_CALLBACK])
    window.page.goto(client.authorize_url())
    _sends(window, "#email", email, "Email me a link", "Check your mail")
    letter = idp.postbox.wait(email)
    other.page.goto(link_of(letter))
    yield "elsewhere", other
    other.page.get_by_text("Show my code").click()
    yield "elsewhere, code shown", other
    window.page.fill("#code", code_of(letter))
    window.presses("Sign in with this code")
    window.sees("It may")
    yield "consent for an https client", window
    consent = window.page.url
    other.page.goto(consent)
    yield "cookies", other
    other.page.goto(link_of(letter))
    yield "used, elsewhere", other
    window.presses("Continue to client.test")
    window.page.wait_for_url(f"{HTTPS_CALLBACK}*")
    client.redeem(answer_of(window.page.url)["code"])
    window.page.goto(consent)
    yield "finished", window
    window.page.goto(link_of(letter))
    yield "used, here", window
    window.page.goto(registered(idp, client_name="Claude", redirect_uris=[HTTPS_CALLBACK]).authorize_url())
    window.sees("change what it may do")
    yield "one tap", window
    yield from _elsewhere(idp, window)


def _elsewhere(idp: Idp, window: Window) -> Iterator[tuple[str, Window]]:
    for path in ("/sign-in/link?t=nothing", "/connect", "/account/access", "/nowhere", "/consent/gone"):
        window.page.goto(f"{idp.issuer}{path}")
        yield path, window
