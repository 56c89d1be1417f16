"""The sign-in in a real browser: with script and without, by link and by code, with one device and with two."""

import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.windows import HTTPS_CALLBACK, Window, local_program
from tests.support.oauth import TestClient, registered
from tests.support.serving import Idp
from tests.support.smtp import code_of, link_of

Windows = Callable[..., Window]
ALICE = "alice@example.com"


def _asks(idp: Idp, window: Window, email: str = ALICE, client: TestClient | None = None) -> TestClient:
    """From the client to the waiting page."""
    client = client or registered(idp)
    window.page.goto(client.authorize_url())
    expect(window.page.get_by_label("Your email address")).to_be_focused()
    window.page.keyboard.type(email)
    window.page.keyboard.press("Enter")
    window.sees("Check your mail")
    return client


def _link(idp: Idp, count: int = 1, email: str = ALICE) -> str:
    return link_of(idp.postbox.wait(email, count))


def _code(idp: Idp, count: int = 1, email: str = ALICE) -> str:
    return code_of(idp.postbox.wait(email, count))


def _arrived(window: Window, client: TestClient) -> None:
    """The client got its answer, once, and can redeem it."""
    window.page.wait_for_url(f"{HTTPS_CALLBACK}*")
    window.sees("The app goes on")
    assert len(window.callbacks) == 1
    answer = parse_qs(urlsplit(window.callbacks[0]).query)
    assert answer["state"] == ["state of the client"]
    assert client.redeem(answer["code"][0]).status_code == 200


def test_waiting_tab_advances(idp: Idp, window: Windows) -> None:
    """The link, opened in a second tab of the same browser, presses its own button; the waiting tab is at consent
    within three seconds, and the rest is one click."""
    laptop = window()
    client = _asks(idp, laptop)
    link = _link(idp)
    expect(laptop.page.get_by_role("status")).to_contain_text("Your mail has been sent")
    second = laptop.tab()
    started = time.monotonic()
    second.goto(link)
    second.get_by_text("You are signed in").wait_for()
    laptop.page.get_by_role("heading", name="Let client.test use").wait_for(timeout=3000)
    assert time.monotonic() - started < 3.5
    second.close()
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


def test_the_links_own_tab_can_go_on_as_well(idp: Idp, window: Windows) -> None:
    """A person who stays in the link's tab goes on there; the waiting tab then shows the same."""
    laptop = window()
    client = _asks(idp, laptop)
    waiting, laptop.page = laptop.page, laptop.tab()
    laptop.page.goto(_link(idp))
    laptop.presses("Continue here instead")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)
    waiting.reload()
    waiting.get_by_text("This is finished").wait_for()


def test_tab_closed(idp: Idp, window: Windows) -> None:
    """If the waiting tab is closed, the link in the same browser goes on to consent by itself."""
    laptop = window()
    client = _asks(idp, laptop)
    link = _link(idp)
    waiting, laptop.page = laptop.page, laptop.tab()
    waiting.close()
    idp.clock.forward(seconds=10)
    laptop.page.goto(link)
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


def test_same_browser_no_js(idp: Idp, window: Windows) -> None:
    """Without script every step is a button: the link's own, the waiting page's, consent; the finish page goes on."""
    laptop = window(java_script_enabled=False)
    client = registered(idp)
    laptop.page.goto(client.authorize_url())
    laptop.page.fill("#email", ALICE)
    laptop.presses("Email me a link")
    laptop.sees("Check your mail")
    second = laptop.tab()
    second.goto(_link(idp))
    idp.clock.forward(seconds=6)
    second.get_by_role("button", name=f"Sign in as {ALICE}").click()
    second.get_by_role("button", name="Continue to client.test").wait_for()
    laptop.presses("I have opened the link: continue")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


def test_no_js_code_entry(idp: Idp, window: Windows) -> None:
    """Without script the code, typed as in the mail, works too."""
    laptop = window(java_script_enabled=False)
    client = registered(idp)
    laptop.page.goto(client.authorize_url())
    laptop.page.fill("#email", ALICE)
    laptop.presses("Email me a link")
    laptop.page.fill("#code", _code(idp))
    laptop.presses("Sign in with this code")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


def test_scanner_js(idp: Idp, window: Windows) -> None:
    """A scanner that runs the link's page in its own browser, with scripts, for any time, changes nothing: nobody is
    signed in, and the link still works in the browser that asked."""
    laptop, scanner = window(), window()
    client = _asks(idp, laptop)
    link = _link(idp)
    scanner.page.goto(link, wait_until="networkidle")
    scanner.sees("Are you trying to sign in?")
    assert "/sign-in/link" in scanner.page.url
    assert not [cookie for cookie in scanner.context.cookies() if "gp-session" in cookie.get("name", "")]
    with laptop.page.expect_response("**/state") as polled:
        pass
    assert polled.value.json()["state"] == "pending"
    laptop.page.goto(link)
    laptop.presses("Continue here instead")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


def test_other_device_code_entry(idp: Idp, window: Windows) -> None:
    """The mail is opened on a phone: it shows who asks and, on a tap, the code; typed on the laptop it signs the
    laptop in and not the phone."""
    laptop, phone = window(), window(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    client = _asks(idp, laptop)
    words = laptop.page.locator("b").filter(has_text=re.compile("^[a-z]+ [a-z]+$")).first.inner_text()
    phone.page.goto(_link(idp))
    phone.sees("from a different browser")
    assert words in phone.text()
    code = phone.page.locator(".code")
    expect(code).to_be_hidden()
    phone.page.get_by_text("Show my code").tap()
    expect(code).to_have_text(_code(idp))
    laptop.page.get_by_label("Code from the mail").fill("")
    laptop.page.get_by_label("Code from the mail").press_sequentially(code.inner_text().replace(" ", ""))
    expect(laptop.page.get_by_label("Code from the mail")).to_have_value(code.inner_text())
    laptop.page.keyboard.press("Enter")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)
    assert not [cookie for cookie in phone.context.cookies() if "gp-session" in cookie.get("name", "")]


def test_phone_copies_the_code_in_one_tap(idp: Idp, window: Windows) -> None:
    """The code goes to the clipboard by a button, and from there into the waiting page."""
    phone = window(permissions=["clipboard-read", "clipboard-write"])
    other = window(permissions=["clipboard-read", "clipboard-write"])
    _asks(idp, phone)
    other.page.goto(_link(idp))
    other.page.get_by_text("Show my code").click()
    other.presses("Copy code")
    other.page.get_by_role("button", name="Copied").wait_for()
    assert other.page.evaluate("navigator.clipboard.readText()") == _code(idp)


def test_autofill_and_paste(idp: Idp, window: Windows) -> None:
    """``1234 5678`` from the keyboard's suggestion or the clipboard, with the sentence around it or without, lands in
    the field as the eight digits."""
    laptop = window()
    client = _asks(idp, laptop)
    field = laptop.page.get_by_label("Code from the mail")
    assert field.get_attribute("autocomplete") == "one-time-code"
    for pasted in ("\n {}\n", "{} is your code for Gatepost demo", "{}"):
        field.fill("")
        field.evaluate(_PASTE, pasted.format(_code(idp)))
        expect(field).to_have_value(_code(idp))
    laptop.presses("Sign in with this code")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


_PASTE = """(field, text) => {
  const data = new DataTransfer();
  data.setData("text", text);
  const paste = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
  field.focus();
  if (field.dispatchEvent(paste)) document.execCommand("insertText", false, text);
}"""


def test_not_me_in_a_browser(idp: Idp, window: Windows) -> None:
    """``It wasn't me`` on the phone: the tab that asked says within three seconds that it is cancelled."""
    attacker, victim = window(), window()
    _asks(idp, attacker)
    victim.page.goto(_link(idp))
    victim.presses("It wasn’t me")
    victim.sees("This sign-in is cancelled")
    attacker.sees("This sign-in is cancelled", seconds=3)


def test_other_persons_session(idp: Idp, window: Windows) -> None:
    """If somebody else is signed in, the link's page does not press its own button: it names both and waits."""
    laptop = window()
    first = _asks(idp, laptop)
    laptop.page.goto(_link(idp))
    laptop.presses("Continue here instead")
    laptop.presses("Continue to client.test")
    _arrived(laptop, first)
    laptop.callbacks.clear()
    client = registered(idp)
    laptop.page.goto(client.authorize_url(prompt="login"))
    laptop.page.fill("#email", "bob@example.com")
    laptop.presses("Email me a link")
    laptop.sees("Check your mail")
    laptop.page.goto(_link(idp, email="bob@example.com"))
    laptop.sees(f"This browser is signed in as {ALICE}.")
    laptop.page.wait_for_load_state("networkidle")
    laptop.sees(f"This browser is signed in as {ALICE}.")
    idp.clock.forward(seconds=6)
    laptop.presses("Sign in as bob@example.com")
    assert "as bob@example.com" in laptop.text()
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


@pytest.mark.clause("A10")
def test_consent_in_chromium_for_an_https_client(idp: Idp, window: Windows) -> None:
    """Chromium holds a redirect after a form to the page's ``form-action``; the finish page goes on by itself, to the
    host that the consent page named, and a refusal does the same."""
    laptop = window()
    client = _asks(idp, laptop, client=registered(idp, client_name="Claude"))
    laptop.page.fill("#code", _code(idp))
    laptop.presses("Sign in with this code")
    assert "client.test" in laptop.page.get_by_role("heading", level=1).inner_text()
    assert "It calls itself “Claude”, not verified." in laptop.text()
    assert laptop.page.locator("input[name=scope]:checked").count() == 2
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)
    second = registered(idp, client_name="Other")
    laptop.page.goto(second.authorize_url())
    laptop.presses("Deny")
    laptop.page.wait_for_url(f"{HTTPS_CALLBACK}*")
    assert parse_qs(urlsplit(laptop.callbacks[-1]).query)["error"] == ["access_denied"]


@pytest.mark.clause("A10")
def test_consent_in_chromium_for_a_loopback_client(idp: Idp, window: Windows) -> None:
    """A program on this computer: the warning, the answer to its own port by itself, and the address to copy for a
    browser that is on another computer."""
    laptop = window()
    with local_program() as program:
        client = registered(idp, redirect_uris=[program.redirect_uri])
        _asks(idp, laptop, client=client)
        laptop.page.fill("#code", _code(idp))
        laptop.presses("Sign in with this code")
        laptop.sees("This leads to a program on this computer.")
        laptop.presses("Continue to 127.0.0.1 on this computer")
        laptop.page.wait_for_url(f"{program.redirect_uri}*")
        laptop.sees("The app goes on")
        answer = parse_qs(urlsplit(program.paths[0]).query)
        assert len(program.paths) == 1
        assert client.redeem(answer["code"][0]).status_code == 200
        laptop.page.go_back()
        shown = laptop.page.get_by_label("Address for your app")
        laptop.sees("Is nothing happening?") if shown.count() else laptop.sees("This is finished")


def test_a_double_click_that_began_elsewhere_allows_nothing(idp: Idp, window: Windows) -> None:
    """A window in front asks for it and goes away between the two clicks; in a moment the button works as ever."""
    laptop = window()
    client = _asks(idp, laptop)
    laptop.page.fill("#code", _code(idp))
    laptop.presses("Sign in with this code")
    allow = laptop.page.locator("[value=allow]")
    laptop.page.locator("[value=allow]:not([aria-disabled])").wait_for()
    for comes_to_the_front in (
        "window.dispatchEvent(new Event('focus'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ):
        laptop.page.evaluate(comes_to_the_front)
        allow.click(force=True)  # force: at once, as the second click of two
        laptop.page.evaluate(comes_to_the_front)
        allow.press("Enter")
        assert laptop.page.get_by_role("heading", name="Let client.test use").is_visible()
        assert laptop.callbacks == []
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)
    laptop.page.goto(registered(idp, client_name="Other").authorize_url(prompt="consent"))
    allow.click(force=True)  # the page itself has only just come
    assert len(laptop.callbacks) == 1


def test_back_after_finish(idp: Idp, window: Windows) -> None:
    """On going back from the app nothing is repeated, no form is sent twice, and every page says that it is done."""
    laptop = window()
    client = _asks(idp, laptop)
    laptop.page.fill("#code", _code(idp))
    laptop.presses("Sign in with this code")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)
    seen = []
    for _ in range(4):
        if laptop.page.go_back() is None:
            break
        laptop.page.wait_for_timeout(300)
        seen.append(laptop.text() if laptop.page.url.startswith(idp.issuer) else laptop.page.url)
    assert seen, "there is a page of ours behind the app"
    assert all("This is finished" in text for text in seen), seen
    assert len(laptop.callbacks) == 1


def test_keyboard_only(idp: Idp, window: Windows) -> None:
    """From the address to the app without a mouse: the focus stands where the next act is, each stop is visible."""
    laptop = window()
    client = _asks(idp, laptop)
    _code(idp)
    _tab_to(laptop, "code")
    laptop.page.keyboard.type(_code(idp).replace(" ", ""))
    laptop.page.keyboard.press("Enter")
    laptop.page.get_by_role("heading", name="Let client.test use").wait_for()
    _tab_to(laptop, "Continue to client.test")
    laptop.page.locator("[value=allow]:not([aria-disabled])").wait_for()
    laptop.page.keyboard.press("Enter")
    _arrived(laptop, client)


def _tab_to(window: Window, wanted: str) -> None:
    """Presses Tab until the focus is on that field or button; every stop on the way shows where it is."""
    for _ in range(15):
        window.page.keyboard.press("Tab")
        stop = window.page.evaluate(
            """() => {
              const at = document.activeElement;
              const style = getComputedStyle(at);
              return { name: at.id || at.innerText, line: style.outlineStyle, width: parseFloat(style.outlineWidth) };
            }"""
        )
        assert stop["line"] != "none", stop
        assert stop["width"] >= 2, stop
        if stop["name"] == wanted:
            return
    raise AssertionError(f"the keyboard does not reach {wanted}")


def test_a_wrong_code_puts_the_focus_back_into_the_field(idp: Idp, window: Windows) -> None:
    """After a mistype the field is focused, named as wrong to those who cannot see it, and the title says so."""
    laptop = window()
    _asks(idp, laptop)
    laptop.page.fill("#code", "00000000")
    laptop.presses("Sign in with this code")
    laptop.sees("That code is not right. 4 tries left.")
    field = laptop.page.get_by_label("Code from the mail")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    assert laptop.page.title().startswith("Error: ")
    described = (field.get_attribute("aria-describedby") or "").split()
    assert "That code is not right" in " ".join(laptop.page.locator(f"#{name}").inner_text() for name in described)


def test_the_waiting_page_tells_what_becomes_of_the_mail(idp: Idp, window: Windows) -> None:
    """While mail is not sent the page says so by itself, and then that it was sent; a half-typed code stays."""
    idp.postbox.refusal = "451 later"
    laptop = window()
    _asks(idp, laptop)
    status = laptop.page.get_by_role("status")
    expect(status).to_contain_text("Mail is not going out just now", timeout=5000)
    laptop.page.get_by_label("Code from the mail").press_sequentially("1234 5")
    idp.postbox.refusal = None
    idp.clock.forward(seconds=5)
    expect(status).to_contain_text("Your mail has been sent", timeout=5000)
    expect(laptop.page.get_by_label("Code from the mail")).to_have_value("1234 5")


def test_the_button_to_send_again_waits_its_time(idp: Idp, window: Windows) -> None:
    """For thirty seconds the button is disabled and says how long; after a later reload it is enabled."""
    laptop = window()
    _asks(idp, laptop)
    again = laptop.page.get_by_role("button", name="Send it again")
    expect(again).to_be_disabled()
    assert re.search(r"You can ask again in (30|2\d) seconds", laptop.text())
    idp.clock.forward(seconds=31)
    laptop.page.reload()
    expect(again).to_be_enabled()
    again.click()
    assert _link(idp, 2) == _link(idp, 1)


def test_expiry_is_noticed_by_the_waiting_page(idp: Idp, window: Windows) -> None:
    """When the ten minutes are over the page moves by itself to what can be done next."""
    laptop = window()
    _asks(idp, laptop)
    _link(idp)
    laptop.sees("Your mail has been sent")
    idp.clock.forward(minutes=10, seconds=1)
    laptop.sees("This link has expired")
    laptop.presses("Send a new link")
    expect(laptop.page.get_by_label("Your email address")).to_be_focused()


@pytest.mark.parametrize("arrival", ["redirect", "link"])
def test_arrives_by_cross_site_redirect(idp: Idp, window: Windows, arrival: str) -> None:
    """Cookies are sent after a redirect from another site, and on a mailed link opened from webmail on another site."""
    laptop = window()
    client = registered(idp)
    _leads(laptop, "https://claude.test/connect", client.authorize_url(), arrival)
    laptop.page.goto("https://claude.test/connect")
    if arrival == "link":
        laptop.presses("on")
    laptop.page.fill("#email", ALICE)
    laptop.presses("Email me a link")
    laptop.sees("Check your mail")
    _leads(laptop, "https://webmail.test/mail", _link(idp), arrival)
    idp.clock.forward(seconds=6)
    waiting, laptop.page = laptop.page, laptop.tab()
    waiting.close()
    laptop.page.goto("https://webmail.test/mail")
    if arrival == "link":
        laptop.presses("on")
    laptop.presses("Continue to client.test")
    _arrived(laptop, client)


def _leads(window: Window, page: str, to: str, arrival: str) -> None:
    """Another site's page with a link to ``to``."""
    body = f'<!doctype html><a href="{to.replace("&", "&amp;")}">on</a>'
    window.context.route(
        page,
        lambda route: (
            route.fulfill(status=302, headers={"location": to})
            if arrival == "redirect"
            else route.fulfill(content_type="text/html", body=body)
        ),
    )


def test_cookies_off(idp: Idp, window: Windows) -> None:
    """A browser that loses its cookies gets an explanation with a way on, not a loop."""
    laptop = window()
    url = registered(idp).authorize_url()
    page = idp.issuer + idp.get(url.removeprefix(idp.issuer)).headers["location"]  # the cookie goes no further
    laptop.page.goto(page)
    laptop.sees("Your browser is not keeping cookies for this page")
    laptop.presses("Try again")
    laptop.page.wait_for_load_state("networkidle")
    laptop.sees("Your browser is not keeping cookies for this page")
    assert laptop.context.cookies() == []
