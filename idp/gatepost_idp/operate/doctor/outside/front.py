"""Checks what lies in between: whether tokens get through, keys can be fetched, and no filter blocks Claude."""

import base64
import json

from gatepost_idp import crypto
from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.routing import FILTERED, IDP
from gatepost_idp.operate.doctor.outside.visit import CLAUDE, Visit, inserted
from gatepost_idp.operate.doctor.outside.wire import Answer
from gatepost_idp.tokens import PERSONAL_PREFIX

AUTHORIZATION_SWALLOWED = Fault(
    "authorization-swallowed",
    "A login loop: signed in, then asked to sign in again.",
    "the Authorization header, as the client sent it",
    "reverse proxy: Authorization",
    "Apache: CGIPassAuth On; nginx: no proxy_set_header Authorization",
)
KEYS_UNFETCHED = Fault(
    "keys-unfetched",
    "Signed in, but the client says that the server is unavailable; the log says keys_not_fetched.",
    "a resource server that can reach the issuer at its public URL",
    "the resource server's route to OAUTH_ISSUER",
    "on its machine or in its container: curl https://auth.example.com/.well-known/oauth-authorization-server",
)
INTROSPECTION_REFUSED = Fault(
    "introspection-refused",
    "Personal tokens are answered with 503, while Claude connects; the log mentions introspection.",
    "credentials of a resource server that the issuer knows",
    "INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET",
    "what `gatepost clients add NAME --resource-server` prints",
)


async def _authorization(visit: Visit) -> list[Finding]:
    # With dots, like a JWT, so that it is refused locally; an opaque token might be introspected first.
    answer = await visit.post_mcp(("authorization", "Bearer gatepost.doctor.asks"))
    if isinstance(answer, Finding):
        return [answer]
    if "error=" in answer.header("www-authenticate"):  # RFC 6750 section 3.1: only where a token came
        return []
    return [AUTHORIZATION_SWALLOWED.seen("a request with a token is answered like one without")]


async def _keys(visit: Visit) -> list[Finding]:
    """Sends a well-formed token with an unknown key, for which the resource server has to fetch the issuer's keys."""
    answer = await visit.post_mcp(("authorization", f"Bearer {_unsigned(visit, await visit.issuer())}"))
    if isinstance(answer, Finding):
        return [answer]
    if answer.status == 503 and answer.document is not None:
        return [KEYS_UNFETCHED.seen(f"503, {answer.document.get('error_description', '')}")]
    return []


async def _introspection(visit: Visit) -> list[Finding]:
    """Sends a random token in the form of a personal token, for which the resource server has to introspect."""
    answer = await visit.post_mcp(("authorization", f"Bearer {crypto.opaque_token(PERSONAL_PREFIX)}"))
    if isinstance(answer, Finding):
        return [answer]
    if answer.status == 503 and answer.document is not None:
        return [INTROSPECTION_REFUSED.seen(f"503, {answer.document.get('error_description', '')}")]
    return []


def _unsigned(visit: Visit, issuer: str) -> str:
    now = int(visit.now().timestamp())
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "gatepost-doctor"}
    claims = {
        "iss": issuer,
        "aud": visit.url,
        "sub": "gatepost-doctor",
        "client_id": "gatepost-doctor",
        "jti": "gatepost-doctor",
        "scope": "",
        "iat": now,
        "exp": now + 60,
    }
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), bytes(64)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


async def _user_agent(visit: Visit) -> list[Finding]:
    """Calls as Claude's cloud does: first with its user agent, then discovery with a Python client's."""
    answer = await visit.post_mcp(("user-agent", CLAUDE))
    if isinstance(answer, Finding):
        return [answer]
    if answer.status != 401:
        return [FILTERED.seen(f"POST {visit.url} as {CLAUDE}: {answer}, as another program: 401")]
    url = inserted(await visit.issuer(), "oauth-authorization-server")
    asked = (("user-agent", "python-httpx/0.28.1"), ("accept", "*/*"), ("mcp-protocol-version", "2025-11-25"))
    discovered = await visit.get(IDP, url, *asked)
    if isinstance(discovered, Answer) and discovered.document is not None:
        return []
    return [discovered if isinstance(discovered, Finding) else FILTERED.seen(f"GET {url} as Claude: {discovered}")]


AUTHORIZATION = Check(
    "authorization", "Authorization header", _authorization, (AUTHORIZATION_SWALLOWED,), ("challenge",)
)
KEYS = Check("keys-fetched", "Keys at the resource server", _keys, (KEYS_UNFETCHED,), ("issuer", "authorization"))
INTROSPECTION = Check("introspection", "Introspection", _introspection, (INTROSPECTION_REFUSED,), ("keys-fetched",))
USER_AGENT = Check("user-agent", "Claude's user agent", _user_agent, (), ("issuer",))
