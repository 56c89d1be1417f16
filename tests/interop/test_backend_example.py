"""The backend of examples/, as people copy it: it learns from our token who is calling, and trusts nothing else."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from gatepost_idp.store import accounts
from tests.idp.oauth.backends import ResourceServer, resource_server
from tests.idp.oauth.wire import beside
from tests.interop.test_your_own_server import EXAMPLES, HEADERS, LIST, answers, ended, started
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import Idp, serving

pytestmark = pytest.mark.clause("A15")
MCP = "http://localhost:9001/mcp"
OTHER = '\n[[backend]]\nname = "files"\nurl = "http://localhost:9199/mcp"\ntools = { "*" = "crm:read" }\n'


@dataclass
class People:
    """The backend, the issuer that it trusts, the gate in front of it, and what Alice's client holds."""

    url: str
    idp: Idp
    gate: ResourceServer
    bearer: str

    def token(self, **changes: Any) -> str:
        """A token that the gate gets for Alice."""
        answer = self.gate.exchange(self.bearer, **{"resource": self.url, **changes})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def post(self, token: str | None, body: dict[str, Any] = LIST, **headers: str) -> httpx2.Response:
        sent = {**HEADERS, **headers} | ({} if token is None else {"authorization": f"Bearer {token}"})
        return httpx2.post(self.url, json=body, headers=sent, trust_env=False, timeout=20)

    def call(self, token: str, tool: str, headers: dict[str, str] | None = None, **arguments: str) -> dict[str, Any]:
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = self.post(token, body, **(headers or {}))
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["result"])

    def signed(self, key: ECKey | None = None, header: dict[str, str] | None = None, **claims: Any) -> str:
        """A token signed by our issuer's key, with changes; a claim of None is omitted."""
        database = Database(self.idp.settings.database_url)
        try:
            keys = Keys(database, self.idp.settings.secret_keys, self.idp.clock)
            asyncio.run(keys.load())
            signing = keys.signing()
        finally:
            database.close()
        now = int(time.time())
        said = {
            "iss": self.idp.issuer, "aud": self.url, "sub": "somebody", "client_id": self.gate.id, "jti": "1",
            "iat": now, "exp": now + 300, "scope": "crm:read", "email": "a@b.test", "act": {"sub": self.gate.id},
        }  # fmt: skip  # a table of claims
        found = {name: value for name, value in {**said, **claims}.items() if value is not None}
        assert isinstance(signing.private, ECKey)
        head = {"alg": "ES256", "typ": "at+jwt", "kid": signing.kid, **(header or {})}
        return jwt.encode(head, found, key or signing.private)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """The example as a process, behind an issuer with the catalogue that comes with it."""
    folder, port = tmp_path_factory.mktemp("people"), free_port()
    url, catalogue = f"http://localhost:{port}/mcp", folder / "catalogue.toml"
    text = (EXAMPLES / "backend_catalogue.toml").read_text(encoding="utf-8")
    assert "http://localhost:9201/mcp" in text
    catalogue.write_text(text.replace("http://localhost:9201/mcp", url) + OTHER, encoding="utf-8")
    with serving(folder, mcp_resource_url=MCP, catalogue=str(catalogue)) as idp:
        gate = resource_server(idp, MCP)
        environment = {
            "OAUTH_ISSUER": idp.issuer, "BACKEND_URL": url, "INTROSPECTION_CLIENT_ID": gate.id, "PORT": str(port),
        }  # fmt: skip  # one row
        with ended(started("backend.py", folder, environment)) as process:
            answers(process, url)
            with Person("alice@example.com", idp.postbox) as alice:
                tokens = registered(idp).connect(alice, resource=MCP, scope="crm:read")
            yield People(url, idp, gate, str(tokens["access_token"]))


@pytest.mark.clause("A15.act")
def test_the_backend_sees_the_person(people: People) -> None:
    """Their sub and their address, from the token that the gate got for them."""
    ((account,),) = beside(people.idp, lambda tx: [(one.id,) for one in accounts.people(tx)])
    told = people.call(people.token(), "whose_call")
    assert told["structuredContent"] == {"sub": account, "email": "alice@example.com"}
    assert "Ada Lovelace" in str(people.call(people.token(), "find_person", name="ada"))


@pytest.mark.clause("A15.narrows")
def test_a_scope_that_the_person_lacks_opens_nothing_there(people: People) -> None:
    """The backend checks the token's scopes itself, whatever the gate let through."""
    refused = people.call(people.token(), "delete_person", name="ada")
    assert refused["isError"] is True
    assert "crm:write" in str(refused)


@pytest.mark.clause("A15.lists")
def test_a_token_for_lists_lists_and_calls_nothing(people: People) -> None:
    """It belongs to nobody."""
    own = str(people.gate.lists(people.url).json()["access_token"])
    assert len(people.post(own).json()["result"]["tools"]) == 3
    for tool in ("whose_call", "find_person", "delete_person"):
        assert people.call(own, tool, name="ada")["isError"] is True


@pytest.mark.clause("A15.there-alone", "R3.no-passthrough")
def test_the_clients_own_token_is_refused(people: People) -> None:
    """Attack: token passthrough. It is valid at the gate, and at nothing behind it."""
    assert people.post(people.bearer).status_code == 401
    assert people.post(None).status_code == 401


@pytest.mark.clause("A15.there-alone")
def test_the_token_of_another_backend_is_refused(people: People) -> None:
    """Attack: a backend reuses the token it received. Same person, same scope, same gate."""
    assert people.post(people.token(resource="http://localhost:9199/mcp")).status_code == 401
    own = people.gate.lists("http://localhost:9199/mcp").json()["access_token"]
    assert people.post(str(own)).status_code == 401


@pytest.mark.clause("A15.act")
@pytest.mark.parametrize(
    "header", ["x-user", "x-forwarded-user", "x-forwarded-email", "x-email", "remote-user", "cookie"]
)
def test_a_forged_header_changes_nothing(people: People, header: str) -> None:
    """Attack: a header claims who is calling. It counts neither beside a token nor instead of one."""
    forged = {header: "user=mallory@example.com"}
    assert people.call(people.token(), "whose_call", forged)["structuredContent"]["email"] == "alice@example.com"
    own = str(people.gate.lists(people.url).json()["access_token"])
    assert people.call(own, "whose_call", forged)["isError"] is True
    assert people.post(None, LIST, **forged).status_code == 401


def test_a_good_token_is_taken(people: People) -> None:
    """Otherwise the refusals below would prove nothing."""
    assert people.call(people.signed(), "whose_call")["structuredContent"] == {"sub": "somebody", "email": "a@b.test"}


@pytest.mark.parametrize(
    "attack",
    [
        {"exp": 1_700_000_000},
        {"exp": None},
        {"aud": MCP},
        {"aud": None},
        {"iss": "https://other.example"},
        {"client_id": "gp_dc_a-client"},
        {"sub": None},
        {"header": {"typ": "JWT"}},
        {"header": {"kid": "another"}},
        {"key": ECKey.generate_key("P-256")},
    ],
    ids=["expired", "no expiry", "the gate's own audience", "no audience", "another issuer", "a client's", "nobody's",
         "an id token", "an unknown key", "a foreign key"],
)  # fmt: skip  # names beside what they name
def test_a_bad_token_is_refused(people: People, attack: dict[str, Any]) -> None:
    """Signed with our own key, unless the case is about the key: each check is the example's own."""
    assert people.post(people.signed(**attack)).status_code == 401


def test_a_token_without_a_signature_is_refused(people: People) -> None:
    """Attack: the token says itself that it needs no signature (RFC 8725 section 2.1)."""
    _, claims, _ = people.signed().split(".")
    head = _encoded(b'{"alg":"none","typ":"at+jwt"}')
    assert people.post(f"{head}.{claims}.").status_code == 401


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(people: People) -> None:
    """Attack: HS256 with the public key, which everybody can fetch, as its secret (RFC 8725 section 2.1)."""
    (public,) = (key for key in people.idp.get("/jwks.json").json()["keys"] if key["alg"] == "ES256")
    head = _encoded(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": public["kid"]}).encode())
    signing_input = f"{head}.{people.signed().split('.')[1]}"
    for secret in (json.dumps(public).encode(), ECKey.import_key(public).as_pem(private=False)):
        mac = hmac.new(secret, signing_input.encode(), "sha256").digest()
        assert people.post(f"{signing_input}.{_encoded(mac)}").status_code == 401


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("act", [None, {}, {"sub": "gp_dc_a-client"}, "gate"], ids=str)
def test_without_the_gate_as_its_actor_a_token_calls_nothing(people: People, act: Any) -> None:
    """A person's call comes through the gate, and the token says so (RFC 8693 section 4.1)."""
    assert people.call(people.signed(act=act), "whose_call")["isError"] is True
