"""Shared by the admin page tests: an administrator, and the sign-in."""

import sqlite3
from collections.abc import Callable
from typing import Any

import httpx2

from tests.idp.account.being_there import entered, rows
from tests.support.person import Form, Person
from tests.support.serving import Idp

People = Callable[..., Person]
ADMIN = "admin@example.com"


def change(idp: Idp, statement: str, *values: Any) -> None:
    """Changes the database directly, as a command does."""
    connection = sqlite3.connect(idp.settings.sqlite_path, timeout=10)
    try:
        with connection:
            connection.execute(statement, values)
    finally:
        connection.close()


def give_role(idp: Idp, email: str, role: str = "admin") -> None:
    """Grants a person a role, or revokes it."""
    change(idp, "UPDATE account SET role = ? WHERE email_key = ?", role, email)


def administrator(idp: Idp, people: People, email: str = ADMIN) -> Person:
    """Somebody signed in who holds the role."""
    person = people(email)
    entered(person, idp)
    give_role(idp, email)
    return person


def account_of(idp: Idp, email: str) -> str:
    """The id of an account."""
    return str(dict(rows(idp, "SELECT email_key, id FROM account"))[email])


def opened(person: Person, idp: Idp, path: str) -> httpx2.Response:
    """Opens a page below /admin, which must be shown."""
    answer = person.open(f"{idp.issuer}{path}")
    assert answer.status_code == 200, answer.text
    return answer


def form_with(person: Person, ending: str, **fields: str) -> Form:
    """The form to ``ending`` whose hidden fields hold these."""
    for form in person.forms():
        if form.action.endswith(ending) and all((name, value) in form.fields for name, value in fields.items()):
            return form
    raise AssertionError(f"no form to {ending} with {fields} in:\n{person.text}")


def noted(idp: Idp, event: str) -> list[tuple[str, str, str]]:
    """Who did it, to which person or client, and the other details in the log."""
    columns = "event, actor, account_id || address || client_id, detail"
    found = rows(idp, f"SELECT {columns} FROM audit_event ORDER BY id")  # noqa: S608 (the test's own words)
    return [(who, about, detail) for name, who, about, detail in found if name == event]
