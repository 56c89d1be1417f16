"""Checks whether the endpoints in the issuer's metadata are below it and answer, also with a trailing slash."""

from dataclasses import dataclass

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.routing import ERRORS_REPLACED, IDP, NOT_ROUTED, REDIRECTED
from gatepost_idp.operate.doctor.outside.visit import Visit
from gatepost_idp.operate.doctor.outside.wire import Answer, Headers

ENDPOINT_ELSEWHERE = Fault(
    "endpoint-elsewhere",
    "A login loop: the metadata sends clients to another host.",
    "an endpoint below the issuer",
    "OAUTH_ISSUER, or a reverse proxy that rewrites bodies",
    "nginx: no sub_filter for /.well-known",
)
_FORM: Headers = (("content-type", "application/x-www-form-urlencoded"),)
_JSON: Headers = (("content-type", "application/json"),)


@dataclass(frozen=True, slots=True)
class _Probe:
    """A harmless request to an endpoint, and the statuses with which the server itself answers it."""

    member: str
    method: str
    headers: Headers
    body: bytes
    statuses: tuple[int, ...]
    speaks_json: bool = True


_PROBES = (
    _Probe("jwks_uri", "GET", (), b"", (200,)),
    _Probe("token_endpoint", "POST", _FORM, b"grant_type=doctor", (400, 401)),
    _Probe("registration_endpoint", "POST", _JSON, b"{}", (400,)),
    _Probe("revocation_endpoint", "POST", _FORM, b"", (400, 401)),
    _Probe("introspection_endpoint", "POST", _FORM, b"token=doctor", (400, 401)),
    _Probe("userinfo_endpoint", "GET", (), b"", (401,), speaks_json=False),
    _Probe("authorization_endpoint", "GET", (), b"", (400,), speaks_json=False),
)


async def _endpoints(visit: Visit) -> list[Finding]:
    issuer, document = await visit.issuer(), await visit.issuer_document()
    for probe in _PROBES:
        url = document.get(probe.member)
        if not isinstance(url, str):
            continue  # another product's server may lack optional endpoints
        if not url.startswith(f"{issuer.rstrip('/')}/"):
            return [ENDPOINT_ELSEWHERE.seen(f"{probe.member} is {url}", expected=f"{issuer}/…")]
        if found := await _answered(visit, probe, url):
            return [found]
    return []


async def _answered(visit: Visit, probe: _Probe, url: str) -> Finding | None:
    answer = await visit.ask(IDP, probe.method, url, probe.headers, probe.body)
    if isinstance(answer, Finding):
        return answer
    seen = f"{probe.method} {url}: {answer}"
    if answer.status not in probe.statuses:
        path = url.partition("://")[2].partition("/")[2]
        return NOT_ROUTED.seen(seen, setting=f"reverse proxy: path /{path}", example=IDP.route)
    if probe.speaks_json and answer.document is None:
        return ERRORS_REPLACED.seen(seen)
    return None


async def _slash(visit: Visit) -> list[Finding]:
    url = (await visit.issuer_document()).get("token_endpoint")
    if not isinstance(url, str):
        return []
    answer = await visit.ask(IDP, "POST", f"{url}/", _FORM, b"grant_type=doctor")
    if isinstance(answer, Answer) or answer.fault != REDIRECTED.name:
        return []  # other products may refuse it; only a redirect is a fault, since it loses the POST
    return [answer]


ENDPOINTS = Check(
    "endpoints",
    "Endpoints of the issuer",
    _endpoints,
    (ENDPOINT_ELSEWHERE,),
    ("issuer",),
)
SLASH = Check("token-slash", "POST /token/", _slash, (), ("endpoints",))
