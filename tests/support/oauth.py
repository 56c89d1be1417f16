"""The tests' own OAuth client: builds authorize URLs and token requests itself, so that any part can be altered."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from tests.support.person import Person
from tests.support.serving import Idp

CALLBACK = "https://client.test/callback"


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, section 4.2), computed independently of the server's code."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass
class TestClient:
    """A registered client and one PKCE pair."""

    __test__ = False

    idp: Idp
    information: dict[str, Any]
    redirect_uri: str = CALLBACK
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def id(self) -> str:
        return str(self.information["client_id"])

    @property
    def secret(self) -> dict[str, str]:
        """The secret as a form field, if there is one."""
        return {"client_secret": self.information["client_secret"]} if "client_secret" in self.information else {}

    def authorize_url(self, **changes: str | None) -> str:
        """The URL that the browser opens; a change of None leaves a parameter out."""
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            "state": "state of the client",
            "scope": "demo:read demo:echo",
            "resource": self.idp.settings.mcp_resource_url,
            **changes,
        }
        return f"{self.idp.issuer}/authorize?{urlencode({k: v for k, v in parameters.items() if v is not None})}"

    def code(self, person: Person, **changes: str | None) -> str:
        """A code that ``person`` consented to."""
        return answer_of(person.walk(self.authorize_url(**changes)))["code"]

    def redeem(self, code: str, **changes: str | None) -> httpx2.Response:
        """POST /token with a code."""
        return self.token_request(
            **{
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.redirect_uri,
                "code_verifier": self.verifier,
                **changes,
            }
        )

    def refresh(self, refresh_token: str, **changes: str | None) -> httpx2.Response:
        """POST /token with a refresh token."""
        return self.token_request(**{"grant_type": "refresh_token", "refresh_token": refresh_token, **changes})

    def token_request(self, **parameters: str | None) -> httpx2.Response:
        """POST /token as this client."""
        form = {"client_id": self.id, **self.secret, **parameters}
        return self.idp.post("/token", {name: value for name, value in form.items() if value is not None})

    def connect(self, person: Person, **changes: str | None) -> dict[str, Any]:
        """The whole flow: consents as ``person`` and redeems the code for tokens."""
        answer = self.redeem(self.code(person, **changes))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def answer_of(callback: str) -> dict[str, str]:
    """The parameters of an authorization response."""
    return {name: values[0] for name, values in parse_qs(urlsplit(callback).query, keep_blank_values=True).items()}


def registered(idp: Idp, **metadata: Any) -> TestClient:
    """A freshly registered client of ``idp``."""
    information = idp.register(**metadata)
    return TestClient(idp, information, information["redirect_uris"][0])
