"""Checks whether the resource metadata (RFC 9728) is found in both forms and names exactly the MCP URL."""

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.routing import NOT_ROUTED, RESOURCE
from gatepost_idp.operate.doctor.outside.visit import Visit, issuer_of, root_of

RESOURCE_DIFFERS = Fault(
    "resource-differs",
    "Could not connect, or a login loop: the client says that the resource does not match.",
    "the URL that people paste, byte for byte",
    "MCP_RESOURCE_URL",
    "MCP_RESOURCE_URL=https://mcp.example.com/mcp",
)
NO_ISSUER = Fault(
    "no-issuer",
    "Could not connect: the client does not find where to sign in.",
    "authorization_servers with the issuer",
    "the server behind the MCP URL",
    "authorization_servers: [OAUTH_ISSUER]",
)


async def _metadata(visit: Visit) -> list[Finding]:
    for url in dict.fromkeys([visit.well_known, f"{root_of(visit.url)}/.well-known/oauth-protected-resource"]):
        answer = await visit.get(RESOURCE, url)
        if isinstance(answer, Finding):
            return [answer]
        document = answer.document
        if answer.status != 200 or document is None:
            path = url.removeprefix(root_of(url))
            setting = f"reverse proxy: path {path}"
            return [NOT_ROUTED.seen(f"GET {url}: {answer}", setting=setting, example=RESOURCE.route)]
        if document.get("resource") != visit.url:
            example = f"MCP_RESOURCE_URL={visit.url}"
            return [RESOURCE_DIFFERS.seen(f"{document.get('resource')} in {url}", expected=visit.url, example=example)]
        if not issuer_of(document):
            return [NO_ISSUER.seen(f"{url} has {document.get('authorization_servers')}")]
    return []


METADATA = Check(
    "resource-metadata",
    "Metadata of the resource",
    _metadata,
    (RESOURCE_DIFFERS, NO_ISSUER),
    ("mcp",),
)
