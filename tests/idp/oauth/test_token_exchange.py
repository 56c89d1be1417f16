"""A15: token exchange. A resource server, and nobody else, exchanges its caller's token for one for a backend."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from gatepost_idp.protocol import ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE
from gatepost_idp.store import accounts, clients
from tests.idp.account.being_there import entered
from tests.idp.account.test_personal_tokens import made
from tests.idp.oauth.backends import (
    ABROAD,
    ALL,
    BACKENDS,
    CRM,
    FILES,
    MCP,
    OTHER_MCP,
    RESOURCES,
    ResourceServer,
    changed,
    resource_server,
    with_backends,
)
from tests.idp.oauth.wire import Server, basic, beside, opened, refused, rows, scope_of, tokens_of
from tests.idp.operator.recorded import until
from tests.support.oauth import TestClient, registered
from tests.support.person import Person

ISSUED = {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two resources with their backends; no test of this file moves its clock or changes its catalogue."""
    with with_backends(tmp_path_factory.mktemp("backends")) as served:
        yield served


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[Server]:
    """A separate server, whose catalogue is in ``tmp_path``."""
    with with_backends(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def own(server: Server) -> ResourceServer:
    """The resource server of the first resource."""
    return resource_server(server)


@pytest.fixture(scope="module")
def other(server: Server) -> ResourceServer:
    """The resource server of the second resource."""
    return resource_server(server, OTHER_MCP)


@pytest.fixture(scope="module")
def alice(server: Server) -> Iterator[Person]:
    with Person("alice@example.com", server.postbox) as person:
        yield person


@pytest.fixture(scope="module")
def bearer(server: Server, alice: Person) -> str:
    """The client's token: Alice's, for the first resource."""
    return str(connected(server, alice)["access_token"])


def connected(idp: Server, person: Person, **changes: str) -> dict[str, Any]:
    return registered(idp).connect(person, **{"scope": ALL, "resource": MCP, **changes})


def token_of_a_lost_scope(idp: Server) -> str:
    """An access token with crm:write, which its person no longer holds."""
    with Person("alice@example.com", idp.postbox) as alice:
        bearer = str(connected(idp, alice)["access_token"])
    account = opened(idp, bearer).claims["sub"]
    beside(idp, lambda tx: accounts.revoke_scope(tx, account, MCP, "crm:write"))
    return bearer


def claims_of(idp: Server, answer: httpx2.Response) -> dict[str, Any]:
    """The issued token's claims, verified with the server's published keys."""
    return dict(opened(idp, tokens_of(answer)["access_token"]).claims)


# --- What it is for -------------------------------------------------------------------------------------------------


@pytest.mark.clause("A15", "A15.act", "A15.answer", "A9.claims", "A9.header")
def test_a_backend_learns_who_calls_and_through_whom(
    server: Server, alice: Person, own: ResourceServer, bearer: str
) -> None:
    """Audience: the backend; subject: the person; actor: the resource server; a distinct type, no refresh token."""
    answer = own.exchange(bearer, scope="crm:read")
    assert tokens_of(answer).keys() == ISSUED
    assert answer.json()["issued_token_type"] == ACCESS_TOKEN_TYPE
    issued, held = opened(server, answer.json()["access_token"]), opened(server, bearer).claims
    assert issued.header["typ"] == "at+jwt"
    assert issued.claims.pop("jti") != held["jti"]
    assert issued.claims == {
        "iss": server.issuer,
        "sub": held["sub"],
        "aud": CRM,
        "exp": issued.claims["iat"] + answer.json()["expires_in"],
        "iat": issued.claims["iat"],
        "client_id": own.id,
        "scope": "crm:read",
        "email": alice.email,
        "act": {"sub": own.id},
        "auth_time": held["auth_time"],
    }


@pytest.mark.clause("A15.subject", "A15.short")
def test_a_personal_token_can_be_exchanged(server: Server, alice: Person, own: ResourceServer) -> None:
    """It is opaque, and found by its hash; nobody signed in for it, so there is no auth_time."""
    answer = own.exchange(made(server, alice, "A script", "crm:read"))
    claims = claims_of(server, answer)
    assert (claims["email"], claims["scope"], claims["act"]) == (alice.email, "crm:read", {"sub": own.id})
    assert "auth_time" not in claims
    assert answer.json()["expires_in"] == 300


@pytest.mark.clause("A15.narrows")
@pytest.mark.parametrize(
    ("resource", "asked", "issued"),
    [
        (CRM, None, {"crm:read", "crm:write"}),
        (CRM, "crm:write", {"crm:write"}),
        (FILES, None, {"files:read"}),
        (FILES, "files:read", {"files:read"}),
    ],
)
def test_a_token_has_what_was_asked_or_all_that_its_backend_needs(
    own: ResourceServer, bearer: str, resource: str, asked: str | None, issued: set[str]
) -> None:
    """Never a scope of another backend, nor one that only the rules name or only the person holds."""
    assert scope_of(tokens_of(own.exchange(bearer, resource=resource, scope=asked))) == issued


@pytest.mark.clause("A15.lists", "A15.answer")
def test_without_a_person_it_gets_a_token_of_its_own(server: Server, own: ResourceServer) -> None:
    """For lists: its subject is the resource server, and it has no scope and names no person."""
    answer = own.lists()
    assert tokens_of(answer).keys() == ISSUED - {"issued_token_type"}
    claims = claims_of(server, answer)
    assert claims.keys() == {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"}
    assert (claims["sub"], claims["client_id"], claims["aud"], claims["scope"]) == (own.id, own.id, CRM, "")
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.clause("A15")
def test_an_exchange_is_in_the_audit_log(server: Server, alice: Person, own: ResourceServer, bearer: str) -> None:
    """Person, resource server, connection and backend; a token for lists is not recorded."""
    before = len(rows(server, "SELECT id FROM audit_event WHERE event = 'token.exchanged'"))
    tokens_of(own.exchange(bearer, resource=FILES))
    tokens_of(own.lists())
    found = rows(
        server,
        "SELECT account_id, client_id, grant_id, detail, trace_id FROM audit_event WHERE event = 'token.exchanged'"
        " ORDER BY id",
    )
    claims = opened(server, bearer).claims
    assert len(found) == before + 1
    assert found[-1][:4] == (claims["sub"], own.id, claims["jti"].partition(".")[0], "files")
    assert found[-1][4]


# --- How long -------------------------------------------------------------------------------------------------------


@pytest.mark.clause("A15.short")
def test_a_token_lives_five_minutes_at_the_most(server: Server, own: ResourceServer, bearer: str) -> None:
    """Even though the subject token lives fifteen."""
    claims = claims_of(server, own.exchange(bearer))
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.clause("A15.short")
def test_a_token_ends_with_its_subject_token(idp: Server) -> None:
    """An exchange cannot prolong a token."""
    own = resource_server(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        bearer = connected(idp, alice)["access_token"]
    idp.clock.forward(minutes=13)
    answer = own.exchange(bearer)
    claims = jwt.decode(answer.json()["access_token"], _keys(idp), algorithms=["ES256"]).claims
    assert claims["exp"] == jwt.decode(bearer, _keys(idp), algorithms=["ES256"]).claims["exp"]
    assert answer.json()["expires_in"] <= 120


def _keys(idp: Server) -> KeySet:
    return KeySet.import_key_set(idp.get("/jwks.json").json())


@pytest.mark.clause("A15.short")
def test_a_token_outlives_no_key(tmp_path: Path) -> None:
    """ACCESS_TOKEN_MINUTES below five limits it too: a retired key is published for no longer than that."""
    with with_backends(tmp_path, access_token_minutes=2) as idp, Person("alice@example.com", idp.postbox) as alice:
        own = resource_server(idp)
        assert own.lists().json()["expires_in"] == 120
        assert own.exchange(made(idp, alice, "A script", "crm:read")).json()["expires_in"] == 120


# --- Who may not ----------------------------------------------------------------------------------------------------


@pytest.mark.clause("A15.who")
@pytest.mark.parametrize("grant_type", [TOKEN_EXCHANGE, "client_credentials"])
@pytest.mark.parametrize("method", ["none", "client_secret_basic"])
def test_no_client_exchanges_its_token(server: Server, bearer: str, method: str, grant_type: str) -> None:
    """Neither a public nor a confidential client, even with its own token: backends trust the resource server only."""
    client = registered(server, token_endpoint_auth_method=method)
    answer = client.token_request(
        grant_type=grant_type, subject_token=bearer, subject_token_type=ACCESS_TOKEN_TYPE, resource=CRM
    )
    refused(answer, "unauthorized_client")


@pytest.mark.clause("A15.who", "A1.client-authentication")
def test_the_id_of_a_resource_server_without_its_secret_gets_nothing(
    server: Server, own: ResourceServer, bearer: str
) -> None:
    """Its id is not secret: every token it got contains it."""
    for secret in ("", "wrong"):
        refused(ResourceServer(server, own.id, secret).exchange(bearer), "invalid_client", 401)
        refused(ResourceServer(server, own.id, secret).lists(), "invalid_client", 401)


@pytest.mark.clause("A15.who")
def test_disabled_credentials_exchange_no_more(idp: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gatepost clients disable, after a leak."""
    monkeypatch.setattr("gatepost_idp.clients.registry._CACHE_SECONDS", 0.0)
    own = resource_server(idp)
    tokens_of(own.lists())
    beside(idp, lambda tx: clients.set_disabled(tx, own.id, idp.clock()))
    refused(own.lists(), "invalid_client", 401)


@pytest.mark.clause("A15.who")
@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token"])
def test_a_resource_server_takes_no_grant_of_a_client(own: ResourceServer, grant_type: str) -> None:
    """Its credentials are for a resource server's grants only."""
    refused(own.ask(grant_type=grant_type, code="x", code_verifier="y" * 43, refresh_token="x"), "unauthorized_client")
    refused(own.ask(grant_type="password"), "unsupported_grant_type")


# --- The subject token ----------------------------------------------------------------------------------------------


@pytest.mark.clause("A15.subject")
def test_another_resources_server_cannot_exchange_what_it_was_not_called_with(
    server: Server, alice: Person, own: ResourceServer, other: ResourceServer, bearer: str
) -> None:
    """A stolen token, personal or not, is no use to it, for its own backends or for the token's resource's."""
    personal = made(server, alice, "A script", "crm:read")
    for token in (bearer, personal):
        refused(other.exchange(token, resource=ABROAD), "invalid_request")
        refused(other.exchange(token, resource=CRM), "invalid_target")


@pytest.mark.clause("A15.subject")
def test_the_token_of_another_resource_is_refused(server: Server, alice: Person, own: ResourceServer) -> None:
    """Even if the other resource's scopes have the same names."""
    theirs = connected(server, alice, resource=OTHER_MCP, scope="crm:read")["access_token"]
    refused(own.exchange(theirs), "invalid_request")


@pytest.mark.clause("A15.there-alone", "A15.subject")
def test_a_stolen_exchanged_token_is_not_exchanged_again(
    server: Server, own: ResourceServer, other: ResourceServer, bearer: str
) -> None:
    """A backend is the end of the chain: nobody can exchange its token, for another backend or for the same one."""
    stolen = own.exchange(bearer).json()["access_token"]
    for resource in (CRM, FILES):
        refused(own.exchange(stolen, resource=resource), "invalid_request")
    refused(other.exchange(stolen, resource=ABROAD), "invalid_request")
    refused(own.exchange(own.lists().json()["access_token"]), "invalid_request")


@pytest.mark.clause("A15.subject")
def test_an_expired_subject_token_is_refused(idp: Server) -> None:
    """To the second: a token for a backend does not prolong it."""
    own = resource_server(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        bearer = connected(idp, alice)["access_token"]
    idp.clock.forward(minutes=idp.settings.access_token_minutes)
    refused(own.exchange(bearer), "invalid_request")


@pytest.mark.clause("A15.subject")
def test_whatever_else_is_no_subject_token(server: Server, alice: Person, own: ResourceServer, bearer: str) -> None:
    """A refresh token, an id_token, a forged signature, another key, noise, or none at all."""
    tokens = connected(server, alice, scope=f"openid {ALL}")
    head, body, _ = bearer.split(".")
    claims = opened(server, bearer).claims
    strange = jwt.encode({"typ": "at+jwt", "alg": "ES256", "kid": "x"}, claims, ECKey.generate_key(), ["ES256"])
    for token in (tokens["refresh_token"], tokens["id_token"], f"{head}.{body}.{'A' * 86}", strange, "a.b.c", "x"):
        refused(own.exchange(token), "invalid_request")
    refused(own.exchange(None), "invalid_request")


@pytest.mark.clause("A15.end", "A15.subject")
def test_an_ended_connection_exchanges_no_more(idp: Server) -> None:
    """At once, although the token itself is still accepted for minutes."""
    own, client = resource_server(idp), registered(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        tokens = client.connect(alice, scope=ALL, resource=MCP)
    tokens_of(own.exchange(tokens["access_token"]))
    idp.post("/revoke", {"client_id": client.id, "token": tokens["refresh_token"]})
    refused(own.exchange(tokens["access_token"]), "invalid_request")


@pytest.mark.clause("A15.end")
def test_a_disabled_person_exchanges_no_more(idp: Server) -> None:
    """Neither by their connection nor by a personal token."""
    own = resource_server(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        bearer, personal = connected(idp, alice)["access_token"], made(idp, alice, "A script", "crm:read")
    account = opened(idp, bearer).claims["sub"]
    beside(idp, lambda tx: accounts.set_disabled(tx, account, idp.clock()))
    for token in (bearer, personal):
        refused(own.exchange(token), "invalid_request")


@pytest.mark.clause("A15.end")
def test_a_client_that_was_switched_off_reaches_no_backend(idp: Server) -> None:
    """Although its access token is still accepted for minutes."""
    own, client = resource_server(idp), registered(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        bearer = client.connect(alice, scope=ALL, resource=MCP)["access_token"]
    beside(idp, lambda tx: clients.set_disabled(tx, client.id.partition(".")[0], idp.clock()))
    refused(own.exchange(bearer), "invalid_request")


@pytest.mark.clause("A15.end")
def test_a_personal_token_that_was_revoked_exchanges_no_more(idp: Server) -> None:
    """From the moment its person revoked it."""
    own = resource_server(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        personal = made(idp, alice, "A script", "crm:read")
        tokens_of(own.exchange(personal))
        entered(alice, idp)
        alice.submit(next(form for form in alice.forms() if form.action.endswith("/tokens/end")))
    refused(own.exchange(personal), "invalid_request")


@pytest.mark.clause("A15.end", "A15.narrows")
def test_a_scope_that_a_person_lost_is_exchanged_no_more(idp: Server) -> None:
    """Although their client's token still has it."""
    own, bearer = resource_server(idp), token_of_a_lost_scope(idp)
    refused(own.exchange(bearer, scope="crm:write"), "invalid_scope")
    for asked in (None, "crm:read crm:write"):
        assert scope_of(tokens_of(own.exchange(bearer, scope=asked))) == {"crm:read"}


# --- What is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.clause("A15.narrows")
@pytest.mark.parametrize("scope", ["crm:delete", "files:read", "crm:read files:read", "crm:read openid", "x", "*"])
def test_no_exchange_widens_a_scope(own: ResourceServer, bearer: str, scope: str) -> None:
    """A scope that the person lacks, another backend's or an unknown one is refused, not dropped."""
    refused(own.exchange(bearer, scope=scope), "invalid_scope")


@pytest.mark.clause("A15.narrows")
def test_who_may_do_nothing_at_a_backend_gets_no_token_for_it(
    server: Server, alice: Person, own: ResourceServer
) -> None:
    """A backend that checked only the audience would let them in."""
    reader = connected(server, alice, scope="files:read")["access_token"]
    refused(own.exchange(reader), "invalid_scope")
    refused(own.exchange(reader, scope="crm:read"), "invalid_scope")


@pytest.mark.clause("A15.lists", "A15.narrows")
def test_without_a_person_there_is_no_scope(own: ResourceServer) -> None:
    """A token on nobody's behalf can call nothing."""
    refused(own.lists(scope="crm:read"), "invalid_scope")


@pytest.mark.clause("A15.target")
@pytest.mark.parametrize("resource", [None, ABROAD, MCP, f"{CRM}/", CRM.upper(), "https://evil.test/mcp", "crm", "x y"])
def test_an_audience_that_is_not_in_the_catalogue_is_refused(
    own: ResourceServer, bearer: str, resource: str | None
) -> None:
    """No audience, another resource's backend, the resource itself, a near miss, a stranger's URL."""
    refused(own.exchange(bearer, resource=resource), "invalid_target")
    refused(own.lists(resource), "invalid_target")


@pytest.mark.clause("A15.target")
def test_an_audience_beside_the_resource_is_refused(own: ResourceServer, bearer: str) -> None:
    """It would ask for one token for two; ignoring it would not give what was asked for."""
    refused(own.exchange(bearer, audience=FILES), "invalid_target")


@pytest.mark.clause("A15.types")
@pytest.mark.parametrize(
    "smuggled",
    [
        {"actor_token": "x", "actor_token_type": ACCESS_TOKEN_TYPE},
        {"actor_token": "x"},
        {"actor_token_type": ACCESS_TOKEN_TYPE},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"},
        {"subject_token_type": None},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
    ],
    ids=str,
)
def test_nothing_is_smuggled_in_beside_the_subject_token(
    own: ResourceServer, bearer: str, smuggled: dict[str, str | None]
) -> None:
    """The actor is whoever authenticated; the subject token and the issued token are access tokens."""
    refused(own.exchange(bearer, **smuggled), "invalid_request")


@pytest.mark.clause("A15.types")
def test_an_access_token_may_be_asked_for_by_name(own: ResourceServer, bearer: str) -> None:
    """requested_token_type is optional, and this is the only type."""
    tokens_of(own.exchange(bearer, requested_token_type=ACCESS_TOKEN_TYPE))


@pytest.mark.clause("E4", "A15.types")
@pytest.mark.parametrize(
    ("name", "error"),
    [("subject_token", "invalid_request"), ("subject_token_type", "invalid_request"), ("scope", "invalid_request"),
     ("grant_type", "invalid_request"), ("audience", "invalid_request"), ("resource", "invalid_target")],
)  # fmt: skip  # a table
def test_a_parameter_that_is_repeated_is_refused(own: ResourceServer, bearer: str, name: str, error: str) -> None:
    """Two parsers might read different values."""
    form = {
        "grant_type": TOKEN_EXCHANGE, "subject_token": bearer, "subject_token_type": ACCESS_TOKEN_TYPE,
        "resource": CRM, "scope": "crm:read",
    }  # fmt: skip  # one row
    answer = own.ask(**form | {name: [form.get(name, "x"), FILES if name == "resource" else form.get(name, "x")]})
    refused(answer, error)


# --- Where such a token is good -------------------------------------------------------------------------------------


@pytest.mark.clause("A15.there-alone")
def test_a_backends_token_is_good_for_nothing_here(
    server: Server, own: ResourceServer, other: ResourceServer, bearer: str
) -> None:
    """It is inactive at /introspect for any resource server, refused at /userinfo, and not revocable."""
    for token in (own.exchange(bearer).json()["access_token"], own.lists().json()["access_token"]):
        for asking in (own, other):
            answer = server.post("/introspect", {"token": token}, headers=basic(asking.id, asking.secret))
            assert answer.json() == {"active": False}
        userinfo = server.get("/userinfo", headers={"authorization": f"Bearer {token}"})
        refused(userinfo, "invalid_token", 401)
        revoked = server.post("/revoke", {"token": token}, headers=basic(own.id, own.secret))
        refused(revoked, "unsupported_token_type")


@pytest.mark.clause("A15.there-alone")
def test_a_backend_cannot_be_a_resource(idp: Server, tmp_path: Path) -> None:
    """Otherwise an exchange would issue tokens for that resource without consent."""
    own = resource_server(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        bearer = connected(idp, alice)["access_token"]
    for url in (MCP, OTHER_MCP, f"{OTHER_MCP}/"):
        trap = f'[[backend]]\nname = "trap"\nurl = "{url}"\ntools = {{ "*" = "crm:read" }}\n'
        changed(tmp_path / "catalogue.toml", RESOURCES + trap)
        refused(own.exchange(bearer, resource=url), "invalid_target")


# --- The catalogue --------------------------------------------------------------------------------------------------


@pytest.mark.clause("A15.catalogue")
def test_the_backends_are_read_again_when_the_file_changes(idp: Server, tmp_path: Path) -> None:
    """Without a restart: one added, one removed, and a broken file leaves the last good ones in place."""
    own, path = resource_server(idp), tmp_path / "catalogue.toml"
    added = '[[backend]]\nname = "new"\nurl = "http://localhost:9105/mcp"\ntools = { "*" = "crm:read" }\n'
    refused(own.lists("http://localhost:9105/mcp"), "invalid_target")
    changed(path, RESOURCES + BACKENDS + added)
    tokens_of(own.lists("http://localhost:9105/mcp"))
    for broken in ("[[backend]]\nname =", RESOURCES + BACKENDS.replace("crm:delete", "crm:unheard-of"), None):
        changed(path, broken)
        tokens_of(own.lists("http://localhost:9105/mcp"))
        tokens_of(own.lists(CRM))
    changed(path, RESOURCES + added)
    refused(own.lists(CRM), "invalid_target")


@pytest.mark.clause("A15", "A2.rfc8414")
def test_discovery_says_that_tokens_are_exchanged(server: Server) -> None:
    """All four grant types, the two that every client knows first."""
    metadata = server.get("/.well-known/oauth-authorization-server").json()
    assert metadata["grant_types_supported"] == [
        "authorization_code", "refresh_token", TOKEN_EXCHANGE, "client_credentials",
    ]  # fmt: skip  # a list of names


@pytest.mark.clause("A15.there-alone", "A9.not-logged")
def test_a_subject_token_is_in_no_trace(server: Server, own: ResourceServer, alice: Person) -> None:
    """A refused exchange is recorded with its reason, without the token."""
    personal = made(server, alice, "A script", "crm:read")
    refused(own.exchange(personal, scope="crm:write"), "invalid_scope")
    TestClient(server, {"client_id": "gp_dc_nobody"}).token_request(grant_type=TOKEN_EXCHANGE, subject_token=personal)
    kept = str(rows(server, "SELECT detail FROM trace_step"))
    assert personal not in kept
    assert personal[:12] not in kept


@pytest.mark.clause("A15.subject", "A15.narrows", "A15.types")
def test_what_looks_like_somebody_trying_is_in_the_audit_log(
    server: Server, alice: Person, own: ResourceServer, other: ResourceServer, bearer: str
) -> None:
    """With credentials, address and reason; an expired token or a misspelt type does not look like an attack."""
    ended, client = resource_server(server), registered(server)
    tokens = client.connect(alice, scope=ALL, resource=MCP)
    server.post("/revoke", {"client_id": client.id, "token": tokens["refresh_token"]})
    expected = {
        ("refused.exchange_of_another", other.id): other.exchange(bearer, resource=ABROAD),
        ("refused.exchange_of_exchanged", own.id): own.exchange(own.exchange(bearer).json()["access_token"]),
        ("refused.exchange_ended", ended.id): ended.exchange(tokens["access_token"]),
        ("refused.exchange_widened", own.id): own.exchange(bearer, scope="crm:delete"),
        ("refused.exchange_actor", own.id): own.exchange(bearer, actor_token="x"),
    }
    assert {answer.status_code for answer in expected.values()} == {400}
    query = "SELECT count(*) FROM audit_event WHERE event = :event AND client_id = :client AND network = '127.0.0.1'"
    for event, client_id in expected:
        until(server, query, event=event, client=client_id)


@pytest.mark.clause("A15.subject", "A15.narrows")
def test_who_lost_a_scope_or_comes_late_is_nobody_trying(idp: Server) -> None:
    """They are refused, but the audit log records only what looks like an attack."""
    own, bearer = resource_server(idp), token_of_a_lost_scope(idp)
    refused(own.exchange(bearer, scope="crm:write"), "invalid_scope")
    idp.clock.forward(hours=1)
    refused(own.exchange(bearer), "invalid_request")
    refused(own.exchange(bearer, actor_token="x"), "invalid_request")
    until(idp, "SELECT count(*) FROM audit_event WHERE event = 'refused.exchange_actor'")
    found = [event for event, client_id in rows(idp, "SELECT event, client_id FROM audit_event") if client_id == own.id]
    assert found == ["client.made", "refused.exchange_actor"]


A_TOKEN = "the access token, or personal token, that the resource server was just called with"
NO_TOKEN = "The subject_token is not an access token that can be exchanged here."
NO_SCOPE = "The scope exceeds what the subject token and the backend have in common."
NO_BACKEND = "Name a backend from the catalogue in resource, and send no audience."
FOREIGN = "no backend of this resource server"
OURS = f"a [[backend]] of {MCP}: {CRM}, {FILES}"
LONG = f"https://evil.test/{'a' * 200}"


@pytest.mark.clause("A15.types", "A15.target", "A15.narrows")
@pytest.mark.parametrize(
    ("asked", "error", "description", "reason", "received", "expected"),
    [
        ({"actor_token": "x"}, "invalid_request", "The actor is the authenticated client. Send no actor_token.",
         "an actor_token", "actor_token", "none"),
        ({"requested_token_type": "x"}, "invalid_request", "Only access tokens are issued.",
         "requested_token_type", "another type", ACCESS_TOKEN_TYPE),
        ({"subject_token_type": None}, "invalid_request",
         "The subject_token_type must be that of an access token.",
         "subject_token_type", "another, or none", ACCESS_TOKEN_TYPE),
        ({"subject_token": None}, "invalid_request", "The subject_token is missing.",
         "no subject_token", "none", A_TOKEN),
        ({"subject_token": "x"}, "invalid_request", NO_TOKEN,
         "subject token expired, or no access token of this server", "a token", A_TOKEN),
        ({"scope": "crm:delete"}, "invalid_scope", NO_SCOPE, "scope", "crm:delete", "crm:read crm:write"),
        ({"scope": "x" * 201}, "invalid_scope", NO_SCOPE, "scope", "x" * 200, "crm:read crm:write"),
        ({"resource": None}, "invalid_target", NO_BACKEND, FOREIGN, "no resource", OURS),
        ({"resource": LONG}, "invalid_target", NO_BACKEND, FOREIGN, LONG[:200], OURS),
        ({"audience": CRM}, "invalid_target", NO_BACKEND, FOREIGN, "an audience", OURS),
    ],
)  # fmt: skip  # a table
def test_a_refused_exchange_says_what_was_received_and_expected(
    server: Server,
    alice: Person,
    own: ResourceServer,
    asked: dict[str, str | None],
    error: str,
    description: str,
    reason: str,
    received: str,
    expected: str,
) -> None:
    """The exact texts: developers of resource servers read the description, the operator the trace."""
    answer = own.exchange(**{"subject_token": connected(server, alice)["access_token"], **asked})
    assert refused(answer, error)["error_description"] == description
    assert _traced(server, answer) == (f"{error}: {reason}", received, expected)


def _traced(server: Server, answer: httpx2.Response) -> tuple[str, str, str]:
    """The trace of the only refusal, under the id in the answer, which must belong to the subject token."""
    found, trace_id = "FROM trace_step WHERE outcome = 'refused' AND trace_id = :id", answer.headers["x-trace-id"]
    until(server, f"SELECT count(*) {found}", id=trace_id)
    step = json.loads(rows(server, f"SELECT detail {found}", id=trace_id)[0][0])
    return step["reason"], step["received"], step["expected"]


@pytest.mark.clause("A15.subject", "A15.narrows")
def test_the_trace_tells_what_is_wrong_with_a_subject_token(
    server: Server, alice: Person, own: ResourceServer, other: ResourceServer, bearer: str
) -> None:
    """The response's description is always the same, so that nobody learns from it whether a token was ever valid."""
    client = registered(server)
    ended = client.connect(alice, scope=ALL, resource=MCP)
    server.post("/revoke", {"client_id": client.id, "token": ended["refresh_token"]})
    personal = made(server, alice, "A script", "crm:read")
    for what, answer in (
        ("itself from an exchange", own.exchange(own.exchange(bearer).json()["access_token"])),
        ("for another resource", other.exchange(bearer, resource=ABROAD)),
        ("for another resource", other.exchange(personal, resource=ABROAD)),
        ("of a connection, token or person that has ended", own.exchange(ended["access_token"])),
    ):
        assert refused(answer, "invalid_request")["error_description"] == NO_TOKEN
        assert _traced(server, answer) == (f"invalid_request: subject token {what}", "a token", A_TOKEN)


@pytest.mark.clause("A15.narrows")
def test_the_trace_tells_that_a_token_opens_nothing_at_a_backend(
    server: Server, alice: Person, own: ResourceServer
) -> None:
    """And which scopes would."""
    answer = own.exchange(connected(server, alice, scope="files:read")["access_token"])
    expected = "invalid_scope: scope", "no scope in common", "one of crm:delete crm:read crm:write"
    assert _traced(server, answer) == expected


@pytest.mark.clause("A15.lists", "A15.target")
def test_the_trace_tells_what_is_wrong_with_a_question_for_lists(server: Server, own: ResourceServer) -> None:
    """It asks for a scope, or for a resource without a backend."""
    answer = own.lists(scope="crm:read " * 30)
    description = refused(answer, "invalid_scope")["error_description"]
    assert description == "Scopes belong to people. Ask for none, or exchange a person's token."
    assert _traced(server, answer) == ("invalid_scope: scope without a person", ("crm:read " * 30)[:200], "none")
    answer = resource_server(server, "http://localhost:9004/mcp").lists()
    expected = "a [[backend]] of http://localhost:9004/mcp: there is none"
    assert _traced(server, answer) == (f"invalid_target: {FOREIGN}", CRM, expected)
