"""Checks whether both servers name the same issuer, and whether its metadata is found in all forms (RFC 8414)."""

from urllib.parse import urlsplit

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.routing import IDP, NOT_ROUTED
from gatepost_idp.operate.doctor.outside.visit import Visit, inserted, root_of, scheme_of
from gatepost_idp.operate.doctor.outside.wire import Answer
from gatepost_idp.settings import is_loopback

ISSUER_ON_THIS_MACHINE = Fault(
    "issuer-on-this-machine",
    "A login loop, consent never appears: the browser is sent to localhost.",
    "a public https URL",
    "OAUTH_ISSUER",
    "OAUTH_ISSUER=https://auth.example.com, for both servers",
)
ISSUER_PLAIN_HTTP = Fault(
    "issuer-plain-http",
    "Could not connect: the issuer is plain http.",
    "https",
    "OAUTH_ISSUER",
    "OAUTH_ISSUER=https://auth.example.com, for both servers",
)
ISSUERS_DIFFER = Fault(
    "issuers-differ",
    "A login loop: people sign in, but every token is refused.",
    "one issuer, byte for byte the same in both servers' settings",
    "OAUTH_ISSUER",
    "OAUTH_ISSUER=https://auth.example.com, for both servers",
)
ISSUER_DIFFERS = Fault(
    "issuer-differs",
    "A login loop, consent never appears: the issuer is not the one whose metadata was requested.",
    "the URL below which the metadata was found, byte for byte",
    "OAUTH_ISSUER",
    "OAUTH_ISSUER=https://auth.example.com",
)


async def _name(visit: Visit) -> list[Finding]:
    issuer = await visit.issuer()
    if is_loopback(issuer) and not is_loopback(visit.url):
        return [ISSUER_ON_THIS_MACHINE.seen(f"{visit.well_known} names {issuer}")]
    if scheme_of(issuer) != "https" and not is_loopback(issuer):
        return [ISSUER_PLAIN_HTTP.seen(f"{visit.well_known} names {issuer}")]
    if visit.configured is not None and visit.configured.oauth_issuer != issuer:
        own = visit.configured.oauth_issuer
        seen = f"the resource server says {issuer}, here it is {own}"
        return [ISSUERS_DIFFER.seen(seen, expected=f"{own} or {issuer}, for both", example=f"OAUTH_ISSUER={own}")]
    return []


async def _metadata(visit: Visit) -> list[Finding]:
    issuer = await visit.issuer()
    for url in _forms(issuer):
        answer = await visit.get(IDP, url)
        if isinstance(answer, Finding):
            return [answer]
        if answer.status != 200 or answer.document is None:
            return [await _not_there(visit, issuer, url, answer)]
        if answer.document.get("issuer") != issuer:
            return [_other(issuer, url, answer)]
    return []


def _forms(issuer: str) -> tuple[str, ...]:
    """The metadata URLs in the order in which clients try them: path-inserted for both names, then appended."""
    names = ("oauth-authorization-server", "openid-configuration")
    forms = [*(inserted(issuer, name) for name in names), f"{issuer}/.well-known/openid-configuration"]
    return tuple(dict.fromkeys(forms))


async def _not_there(visit: Visit, issuer: str, url: str, answer: Answer) -> Finding:
    """Why metadata is missing: if another form of the URL names another issuer, the issuer is wrong, not a proxy."""
    for other in (*_forms(issuer), f"{root_of(issuer)}/.well-known/oauth-authorization-server"):
        told = await visit.get(IDP, other)
        if isinstance(told, Answer) and told.document is not None and told.document.get("issuer") not in (None, issuer):
            return _other(issuer, other, told)
    path = urlsplit(url).path
    return NOT_ROUTED.seen(f"GET {url}: {answer}", setting=f"reverse proxy: path {path}", example=IDP.route)


def _other(issuer: str, url: str, answer: Answer) -> Finding:
    said = (answer.document or {}).get("issuer")
    return ISSUER_DIFFERS.seen(f"{said} in {url}", expected=issuer, example=f"OAUTH_ISSUER={issuer}")


NAME = Check(
    "issuer-name",
    "Name of the issuer",
    _name,
    (ISSUER_ON_THIS_MACHINE, ISSUER_PLAIN_HTTP, ISSUERS_DIFFER),
    ("resource-metadata",),
)
METADATA = Check("issuer", "Metadata of the issuer", _metadata, (ISSUER_DIFFERS,), ("issuer-certificate",))
