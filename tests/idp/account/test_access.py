"""/account/access: a person signs in to this server's own page and changes what an app may do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.idp.account.being_there import BOTH, READ, connected, entered, rows
from tests.idp.oauth.wire import running
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person
from tests.support.serving import Idp
from tests.support.smtp import link_of, text_of

People = Callable[..., Person]


def access(person: Person, idp: Idp) -> httpx2.Response:
    """Opens the page, and signs in if asked."""
    return entered(person, idp, "/account/access")


def scope_after_refresh(client: TestClient, tokens: dict[str, Any]) -> set[str]:
    return set(client.refresh(tokens["refresh_token"]).json()["scope"].split())


def test_a_stranger_signs_in_by_mail_and_comes_back(idp: Idp, people: People) -> None:
    """No client is involved, and none is named, on the pages or in the mail."""
    alice = people()
    alice.open(f"{idp.issuer}/account/access")
    assert "to open your account page" in alice.text
    assert "Cancel" not in alice.text
    alice.ask_for_mail()
    mail = idp.postbox.wait(alice.email)
    said = text_of(mail).replace("\r\n", "\n")
    assert f"For:    your account page at {urlsplit(idp.issuer).netloc}\n  From:" in said
    assert "To use" not in said
    alice.open(link_of(mail))
    assert "to open your account page" in alice.text
    alice.submit(alice.form("token"))
    assert access(alice, idp).text.count("No app is connected") == 1


def test_another_device_is_told_what_is_asked(idp: Idp, people: People) -> None:
    """The read-only page on another device says that the sign-in is for the account page."""
    alice, phone = people(), people("alice@example.com")
    alice.open(f"{idp.issuer}/account/access")
    alice.ask_for_mail()
    phone.open(link_of(idp.postbox.wait(alice.email)))
    assert "to open your account page" in phone.text


def test_ticking_more_widens_the_grant_at_the_next_refresh(idp: Idp, people: People) -> None:
    """The app stays connected: its next refresh has the added scopes, without another question."""
    alice = people()
    client, tokens = connected(idp, alice)
    assert tokens["scope"] == READ
    access(alice, idp)
    alice.submit(alice.form("grant"), scope=BOTH.split())
    assert "Saved." in alice.text
    assert scope_after_refresh(client, tokens) == set(BOTH.split())


def test_unticking_narrows_the_grant_at_the_next_refresh(idp: Idp, people: People) -> None:
    """Unticking all leaves an app that is connected and may do nothing."""
    alice = people()
    client, tokens = connected(idp, alice, BOTH)
    access(alice, idp)
    alice.submit(alice.form("grant"), scope=[READ])
    refreshed = client.refresh(tokens["refresh_token"]).json()
    assert refreshed["scope"] == READ
    alice.submit(alice.form("grant"), scope=None)
    assert client.refresh(refreshed["refresh_token"]).json()["scope"] == ""


def test_what_was_changed_is_what_a_reconnect_gets(idp: Idp, people: People) -> None:
    """The remembered consent changes too: a reconnect is silent, with the new scopes, wider or narrower."""
    alice = people()
    client, _ = connected(idp, alice)
    access(alice, idp)
    alice.submit(alice.form("grant"), scope=BOTH.split())
    alice.open(client.authorize_url(scope=BOTH))
    assert set(client.redeem(answer_of(alice.answer())["code"]).json()["scope"].split()) == set(BOTH.split())


def test_openid_stays_whatever_is_ticked(idp: Idp, people: People) -> None:
    """It has no box, so nobody can untick it."""
    alice = people()
    client = registered(idp)
    tokens = client.connect(alice, scope=f"openid email {BOTH}")
    access(alice, idp)
    alice.submit(alice.form("grant"), scope=[READ])
    refreshed = client.refresh(tokens["refresh_token"]).json()
    assert set(refreshed["scope"].split()) == {"openid", "email", READ}


def test_a_scope_that_is_not_held_waits_for_the_operator(idp: Idp, people: People) -> None:
    """Ticked in advance, it is in no token: the page gives nobody a scope they do not hold."""
    alice = people()
    client, tokens = connected(idp, alice)
    page = access(alice, idp).text
    assert page.index("Not available to you yet") < page.index("demo:ops")
    alice.submit(alice.form("grant"), scope=[READ, "demo:ops"])
    assert scope_after_refresh(client, tokens) == {READ}


@pytest.mark.parametrize("forged", ["demo:ops demo:root", "openid", "offline_access x", "\u0000"])
def test_tampered_scopes_are_ignored(idp: Idp, people: People, forged: str) -> None:
    """Only boxes that the page has can be ticked; openid cannot be slipped in."""
    alice = people()
    client, tokens = connected(idp, alice)
    access(alice, idp)
    alice.submit(alice.form("grant"), scope=[READ, *forged.split(" ")])
    assert scope_after_refresh(client, tokens) == {READ}


def test_nobody_changes_another_persons_app(idp: Idp, people: People) -> None:
    """Another person's app id in one's own form does nothing, and reveals nothing."""
    alice, bob = people(), people("bob@example.com")
    client, tokens = connected(idp, alice)
    connected(idp, bob)
    ((grant,),) = rows(idp, "SELECT g.id FROM authorization_grant g JOIN account a ON a.id = g.account_id"
                            " WHERE a.email = 'alice@example.com'")  # fmt: skip  # one query
    access(bob, idp)
    bob.submit(bob.form("grant"), grant=grant, scope=BOTH.split())
    assert "Saved." not in bob.text
    assert scope_after_refresh(client, tokens) == {READ}


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        ({"origin": "https://evil.test"}, True),
        ({"origin": "null"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({}, False),
    ],
)
def test_a_foreign_form_changes_nothing(idp: Idp, people: People, headers: dict[str, str], csrf: bool) -> None:
    """Foreign Origin, null, cross-site, no token: 403, and the app keeps what it had."""
    alice = people()
    client, tokens = connected(idp, alice)
    access(alice, idp)
    form = dict(alice.form("grant").fields) | {"scope": "demo:echo"}
    form = form if csrf else form | {"csrf": "made up"}
    answer = alice.browser.post(f"{idp.issuer}/account/access", data=form, headers=headers)
    assert answer.status_code == 403
    assert scope_after_refresh(client, tokens) == {READ}


def test_who_is_signed_out_meanwhile_signs_in_again(idp: Idp, people: People) -> None:
    """A form from a tab left open after the sign-out changes nothing and leads to the sign-in."""
    alice = people()
    client, tokens = connected(idp, alice)
    access(alice, idp)
    left_open = alice.form("grant")
    alice.submit(alice.form_to("/switch"))
    alice.submit(left_open, scope=BOTH.split())
    assert "to open your account page" in alice.text
    assert scope_after_refresh(client, tokens) == {READ}


def test_use_another_address_signs_out_first(idp: Idp, people: People) -> None:
    """On a shared computer the next person sees nothing of the previous one."""
    alice = people()
    connected(idp, alice)
    access(alice, idp)
    alice.submit(alice.form_to("/switch"))
    assert "to open your account page" in alice.text
    alice.email = "bob@example.com"
    assert "bob@example.com" in access(alice, idp).text
    assert "Some app" not in alice.text


def test_an_ended_connection_is_not_there(idp: Idp, people: People) -> None:
    """A revoked connection cannot be widened."""
    alice = people()
    client, tokens = connected(idp, alice)
    idp.post("/revoke", {"client_id": client.id, "token": tokens["refresh_token"]})
    assert "No app is connected" in access(alice, idp).text


def test_no_client_can_name_our_own_pages(idp: Idp, people: People) -> None:
    """An empty client_id is not a client: no code is ever issued for the sign-in to our own pages."""
    alice = people()
    access(alice, idp)
    client = TestClient(idp, {"client_id": ""}, "/account/access")
    assert alice.browser.get(client.authorize_url()).status_code == 400
    alice.browser.cookies.clear()
    start = alice.browser.get(f"{idp.issuer}/account/access")
    request_id = start.headers["location"].rpartition("/")[2]
    alice.open(f"{idp.issuer}/sign-in/{request_id}")
    csrf = dict(alice.form("email").fields)["csrf"]
    for path, fields in (
        (f"/consent/{request_id}", {"decision": "allow", "scope": READ}),
        (f"/consent/{request_id}/again", {"decision": "allow"}),
        (f"/consent/{request_id}", {"decision": "deny"}),
        (f"/sign-in/{request_id}/deny", {}),
    ):
        answer = alice.browser.post(f"{idp.issuer}{path}", data={"csrf": csrf, **fields})
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == f"/sign-in/{request_id}"
    assert rows(idp, "SELECT count(*) FROM authorization_code") == [(0,)]


def test_below_the_issuers_path(tmp_path: Path) -> None:
    """The redirect back keeps the issuer's path."""
    with running(tmp_path, "/auth") as idp, Person("alice@example.com", idp.postbox) as alice:
        alice.open(f"{idp.issuer}/account/access")
        alice.ask_for_mail()
        alice.sign_in_by_code()
        assert alice.page is not None
        assert alice.page.url.path == "/auth/account/access"


def test_it_is_audited(idp: Idp, people: People) -> None:
    """The audit log records who changed which grant, and to what."""
    alice = people()
    connected(idp, alice)
    access(alice, idp)
    alice.submit(alice.form("grant"), scope=BOTH.split())
    found = rows(idp, "SELECT account_id != '', grant_id != '', trace_id != '', detail FROM audit_event"
                      " WHERE event = 'grant.scope_changed'")  # fmt: skip  # one query
    assert found == [(1, 1, 1, BOTH)]
