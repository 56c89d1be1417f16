"""A11: a resource server asks about tokens, with its own credentials, and learns only of its own resource's."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost_idp import limits
from gatepost_idp.store import accounts, clients, documents
from tests.idp.oauth.wire import Server, basic, beside, opened, refused, running, tokens_of
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.processes import environment_of, run_gatepost

pytestmark = pytest.mark.clause("A11.introspect")


def credentials(server: Server, *options: str) -> tuple[str, str]:
    """What ``gatepost clients add … --resource-server`` prints."""
    environment = environment_of(
        DATABASE_URL=server.settings.database_url,
        OAUTH_ISSUER=server.issuer,
        MCP_RESOURCE_URL=server.settings.mcp_resource_url,
        CATALOGUE=server.settings.catalogue or "",
    )
    printed = run_gatepost(environment, "clients", "add", "The tools", "--resource-server", *options)
    said = dict(line.split(": ", 1) for line in printed.strip().splitlines())
    return said["client_id"], said["client_secret"]


@pytest.fixture(scope="module")
def own(server: Server) -> tuple[str, str]:
    """Credentials of the demo's resource server."""
    return credentials(server)


def introspect(server: Server, token: str, own: tuple[str, str], **more: str) -> dict[str, Any]:
    answer = server.post("/introspect", {"token": token, **more}, headers=basic(*own))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def test_a_living_token_is_active(server: Server, alice: Person, client: TestClient, own: tuple[str, str]) -> None:
    """With all the token's claims, and the person's address."""
    tokens = client.connect(alice, scope="demo:read")
    claims = opened(server, tokens["access_token"]).claims
    found = introspect(server, tokens["access_token"], own, token_type_hint="access_token")
    assert found.pop("active") is True
    assert found.pop("token_type") == "Bearer"
    assert found.pop("username") == alice.email
    assert found == {name: claims[name] for name in found}
    assert {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"} <= found.keys()
    assert found["aud"] == server.settings.mcp_resource_url


@pytest.mark.parametrize("hint", ["refresh_token", "unheard-of"])
def test_a_hint_that_is_wrong_changes_nothing(
    server: Server, alice: Person, client: TestClient, own: tuple[str, str], hint: str
) -> None:
    """A hint may speed up a search, never end it (RFC 7662 section 2.1)."""
    token = client.connect(alice)["access_token"]
    assert introspect(server, token, own, token_type_hint=hint)["active"] is True


def test_secret_in_the_form_is_taken_too(server: Server, alice: Person, client: TestClient, own: Any) -> None:
    """Resource servers authenticate as clients do: Basic or post."""
    token = client.connect(alice)["access_token"]
    form = {"token": token, "client_id": own[0], "client_secret": own[1]}
    assert server.post("/introspect", form).json()["active"] is True


def test_everything_else_is_inactive(server: Server, alice: Person, client: TestClient, own: tuple[str, str]) -> None:
    """A refresh token, an id_token, a code, noise: only `active: false` (RFC 7662 section 2.2)."""
    tokens = client.connect(alice, scope="openid demo:read")
    code = client.code(alice)
    parts = tokens["access_token"].split(".")
    forged = [f"{parts[0]}.{parts[1]}.{'A' * 86}", f"{parts[0]}.e30.{parts[2]}", "a.b.c", "x", "\u20ac" * 9]
    for token in (tokens["refresh_token"], tokens["id_token"], code, *forged):
        assert introspect(server, token, own) == {"active": False}


def test_of_its_own_audience_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another resource's token is as unknown as a forged one, in both directions."""
    folder = tmp_path_factory.mktemp("two")
    resources = ["http://localhost:9001/mcp", "http://localhost:9003/mcp"]
    scope = '[[resource.scope]]\nname = "demo:read"\ntitle = "Read"\nnew_accounts = true\n'
    catalogue = folder / "catalogue.toml"
    catalogue.write_text("".join(f'[[resource]]\nurl = "{url}"\nname = "Tools"\n{scope}' for url in resources))
    with running(folder, catalogue=str(catalogue)) as idp, Person("alice@example.com", idp.postbox) as alice:
        owns = [credentials(idp, "--resource", url) for url in resources]
        client = registered(idp)
        tokens = [client.connect(alice, resource=url, scope="demo:read")["access_token"] for url in resources]
        told = [[introspect(idp, token, own)["active"] for token in tokens] for own in owns]
    assert told == [[True, False], [False, True]]


def test_a_token_is_inactive_as_soon_as_its_grant_ends(idp: Server) -> None:
    """At once, not at its expiry: revocation, a replayed refresh token, a disabled account; and at its expiry."""
    own = credentials(idp)
    client = registered(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        revoked, replayed, expired, disabled = (client.connect(alice) for _ in range(4))
    for tokens in (revoked, replayed, expired, disabled):
        assert introspect(idp, tokens["access_token"], own)["active"] is True
    idp.post("/revoke", {"client_id": client.id, "token": revoked["refresh_token"]})
    assert introspect(idp, revoked["access_token"], own) == {"active": False}
    client.refresh(replayed["refresh_token"])
    idp.clock.forward(seconds=idp.settings.refresh_grace_seconds + 1)
    client.refresh(replayed["refresh_token"])
    assert introspect(idp, replayed["access_token"], own) == {"active": False}
    idp.clock.forward(minutes=idp.settings.access_token_minutes)
    assert introspect(idp, expired["access_token"], own) == {"active": False}
    fresh = tokens_of(client.refresh(disabled["refresh_token"]))["access_token"]
    assert introspect(idp, fresh, own)["active"] is True
    account = opened(idp, fresh).claims["sub"]
    beside(idp, lambda tx: accounts.set_disabled(tx, account, idp.clock()))
    assert introspect(idp, fresh, own) == {"active": False}


def test_the_access_tokens_of_a_client_that_was_switched_off_are_inactive(idp: Server) -> None:
    """At once, here and at /userinfo, since the operator wants it stopped now. Enabling the client revives them."""
    own, client = credentials(idp), registered(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        token = client.connect(alice, scope="demo:read openid")["access_token"]
    kind, other = client.id.partition(".")[0], registered(idp, client_name="Another").id.partition(".")[0]
    beside(idp, lambda tx: clients.set_disabled(tx, other, idp.clock()))
    beside(idp, lambda tx: documents.set_disabled(tx, "https://another.test/client.json", idp.clock()))
    for disabled_at, is_active in ((None, True), (idp.clock(), False), (None, True)):
        beside(idp, lambda tx, at=disabled_at: clients.set_disabled(tx, kind, at))  # type: ignore[misc]  # a default binds the loop's value, which mypy does not infer
        assert introspect(idp, token, own)["active"] is is_active
        shown = idp.request("GET", "/userinfo", headers={"authorization": f"Bearer {token}"})
        assert shown.status_code == (200 if is_active else 401)


def asked(server: Server, own: tuple[str, str], token: str = "x") -> httpx2.Response:
    return server.post("/introspect", {"token": token}, headers=basic(*own))


def test_nobody_else_may_ask(server: Server, alice: Person, client: TestClient, own: tuple[str, str]) -> None:
    """No credentials, wrong ones, a public client, a confidential client: none learns anything about the token."""
    token = client.connect(alice)["access_token"]
    refused(server.post("/introspect", {"token": token}), "invalid_client", 401)
    wrong = asked(server, (own[0], "wrong"), token)
    refused(wrong, "invalid_client", 401)
    assert wrong.headers["www-authenticate"].startswith("Basic")
    public = server.post("/introspect", {"token": token, "client_id": client.id})
    refused(public, "unauthorized_client", 403)
    confidential = registered(server, token_endpoint_auth_method="client_secret_basic")
    mine = (confidential.id, str(confidential.information["client_secret"]))
    refused(asked(server, mine, token), "unauthorized_client", 403)


def test_strangers_cannot_use_up_what_a_resource_server_may_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks about whatever strangers send it, all from one network: only wrong credentials are limited."""
    monkeypatch.setitem(limits.BRAKES, "token", "6/minute")
    with running(tmp_path) as idp:
        own = credentials(idp)
        assert [asked(idp, own, f"made-up-{n}").status_code for n in range(20)] == [200] * 20
        assert [asked(idp, (own[0], "wrong")).status_code for _ in range(8)] == [401] * 6 + [429] * 2
        assert asked(idp, own).status_code == 200


def test_disabled_credentials_end_within_ten_seconds(idp: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gatepost clients disable, for an operator who suspects a leak."""
    monkeypatch.setattr("gatepost_idp.clients.registry._CACHE_SECONDS", 0.0)
    own = credentials(idp)
    assert asked(idp, own).json() == {"active": False}
    beside(idp, lambda tx: clients.set_disabled(tx, own[0], idp.clock()))
    refused(asked(idp, own), "invalid_client", 401)


def test_a_resource_server_gets_no_tokens(server: Server, alice: Person, own: tuple[str, str]) -> None:
    """Its credentials get no page at /authorize and no client's grant at /token."""
    client = TestClient(server, {"client_id": own[0], "client_secret": own[1]})
    assert alice.browser.get(client.authorize_url()).status_code == 400
    for grant in ({"grant_type": "authorization_code", "code": "x", "code_verifier": "y" * 43},
                  {"grant_type": "refresh_token", "refresh_token": "x"}):  # fmt: skip  # a pair
        refused(client.token_request(**grant), "unauthorized_client")


def test_a_question_without_a_token(server: Server, own: tuple[str, str]) -> None:
    """invalid_request, as everywhere."""
    answer = server.post("/introspect", {"token_type_hint": "access_token"}, headers=basic(*own))
    refused(answer, "invalid_request")


def test_no_web_page_may_introspect(server: Server, own: tuple[str, str]) -> None:
    """It is for servers: no CORS, so that nobody puts a server's secret into a page."""
    answer = server.post("/introspect", {"token": "x"}, headers={**basic(*own), "origin": "https://client.test"})
    assert "access-control-allow-origin" not in answer.headers


def test_discovery_names_the_endpoint(server: Server) -> None:
    """And that it requires a secret."""
    document = server.get("/.well-known/oauth-authorization-server").json()
    assert document["introspection_endpoint"] == f"{server.issuer}/introspect"
    assert "none" not in document["introspection_endpoint_auth_methods_supported"]
