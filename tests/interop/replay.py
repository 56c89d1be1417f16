"""Replays one way of one client, request by request, against both servers, and checks each answer."""

import base64
import json
import secrets
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from tests.interop.by_url import ByUrl
from tests.interop.ways import Way
from tests.journeys.connecting import Tracked
from tests.support.oauth import challenge_of
from tests.support.ports import free_port
from tests.support.processes import Deployment

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
FORM = {"content-type": "application/x-www-form-urlencoded"}
# OpenID Connect Discovery 1.0, section 3: a document without one of these stops Claude Code.
OPENID_MEMBERS = {
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "response_types_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
}


class Replay:
    """One client's connection, from its first request to a call with a refreshed token."""

    def __init__(self, way: Way, deployment: Deployment | ByUrl, person: Tracked) -> None:
        self.way = way
        self._deployment = deployment
        self._person = person
        self._http = httpx2.Client(trust_env=False, timeout=20, verify=False)  # plain http: loads no certificates
        self._http.headers = httpx2.Headers(way.headers)
        self._said = {"port": str(free_port())}
        self._metadata: dict[str, Any] = {}
        self._values: dict[str, str] = {}
        self._secret = ""

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def run(self) -> None:
        """Runs every step in order; raises AssertionError if an answer is not what the client needs."""
        self._learn()
        for step in self.way.discovery:
            self._discover(step)
        self._become_known()
        self._authorize()
        for step in self.way.before_token:
            self._discover(step)
        self._redeem()
        self._call_tool()
        for _ in range(self.way.refreshes):
            for step in self.way.before_refresh:
                self._discover(step)
            self._refresh()
        self._call_tool()

    def _learn(self) -> None:
        """Reads once what clients take from the challenge and the documents; they request these in their own order."""
        challenged = self._mcp("ping").headers["www-authenticate"]
        self._said["challenge"] = challenged.partition('scope="')[2].partition('"')[0]
        self._said["resource"] = " ".join(self._http.get(self._place("protected")).json()["scopes_supported"])
        self._metadata = self._http.get(self._place("server")).json()
        self._said["server"] = " ".join(self._metadata["scopes_supported"])

    def _discover(self, step: str) -> None:
        method, place, *fallback = step.split()
        if (method, place) == ("POST", "mcp"):
            answer = self._mcp("initialize", protocolVersion=self.way.protocol, capabilities={}, clientInfo=_INFO)
        else:
            answer = self._http.request(method, self._place(place))
        if fallback and answer.status_code == httpx2.codes.NOT_FOUND:
            return
        assert answer.status_code == (401 if place == "mcp" else 200), f"{step}: {answer.status_code} {answer.text}"
        if place == "mcp":
            assert 'resource_metadata="' in answer.headers["www-authenticate"]
        elif method == "GET":
            self._check_document(place, answer)

    def _check_document(self, place: str, answer: httpx2.Response) -> None:
        document = answer.json()
        self._check_origin(answer)
        if place.startswith("protected"):
            assert document["resource"] == self._deployment.mcp
            assert document["authorization_servers"] == [self._deployment.issuer]
            return
        assert document["issuer"] == self._deployment.issuer
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert place != "openid" or document.keys() >= OPENID_MEMBERS

    def _place(self, name: str) -> str:
        parts = urlsplit(self._deployment.mcp)
        resource = f"{parts.scheme}://{parts.netloc}"
        return {
            "mcp": self._deployment.mcp,
            "protected": f"{resource}/.well-known/oauth-protected-resource{parts.path}",
            "protected-root": f"{resource}/.well-known/oauth-protected-resource",
            "protected-appended": f"{self._deployment.mcp}/.well-known/oauth-protected-resource",
            "server": f"{self._deployment.issuer}/.well-known/oauth-authorization-server",
            "openid": f"{self._deployment.issuer}/.well-known/openid-configuration",
        }[name]

    def _become_known(self) -> None:
        if self.way.document:
            assert self._metadata["client_id_metadata_document_supported"] is True
            self._keep(self.way.document)
            return
        if self.way.hand:
            assert isinstance(self._deployment, Deployment)
            options = [] if "--claude" in self.way.hand else ["--redirect", self.way.redirect]
            made = self._deployment.gatepost("clients", "add", self.way.name, *self.way.hand, *options, "--json")
            self._keep(json.loads(made))
            return
        for _ in range(self.way.registrations):
            self._keep(self._registered())

    def _keep(self, information: dict[str, Any]) -> None:
        self._values["client_id"] = information["client_id"]
        self._secret = information.get("client_secret", "")
        assert bool(self._secret) == bool(self.way.secret)

    def _registered(self) -> dict[str, Any]:
        body = self._filled(self.way.registration)
        answer = self._post(self._metadata["registration_endpoint"], {}, json=body)
        assert answer.status_code == 201, answer.text
        information = dict(answer.json())
        assert information["redirect_uris"] == body["redirect_uris"], "mcp-remote drops what is not as it sent it"
        # A client that did not ask for a secret may be unable to keep one (RFC 7591 section 2).
        assert information["token_endpoint_auth_method"] == body.get("token_endpoint_auth_method", "none")
        return information

    def _authorize(self) -> None:
        verifier = "".join(secrets.choice(UNRESERVED) for _ in range(self.way.verifier - 1)) + "~"
        self._values |= {
            "response_type": "code",
            "code_challenge_method": "S256",
            "code_challenge": challenge_of(verifier),
            "code_verifier": verifier,
            "redirect_uri": self._fill(self.way.redirect or self.way.registration["redirect_uris"][0]),
            "state": self._state(),
            "scope": "" if self.way.scope == "empty" else self._said[self.way.scope],
            "resource": self._deployment.mcp,
        }
        if self.way.offline_access and "offline_access" in self._said["server"].split():
            self._values |= {"scope": f"{self._values['scope']} offline_access", "prompt": "consent"}
        url = f"{self._metadata['authorization_endpoint']}?{urlencode(self._parameters(self.way.authorize))}"
        self._check_answer(self._person.walk(url))

    def _check_answer(self, callback: str) -> None:
        assert any("/consent/" in action for action in self._person.submitted), "nobody was asked"
        assert callback.startswith(f"{self._values['redirect_uri']}?"), callback
        answer = parse_qsl(callback.partition("?")[2], strict_parsing=True)
        sent = [("state", self._values["state"])] if "state" in self.way.authorize else []
        assert answer[1:] == [*sent, ("iss", self._deployment.issuer)], "state comes back byte for byte"
        assert answer[0][0] == "code"
        self._values["code"] = answer[0][1]

    def _redeem(self) -> None:
        self._values["grant_type"] = "authorization_code"
        self._take(self._token(self.way.token))

    def _refresh(self) -> None:
        before = self._values["refresh_token"]
        self._values["grant_type"] = "refresh_token"
        self._take(self._token(self.way.refresh))
        assert self._values["refresh_token"] != before

    def _take(self, answer: httpx2.Response) -> None:
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        assert tokens["token_type"] == "Bearer"
        assert {"demo:read", "demo:echo"} <= set(tokens["scope"].split())
        self._values |= {name: tokens[name] for name in ("access_token", "refresh_token", "scope")}

    def _token(self, names: list[str]) -> httpx2.Response:
        form = self._parameters(names)
        headers = dict(FORM)
        if self.way.secret == "basic":
            form = [(name, value) for name, value in form if name not in ("client_id", "client_secret")]
            pair = base64.b64encode(f"{self._values['client_id']}:{self._secret}".encode()).decode()
            headers["authorization"] = f"Basic {pair}"
        return self._post(self._metadata["token_endpoint"], headers, content=urlencode(form))

    def _parameters(self, names: list[str]) -> list[tuple[str, str]]:
        """The parameters in ``names`` that this client has, in that order and as often as named."""
        values = {**self._values, "client_secret": self._secret} if self._secret else self._values
        return [(name, values[name]) for name in names if name in values]

    def _call_tool(self) -> None:
        """The handshake of its protocol version, the list and a call, with its current token."""
        if self.way.protocol < "2026":
            hello = self._mcp("initialize", protocolVersion=self.way.protocol, capabilities={}, clientInfo=_INFO)
            assert hello.json()["result"]["protocolVersion"] == self.way.protocol
            assert self._mcp("notifications/initialized").status_code == 202
        listed = self._mcp("tools/list").json()["result"]["tools"]
        assert "demo_echo" in [tool["name"] for tool in listed]
        called = self._mcp("tools/call", name="demo_echo", arguments={"text": self.way.title})
        assert called.json()["result"]["structuredContent"] == {"text": self.way.title}

    def _mcp(self, method: str, **parameters: Any) -> httpx2.Response:
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": self.way.protocol}
        if "access_token" in self._values:
            headers["authorization"] = f"Bearer {self._values['access_token']}"
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": parameters}
        if not method.startswith("notifications/"):
            message["id"] = 1
        if self.way.protocol >= "2026":
            parameters["_meta"] = {f"{_META}/protocolVersion": self.way.protocol, **_WHO}
            headers |= {"mcp-method": method, **({"mcp-name": parameters["name"]} if "name" in parameters else {})}
        return self._post(self._deployment.mcp, headers, json=message)

    def _post(self, url: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
        """Posts; for a client in a browser, after a preflight, and checks that it may read the answer."""
        if "origin" in self.way.headers:
            names = ",".join(sorted({*headers, "content-type", "mcp-protocol-version"} - {"accept"}))
            asking = {"access-control-request-method": "POST", "access-control-request-headers": names}
            allowed = self._http.request("OPTIONS", url, headers=asking)
            assert allowed.status_code in (200, 204), f"preflight of {url}: {allowed.status_code}"
            self._check_origin(allowed)
        answer = self._http.post(url, headers=headers, **body)
        self._check_origin(answer)
        return answer

    def _check_origin(self, answer: httpx2.Response) -> None:
        if "origin" in self.way.headers:
            assert answer.headers["access-control-allow-origin"] in ("*", self.way.headers["origin"])

    def _state(self) -> str:
        """A new state in this client's format."""
        shapes = {
            "{22}": secrets.token_urlsafe(16),
            "{43}": secrets.token_urlsafe(32),
            "{hex}": secrets.token_hex(32),
            "{uuid}": str(uuid.uuid4()),
            "{base64}": base64.b64encode(b"\xfb\xff" + secrets.token_bytes(14)).decode(),  # with + / and =
            "{json}": base64.b64encode(json.dumps({"token": secrets.token_hex(90)}).encode()).decode(),
        }
        return shapes.get(self.way.state, self.way.state)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._filled(member) for member in value]
        return self._fill(value) if isinstance(value, str) else value

    def _fill(self, text: str) -> str:
        for name, value in self._said.items():
            text = text.replace(f"{{{name}}}", value)
        return text


_INFO = {"name": "replay", "version": "1"}
_META = "io.modelcontextprotocol"
_WHO = {f"{_META}/clientInfo": _INFO, f"{_META}/clientCapabilities": {}}
