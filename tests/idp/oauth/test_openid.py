"""A12: OpenID Connect beyond the id_token's content: its algorithm, and /userinfo."""

import base64
import json
from typing import Any

import httpx2
import pytest
from joserfc import jws

from gatepost_idp.store import accounts
from tests.idp.oauth.wire import Server, beside, opened, refused, tokens_of
from tests.support.oauth import TestClient, registered
from tests.support.person import Person

WHO = "openid email profile offline_access demo:read"


def algorithm_of(token: str) -> str:
    return str(jws.extract_compact(token.encode()).headers()["alg"])


def userinfo(server: Server, token: str, method: str = "GET") -> httpx2.Response:
    return server.request(method, "/userinfo", headers={"authorization": f"Bearer {token}".encode()})


@pytest.mark.clause("A12.rs256", "A12.id-token")
@pytest.mark.parametrize(
    ("asked", "algorithm"),
    [(None, "RS256"), ("RS256", "RS256"), ("ES256", "ES256"), ("none", "RS256"), ("HS256", "RS256"), (7, "RS256")],
)
def test_an_id_token_is_signed_as_the_client_registered(
    server: Server, alice: Person, asked: object, algorithm: str
) -> None:
    """RS256 unless ES256 was registered; never `none` or a secret as the key. Access tokens are always ES256."""
    client = registered(server, **({} if asked is None else {"id_token_signed_response_alg": asked}))
    assert client.information["id_token_signed_response_alg"] == algorithm
    tokens = client.connect(alice, scope="openid demo:read")
    assert algorithm_of(tokens["id_token"]) == algorithm
    assert opened(server, tokens["id_token"]).claims["aud"] == client.id
    assert algorithm_of(tokens["access_token"]) == "ES256"


@pytest.mark.clause("A12.userinfo")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_userinfo_says_who_it_is(server: Server, alice: Person, client: TestClient, method: str) -> None:
    """The same sub as in the id_token, and the address, as JSON with no-store."""
    tokens = client.connect(alice, scope=WHO)
    answer = userinfo(server, tokens["access_token"], method)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    sub = opened(server, tokens["id_token"]).claims["sub"]
    assert answer.json() == {"sub": sub, "email": alice.email, "email_verified": True}


@pytest.mark.clause("A12.userinfo")
def test_userinfo_says_no_more_than_was_asked(server: Server, alice: Person, client: TestClient) -> None:
    """Without email there is only the sub; without openid, 403 with the scope to ask for."""
    token = client.connect(alice, scope="openid demo:read")["access_token"]
    assert userinfo(server, token).json().keys() == {"sub"}
    answer = userinfo(server, client.connect(alice, scope="demo:read")["access_token"])
    refused(answer, "insufficient_scope", 403)
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="openid"'


def resigned(token: str, **changes: Any) -> str:
    """The token with other claims under its old signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, **changes}).encode()).rstrip(b"=").decode()
    return f"{head}.{changed}.{signature}"


@pytest.mark.clause("A12.userinfo", "A12.id-token")
def test_userinfo_refuses_what_is_no_access_token_of_ours(server: Server, alice: Person, client: TestClient) -> None:
    """An id_token, a refresh token, a changed token, noise: 401 invalid_token; no token: a bare challenge."""
    tokens = client.connect(alice, scope=WHO)
    same_key = registered(server, id_token_signed_response_alg="ES256").connect(alice, scope=WHO)
    bad = [
        tokens["id_token"],
        same_key["id_token"],
        tokens["refresh_token"],
        resigned(tokens["access_token"], sub="somebody else"),
        tokens["access_token"].rpartition(".")[0] + ".",
        "a.b.c",
        "[]" * 2000,
        "é",
    ]
    for token in bad:
        answer = userinfo(server, token)
        refused(answer, "invalid_token", 401)
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    for headers in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}):
        nothing = server.request("GET", "/userinfo", headers=headers)
        assert nothing.status_code == 401
        assert nothing.headers["www-authenticate"] == 'Bearer realm="gatepost"'
    asked_in_query = server.get(f"/userinfo?access_token={tokens['access_token']}")
    assert asked_in_query.status_code == 401


@pytest.mark.clause("A12.userinfo", "A8.reuse")
def test_userinfo_ends_with_the_grant_and_with_the_token(idp: Server) -> None:
    """A revoked connection, a disabled account, an expired token: 401."""
    client = registered(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        first = client.connect(alice, scope=WHO)
        second = client.connect(alice, scope=WHO)
    idp.post("/revoke", {"client_id": client.id, "token": first["refresh_token"]})
    assert userinfo(idp, first["access_token"]).status_code == 401
    assert userinfo(idp, second["access_token"]).status_code == 200
    third = tokens_of(client.refresh(second["refresh_token"]))
    idp.clock.forward(minutes=idp.settings.access_token_minutes)
    assert userinfo(idp, third["access_token"]).status_code == 401
    fourth = tokens_of(client.refresh(third["refresh_token"]))
    assert userinfo(idp, fourth["access_token"]).status_code == 200
    account = opened(idp, fourth["access_token"]).claims["sub"]
    beside(idp, lambda tx: accounts.set_disabled(tx, account, idp.clock()))
    assert userinfo(idp, fourth["access_token"]).status_code == 401


@pytest.mark.clause("A12.userinfo", "A14.open")
def test_userinfo_is_open_to_web_pages(server: Server, alice: Person, client: TestClient) -> None:
    """A client in a browser reads it with its bearer and no cookie."""
    token = client.connect(alice, scope=WHO)["access_token"]
    headers = {"authorization": f"Bearer {token}", "origin": "https://client.test"}
    answer = server.request("GET", "/userinfo", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "*"
    preflight = {"origin": "https://client.test", "access-control-request-method": "GET"}
    assert server.request("OPTIONS", "/userinfo", headers=preflight).status_code == 204


@pytest.mark.clause("A12.userinfo", "A2.oidc")
def test_discovery_names_userinfo_and_both_algorithms(server: Server) -> None:
    """RS256 is mandatory (OIDC Discovery section 3)."""
    document = server.get("/.well-known/openid-configuration").json()
    assert document["userinfo_endpoint"] == f"{server.issuer}/userinfo"
    assert set(document["id_token_signing_alg_values_supported"]) == {"RS256", "ES256"}
