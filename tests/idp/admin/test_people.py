"""/admin/people: search by address, change scopes, disable, invite; each act is in the audit log."""

import re

import pytest

from tests.idp.account.being_there import BOTH, connected, entered, rows
from tests.idp.admin.being_admin import (
    ADMIN,
    People,
    account_of,
    administrator,
    change,
    form_with,
    give_role,
    noted,
    opened,
)
from tests.support.oauth import TestClient
from tests.support.person import Person
from tests.support.serving import Idp


def shown(person: Person) -> list[str]:
    """The addresses in the list."""
    return re.findall(r'<a href="/admin/people/[^"]*">([^<]*)</a>', person.text)


def account_with(idp: Idp, email: str) -> None:
    """An account that was never used."""
    columns = "id, email, email_key, role, created_at, seen_at"
    change(idp, f"INSERT INTO account ({columns}) VALUES (?, ?, ?, '', 0, 0)", f"id {email}", email, email)  # noqa: S608 (the test's own words)


def test_people_are_found_by_the_beginning_of_their_address(idp: Idp, people: People) -> None:
    """In any letter case, and nobody else is listed."""
    admin = administrator(idp, people)
    for email in ("alice@example.com", "alina@example.com", "bob@example.com"):
        account_with(idp, email)
    opened(admin, idp, "/admin/people?q=%20ALI")
    assert shown(admin) == ["alice@example.com", "alina@example.com"]
    opened(admin, idp, "/admin/people")
    assert shown(admin) == [ADMIN, "alice@example.com", "alina@example.com", "bob@example.com"]


@pytest.mark.parametrize("typed", ["%", "_", "a%", "ali_e", "'", "' OR '1'='1", '"', "\\", "*", "?", "[a-z]"])
def test_nothing_typed_is_a_wildcard_or_sql(idp: Idp, people: People, typed: str) -> None:
    """Wildcards of LIKE and GLOB, quotes and escapes only match addresses that contain them, and none does."""
    admin = administrator(idp, people)
    account_with(idp, "alice@example.com")
    answer = admin.browser.get(f"{idp.issuer}/admin/people", params={"q": typed})
    assert answer.status_code == 200
    assert "alice@example.com" not in answer.text
    assert "There is nothing to show." in answer.text


def test_a_wildcard_in_an_address_is_found_as_it_is(idp: Idp, people: People) -> None:
    """An underscore matches only itself."""
    admin = administrator(idp, people)
    for email in ("al_ce@example.com", "alice@example.com"):
        account_with(idp, email)
    opened(admin, idp, "/admin/people?q=al_")
    assert shown(admin) == ["al_ce@example.com"]


def test_scopes_are_given_and_taken(idp: Idp, people: People) -> None:
    """Exactly the ticked scopes are held; the token follows at the next refresh, and the log says who did it."""
    admin, alice = administrator(idp, people), people()
    client, tokens = connected(idp, alice, "demo:read demo:echo")
    alice_id = account_of(idp, alice.email)
    opened(admin, idp, f"/admin/people/{alice_id}")
    admin.submit(form_with(admin, "/scopes"), scope=["demo:read", "demo:ops", "made:up"])
    assert "Saved." in admin.text
    assert rows(idp, f"SELECT scope FROM entitlement WHERE account_id = '{alice_id}' ORDER BY scope") == [  # noqa: S608 (the test's own id)
        ("demo:ops",), ("demo:read",),
    ]  # fmt: skip  # a list of rows
    assert client.refresh(tokens["refresh_token"]).json()["scope"] == "demo:read"
    admin_id = account_of(idp, ADMIN)
    assert noted(idp, "scope.granted") == [(admin_id, alice_id, "demo:ops at http://localhost:9001/mcp")]
    assert noted(idp, "scope.revoked") == [(admin_id, alice_id, "demo:echo at http://localhost:9001/mcp")]


def test_a_second_submit_changes_nothing(idp: Idp, people: People) -> None:
    """Nor does it log anything."""
    admin, alice = administrator(idp, people), people()
    entered(alice, idp)
    opened(admin, idp, f"/admin/people/{account_of(idp, alice.email)}")
    form = form_with(admin, "/scopes")
    admin.submit(form, scope=["demo:ops"])
    admin.submit(form, scope=["demo:ops"])
    assert len(noted(idp, "scope.granted")) == 1


def test_a_resource_of_nobodys_is_refused(idp: Idp, people: People) -> None:
    """A tampered field grants nothing for a resource that is not in the catalogue."""
    admin, alice = administrator(idp, people), people()
    entered(alice, idp)
    opened(admin, idp, f"/admin/people/{account_of(idp, alice.email)}")
    answer = admin.submit(form_with(admin, "/scopes"), resource="https://evil.test/mcp", scope=["demo:ops"])
    assert answer.status_code == 404
    assert rows(idp, "SELECT * FROM entitlement WHERE resource LIKE '%evil%'") == []


def refreshes(client: TestClient, token: str) -> bool:
    return client.refresh(token).status_code == 200


def test_shutting_out_and_letting_in(idp: Idp, people: People) -> None:
    """A disabled person has no page and no refresh; once enabled, both work again."""
    admin, alice = administrator(idp, people), people()
    client, tokens = connected(idp, alice)
    opened(admin, idp, f"/admin/people/{account_of(idp, alice.email)}")
    admin.submit(form_with(admin, "/switch", off="yes"))
    assert "Disabled:" in admin.text
    assert not refreshes(client, tokens["refresh_token"])
    assert "/sign-in/" in str(alice.open(f"{idp.issuer}/account").url)
    admin.submit(form_with(admin, "/switch", off="no"))
    assert "Enabled again." in admin.text
    assert refreshes(client, tokens["refresh_token"])
    assert [len(noted(idp, f"account.{word}")) for word in ("disabled", "enabled")] == [1, 1]


def test_nobody_with_a_role_is_shut_out_here(idp: Idp, people: People) -> None:
    """Another administrator's id in the URL does nothing, nor does one's own: that takes the command line."""
    admin, alice, other = administrator(idp, people), people(), people("other@example.com")
    entered(alice, idp)
    entered(other, idp)
    give_role(idp, other.email)
    opened(admin, idp, f"/admin/people/{account_of(idp, alice.email)}")
    form = form_with(admin, "/switch", off="yes")
    for email in (other.email, ADMIN):
        form.action = form.action.replace(form.action.split("/")[-2], account_of(idp, email))
        admin.submit(form)
        assert not [each for each in admin.forms() if each.action.endswith("/switch")]
    assert rows(idp, "SELECT email FROM account WHERE disabled_at IS NOT NULL") == []
    assert noted(idp, "account.disabled") == []


def test_connections_are_seen_and_cut_off_from_the_persons_page(idp: Idp, people: People) -> None:
    """The page comes back to the person; the app has to ask again."""
    admin, alice = administrator(idp, people), people()
    client, tokens = connected(idp, alice, BOTH)
    page = f"/admin/people/{account_of(idp, alice.email)}"
    opened(admin, idp, page)
    admin.submit(form_with(admin, "/connections/cut"))
    assert "Disconnected." in admin.text
    assert admin.page is not None
    assert admin.page.url.path == page
    assert not refreshes(client, tokens["refresh_token"])
    alice.open(client.authorize_url())
    assert any(("decision", "allow") in form.buttons for form in alice.forms()), "it must ask again"


def test_inviting(idp: Idp, people: People) -> None:
    """The page says who is invited and what to tell them; the log records it without the address in its detail."""
    admin = administrator(idp, people)
    opened(admin, idp, "/admin/people")
    admin.submit(admin.form("email"), email="New@Example.com")
    assert "new@example.com may sign up now." in admin.text
    assert rows(idp, "SELECT email_key FROM invitation") == [("new@example.com",)]
    assert noted(idp, "account.invited") == [(account_of(idp, ADMIN), "new@example.com", "")]
    answer = admin.submit(admin.form("email"), email="a@b, c@d")
    assert answer.status_code == 400
    assert "Enter one email address" in answer.text
    assert len(rows(idp, "SELECT * FROM invitation")) == 1


def test_nobody_is_there(idp: Idp, people: People) -> None:
    """For an unknown id there is a page that says so."""
    admin = administrator(idp, people)
    assert admin.open(f"{idp.issuer}/admin/people/nobody").status_code == 404
    assert "no such person" in admin.text
