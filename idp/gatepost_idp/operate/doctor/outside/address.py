"""Checks whether clients accept the MCP URL: https, port 443, with its path, and exactly as configured."""

from urllib.parse import urlsplit

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.visit import Visit, is_url, port_of, scheme_of
from gatepost_idp.settings import is_loopback

URL_IS_NONE = Fault(
    "url-is-none",
    "The client does not accept what was pasted.",
    "a URL",
    "the MCP URL that people paste",
    "https://mcp.example.com/mcp",
)
URL_PLAIN_HTTP = Fault(
    "url-plain-http",
    "Could not connect: clients accept only https.",
    "https",
    "the MCP URL that people paste, and MCP_RESOURCE_URL",
    "MCP_RESOURCE_URL=https://mcp.example.com/mcp",
)
URL_LACKS_PATH = Fault(
    "url-lacks-path",
    "Could not connect: the URL lacks /mcp.",
    "the whole URL",
    "the MCP URL that people paste",
    "https://mcp.example.com/mcp",
)
URL_DIFFERS = Fault(
    "url-differs",
    "A login loop: signed in, then asked to sign in again.",
    "MCP_RESOURCE_URL, byte for byte",
    "MCP_RESOURCE_URL",
    "MCP_RESOURCE_URL=https://mcp.example.com/mcp",
)
URL_OTHER_PORT = Fault(
    "url-other-port",
    "Could not connect from Claude, though other clients do: it calls only port 443.",
    "port 443",
    "MCP_RESOURCE_URL and the proxy's port",
    "MCP_RESOURCE_URL=https://mcp.example.com/mcp",
)


async def _url(visit: Visit) -> list[Finding]:
    if not is_url(visit.url):
        return [URL_IS_NONE.seen(visit.url.rpartition("@")[2].strip() or "nothing")]
    if scheme_of(visit.url) == "http" and not is_loopback(visit.url):
        return [URL_PLAIN_HTTP.seen(visit.url, example=f"MCP_RESOURCE_URL=https{visit.url.removeprefix('http')}")]
    if visit.configured is not None and visit.url != visit.configured.mcp_resource_url:
        return [_differing(visit.url, visit.configured.mcp_resource_url)]
    if not is_loopback(visit.url) and port_of(visit.url) != 443:
        return [URL_OTHER_PORT.seen(f"port {port_of(visit.url)}")]
    return []


def _differing(url: str, own: str) -> Finding:
    if urlsplit(url).path in ("", "/") and own.startswith(url.rstrip("/") + "/"):
        return URL_LACKS_PATH.seen(url, expected=own, example=own)
    return URL_DIFFERS.seen(f"{url} was asked for, MCP_RESOURCE_URL is {own}", example=f"MCP_RESOURCE_URL={url}")


URL = Check("url", "The MCP URL", _url, (URL_IS_NONE, URL_PLAIN_HTTP, URL_LACKS_PATH, URL_DIFFERS, URL_OTHER_PORT))
