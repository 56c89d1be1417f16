"""Shared by the account page tests: a connected app, and the sign-in."""

import sqlite3
from typing import Any

import httpx2

from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person
from tests.support.serving import Idp

READ, BOTH = "demo:read", "demo:read demo:echo"


def entered(person: Person, idp: Idp, path: str = "/account") -> httpx2.Response:
    """Opens a page below the account, and signs in by the mailed code if asked."""
    mails = len(idp.postbox.to(person.email))
    answer = person.open(f"{idp.issuer}{path}")
    if any("email" in form.names() for form in person.forms()):
        person.ask_for_mail()
        person.sign_in_by_code(mails + 1)
        assert person.page is not None
        answer = person.page
    assert answer.status_code == 200, answer.text
    assert answer.url.path == path
    return answer


def connected(
    idp: Idp, person: Person, ticked: str = READ, client: TestClient | None = None, **metadata: Any
) -> tuple[TestClient, dict[str, Any]]:
    """An app that asked for both scopes and was granted ``ticked``."""
    client = client or registered(idp, **{"client_name": "Some app", **metadata})
    person.open(client.authorize_url(scope=BOTH))
    mails = len(idp.postbox.to(person.email))
    if any("email" in form.names() for form in person.forms()):
        person.ask_for_mail()
        person.sign_in_by_code(mails + 1)
    if any(("decision", "allow") in form.buttons for form in person.forms()):
        person.allow(scope=ticked.split())
    answer = client.redeem(answer_of(person.answer())["code"])
    assert answer.status_code == 200, answer.text
    return client, answer.json()


def rows(idp: Idp, query: str) -> list[Any]:
    """The rows of a table, read directly from the database."""
    connection = sqlite3.connect(f"file:{idp.settings.sqlite_path}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
