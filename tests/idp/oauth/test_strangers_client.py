"""A1: a client that others wrote. Authlib's client, with Authlib's own way to authenticate, over our connection."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client

from tests.idp.oauth.wire import Server, opened
from tests.support.oauth import CALLBACK, registered
from tests.support.person import Person


@dataclass
class Session:
    """What Authlib's client takes for a session of `requests`, of which it uses this much."""

    line: httpx2.Client

    def post(self, url: str, data: dict[str, str], headers: dict[str, str] | None, auth: Any) -> httpx2.Response:
        """Sends a form, after Authlib added how the client proves itself."""
        form = {**(headers or {}), "content-type": "application/x-www-form-urlencoded"}
        url, form, body = auth.prepare("POST", url, form, urlencode(data))
        return self.line.post(url, content=body, headers=form)


@pytest.mark.clause("A1", "A2.rfc8414", "A5.methods", "A8.rotation", "A11.revoke")
@pytest.mark.parametrize("method", ["none", "client_secret_basic", "client_secret_post"])
def test_authlibs_client_goes_the_whole_way(server: Server, alice: Person, method: str) -> None:
    """Discovery, authorize URL with PKCE, callback, token, refresh, revocation; then its refresh token is dead."""
    metadata = server.get("/.well-known/oauth-authorization-server").json()
    information = registered(server, token_endpoint_auth_method=method).information
    client = OAuth2Client(
        Session(server.line),
        client_id=information["client_id"],
        client_secret=information.get("client_secret"),
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        redirect_uri=CALLBACK,
        scope="openid demo:read",
        code_challenge_method="S256",
    )
    verifier = "v" * 64
    resource = server.settings.mcp_resource_url
    url, state = client.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, resource=resource, nonce="n"
    )
    callback = alice.walk(url)
    endpoint = metadata["token_endpoint"]
    token = client.fetch_token(endpoint, authorization_response=callback, state=state, code_verifier=verifier)
    assert token["scope"] == "demo:read openid"
    assert opened(server, token["id_token"]).claims["nonce"] == "n"
    fresh = client.refresh_token(endpoint, resource=resource)
    assert fresh["refresh_token"] != token["refresh_token"]
    assert client.revoke_token(metadata["revocation_endpoint"]).status_code == 200
    with pytest.raises(OAuth2Error, match="invalid_grant"):
        client.refresh_token(endpoint)
