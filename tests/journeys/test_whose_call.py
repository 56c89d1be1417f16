"""Token exchange between the two real servers: what the authorization server issues to the resource server."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gatepost_resource.access_token import BearerToken, Identifiers, read_claims
from gatepost_resource.exchange import BackendTokens, NoToken
from gatepost_resource.issuer import Issuer
from tests.idp.oauth.backends import ALL, CRM, FILES, MCP, ResourceServer, resource_server, with_backends
from tests.idp.oauth.wire import Server, opened
from tests.journeys.connecting import in_thread
from tests.support.oauth import TestClient, registered
from tests.support.person import Person

pytestmark = pytest.mark.clause("A15")
READ = frozenset({"crm:read"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with with_backends(tmp_path_factory.mktemp("whose")) as idp:
        yield idp


@pytest.fixture(scope="module")
def gate(server: Server) -> ResourceServer:
    return resource_server(server)


@pytest.fixture
async def tokens(server: Server, gate: ResourceServer) -> AsyncIterator[BackendTokens]:
    """The resource server's own exchange, with the credentials that the command prints."""
    issuer = Issuer(server.issuer)
    yield BackendTokens(issuer, (gate.id, gate.secret), lambda: server.clock().timestamp(), time.monotonic)
    await issuer.aclose()


@pytest.fixture
def client(server: Server) -> TestClient:
    return registered(server)


def connected(client: TestClient) -> dict[str, str]:
    with Person("alice@example.com", client.idp.postbox) as alice:
        return client.connect(alice, scope=ALL, resource=MCP)


def read(server: Server, bearer: str, audience: str = MCP) -> BearerToken:
    """A token as the resource server's own code reads it."""
    return read_claims(bearer, Identifiers(server.issuer, audience), server.clock().timestamp())


async def test_a_persons_token_for_a_backend(
    server: Server, tokens: BackendTokens, client: TestClient, gate: ResourceServer
) -> None:
    """The token is on their behalf, for that backend, with the scopes it needs, and is requested once."""
    bearer = (await in_thread(connected, client))["access_token"]
    caller = read(server, bearer)
    found = await tokens.for_person(bearer, caller, CRM, READ)
    assert found == await tokens.for_person(bearer, caller, CRM, READ)
    issued = read(server, found, CRM)
    assert (issued.subject, issued.email, issued.client_id) == (caller.subject, caller.email, gate.id)
    assert issued.scopes == ("crm:read",)
    assert (await in_thread(opened, server, found)).claims["act"] == {"sub": gate.id}


async def test_a_token_for_lists(server: Server, tokens: BackendTokens, gate: ResourceServer) -> None:
    """On the resource server's own behalf, without scopes."""
    issued = read(server, await tokens.for_lists(FILES), FILES)
    assert (issued.subject, issued.scopes, issued.email) == (gate.id, (), None)


async def test_why_there_is_none(server: Server, tokens: BackendTokens, client: TestClient) -> None:
    """The authorization server's own message, for the log: an unknown backend, a connection that has ended."""
    held = await in_thread(connected, client)
    caller = read(server, held["access_token"])
    with pytest.raises(NoToken, match="invalid_target"):
        await tokens.for_person(held["access_token"], caller, "https://unknown.test/mcp", READ)
    with pytest.raises(NoToken, match="invalid_target"):
        await tokens.for_lists("https://unknown.test/mcp")
    form = {"client_id": client.id, "token": held["refresh_token"]}
    assert (await in_thread(server.post, "/revoke", form)).status_code == 200
    with pytest.raises(NoToken, match="invalid_request") as none:
        await tokens.for_person(held["access_token"], caller, CRM, READ)
    assert none.value.error == "invalid_request"
    assert held["access_token"] not in str(none.value)
