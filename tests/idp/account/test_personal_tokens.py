"""Personal tokens: made within what the person holds, shown once, refused once ended; and what /introspect says."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from gatepost_idp.clients.registry import Registry
from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from gatepost_idp.store import accounts
from tests.idp.account.being_there import BOTH, READ, entered, rows
from tests.support.person import Person
from tests.support.serving import Idp

People = Callable[..., Person]


@pytest.fixture
def own(idp: Idp) -> dict[str, str]:
    """The credentials of a resource server, as a form."""

    async def made(database: Database) -> tuple[str, str]:
        registry = Registry(database, Keys(database, idp.settings.secret_keys, idp.clock), idp.clock)
        return await registry.register_resource_server("The tools", idp.settings.mcp_resource_url)

    client_id, secret = in_database(idp, made)
    return {"client_id": client_id, "client_secret": secret}


def in_database(idp: Idp, work: Callable[[Database], Any]) -> Any:
    """Changes the database while the server runs."""
    database = Database(idp.settings.database_url)
    try:
        return asyncio.run(work(database))
    finally:
        database.close()


def made(idp: Idp, person: Person, name: str = "My script", scope: str = READ, **changes: Any) -> str:
    """A token, as the page shows it once."""
    entered(person, idp, "/account/tokens")
    person.submit(person.form("name"), name=name, scope=scope.split(), days="30", **changes)
    found = re.search(r"<pre[^>]*>(gp_pt_[A-Za-z0-9_-]{43})</pre>", person.text)
    assert found, person.text
    return found.group(1)


def told(idp: Idp, token: str, own: dict[str, str]) -> dict[str, Any]:
    answer = idp.post("/introspect", {"token": token, **own})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_token_is_active_with_its_scopes(idp: Idp, people: People, own: dict[str, str]) -> None:
    """The resource server learns whose it is, for which resource, and until when."""
    alice = people()
    token = made(idp, alice)
    found = told(idp, token, own)
    assert found["active"] is True
    assert (found["scope"], found["username"], found["aud"]) == (READ, alice.email, idp.settings.mcp_resource_url)
    assert found["client_name"] == "My script"
    assert found["exp"] - found["iat"] == 30 * 86_400


def test_a_token_is_shown_once_and_kept_as_a_hash(idp: Idp, people: People) -> None:
    """Neither the page nor the database has it afterwards; the account page lists its name."""
    alice = people()
    token = made(idp, alice)
    assert token not in entered(alice, idp, "/account/tokens").text
    listed = entered(alice, idp).text
    assert token not in listed
    assert "My script" in listed
    assert token not in str(rows(idp, "SELECT * FROM personal_token"))
    assert token.removeprefix("gp_pt_") not in str(rows(idp, "SELECT * FROM audit_event"))


def test_a_token_ends_when_its_person_says_so(idp: Idp, people: People, own: dict[str, str]) -> None:
    """A revoked token is refused, and the account page no longer shows it."""
    alice = people()
    token = made(idp, alice)
    entered(alice, idp)
    alice.submit(alice.form_to("/tokens/end"))
    assert "It is refused within a minute." in alice.text
    assert "My script" not in alice.text
    assert told(idp, token, own) == {"active": False}


def test_nobody_ends_anothers_token(idp: Idp, people: People, own: dict[str, str]) -> None:
    """Its id in one's own form does nothing."""
    alice, bob = people(), people("bob@example.com")
    token = made(idp, alice)
    ((token_id,),) = rows(idp, "SELECT id FROM personal_token")
    made(idp, bob, "Bob's")
    entered(bob, idp)
    bob.submit(bob.form_to("/tokens/end"), token=token_id)
    assert told(idp, token, own)["active"] is True


def test_a_token_expires(idp: Idp, people: People, own: dict[str, str]) -> None:
    """On its date, to the second."""
    token = made(idp, people())
    idp.clock.forward(days=30, seconds=-60)
    assert told(idp, token, own)["active"] is True
    idp.clock.forward(seconds=61)
    assert told(idp, token, own) == {"active": False}


def test_a_token_has_no_more_than_its_person_holds_now(idp: Idp, people: People, own: dict[str, str]) -> None:
    """A revoked scope is gone at the next introspection, and returns when it is granted again."""
    alice = people()
    token = made(idp, alice, scope=BOTH)
    account, url = told(idp, token, own)["sub"], idp.settings.mcp_resource_url
    in_database(idp, lambda db: db.write(lambda tx: accounts.revoke_scope(tx, account, url, "demo:echo")))
    assert told(idp, token, own)["scope"] == READ
    in_database(idp, lambda db: db.write(lambda tx: accounts.set_disabled(tx, account, idp.clock())))
    assert told(idp, token, own) == {"active": False}


def test_a_tampered_form_gets_no_more_than_is_held(idp: Idp, people: People, own: dict[str, str]) -> None:
    """demo:ops is not offered, so ticking it does nothing; neither does openid."""
    token = made(idp, people(), scope=f"{READ} demo:ops openid")
    assert told(idp, token, own)["scope"] == READ


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "Give it a name"),
        ({"name": "  \u202e "}, "Give it a name"),
        ({"days": "36500"}, "Choose for how long"),
        ({"days": "-1"}, "Choose for how long"),
        ({"days": "\u0663\u0660"}, "Choose for how long"),
        ({"days": None}, "Choose for how long"),
        ({"resource": "https://elsewhere.test/mcp"}, "Choose what it is for"),
        ({"scope": None}, "Tick at least one thing that it may do."),
        ({"name": "", "resource": "https://elsewhere.test/mcp"}, "Give it a name"),
        ({"scope": ["demo:ops", "openid"]}, "Tick at least one thing that it may do."),
    ],
)
def test_a_form_that_cannot_be_says_what_to_change(idp: Idp, people: People, changes: Any, words: str) -> None:
    """400, and no token is made."""
    alice = people()
    entered(alice, idp, "/account/tokens")
    alice.submit(alice.form("name"), **{"name": "x", "scope": READ, "days": "30", **changes})
    assert alice.page is not None
    assert alice.page.status_code == 400
    assert words in alice.text
    assert rows(idp, "SELECT count(*) FROM personal_token") == [(0,)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scope": None}, "Tick at least one thing"),
        ({"name": None}, "Give it a name"),
        ({"days": None}, "Choose for how long"),
    ],
)
def test_what_was_given_stays_when_something_is_missing(idp: Idp, people: People, changes: Any, words: str) -> None:
    """Name, ticks and days are kept, and each message is linked to its field."""
    alice = people()
    entered(alice, idp, "/account/tokens")
    given = {"name": 'My "script"', "scope": "demo:echo", "days": "90", **changes}
    alice.submit(alice.form("name"), **given)
    again = {name: value for name, value in alice.form("name").fields if name in given and value}
    assert again == {name: value for name, value in given.items() if value}
    assert f'id="problem-1"><span class="unseen">Error: </span>{words}' in alice.text
    assert alice.text.count('aria-describedby="problem-1"') == 1
    assert "<title>Error: " in alice.text


def test_last_use_is_shown(idp: Idp, people: People, own: dict[str, str]) -> None:
    """It is `never` until the first introspection."""
    alice = people()
    token = made(idp, alice)
    assert "never" in entered(alice, idp).text
    told(idp, token, own)
    assert "never" not in entered(alice, idp).text


def test_a_personal_token_is_no_other_token(idp: Idp, people: People) -> None:
    """It is not accepted at /userinfo, at /token, or for another resource server."""
    token = made(idp, people())
    assert idp.get("/userinfo", headers={"authorization": f"Bearer {token}"}).status_code == 401

    async def other(database: Database) -> tuple[str, str]:
        registry = Registry(database, Keys(database, idp.settings.secret_keys, idp.clock), idp.clock)
        return await registry.register_resource_server("Others", "https://other.test/mcp")

    client_id, secret = in_database(idp, other)
    assert told(idp, token, {"client_id": client_id, "client_secret": secret}) == {"active": False}
