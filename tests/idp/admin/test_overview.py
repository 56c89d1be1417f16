"""/admin: the charts, the connections, the audit log and the state of the server."""

import re

import pytest

from tests.idp.account.being_there import connected, entered, rows
from tests.idp.admin.being_admin import ADMIN, People, account_of, administrator, change, form_with, noted, opened
from tests.support.serving import Idp


def test_charts_have_words_and_a_table_beside(idp: Idp, people: People) -> None:
    """Each is an image with a title and a description, and bars that match the table; no inline style."""
    admin, alice = administrator(idp, people), people()
    connected(idp, alice)
    text = opened(admin, idp, "/admin").text
    assert [text.count(mark) for mark in ('<svg viewBox="0 0 300', 'role="img"', "<title id=", "<desc id=")] == [4] * 4
    today = re.search(r"<tr><td><b>[\d-]+</b></td>(.*?)</tr>", text)
    assert today
    assert re.findall(r'data-label="([^"]+)">(\d+)<', today[1]) == [
        ("Sign-ups", "2"), ("Sign-ins", "2"), ("Tokens", "1"), ("Refusals", "0"),
    ]  # fmt: skip  # a list of pairs
    bars = re.findall(r'<path d="([^"]*)" fill="currentColor"/>', text)
    assert [bar.count("M") for bar in bars] == [1, 1, 1, 0]
    assert "v-60h" in bars[0]
    assert " style=" not in text
    assert len(text) < 20 * 1024


def test_every_page_works_without_a_script(idp: Idp, people: People) -> None:
    """The only script is for the copy buttons, on the page that has them."""
    admin, alice = administrator(idp, people), people()
    connected(idp, alice)
    for path in (
        "/admin",
        "/admin/people",
        "/admin/clients",
        "/admin/connections",
        "/admin/backends",
        "/admin/audit",
        "/admin/state",
    ):
        text = opened(admin, idp, path).text
        assert "<script" not in text
        assert len(text) < 20 * 1024


def test_a_connection_is_cut_off(idp: Idp, people: People) -> None:
    """All are listed, newest first; one ends at once, the others go on, and the log records who did it."""
    admin, alice, bob = administrator(idp, people), people(), people("bob@example.com")
    client, tokens = connected(idp, alice, client_name="Some app")
    other, kept = connected(idp, bob, client_name="Another")
    text = opened(admin, idp, "/admin/connections").text
    assert text.index("bob@example.com") < text.index("alice@example.com")
    grant = str(dict(rows(idp, "SELECT client_id, id FROM authorization_grant"))[client.id])
    form = form_with(admin, "/connections/cut", grant=grant)
    admin.submit(form)
    assert "Disconnected." in admin.text
    assert "alice@example.com" not in admin.text
    assert client.refresh(tokens["refresh_token"]).status_code == 400
    assert other.refresh(kept["refresh_token"]).status_code == 200
    admin.submit(form)
    assert "Disconnected." not in admin.text
    assert [(who, detail) for who, _, detail in noted(idp, "grant.cut_off")] == [(account_of(idp, ADMIN), "")]


def test_the_audit_log_is_searched(idp: Idp, people: People) -> None:
    """By event prefix, the person's address and the client's id; all of them must match."""
    admin, alice = administrator(idp, people), people()
    client, _ = connected(idp, alice)

    def events(query: str) -> list[str]:
        text = opened(admin, idp, f"/admin/audit?{query}").text
        return re.findall(r'<td data-label="What"><code>([^<]*)</code>', text)

    assert set(events("event=grant")) == {"grant.started"}
    assert set(events("person=ADMIN@")) == {"sign_in", "account.created"}
    assert "grant.started" in events(f"client={client.id}")
    assert events(f"client={client.id}&person=admin@") == []
    assert events("event=%25") == events("event=_") == events("event=%27+OR+1%3D1--") == []
    assert len(events("")) == len(rows(idp, "SELECT id FROM audit_event"))


def test_markup_in_the_log_is_inert(idp: Idp, people: People) -> None:
    """Whatever a row contains."""
    admin = administrator(idp, people)
    change(
        idp,
        "INSERT INTO audit_event (id, at, event, account_id, client_id, grant_id, trace_id, network, detail, address)"
        " VALUES ('x', 1795262400000, 'x', '', '', '', '', '', '<script>alert(1)</script>', '<script>@x')",
    )
    assert "<script>" not in opened(admin, idp, "/admin/audit?event=x").text


@pytest.mark.parametrize("start", ["x", "9" * 40, "-1", "%00", "1.%F0%9F%98%80", "1." + "a" * 3000])
@pytest.mark.parametrize("path", ["people", "clients", "connections", "audit"])
def test_a_bent_place_in_a_list_is_no_fault(idp: Idp, people: People, path: str, start: str) -> None:
    """A tampered cursor still gives a page."""
    admin = administrator(idp, people)
    assert admin.browser.get(f"{idp.issuer}/admin/{path}?start={start}").status_code == 200


def test_long_lists_go_on(idp: Idp, people: People) -> None:
    """Over all pages each person is listed once."""
    admin = administrator(idp, people)
    for number in range(60):
        columns = "id, email, email_key, role, created_at, seen_at"
        email = f"p{number}@example.com"
        change(idp, f"INSERT INTO account ({columns}) VALUES (?, ?, ?, '', 0, 0)", email, email, email)  # noqa: S608 (the test's own words)
    seen: list[str] = []
    link: str | None = "/admin/people?q=p"
    while link:
        text = opened(admin, idp, link).text
        seen += re.findall(r">(p\d+@example.com)</a>", text)
        found = re.search(r'<a class="button full" href="([^"]*)">', text)
        link = found[1].replace("&amp;", "&") if found else None
    assert len(seen) == len(set(seen)) == 60


def test_the_state_says_what_keeps_mail_back_and_which_keys_sign(idp: Idp, people: People) -> None:
    """Mail, keys, limits and how much of them is used, doctor's findings; no secret."""
    admin = administrator(idp, people)
    text = opened(admin, idp, "/admin/state").text
    assert "Nothing is holding it up." in text
    for (kid,) in rows(idp, "SELECT kid FROM signing_key"):
        assert kid in text
    assert "1000/minute; used now: 1 of 1000" in text
    assert "sealed" not in text
    assert "gatepost doctor" in text


def test_who_was_deleted_is_not_named(idp: Idp, people: People) -> None:
    """The log still shows what happened, without the address."""
    admin, alice = administrator(idp, people), people()
    entered(alice, idp, "/account/delete")
    alice.submit(alice.form("sure"))
    text = opened(admin, idp, "/admin/audit").text.replace("<wbr>", "")
    assert admin.email in text.partition("<main>")[2]
    assert alice.email not in text
