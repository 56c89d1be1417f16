"""/account: a person, and nobody else, sees and revokes their apps, consents, sessions and data."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.idp.account.being_there import BOTH, READ, connected, entered, rows
from tests.support.oauth import TestClient, answer_of
from tests.support.person import Form, Person
from tests.support.serving import Idp

People = Callable[..., Person]


def form_with(person: Person, ending: str, **fields: str) -> Form:
    """The form to ``ending`` whose hidden fields hold these."""
    for form in person.forms():
        if form.action.endswith(ending) and all((name, value) in form.fields for name, value in fields.items()):
            return form
    raise AssertionError(f"no form to {ending} with {fields} in:\n{person.text}")


def refreshes(client: TestClient, tokens: dict[str, Any]) -> bool:
    return client.refresh(tokens["refresh_token"]).status_code == 200


def test_it_shows_what_is_connected(idp: Idp, people: People) -> None:
    """Grouped by client: host, claimed name, scopes, since when, from where, until when."""
    alice = people()
    client, _ = connected(idp, alice)
    connected(idp, alice, client=client)
    connected(idp, alice, client_name="Another", redirect_uris=["http://127.0.0.1:8765/callback"])
    words = " ".join(entered(alice, idp).text.split())
    assert words.count('<h3 class="host">') == 2
    assert "“<bdi>Some app</bdi>”, 2 connections" in words
    assert "<bdi>127.0.0.1</bdi>" in words
    assert "It is a program on a computer." in words
    assert "Firefox on Linux" in words
    assert "Read the clock" in words
    assert "Disconnect all 2" in words


def test_use_another_address_comes_back_here(idp: Idp, people: People) -> None:
    """A person who changes the address here comes back to this page, not to the access page."""
    alice = people()
    entered(alice, idp)
    alice.submit(alice.form_to("/switch"))
    assert "to open your account page" in alice.text
    alice.email = "bob-comes-back@example.com"
    alice.ask_for_mail()
    alice.sign_in_by_code()
    assert "<h1>Your account</h1>" in alice.text
    assert alice.email in alice.text


def test_disconnecting_ends_one_connection_at_once(idp: Idp, people: People) -> None:
    """Its refresh token stops working, the other connection goes on, and the app has to ask again."""
    alice = people()
    client, first = connected(idp, alice)
    other, second = connected(idp, alice, client_name="Another")
    entered(alice, idp)
    alice.submit(form_with(alice, "/disconnect", grant=grant_of(idp, client)))
    assert "Disconnected." in alice.text
    assert not refreshes(client, first)
    assert refreshes(other, second)
    alice.open(client.authorize_url(scope=BOTH))
    assert any(("decision", "allow") in form.buttons for form in alice.forms()), "it must ask again"


def grant_of(idp: Idp, client: TestClient) -> str:
    ((grant,),) = rows(idp, f"SELECT id FROM authorization_grant WHERE client_id = '{client.id}' AND ended_at IS NULL")  # noqa: S608 (the test's own id)
    return str(grant)


def test_disconnecting_all_of_a_group(idp: Idp, people: People) -> None:
    """One button for every connection of one client."""
    alice = people()
    client, first = connected(idp, alice)
    _, second = connected(idp, alice, client=client)
    entered(alice, idp)
    form = next(f for f in alice.forms() if len([n for n, _ in f.fields if n == "grant"]) == 2)
    alice.submit(form)
    assert not refreshes(client, first)
    assert not refreshes(client, second)
    assert "No app is connected" in alice.text


def test_nobody_disconnects_anothers_app(idp: Idp, people: People) -> None:
    """Another person's id in one's own form does nothing."""
    alice, bob = people(), people("bob@example.com")
    client, tokens = connected(idp, alice)
    own, _ = connected(idp, bob)
    entered(bob, idp)
    bob.submit(form_with(bob, "/disconnect", grant=grant_of(idp, own)), grant=grant_of(idp, client))
    assert "Disconnected." not in bob.text
    assert refreshes(client, tokens)


def test_forgetting_a_consent_asks_again_and_keeps_what_is_connected(idp: Idp, people: People) -> None:
    """The date is shown; after forgetting, the consent page is shown again."""
    alice = people()
    client, tokens = connected(idp, alice, BOTH)
    alice.open(client.authorize_url(scope=BOTH))
    assert "code" in answer_of(alice.answer())
    entered(alice, idp)
    alice.submit(form_with(alice, "/forget", client=client.id))
    assert "Forgotten." in alice.text
    assert refreshes(client, tokens)
    alice.open(client.authorize_url(scope=BOTH))
    assert any(("decision", "allow") in form.buttons for form in alice.forms())


def test_sessions_are_listed_and_ended_one_by_one(idp: Idp, people: People) -> None:
    """The other browser is signed out at once; this one stays."""
    alice, elsewhere = people(), people("alice@example.com")
    entered(elsewhere, idp)
    idp.clock.forward(minutes=1)
    entered(alice, idp)
    assert alice.text.count("(this one)") == 1
    here = alice.text.index("(this one)")
    sessions = [form for form in alice.forms() if form.action.endswith("/sign-out") and "session" in form.names()]
    assert len(sessions) == 2
    assert here < alice.text.rindex('name="session"')
    alice.submit(sessions[1])
    assert "Signed out there." in alice.text
    elsewhere.open(f"{idp.issuer}/account")
    assert any("email" in form.names() for form in elsewhere.forms())


def test_sign_out_everywhere(idp: Idp, people: People) -> None:
    """It signs out every browser, this one too; apps stay connected."""
    alice, elsewhere = people(), people("alice@example.com")
    client, tokens = connected(idp, alice)
    entered(elsewhere, idp)
    entered(alice, idp)
    everywhere = next(f for f in alice.forms() if f.action.endswith("/sign-out") and "session" not in f.names())
    alice.submit(everywhere)
    assert "You are signed out" in alice.text
    for person in (alice, elsewhere):
        person.open(f"{idp.issuer}/account")
        assert any("email" in form.names() for form in person.forms())
    assert refreshes(client, tokens)


def test_the_export_holds_everything_and_no_secret(idp: Idp, people: People) -> None:
    """JSON as a download: account, scopes, connections, consents, sessions, events; no hash, no token, nobody else."""
    alice, bob = people(), people("bob@example.com")
    _, tokens = connected(idp, alice)
    connected(idp, bob)
    entered(alice, idp)
    answer = alice.browser.get(f"{idp.issuer}/account/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="my-data.json"'
    assert answer.headers["cache-control"] == "no-store"
    found = json.loads(answer.text)
    assert found["account"]["email"] == alice.email
    assert {"scopes", "connections", "consents", "personal_tokens", "sessions", "events"} < found.keys()
    assert found["connections"][0]["scope"] == READ
    assert {"sign_in", "consent.given", "grant.started"} <= {event["event"] for event in found["events"]}
    assert "bob@example.com" not in answer.text
    for secret in (tokens["refresh_token"], tokens["access_token"], *alice.browser.cookies.values()):
        assert secret not in answer.text
    assert "hash" not in answer.text


def test_deleting_the_account_takes_everything_with_it(idp: Idp, people: People) -> None:
    """Apps, consents, sessions, tokens and the address itself; the audit log keeps what happened, not to whom."""
    alice = people()
    client, tokens = connected(idp, alice)
    entered(alice, idp, "/account/delete")
    alice.submit(alice.form("sure"))
    assert "Your account is deleted" in alice.text
    assert not refreshes(client, tokens)
    for (table,) in rows(idp, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'trace_step'"):
        for row in rows(idp, f'SELECT * FROM "{table}"'):  # noqa: S608 (the database's own tables)
            assert "alice@example.com" not in str(row), table
    assert rows(idp, "SELECT count(*) FROM audit_event WHERE account_id != ''") == [(0,)]
    assert rows(idp, "SELECT count(*) FROM audit_event WHERE event = 'account.deleted'") == [(1,)]
    entered(alice, idp)
    assert "No app is connected" in alice.text


def test_deleting_wants_a_sure_yes(idp: Idp, people: People) -> None:
    """A form without the confirmation leads back to the question."""
    alice = people()
    client, tokens = connected(idp, alice)
    entered(alice, idp, "/account/delete")
    alice.submit(alice.form("sure"), sure="no")
    assert "Delete your account?" in alice.text
    assert refreshes(client, tokens)


@pytest.mark.parametrize("path", ["/account/delete", "/account/tokens"])
def test_an_old_sign_in_is_not_enough(idp: Idp, people: People, path: str) -> None:
    """A person who signed in more than an hour ago has to sign in again to make a token or delete the account."""
    alice = people()
    entered(alice, idp, path)
    idp.clock.forward(minutes=61)
    assert entered_silently(alice, idp, "/account")
    assert not entered_silently(alice, idp, path)
    alice.ask_for_mail()
    alice.sign_in_by_code(2)
    assert alice.page is not None
    assert alice.page.url.path == path


def entered_silently(person: Person, idp: Idp, path: str) -> bool:
    return person.open(f"{idp.issuer}{path}").url.path == path


FORMS = {
    "/account/disconnect": {"grant": "x"},
    "/account/forget": {"client": "x"},
    "/account/sign-out": {},
    "/account/delete": {"sure": "yes"},
    "/account/tokens": {"name": "x", "days": "30", "scope": READ},
    "/account/tokens/end": {"token": "x"},
    "/account/access": {"grant": "x", "scope": READ},
    "/account/access/switch": {},
    "/account/switch": {},
    "/account/cut-off": {"token": "x"},
}


@pytest.mark.parametrize("headers", [{"origin": "https://evil.test"}, {"origin": "null"}, {}], ids=str)
@pytest.mark.parametrize("path", FORMS)
def test_a_foreign_form_is_refused(idp: Idp, people: People, path: str, headers: dict[str, str]) -> None:
    """Foreign Origin, null, or a made-up token: 403, and nothing is changed."""
    alice = people()
    entered(alice, idp)
    csrf = dict(alice.forms()[0].fields)["csrf"] if headers else "made up"
    answer = alice.browser.post(f"{idp.issuer}{path}", data={**FORMS[path], "csrf": csrf}, headers=headers)
    assert answer.status_code == 403
    assert entered_silently(alice, idp, "/account")


@pytest.mark.parametrize("path", [path for path in FORMS if not path.endswith(("switch", "cut-off"))])
def test_a_form_after_the_session_ended_asks_who_it_is(idp: Idp, people: People, path: str) -> None:
    """As in a tab left open after signing out in another: the form is ours but nobody's, and nothing is done."""
    alice = people()
    client, tokens = connected(idp, alice)
    entered(alice, idp)
    csrf = dict(alice.forms()[0].fields)["csrf"]
    [session] = [name for name in alice.browser.cookies if "session" in name]
    alice.browser.cookies.delete(session)
    headers = {"origin": idp.issuer}
    answer = alice.browser.post(f"{idp.issuer}{path}", data={**FORMS[path], "csrf": csrf}, headers=headers)
    assert (answer.status_code, "/sign-in/" in answer.headers["location"]) == (303, True)
    assert refreshes(client, tokens)


def test_frames_are_refused(idp: Idp, people: People) -> None:
    """No account page can be framed or cached."""
    alice = people()
    for path in ("/account", "/account/access", "/account/tokens", "/account/delete"):
        answer = entered(alice, idp, path)
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
