"""The admin pages in a real browser: axe-core on a phone and on a desktop, in light and in dark; nothing scrolls."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.looking import audit
from tests.browser.windows import Window
from tests.idp.account.being_there import connected
from tests.idp.admin.being_admin import ADMIN, account_of, give_role
from tests.idp.oauth.backends import beside_the_demo
from tests.support.person import Person
from tests.support.serving import Idp, serving
from tests.support.smtp import code_of

SIZES = [(320, 640), (1280, 800)]
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
Windows = Callable[..., Window]


def entered(idp: Idp, window: Window) -> None:
    """Signs the administrator in."""
    window.page.goto(f"{idp.issuer}/admin")
    window.page.fill("#email", ADMIN)
    window.presses("Email me a link")
    window.sees("Check your mail")
    window.page.fill("#code", code_of(idp.postbox.wait(ADMIN)))
    window.presses("Sign in with this code")
    window.sees("This page is for administrators")
    give_role(idp, ADMIN)


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[Idp]:
    """A server with a backend to show."""
    with serving(tmp_path, catalogue=beside_the_demo(tmp_path)) as served:
        yield served


def tour(idp: Idp, window: Window) -> Iterator[str]:
    """Every page, with something on it; yields at each."""
    with Person("alice.with.a.rather.long.name@department.of.a.company.example.com", idp.postbox) as alice:
        connected(
            idp,
            alice,
            client_name="A client with quite a long name, as some have",
            redirect_uris=["https://client.test/callback"],
        )
    entered(idp, window)
    yield "refused"
    person = f"/admin/people/{account_of(idp, alice.email)}"
    for path in ("", "/people", "/clients?kind=registered", "/connections", "/backends", "/audit", "/state"):
        window.page.goto(f"{idp.issuer}/admin{path}")
        yield path or "overview"
    window.page.goto(f"{idp.issuer}{person}")
    yield "person"
    window.page.get_by_label("demo:ops").check()
    window.presses("Save")
    window.sees("Saved.")
    yield "person, saved"
    window.page.goto(f"{idp.issuer}/admin/clients/add")
    yield "form"
    window.page.fill("#name", "Our app")
    window.page.fill("#description", "For the web team")
    window.page.fill("#redirect", "http://example.com/callback")
    window.presses("Add it")
    window.sees("cannot be a return address")
    yield "form, refused"
    window.page.get_by_label("It is Claude").check()
    window.page.fill("#redirect", "")
    window.presses("Add it")
    window.sees("Copy its secret now")
    yield "client, made"


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_admin_pages(
    idp: Idp, window: Windows, axe: str, scheme: str, size: tuple[int, int]
) -> None:
    """Every page, what is refused and what was just done included; and none is wider than its window."""
    options: dict[str, Any] = {"viewport": {"width": size[0], "height": size[1]}, "color_scheme": scheme}
    one, found = window(**options), {}
    for name in tour(idp, one):
        found[name] = audit(one, axe)
        assert not one.page.evaluate(WIDER), name
    assert len(found) == 13
    assert not {name: violations for name, violations in found.items() if violations}


def test_a_client_is_added_without_a_script(idp: Idp, window: Windows) -> None:
    """Every page and form, with scripts off."""
    one = window(java_script_enabled=False)
    assert list(tour(idp, one))[-1] == "client, made"
    assert not one.page.get_by_role("button", name="Copy Client ID").is_visible()


def test_each_value_is_copied(idp: Idp, window: Windows) -> None:
    """Its button says so, and the clipboard has it."""
    one = window(permissions=["clipboard-read", "clipboard-write"])
    for _ in tour(idp, one):
        pass
    one.page.get_by_role("button", name="Copy Token URL").click()
    one.page.get_by_text("Copied").wait_for()
    assert one.page.evaluate("navigator.clipboard.readText()") == f"{idp.issuer}/token"
