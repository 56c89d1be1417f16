"""/admin is open only to people who currently hold the role, and reveals nothing to anybody else."""

from typing import Any

import pytest

from tests.idp.account.being_there import entered, rows
from tests.idp.admin.being_admin import ADMIN, People, account_of, administrator, change, form_with, give_role, opened
from tests.support.serving import Idp
from tests.support.smtp import text_of

PAGES = (
    "/admin", "/admin/people", "/admin/people/somebody", "/admin/clients", "/admin/clients/add",
    "/admin/clients/one?client=gp_mc_x", "/admin/connections", "/admin/backends", "/admin/audit", "/admin/state",
)  # fmt: skip  # a list of addresses
FORMS: dict[str, dict[str, Any]] = {
    "/admin/people/invite": {"email": "new@example.com"},
    "/admin/people/{id}/scopes": {"resource": "http://localhost:9001/mcp", "scope": ["demo:ops"]},
    "/admin/people/{id}/switch": {"off": "yes"},
    "/admin/clients/add": {"name": "x", "redirect": "https://client.test/callback", "confidential": "yes"},
    "/admin/clients/secret": {"client": "gp_mc_x"},
    "/admin/clients/switch": {"client": "gp_mc_x", "off": "yes"},
    "/admin/connections/cut": {"grant": "x"},
}


def everything(idp: Idp) -> list[Any]:
    """Everything that an administrator's form could change."""
    tables = ("account WHERE email_key != 'admin@example.com'", "entitlement", "client", "invitation")
    return [rows(idp, f"SELECT * FROM {table}") for table in tables]  # noqa: S608 (the test's own words)


@pytest.mark.parametrize("path", PAGES)
def test_whoever_is_not_signed_in_signs_in_first(idp: Idp, path: str) -> None:
    """They get the sign-in, and nothing of the page."""
    answer = idp.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in/")


def test_the_sign_in_says_that_it_leads_to_the_admin_pages(idp: Idp, people: People) -> None:
    """On the page and in the mail, so that nobody signs in to more power than they expect."""
    admin = people()
    admin.open(f"{idp.issuer}/admin/people")
    assert "to open the admin pages" in admin.text
    admin.ask_for_mail()
    assert "For:    the admin pages at" in text_of(idp.postbox.wait(admin.email))


def test_an_administrator_comes_back_to_the_page(idp: Idp, people: People) -> None:
    """After signing in by mail they are on the page they wanted."""
    admin = administrator(idp, people)
    admin.browser.cookies.clear()
    assert "People" in entered(admin, idp, "/admin/people").text


@pytest.mark.parametrize("path", PAGES)
def test_a_person_without_the_role_learns_nothing(idp: Idp, people: People, path: str) -> None:
    """403 and the same text everywhere, whether or not the thing asked for exists."""
    alice = people()
    entered(alice, idp)
    answer = alice.open(f"{idp.issuer}{path}")
    assert answer.status_code == 403
    assert "This page is for administrators" in answer.text
    assert "<nav" not in answer.text
    assert "somebody" not in answer.text


@pytest.mark.parametrize("path", FORMS)
def test_a_person_without_the_role_changes_nothing(idp: Idp, people: People, path: str) -> None:
    """Even with their own valid form token: 403, and nothing is done."""
    alice = people()
    entered(alice, idp)
    before = everything(idp)
    csrf = dict(alice.forms()[0].fields)["csrf"]
    address = path.format(id=account_of(idp, alice.email))
    answer = alice.browser.post(f"{idp.issuer}{address}", data={**FORMS[path], "csrf": csrf})
    assert answer.status_code == 403
    assert "This page is for administrators" in answer.text
    assert everything(idp) == before


def test_whoever_has_the_wrong_address_signs_in_with_another(idp: Idp, people: People) -> None:
    """The page says as whom they are signed in, and a button leads to a sign-in that returns to /admin."""
    alice, admin = people(), administrator(idp, people)
    entered(alice, idp)
    alice.open(f"{idp.issuer}/admin/people")
    assert f"You are signed in as {alice.email}" in alice.text
    assert "Use another address" in alice.text
    alice.submit(alice.form_to("/admin/switch"))
    alice.email, before = admin.email, len(idp.postbox.to(admin.email))
    alice.ask_for_mail()
    alice.sign_in_by_code(before + 1)
    assert alice.page is not None
    assert (alice.page.status_code, alice.page.url.path) == (200, "/admin")


def test_every_page_says_who_is_signed_in_and_signs_out(idp: Idp, people: People) -> None:
    """It signs out that browser and no other."""
    admin, elsewhere = administrator(idp, people), administrator(idp, people)
    for path in PAGES:
        page = admin.open(f"{idp.issuer}{path}")
        assert page.status_code == 404 or admin.email in page.text.partition("<main>")[0], path
    admin.submit(admin.form_to("/account/sign-out"))
    assert "You are signed out" in admin.text
    assert "Sign in" in admin.open(f"{idp.issuer}/admin").text
    assert elsewhere.open(f"{idp.issuer}/admin").status_code == 200


@pytest.mark.parametrize("role", ["", "administrator", "Admin", "admin "])
def test_no_other_role_opens_it(idp: Idp, people: People, role: str) -> None:
    """The role's name must match exactly."""
    alice = people()
    entered(alice, idp)
    give_role(idp, alice.email, role)
    assert alice.open(f"{idp.issuer}/admin").status_code == 403


def test_a_role_that_was_taken_away_opens_nothing_more(idp: Idp, people: People) -> None:
    """Neither the next page nor a form that was already open."""
    admin, alice = administrator(idp, people), people()
    entered(alice, idp)
    opened(admin, idp, f"/admin/people/{account_of(idp, alice.email)}")
    form = form_with(admin, "/scopes")
    give_role(idp, ADMIN, "")
    before = everything(idp)
    assert admin.submit(form, scope=["demo:ops"]).status_code == 403
    assert everything(idp) == before
    assert admin.open(f"{idp.issuer}/admin").status_code == 403


def test_an_administrator_who_was_shut_out_is_signed_out(idp: Idp, people: People) -> None:
    """Their session no longer counts, despite the role."""
    admin = administrator(idp, people)
    change(idp, "UPDATE account SET disabled_at = 1 WHERE email_key = ?", ADMIN)
    assert "/sign-in/" in str(admin.open(f"{idp.issuer}/admin").url)


@pytest.mark.parametrize("headers", [{"origin": "https://evil.test"}, {"origin": "null"}, {}], ids=str)
@pytest.mark.parametrize("path", FORMS)
def test_a_foreign_form_is_refused(idp: Idp, people: People, path: str, headers: dict[str, str]) -> None:
    """Foreign Origin, null, or a made-up token: 403, and nothing is done."""
    admin, alice = administrator(idp, people), people()
    entered(alice, idp)
    opened(admin, idp, "/admin/people")
    csrf = dict(form_with(admin, "/invite").fields)["csrf"] if headers else "made up"
    before = everything(idp)
    address = path.format(id=account_of(idp, alice.email))
    answer = admin.browser.post(f"{idp.issuer}{address}", data={**FORMS[path], "csrf": csrf}, headers=headers)
    assert answer.status_code == 403
    assert "came from elsewhere" in answer.text
    assert everything(idp) == before


def test_a_form_of_yesterday_is_refused(idp: Idp, people: People) -> None:
    """Its token is older than twelve hours."""
    admin = administrator(idp, people)
    opened(admin, idp, "/admin/people")
    form = form_with(admin, "/invite")
    idp.clock.forward(hours=13)
    with_old_token = admin.submit(form, email="new@example.com")
    assert with_old_token.status_code == 403 or "/sign-in/" in str(with_old_token.url)
    assert rows(idp, "SELECT * FROM invitation") == []


@pytest.mark.parametrize("path", [path for path in FORMS if "cut" not in path])
def test_power_wants_a_sign_in_of_the_last_hour(idp: Idp, people: People, path: str) -> None:
    """An old session is not enough to grant anything; disabling must not wait for a mail."""
    admin, alice = administrator(idp, people), people()
    entered(alice, idp)
    idp.clock.forward(minutes=61)
    opened(admin, idp, "/admin/people")
    csrf = dict(form_with(admin, "/invite").fields)["csrf"]
    address = path.format(id=account_of(idp, alice.email))
    gives = {name: "no" if name == "off" else value for name, value in FORMS[path].items()}
    before = everything(idp)
    answer = admin.browser.post(f"{idp.issuer}{address}", data={**gives, "csrf": csrf})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in/")
    assert everything(idp) == before
    if "off" in FORMS[path]:
        answer = admin.browser.post(f"{idp.issuer}{address}", data={**FORMS[path], "csrf": csrf})
        assert not answer.headers["location"].startswith("/sign-in/")


@pytest.mark.parametrize("bent", ["//evil.test", "%2f%2fevil.test", "..", "https:evil.test", "x%0d%0aset-cookie:a"])
def test_a_bent_id_leads_nowhere_else_after_the_sign_in(idp: Idp, people: People, bent: str) -> None:
    """The sign-in ends on one of our own pages, whatever the URL contained."""
    admin = administrator(idp, people)
    admin.browser.cookies.clear()
    admin.open(f"{idp.issuer}/admin/people/{bent}")
    for path in rows(idp, "SELECT redirect_uri FROM authorization_request WHERE client_id = ''"):
        assert path[0] in ("/account", "/admin/people", "/admin")
    admin.open(f"{idp.issuer}/admin/clients/one?client={bent}")
    for path in rows(idp, "SELECT redirect_uri FROM authorization_request WHERE client_id = ''"):
        assert path[0] in ("/account", "/admin/people", "/admin/clients", "/admin")


def test_frames_and_caches_get_nothing(idp: Idp, people: People) -> None:
    """No page can be framed or cached."""
    admin = administrator(idp, people)
    for path in ("/admin", "/admin/people", "/admin/clients", "/admin/audit", "/admin/state"):
        answer = opened(admin, idp, path)
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
