"""A small authorization server over real HTTP: metadata, a JWKS, and tokens signed with its own key."""

import base64
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote_plus

from joserfc import jwt
from joserfc.jwk import ECKey

MAX_BYTES = 1_000_000
READ_AND_ECHO = "demo:read demo:echo"


class Issuer:
    """An issuer as another product would be: it shares only the protocols with the resource server."""

    def __init__(self, path: str = "") -> None:
        self.keys = [new_key("first")]
        self.asked: list[str] = []  # the path of every request
        self.metadata: dict[str, Any] = {}  # replaces members of the metadata
        self.jwks: bytes | None = None  # replaces the whole JWKS
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay = 0.0  # seconds before an answer
        self.drip = 0.0  # seconds between two bytes of it
        self.gone: list[str] = []  # paths that no longer answer a form
        self.told: dict[str, dict[str, Any]] = {}  # what introspection says of a bearer, beyond `active: false`
        self.credentials = ("tools", "a secret: with % and +")
        self.introspected: list[str] = []  # every bearer that was asked about
        self.exchanged: list[dict[str, str]] = []  # every form that came to /token
        self.refuses: tuple[int, dict[str, Any]] | None = None  # what /token answers instead of a token
        self.backend_life = 300  # seconds
        self.most_at_once = 0
        self._at_once = 0
        self._counting = threading.Lock()
        self.twins: list[Issuer] = []
        self.path = path
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        """Starts answering, on the port it had before."""
        handler = type("Handler", (_Handler,), {"issuer": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stops: connections are refused."""
        for twin in self.twins:
            twin.stop()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def twin(self) -> "Issuer":
        """Another server with the same keys; it stops with this one."""
        other = Issuer(self.path)
        other.keys = self.keys
        self.twins.append(other)
        return other

    def answer(self, path: str) -> bytes | None:
        if path == f"/.well-known/oauth-authorization-server{self.path}":
            endpoints = {"jwks_uri": f"{self.url}/jwks.json", "introspection_endpoint": f"{self.url}/introspect"}
            endpoints["token_endpoint"] = f"{self.url}/token"
            metadata = {"issuer": self.url, **endpoints, **self.metadata}
            return json.dumps(metadata).encode()
        if path == f"{self.path}/jwks.json":
            public = [key.as_dict(private=False) for key in self.keys]
            return self.jwks if self.jwks is not None else json.dumps({"keys": public}).encode()
        return None

    def post(self, path: str, authorization: str, form: str) -> tuple[int, bytes]:
        """Answers forms with the right credentials (RFC 6749, section 2.3.1: encoded, then Basic)."""
        if path in self.gone:
            return 404, b"{}"
        expected = base64.b64encode(":".join(quote_plus(part) for part in self.credentials).encode()).decode()
        if authorization != f"Basic {expected}":
            return 401, b'{"error": "invalid_client", "error_description": "The client secret is wrong."}'
        return self.exchange(form) if path.endswith("/token") else self.introspect(form)

    def exchange(self, form: str) -> tuple[int, bytes]:
        """RFC 8693: an opaque token, a different one each time."""
        with self._counting:
            self.exchanged.append({name: values[0] for name, values in parse_qs(form).items()})
            token = f"backend-token-{len(self.exchanged)}"
        self._wait()
        if self.refuses is not None:
            return self.refuses[0], json.dumps(self.refuses[1]).encode()
        issued = {"access_token": token, "token_type": "Bearer", "expires_in": self.backend_life, "scope": ""}
        return self.status, json.dumps(issued).encode()

    def introspect(self, form: str) -> tuple[int, bytes]:
        """RFC 7662."""
        token = parse_qs(form)["token"][0]
        with self._counting:
            self.introspected.append(token)
        self._wait()
        told = self.told.get(token)
        return self.status, json.dumps({"active": False} if told is None else {"active": True, **told}).encode()

    def _wait(self) -> None:
        with self._counting:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self.delay)
        with self._counting:
            self._at_once -= 1

    def claims(self, resource: str, now: float | None = None, **changes: Any) -> dict[str, Any]:
        """The claims of a valid token; a change of None leaves the member out."""
        issued = int(time.time() if now is None else now)
        claims = {
            "iss": self.url,
            "aud": resource,
            "sub": "user-1",
            "client_id": "client-1",
            "client_name": "Claude",
            "email": "alice@example.com",
            "jti": secrets.token_hex(8),
            "iat": issued,
            "exp": issued + 900,
            "scope": READ_AND_ECHO,
            "entitlements": READ_AND_ECHO.split(),
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, resource: str, *, key: ECKey | None = None, now: float | None = None, **changes: Any) -> str:
        signing = key or self.keys[-1]
        header = {"typ": "at+jwt", "alg": "ES256", "kid": signing.kid}
        return jwt.encode(header, self.claims(resource, now, **changes), signing, ["ES256"])


class _Handler(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self) -> None:
        self.issuer.asked.append(self.path)
        time.sleep(self.issuer.delay)
        body = self.issuer.answer(self.path)
        self.send_response(404 if body is None else self.issuer.status)
        for name, value in self.issuer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        size = 1 if self.issuer.drip else MAX_BYTES
        with contextlib.suppress(OSError):  # the client may have disconnected
            for at in range(0, len(body or b""), size):
                time.sleep(self.issuer.drip)
                self.wfile.write((body or b"")[at : at + size])

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["content-length"])).decode()
        status, body = self.issuer.post(self.path, self.headers.get("authorization", ""), form)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_request(self, *args: Any) -> None:
        """Quiet."""


def new_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})


@contextlib.contextmanager
def issuing(path: str = "") -> Iterator[Issuer]:
    issuer = Issuer(path)
    try:
        yield issuer
    finally:
        issuer.stop()
