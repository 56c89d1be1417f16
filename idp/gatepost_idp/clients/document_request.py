"""One HTTP request for a client's metadata document: how it is sent, and which responses are accepted."""

import re
import ssl
from datetime import timedelta

import httpx2

from gatepost_idp.clients.metadata_document import DocumentUrl, Fetched, NoDocument

CONNECT_SECONDS = 2.0
MAX_BYTES = 5 * 1024
SHORTEST, USUAL, LONGEST = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
_JSON = re.compile(r"application/(?:[a-z0-9.!#$&^_-]+\+)?json")
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})")


class DocumentRequest:
    """Requests documents, each on a new connection."""

    def __init__(self, tls: ssl.SSLContext | None, seconds: float) -> None:
        """``tls``: by default trusts the system's authorities. ``seconds``: the timeout of each read and write."""
        self._tls = tls or httpx2.create_ssl_context(trust_env=False)
        self._timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)

    async def send(self, addresses: list[str], url: DocumentUrl, etag: str) -> Fetched:
        """Sends the request to the first address that accepts a connection; raises NoDocument."""
        problem = ""
        for address in addresses:
            try:
                return await self._send(address, url, etag)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as refused:
                problem = f"{address}: {refused!r}"
            except (httpx2.HTTPError, ValueError) as broken:
                raise NoDocument("It did not answer as a web server does.", f"{address}: {broken!r}") from None
        raise NoDocument("No secure connection to it could be made.", problem)

    async def _send(self, address: str, url: DocumentUrl, etag: str) -> Fetched:
        """Connects to the IP address, but uses the host name for SNI, the certificate check and Host."""
        transport = httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        headers = {
            "host": url.authority,
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "Gatepost",
            **({"if-none-match": etag} if etag else {}),
        }
        place = httpx2.URL(scheme="https", host=address, port=url.port, path="/")
        extensions = {"sni_hostname": url.host, "target": url.target.encode("ascii")}  # unchanged, not normalised
        async with (
            httpx2.AsyncClient(
                transport=transport, timeout=self._timeout, trust_env=False, follow_redirects=False
            ) as client,
            client.stream("GET", place, headers=headers, extensions=extensions) as response,
        ):
            if etag and response.status_code == httpx2.codes.NOT_MODIFIED:
                return Fetched(None, etag, _fresh_for(response))
            _check_head(response)
            return Fetched(await _body(response), _etag(response), _fresh_for(response))


def _check_head(response: httpx2.Response) -> None:
    if response.is_redirect:
        raise NoDocument("It redirects to another address, and redirects are not followed.")
    if response.status_code != httpx2.codes.OK:
        raise NoDocument(f"It answered {response.status_code}, not 200.")
    kind = response.headers.get("content-type", "")
    if _JSON.fullmatch(kind.partition(";")[0].strip().lower()) is None:
        raise NoDocument("Its content type is not application/json.", received=kind)
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise NoDocument("It is compressed, although that was not asked for.")


async def _body(response: httpx2.Response) -> bytes:
    """The body, at most MAX_BYTES whatever Content-Length says; raises NoDocument if it is longer."""
    stated = response.headers.get("content-length", "")
    if stated.isdecimal() and (len(stated) > 9 or int(stated) > MAX_BYTES):
        raise NoDocument(_TOO_LONG)
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise NoDocument(_TOO_LONG)
    return body


_TOO_LONG = f"It is longer than {MAX_BYTES} bytes."


def _etag(response: httpx2.Response) -> str:
    """The entity tag if it can be sent back, else empty (RFC 9110 section 8.8.3)."""
    tag = str(response.headers.get("etag", ""))
    return tag if len(tag) <= 200 and tag.isascii() and tag.isprintable() else ""


def _fresh_for(response: httpx2.Response) -> timedelta:
    """``max-age`` less ``Age`` (RFC 9111 section 4.2), between SHORTEST and LONGEST, as the draft allows."""
    control = response.headers.get("cache-control", "").lower()
    if "no-store" in control or "no-cache" in control:
        return SHORTEST
    stated = _MAX_AGE.search(control)
    if stated is None:
        return USUAL
    age = response.headers.get("age", "")
    left = int(stated[1]) - (int(age) if age.isdecimal() and len(age) < 10 else 0)
    return min(max(timedelta(seconds=left), SHORTEST), LONGEST)
