"""Authlib's OAuth2 client, with its own client authentication, over our connection; the test does discovery itself."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.journeys.wire import mcp_request
from tests.support.oauth import CALLBACK
from tests.support.person import Person
from tests.support.processes import Deployment
from tests.support.smtp import Postbox

METHODS = ["none", "client_secret_basic", "client_secret_post"]


@dataclass
class Session:
    """What Authlib's client takes for a `requests` session, with the part of it that it uses."""

    line: httpx2.Client

    def post(self, url: str, data: dict[str, str], headers: dict[str, str] | None, auth: Any) -> httpx2.Response:
        """Sends a form, after Authlib added the client authentication."""
        form = {**(headers or {}), "content-type": "application/x-www-form-urlencoded"}
        url, form, body = auth.prepare("POST", url, form, urlencode(data))
        return self.line.post(url, content=body, headers=form)


@pytest.fixture
def line() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.program("authlib")
@pytest.mark.clause("A1", "A2.rfc8414", "A5.methods", "A8.rotation", "A11.revoke", "A12.id-token", "R2")
@pytest.mark.parametrize("method", METHODS)
def test_it_goes_the_whole_way(deployment: Deployment, postbox: Postbox, line: httpx2.Client, method: str) -> None:
    """401, discovery, registration, PKCE, tokens, a call, a refresh, a call; after it revokes, no refresh works."""
    metadata, resource = discovered(line, deployment.mcp)
    client = registered(line, metadata, method)
    verifier = "v" * 64
    url, state = client.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, resource=resource, nonce="n"
    )
    with Person(f"authlib-{method}@example.com", postbox) as person:
        callback = person.walk(url)
    endpoint = metadata["token_endpoint"]
    token = client.fetch_token(endpoint, authorization_response=callback, state=state, code_verifier=verifier)
    assert token["scope"] == "demo:read openid"
    keys = KeySet.import_key_set(line.get(metadata["jwks_uri"]).json())
    assert jwt.decode(token["id_token"], keys, algorithms=["RS256"]).claims["nonce"] == "n"
    assert time_of(deployment.mcp, token["access_token"])
    fresh = client.refresh_token(endpoint, resource=resource)
    assert fresh["refresh_token"] != token["refresh_token"]
    assert time_of(deployment.mcp, fresh["access_token"])
    assert client.revoke_token(metadata["revocation_endpoint"]).status_code == 200
    with pytest.raises(OAuth2Error, match="invalid_grant"):
        client.refresh_token(endpoint)


def discovered(line: httpx2.Client, mcp: str) -> tuple[dict[str, Any], str]:
    """The authorization server's metadata, and the resource to request there."""
    told = mcp_request(mcp, None, "tools/list")
    assert told.status_code == 401
    named = re.search(r'resource_metadata="([^"]+)"', told.headers["www-authenticate"])
    assert named
    protected = line.get(named.group(1)).json()
    issuer = protected["authorization_servers"][0]
    return line.get(f"{issuer}/.well-known/oauth-authorization-server").json(), protected["resource"]


def registered(line: httpx2.Client, metadata: dict[str, Any], method: str) -> OAuth2Client:
    """Authlib's client as the server registered it."""
    asked = {"client_name": "Authlib", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": method}
    made = line.post(metadata["registration_endpoint"], json=asked)
    assert made.status_code == 201, made.text
    return OAuth2Client(
        Session(line),
        client_id=made.json()["client_id"],
        client_secret=made.json().get("client_secret"),
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        redirect_uri=CALLBACK,
        scope="openid demo:read",
        code_challenge_method="S256",
    )


def time_of(mcp: str, token: str) -> int:
    """Calls a tool that needs demo:read, with this token."""
    answer = mcp_request(mcp, token, "tools/call", name="demo_get_time", arguments={}).json()
    return int(answer["result"]["structuredContent"]["unix_seconds"])
