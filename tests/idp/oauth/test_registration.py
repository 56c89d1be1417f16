"""A5: dynamic registration: unsupported metadata is dropped, invalid metadata is refused."""

from typing import Any

import pytest

from gatepost_idp.clients import registry
from gatepost_idp.protocol import system_clock
from gatepost_idp.store import clients, purge
from tests.idp.oauth.wire import Server, as_json, at_rest, authorize, beside, page_of, refused, rows
from tests.support.oauth import TestClient, registered
from tests.support.person import Person

HTTPS = "https://client.test/callback"
METHODS = ("none", "client_secret_basic", "client_secret_post")


def register(server: Server, body: bytes | None = None, **metadata: Any) -> Any:
    """POST /register, whatever the answer."""
    content = as_json({"redirect_uris": [HTTPS], **metadata}) if body is None else body
    return server.request("POST", "/register", content=content, headers={"content-type": "application/json"})


@pytest.mark.clause("A5", "A5.created", "A5.public")
def test_a_client_that_asks_for_no_method_is_public_and_is_told_so(server: Server) -> None:
    """201, no-store, JSON; `none` is stated, and there is no secret."""
    answer = register(server, client_name="Some client")
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    information = answer.json()
    assert information["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in information
    assert information["client_name"] == "Some client"
    assert information["grant_types"] == ["authorization_code", "refresh_token"]
    assert information["response_types"] == ["code"]
    assert abs(information["client_id_issued_at"] - system_clock().timestamp()) < 60


@pytest.mark.clause("A5.one-kind")
def test_the_id_of_a_public_client_is_kept_nowhere(server: Server) -> None:
    """A registration adds no row of its own: the id authenticates itself."""
    client_id = server.register(client_name="Leaves no trace")["client_id"]
    _row, unique, mac = client_id.split(".")
    kept = at_rest(server)
    assert unique.encode() not in kept
    assert mac.encode() not in kept


@pytest.mark.clause("A5.one-kind")
def test_the_same_metadata_twice_gives_two_ids_and_one_row(server: Server) -> None:
    """Hosted Claude registers again at every connect; order and loopback ports do not make another kind."""
    before = len(rows(server, "SELECT id FROM client"))
    uris = ["http://127.0.0.1:4000/cb", "http://localhost:5000/cb", HTTPS]
    first = server.register(client_name="Twin", redirect_uris=uris)
    again = server.register(client_name="Twin", redirect_uris=[HTTPS, *(u.replace("00/", "01/") for u in uris[:2])])
    assert first["client_id"] != again["client_id"]
    assert len(rows(server, "SELECT id FROM client")) == before + 1


@pytest.mark.clause("A5.one-kind")
@pytest.mark.parametrize(
    "other",
    [
        {"client_name": "Another name"},
        {"redirect_uris": ["https://client.test/other"]},
        {"redirect_uris": [HTTPS, "https://client.test/other"]},
        {"grant_types": ["authorization_code"]},
        {"client_uri": "https://client.test"},
        {"logo_uri": "https://client.test/logo.png"},
    ],
)
def test_other_metadata_is_another_kind(server: Server, other: dict[str, Any]) -> None:
    """A consent for one kind says nothing about another."""
    kind = server.register(client_name="Kind")["client_id"].partition(".")[0]
    assert server.register(**{"client_name": "Kind", **other})["client_id"].partition(".")[0] != kind


@pytest.mark.clause("A5.echo")
def test_redirects_are_echoed_as_they_were_sent(server: Server) -> None:
    """In order and with their ports; otherwise mcp-remote discards its registration."""
    uris = ["http://localhost:8787/callback", "cursor://anysphere.cursor-mcp/oauth/callback", HTTPS]
    assert server.register(redirect_uris=uris)["redirect_uris"] == uris


@pytest.mark.clause("A5.methods")
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_we_have_is_given(server: Server, method: str) -> None:
    """The two methods that need one get a secret, which never expires."""
    information = register(server, token_endpoint_auth_method=method).json()
    assert information["token_endpoint_auth_method"] == method
    assert ("client_secret" in information) is (method != "none")
    if method != "none":
        assert information["client_secret_expires_at"] == 0
        assert len(information["client_secret"]) > 40


@pytest.mark.clause("A5.methods", "A5.ignored")
@pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_jwt", "tls_client_auth", "", None, "magic"])
def test_a_method_that_we_lack_makes_a_public_client(server: Server, method: str | None) -> None:
    """ChatGPT names private_key_jwt beside none; the response says what applies."""
    answer = register(server, token_endpoint_auth_method=method)
    assert answer.status_code == 201
    assert answer.json()["token_endpoint_auth_method"] == "none"


@pytest.mark.clause("A5.secret")
def test_a_secret_is_shown_once_and_kept_as_a_hash(server: Server) -> None:
    """Two registrations have two secrets, and the database holds neither."""
    found = [register(server, token_endpoint_auth_method="client_secret_post").json() for _ in range(2)]
    assert found[0]["client_secret"] != found[1]["client_secret"]
    assert found[0]["client_id"] != found[1]["client_id"]
    kept = at_rest(server)
    for information in found:
        assert information["client_id"].encode() in kept
        assert information["client_secret"].encode() not in kept
        assert information["client_secret"].removeprefix("gp_cs_").encode() not in kept


@pytest.mark.clause("A5.ignored")
def test_unknown_members_are_ignored(server: Server) -> None:
    """Whatever their type; none of them is echoed as if it applied."""
    more: dict[str, Any] = {
        "application_type": "native",
        "scope": "demo:read everything else",
        "software_id": {"a": [1]},
        "contacts": None,
        "x-made-up": 7,
        "self": 1,  # as the argument of a method of ours is called
        "jwks": {"keys": []},
        "jwks_uri": "https://127.0.0.1:1/keys",
        "client_id": "chosen-by-me",
        "client_secret": "chosen-by-me",
        "registration_access_token": "chosen-by-me",
        "default_max_age": "often",
        "software_statement": "eyJhbGciOiJub25lIn0.eyJyZWRpcmVjdF91cmlzIjpbImh0dHBzOi8vZXZpbC50ZXN0LyJdfQ.",
    }
    answer = register(server, **more)
    assert answer.status_code == 201
    assert "chosen-by-me" not in answer.text
    assert not {"jwks_uri", "software_statement"} & answer.json().keys()
    assert answer.json()["redirect_uris"] == [HTTPS]


@pytest.mark.clause("A5.ignored")
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["authorization_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"], ["authorization_code"]),
        (["refresh_token", "authorization_code"], ["authorization_code", "refresh_token"]),
        (["client_credentials"], ["authorization_code", "refresh_token"]),
        (["refresh_token"], ["authorization_code", "refresh_token"]),
        ([], ["authorization_code", "refresh_token"]),
    ],
)
def test_grant_types_that_we_lack_are_left_out(server: Server, asked: list[str], given: list[str]) -> None:
    """Claude's metadata lists a jwt-bearer grant; the response says which apply."""
    assert server.register(grant_types=asked)["grant_types"] == given


@pytest.mark.clause("A5.consistent")
@pytest.mark.parametrize("responses", [["code"], ["token"], ["code id_token", "none"], [], None, "code", 7], ids=repr)
@pytest.mark.parametrize("grants", [["authorization_code"], ["implicit"], ["refresh_token"], []], ids=repr)
def test_grant_and_response_types_always_fit_together(server: Server, grants: list[str], responses: Any) -> None:
    """A code, and the grant that redeems it: whatever is asked for, no useless combination is registered."""
    information = register(server, grant_types=grants, response_types=responses).json()
    assert information["response_types"] == ["code"]
    assert "authorization_code" in information["grant_types"]


@pytest.mark.clause("A5.ignored")
def test_a_client_without_the_refresh_grant_gets_no_refresh_token(server: Server, alice: Person) -> None:
    """The registered grant types are enforced."""
    tokens = registered(server, grant_types=["authorization_code"]).connect(alice)
    assert "refresh_token" not in tokens


@pytest.mark.clause("A5.some-redirects", "A3.never")
def test_of_several_redirects_the_good_ones_are_registered(server: Server) -> None:
    """One bad address must not fail the whole registration; and it is not registered either."""
    bad = "http://evil.example/cb"
    information = server.register(redirect_uris=[bad, "javascript:alert(1)", HTTPS, "http://localhost:1/cb"])
    assert information["redirect_uris"] == [HTTPS, "http://localhost:1/cb"]
    page_of(authorize(TestClient(server, information, bad)))


@pytest.mark.clause("A5.no-redirect")
@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["http://client.test/callback"],
        ["javascript:alert(1)", "https://user@client.test/"],
        "https://client.test/callback",
        {"0": HTTPS},
        None,
        [None],
        [[HTTPS]],
        [7],
        [""],
        ["https://client.test/" + "a" * 3000],
        ["https://client.test/callback"] * 101,
    ],
    ids=repr,
)
def test_no_acceptable_redirect_is_refused(server: Server, uris: Any) -> None:
    """400 invalid_redirect_uri."""
    refused(register(server, redirect_uris=uris), "invalid_redirect_uri")


@pytest.mark.clause("A5.no-redirect")
def test_metadata_without_redirects_is_refused(server: Server) -> None:
    """Every supported grant needs one."""
    refused(register(server, b"{}"), "invalid_redirect_uri")


NO_METADATA = {
    "empty": b"",
    "null": b"null",
    "array": b'[{"redirect_uris": ["https://client.test/callback"]}]',
    "string": b'"redirect_uris"',
    "number": b"7",
    "true": b"true",
    "broken": b'{"redirect_uris": ["https://client.test/callback"]',
    "form": b"redirect_uris=https%3A%2F%2Fclient.test%2Fcallback",
    "trailing": b'{"redirect_uris": ["https://client.test/callback"]} x',
    "deep-arrays": b"[" * 60_000,
    "deep-objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep-member": b'{"redirect_uris": ["https://client.test/callback"], "x": ' + b"[" * 9000 + b"]" * 9000 + b"}",
    "nul": b'{"redirect_uris": ["https://client.test/callback"], "client_name": "\0"}',
    "broken-utf-8": b'{"redirect_uris": ["https://client.test/callback"], "client_name": "\xff\xfe"}',
    "utf-16": '{"redirect_uris": ["https://client.test/callback"]}'.encode("utf-16"),
    "half-a-surrogate": b'{"redirect_uris": ["https://client.test/callback"], "client_name": "\\ud800"}',
    "name-is-a-number": b'{"redirect_uris": ["https://client.test/callback"], "client_name": 7}',
    "name-is-a-list": b'{"redirect_uris": ["https://client.test/callback"], "client_name": ["a"]}',
    "name-is-endless": b'{"redirect_uris": ["https://client.test/callback"], "client_name": "' + b"a" * 2000 + b'"}',
    "method-is-a-list": b'{"redirect_uris": ["https://client.test/callback"], "token_endpoint_auth_method": ["none"]}',
    "grants-are-text": b'{"redirect_uris": ["https://client.test/callback"], "grant_types": "authorization_code"}',
    "grants-are-numbers": b'{"redirect_uris": ["https://client.test/callback"], "grant_types": [1]}',
    "almost-a-megabyte": b'{"redirect_uris": ["https://client.test/callback"], "x": "' + b"a" * 1_000_000 + b'"}',
}


@pytest.mark.clause("A5.bad-input", "E1", "E2", "E5", "E7")
@pytest.mark.parametrize("name", NO_METADATA)
def test_what_is_no_metadata_is_refused(server: Server, name: str) -> None:
    """400 with RFC 7591's error; `null` gave a 500 in a comparable server."""
    refused(register(server, NO_METADATA[name]), "invalid_client_metadata")


@pytest.mark.clause("A5.bad-input", "E1", "E5")
@pytest.mark.parametrize("chunked", [False, True])
def test_several_megabytes_are_refused(server: Server, chunked: bool) -> None:
    """413 as JSON, with or without a Content-Length."""
    body = iter([b"[" * 500_000] * 6) if chunked else b"[" * 3_000_000
    answer = server.request("POST", "/register", content=body)
    assert answer.status_code in (400, 413)
    refused(answer, answer.json()["error"], answer.status_code)


@pytest.mark.clause("E2", "E1")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/register", "/token", "/revoke"])
def test_another_method_is_refused_as_json(server: Server, method: str, path: str) -> None:
    """405, in the form that programs read."""
    refused(server.request(method, path), "invalid_request", 405)


@pytest.mark.clause("A5.forged-id")
def test_a_forged_client_id_is_unknown(server: Server, client: TestClient) -> None:
    """A changed random part, a changed or missing MAC, another kind's row: a page, and 401 at /token."""
    row, unique, mac = client.id.split(".")
    other = server.register(client_name="Other")["client_id"].split(".")
    swapped = mac[:-1] + ("A" if mac[-1] != "A" else "B")
    forged = [
        row, f"{row}.", f"{row}..", f"{row}.{unique}", f"{row}.{unique}.", f"{row}.{unique}.{swapped}",
        f"{row}.{unique}x.{mac}", f"{row}..{mac}", f"{other[0]}.{unique}.{mac}", f"{row}.{other[1]}.{mac}",
        f"{row}.{unique}.{other[2]}", f"{client.id}.", f" {client.id}", f"{client.id}\n", client.id.upper(),
        f"{row}.{unique}.{mac}é", "gp_cc_", "gp_mc_", "gp_cc_" + "0" * 22, "gp_dc_", "client", "", "../../etc",
        "' OR 1=1 --", "gp_md_" + "0" * 32,
    ]  # fmt: skip  # a list of tricks
    for client_id in forged:
        page_of(authorize(client, client_id=client_id))
        refused(client.token_request(client_id=client_id, grant_type="authorization_code"), "invalid_client", 401)


@pytest.mark.clause("A5.forged-id")
def test_an_id_of_another_server_is_unknown(server: Server, idp: Server) -> None:
    """The MAC's key belongs to this database."""
    elsewhere = registered(idp)
    registered(server)
    page_of(authorize(TestClient(server, elsewhere.information)))


@pytest.mark.clause("A5.disabled")
def test_disabling_a_kind_disables_each_of_its_ids(idp: Server, people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within ten seconds: no page, token or new registration for it; other kinds go on; it can be re-enabled."""
    first, second, other = registered(idp), registered(idp), registered(idp, client_name="Other")
    tokens = first.connect(people("alice@example.com"))
    beside(idp, lambda tx: clients.set_disabled(tx, first.id.partition(".")[0], system_clock()))
    ten_seconds_later(monkeypatch)
    for client in (first, second):
        page_of(authorize(client))
        refused(client.token_request(grant_type="authorization_code", code="x"), "invalid_client", 401)
    refused(first.refresh(tokens["refresh_token"]), "invalid_client", 401)
    answer = register(idp, client_name="Test client")
    refused(answer, "invalid_client_metadata")
    assert authorize(other).status_code == 303
    beside(idp, lambda tx: clients.set_disabled(tx, first.id.partition(".")[0], None))
    ten_seconds_later(monkeypatch, 21)
    assert authorize(second).status_code == 303
    assert first.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.clause("A5.disabled")
def test_a_disabled_client_with_a_secret_is_refused(idp: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 invalid_client, even with the right secret."""
    client = registered(idp, token_endpoint_auth_method="client_secret_post")
    assert authorize(client).status_code == 303
    beside(idp, lambda tx: clients.set_disabled(tx, client.id, system_clock()))
    ten_seconds_later(monkeypatch)
    page_of(authorize(client))
    refused(client.token_request(grant_type="authorization_code", code="x"), "invalid_client", 401)


@pytest.mark.clause("A5.disabled", "C5")
def test_a_kind_that_is_disabled_at_the_consent_page_gets_no_code(idp: Server, people: Any) -> None:
    """The consent page asks the database, not the cache: pressing its button gives no code."""
    client, alice = registered(idp), people("alice@example.com")
    client.connect(alice)
    alice.open(client.authorize_url(prompt="consent"))
    beside(idp, lambda tx: clients.set_disabled(tx, client.id.partition(".")[0], system_clock()))
    alice.allow()
    assert alice.page is not None
    assert alice.page.status_code == 400
    assert "code=" not in alice.text


@pytest.mark.clause("A5.one-kind")
def test_a_registration_of_today_outlives_the_purge_of_an_old_kind(
    idp: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody registers a kind unused for a month, it is still there when they sign in."""
    registered(idp)
    idp.clock.forward(days=32)
    ten_seconds_later(monkeypatch)
    today = registered(idp)
    beside(idp, lambda tx: purge.unused_registrations(tx, "", idp.clock()))
    ten_seconds_later(monkeypatch, 21)
    assert authorize(today).status_code == 303


def ten_seconds_later(monkeypatch: pytest.MonkeyPatch, seconds: float = 10.5) -> None:
    """Moves past the ten seconds within which an operator's change takes effect, when the cache is stale."""
    from time import monotonic

    monkeypatch.setattr(registry, "monotonic", lambda: monotonic() + seconds)


@pytest.mark.clause("P3")
@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "http://client.test",
        "not a url",
        "https://[",
        "//x",
        "https://a b",
        7,
        None,
        ["x"],
        {},
        "",
    ],
    ids=repr,
)
@pytest.mark.parametrize("member", ["client_uri", "logo_uri"])
def test_a_bad_link_breaks_no_page_later(server: Server, newcomer: Any, member: str, link: Any) -> None:
    """A comparable server stored it and then failed on every consent page of that client."""
    information = register(server, **{member: link}).json()
    assert member not in information
    assert authorize(TestClient(server, information)).status_code == 303


@pytest.mark.clause("P3", "A10.unverified")
@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "\u202eedualC",
        "a\nb\tc",
        "\u0000x",
        "'\"&",
        "{{ 7*7 }}",
        "\ufeff\u200b",
        "x" * 1000,
    ],
    ids=repr,
)
def test_a_hostile_name_is_shown_as_plain_text_or_not_at_all(server: Server, newcomer: Any, name: str) -> None:
    """One line, no markup, no bidirectional override; the consent page stays intact."""
    client = registered(server, client_name=name)
    person = newcomer()
    person.open(client.authorize_url())
    person.ask_for_mail()
    person.sign_in_by_code()
    assert person.page.status_code == 200
    assert "<script>alert" not in person.text
    assert "49" not in client.information["client_name"]
    assert not set(client.information["client_name"]) & set("\u202e\n\t\u0000\ufeff\u200b")
    assert not set(person.text) & set("\u202e\u0000\ufeff\u200b")
    assert len(client.information["client_name"]) <= 100
