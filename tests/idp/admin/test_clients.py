"""/admin/clients: list by kind, add with all that a client's dialog asks for, disable, enable, renew secrets."""

import re
from html import unescape

import pytest

from tests.idp.account.being_there import connected, rows
from tests.idp.admin.being_admin import ADMIN, People, account_of, administrator, change, form_with, noted, opened
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.serving import Idp

CALLBACK = "https://client.test/callback"


def value(person: Person, label: str) -> str:
    """The value that the page offers to copy under that label."""
    found = re.search(rf'<pre tabindex="0" aria-label="{label}">([^<]*)</pre>', person.text)
    assert found, f"no {label} in:\n{person.text}"
    return unescape(found[1])


def made(admin: Person, idp: Idp, **fields: object) -> None:
    """Fills in the form."""
    opened(admin, idp, "/admin/clients/add")
    admin.submit(admin.form("description"), **{"name": "Our app", "redirect": CALLBACK, **fields})


def test_a_client_is_made_with_all_that_a_dialog_asks_for(idp: Idp, people: People) -> None:
    """Each value has a copy button, the secret is shown once, and with them the whole flow works."""
    admin, alice = administrator(idp, people), people()
    made(admin, idp, description="For the web team", scope=["demo:read"])
    assert value(admin, "MCP URL") == "http://localhost:9001/mcp"
    assert value(admin, "Authorization URL") == f"{idp.issuer}/authorize"
    assert value(admin, "Token URL") == f"{idp.issuer}/token"
    assert value(admin, "Scopes") == "openid profile email offline_access demo:read"
    client_id, secret = value(admin, "Client ID"), value(admin, "Client secret")
    assert admin.text.count("data-copy=") == 6
    assert "For the web team" in admin.text
    client = TestClient(idp, {"client_id": client_id, "client_secret": secret})
    _, tokens = connected(idp, alice, "demo:read", client=client)
    assert tokens["scope"] == "demo:read"
    opened(admin, idp, f"/admin/clients/one?client={client_id}")
    assert "Client secret" not in admin.text
    assert "1 connections" in admin.text
    assert secret not in str(rows(idp, "SELECT * FROM client")) + str(rows(idp, "SELECT * FROM audit_event"))
    assert noted(idp, "client.made") == [(account_of(idp, ADMIN), client_id, "manual")]


def test_a_client_for_claude_without_a_secret(idp: Idp, people: People) -> None:
    """A tick adds Claude's redirect URIs; a public client has no secret to show."""
    admin = administrator(idp, people)
    made(admin, idp, redirect="", claude="yes", confidential=None)
    assert "Added." in admin.text
    assert "Client secret" not in admin.text
    assert "https://claude.ai/api/mcp/auth_callback" in admin.text
    assert "https://claude.com/api/mcp/auth_callback" in admin.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"redirect": ""}, "at least one return address"),
        ({"redirect": "http://evil.test/"}, "cannot be a return address"),
        ({"redirect": "javascript:alert(1)//"}, "cannot be a return address"),
        ({"redirect": f"{CALLBACK} https://a.test/<script>"}, "cannot be a return address"),
        ({"name": "\u202e\u200b"}, "Give it a name"),
    ],
    ids=lambda each: "" if isinstance(each, str) else next(iter(each.values()))[:20],
)
def test_a_wrong_form_says_what_is_wrong_and_keeps_what_was_typed(
    idp: Idp, people: People, fields: dict[str, str], words: str
) -> None:
    """No client is made."""
    admin = administrator(idp, people)
    made(admin, idp, description="Kept", **fields)
    assert words in admin.text
    assert 'value="Kept"' in admin.text
    assert "<script>" not in admin.text.partition("<main>")[2].partition("</main>")[0]
    assert rows(idp, "SELECT * FROM client") == []


MARKUP = "<script>alert(1)</script>\u202egnp.exe\u2066\u0000"


def test_markup_and_direction_in_a_clients_name_are_inert(idp: Idp, people: People) -> None:
    """On every page that shows it: escaped, isolated, and without control or bidirectional characters."""
    admin, alice = administrator(idp, people), people()
    client, _ = connected(idp, alice, client_name=MARKUP)
    row = client.id.partition(".")[0]
    change(idp, "UPDATE client SET name = ? WHERE id = ?", MARKUP.replace("\u0000", ""), row)  # as one of before
    for path in (
        "/admin/clients?kind=registered",
        f"/admin/clients/one?client={row}",
        "/admin/connections",
        f"/admin/people/{account_of(idp, alice.email)}",
    ):
        text = opened(admin, idp, path).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; gnp.exe" in text
        assert "<script>alert" not in text
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)


def test_kinds_are_listed_with_their_use(idp: Idp, people: People) -> None:
    """Registrations with the same metadata are one row; each kind has its own page."""
    admin, alice = administrator(idp, people), people()
    connected(idp, alice, client_name="Registered app")
    connected(idp, alice, client_name="Registered app")
    registered(idp, client_name="Secret app", token_endpoint_auth_method="client_secret_basic")
    made(admin, idp)
    for kind, name in (("manual", "Our app"), ("registered", "Registered app"), ("confidential", "Secret app")):
        text = opened(admin, idp, f"/admin/clients?kind={kind}").text
        assert text.count("/admin/clients/one?") == 1, kind
        assert name in text
    text = opened(admin, idp, "/admin/clients?kind=registered").text
    assert '<td data-label="Connections">2</td>' in text
    assert "never" not in text
    assert "Our app" in opened(admin, idp, "/admin/clients?kind=made+up").text


def test_switching_off_and_on(idp: Idp, people: People) -> None:
    """Disabled: no refresh, no new authorization; enabled: both again. It affects every registration of a kind."""
    admin, alice = administrator(idp, people), people()
    client, tokens = connected(idp, alice)
    row = client.id.partition(".")[0]
    opened(admin, idp, f"/admin/clients/one?client={row}")
    admin.submit(form_with(admin, "/switch", off="yes"))
    assert "Switched off" in admin.text
    assert rows(idp, "SELECT count(*) FROM client WHERE disabled_at IS NOT NULL") == [(1,)]
    admin.submit(form_with(admin, "/switch", off="no"))
    assert "Switched on" in admin.text
    assert client.refresh(tokens["refresh_token"]).status_code == 200
    assert [noted(idp, f"client.{word}")[0][1] for word in ("disabled", "enabled")] == [row, row]


def test_a_url_is_switched_as_a_url(idp: Idp, people: People) -> None:
    """By its URL, whatever its document says by then."""
    admin = administrator(idp, people)
    url = "https://app.test/client.json"
    change(
        idp,
        "INSERT INTO client_document (url, client_row, etag, checks_iss, fetched_at, fresh_until, used_at)"
        " VALUES (?, '', '', 0, 0, 0, 0)",
        url,
    )
    assert "app.test/client.json" in opened(admin, idp, "/admin/clients?kind=document").text
    opened(admin, idp, f"/admin/clients/one?client={url}")
    admin.submit(form_with(admin, "/switch", off="yes"))
    assert "Switched off" in admin.text
    assert rows(idp, "SELECT url FROM client_document WHERE disabled_at IS NOT NULL") == [(url,)]
    assert rows(idp, "SELECT count(*) FROM client_document") == [(1,)]


def test_a_new_secret_takes_the_place_of_the_old_one(idp: Idp, people: People) -> None:
    """It is shown once, and recorded in the audit log."""
    admin = administrator(idp, people)
    made(admin, idp)
    client_id, old = value(admin, "Client ID"), value(admin, "Client secret")
    admin.submit(form_with(admin, "/clients/secret"))
    new = value(admin, "Client secret")
    assert new != old
    assert works(idp, client_id, new)
    assert not works(idp, client_id, old)
    assert [client for _, client, _ in noted(idp, "client.secret_renewed")] == [client_id]
    assert new not in opened(admin, idp, f"/admin/clients/one?client={client_id}").text


def works(idp: Idp, client_id: str, secret: str) -> bool:
    """Whether the client authenticates with it: then the error is about its made-up code."""
    form = {"grant_type": "refresh_token", "refresh_token": "gp_rt_x"}
    error = idp.post("/token", form, auth=(client_id, secret)).json()["error"]
    assert error in ("invalid_grant", "invalid_client")
    return bool(error == "invalid_grant")


def test_a_public_client_gets_no_secret(idp: Idp, people: People) -> None:
    """Not even with its id put into another client's form."""
    admin, alice = administrator(idp, people), people()
    client, _ = connected(idp, alice)
    made(admin, idp)
    answer = admin.submit(form_with(admin, "/clients/secret"), client=client.id.partition(".")[0])
    assert answer.status_code == 404
    assert rows(idp, "SELECT count(*) FROM client WHERE secret_hash IS NOT NULL") == [(1,)]
    assert admin.open(f"{idp.issuer}/admin/clients/one?client=gp_mc_nothing").status_code == 404
