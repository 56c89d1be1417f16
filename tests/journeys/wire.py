"""A client without a library: every request of a connect, in order, over plain HTTP, with each answer kept."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2

from tests.support.person import Person

ERA = "2026-07-28"
CALLBACK = "http://127.0.0.1:3017/callback"
SCOPES = "demo:read demo:echo"


@dataclass(frozen=True)
class Exchange:
    """One request with its answer; ``what`` says in words why it was made."""

    what: str
    by: str
    response: httpx2.Response

    @property
    def address(self) -> str:
        """Method and path, by which tests name an exchange."""
        return f"{self.response.request.method} {self.response.request.url.path}"


def mcp_request(mcp: str, token: str | None, method: str, **parameters: Any) -> httpx2.Response:
    """One MCP message of the current era."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": ERA,
        "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": ERA, "mcp-method": method}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    if "name" in parameters:
        headers["mcp-name"] = parameters["name"]
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**parameters, "_meta": meta}}
    with httpx2.Client(trust_env=False, timeout=20) as client:
        return client.post(mcp, json=body, headers=headers)


class Wire:
    """One client and one person's browser. At first it knows only ``mcp``; it discovers the rest."""

    def __init__(self, mcp: str, person: Person, resource: str | None = None) -> None:
        """``resource``: a resource other than the one the metadata names, for a token that is not for this server."""
        self.exchanges: list[Exchange] = []
        self.verifier = secrets.token_urlsafe(64)
        self.state = secrets.token_urlsafe(16)
        self.client_id = ""
        self.code = ""
        self.callback = ""
        self.access_token = ""
        self.refresh_token = ""
        self._mcp = mcp
        self._resource = resource
        self._person = person
        self._metadata: dict[str, Any] = {}
        self._http = httpx2.Client(trust_env=False, timeout=20)
        self._why = ""
        self.scope = SCOPES
        person.browser.event_hooks = {"response": [self._seen_by_browser]}

    def connect(self) -> None:
        """From the URL to the tokens."""
        self.discover()
        self.register()
        self.authorize()
        self.redeem()

    def discover(self) -> None:
        """401, then both metadata documents (RFC 9728, RFC 8414)."""
        told = self.ask(None, "tools/list", "It calls the MCP URL and is told where to get a token, and for what.")
        named = re.search(r'resource_metadata="([^"]+)"', told.headers.get("www-authenticate", ""))
        assert named, f"{told.status_code} without resource_metadata: {told.headers}"
        protected = self._request("It reads which authorization server the URL trusts.", "GET", named.group(1)).json()
        self._resource = self._resource or protected["resource"]
        issuer = protected["authorization_servers"][0]
        well_known = f"{issuer}/.well-known/oauth-authorization-server"
        self._metadata = self._request("It reads where that server does what.", "GET", well_known).json()
        assert self._metadata["issuer"] == issuer, "a client must stop here (RFC 8414 section 3.3)"

    def register(self) -> None:
        """RFC 7591, with the minimum of metadata."""
        asked = {"client_name": "Wire client", "redirect_uris": [CALLBACK]}
        made = self._request("It registers itself.", "POST", self._metadata["registration_endpoint"], json=asked)
        self.client_id = made.json()["client_id"]

    def authorize(self) -> None:
        """The person's part, in their browser: address, mail, code, consent."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "scope": self.scope,
            "resource": self._resource,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        self._why = "It opens the person's browser, who signs in by mail and agrees."
        self.callback = self._person.walk(f"{self._metadata['authorization_endpoint']}?{urlencode(parameters)}")
        answer = dict(parse_qsl(httpx2.URL(self.callback).query.decode()))
        assert answer["state"] == self.state
        assert answer["iss"] == self._metadata["issuer"]
        self.code = answer["code"]

    def redeem(self) -> None:
        """Exchanges the code for tokens."""
        self._token(
            "It trades the code for tokens.",
            grant_type="authorization_code",
            code=self.code,
            redirect_uri=CALLBACK,
            code_verifier=self.verifier,
        )

    def refresh(self) -> None:
        """Exchanges the refresh token for new tokens."""
        self._token(
            "Its access token ends, so it refreshes.", grant_type="refresh_token", refresh_token=self.refresh_token
        )

    def ask(self, token: str | None, method: str, why: str, **parameters: Any) -> httpx2.Response:
        """Sends one MCP message."""
        response = mcp_request(self._mcp, token, method, **parameters)
        self.exchanges.append(Exchange(why, "client", response))
        return response

    def close(self) -> None:
        """Closes the client's connections."""
        self._http.close()

    def _token(self, why: str, **form: str) -> None:
        form |= {"client_id": self.client_id, "resource": str(self._resource)}
        answer = self._request(why, "POST", self._metadata["token_endpoint"], data=form)
        assert answer.status_code == 200, answer.text
        self.access_token = answer.json()["access_token"]
        self.refresh_token = answer.json()["refresh_token"]

    def _request(self, why: str, method: str, url: str, **options: Any) -> httpx2.Response:
        response = self._http.request(method, url, **options)
        self.exchanges.append(Exchange(why, "client", response))
        return response

    def _seen_by_browser(self, response: httpx2.Response) -> None:
        self.exchanges.append(Exchange(self._why, "browser", response))
        self._why = ""


def whole_run(mcp: str, person: Person) -> Wire:
    """A whole first connection, and its first refresh."""
    wire = Wire(mcp, person)
    try:
        wire.connect()
        wire.ask(wire.access_token, "server/discover", "It asks what the server speaks.")
        wire.ask(wire.access_token, "tools/list", "It sees the tools of this person.")
        wire.ask(wire.access_token, "tools/call", "It calls one.", name="demo_echo", arguments={"text": "Hello"})
        wire.refresh()
        wire.ask(wire.access_token, "tools/call", "It goes on with the new token.", name="whoami", arguments={})
    finally:
        wire.close()
    return wire
