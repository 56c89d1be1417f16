"""The hot operations: what programs request all day, each from a warmed-up server."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from gatepost_idp.protocol import ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE
from tests.idp.oauth.backends import CRM, beside_the_demo
from tests.idp.oauth.wire import basic
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person
from tests.support.processes import environment_of, run_gatepost
from tests.support.serving import Idp, serving

SCOPE = "openid email demo:read demo:echo"
Asking = Callable[[], httpx2.Response]


@dataclass
class Hot:
    """A server, a person connected to it, and a resource server's credentials."""

    idp: Idp
    client: TestClient
    person: Person
    own: tuple[str, str]
    tokens: dict[str, Any] = field(default_factory=dict)

    def metadata(self) -> httpx2.Response:
        return self.idp.get("/.well-known/oauth-authorization-server")

    def jwks(self) -> httpx2.Response:
        return self.idp.get("/jwks.json")

    def register(self) -> httpx2.Response:
        body = {"client_name": "Another", "redirect_uris": ["http://127.0.0.1:3017/callback"]}
        return self.idp.post("/register", json=body)

    def authorize(self) -> httpx2.Response:
        return self.person.browser.get(self.client.authorize_url(scope=SCOPE))

    def code(self) -> Asking:
        """A redemption, ready to be sent."""
        code = answer_of(self.authorize().headers["location"])["code"]
        return lambda: self.client.redeem(code)

    def refresh(self) -> httpx2.Response:
        answer = self.client.refresh(self.tokens["refresh_token"])
        self.tokens = dict(answer.json())
        return answer

    def introspect(self) -> httpx2.Response:
        return self.idp.post("/introspect", {"token": self.tokens["access_token"]}, headers=basic(*self.own))

    def exchange(self) -> httpx2.Response:
        form = {
            "grant_type": TOKEN_EXCHANGE, "subject_token": self.tokens["access_token"],
            "subject_token_type": ACCESS_TOKEN_TYPE, "resource": CRM, "scope": "demo:read",
        }  # fmt: skip  # one row
        return self.idp.post("/token", form, headers=basic(*self.own))

    def lists(self) -> httpx2.Response:
        form = {"grant_type": "client_credentials", "resource": CRM}
        return self.idp.post("/token", form, headers=basic(*self.own))

    def userinfo(self) -> httpx2.Response:
        return self.idp.get("/userinfo", headers={"authorization": f"Bearer {self.tokens['access_token']}"})

    def prepared(self, operation: str) -> Asking:
        """The operation, run once already so that short-lived caches are filled."""
        if operation == "code":
            self.code()()
            return self.code()
        asking: Asking = getattr(self, operation)
        asking()
        return asking


@contextlib.contextmanager
def connected(folder: Path) -> Iterator[Hot]:
    """A server with one person who has consented."""
    with serving(folder, catalogue=beside_the_demo(folder)) as idp, Person("alice@example.com", idp.postbox) as person:
        client = registered(idp)
        hot = Hot(idp, client, person, _credentials(idp))
        hot.tokens = client.connect(person, scope=SCOPE)
        yield hot


def _credentials(idp: Idp) -> tuple[str, str]:
    """A resource server's credentials, as the operator gets them."""
    environment = environment_of(DATABASE_URL=idp.settings.database_url, OAUTH_ISSUER=idp.issuer)
    printed = run_gatepost(environment, "clients", "add", "The tools", "--resource-server")
    said = dict(line.split(": ", 1) for line in printed.strip().splitlines())
    return said["client_id"], said["client_secret"]
