"""Fetches a client's metadata document over the network, which strangers tell us to do: so within narrow bounds."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import httpx2

from gatepost_idp.clients.metadata_document import DocumentUrl, NoDocument
from gatepost_idp.clients.public_addresses import is_public

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host name; raises OSError."""

SECONDS = 5.0
CONNECT_SECONDS = 2.0
MAX_BYTES = 5 * 1024
MAX_ADDRESSES = 3
SHORTEST, USUAL, LONGEST = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
_JSON = re.compile(r"application/(?:[a-z0-9.!#$&^_-]+\+)?json")
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document's bytes, how long they stay fresh, and the tag by which to ask whether they changed.

    ``body`` is None where they did not change.
    """

    body: bytes | None
    etag: str
    fresh_for: timedelta


class Fetcher:
    """One request for each document, on a connection of its own, that can reach nothing but a public address."""

    def __init__(
        self,
        resolve: Resolve | None = None,
        is_allowed: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        # Threads of its own: names that are slow to resolve keep nobody else waiting.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="gatepost-names")
        self._resolve = resolve or self._look_up
        self._is_allowed = is_allowed
        self._tls = tls

    async def fetch(self, url: DocumentUrl, etag: str = "") -> Fetched:
        """The document, unless it is still the one of ``etag``; raises NoDocument, after SECONDS at the latest."""
        try:
            async with asyncio.timeout(SECONDS):  # over all of it: a drip of bytes would outlive a timeout for each
                return await self._fetch_from(await self._addresses(url), url, etag)
        except TimeoutError:
            raise NoDocument(f"It did not answer in full within {SECONDS:.0f} seconds.") from None

    def close(self) -> None:
        """Ends its threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _addresses(self, url: DocumentUrl) -> list[str]:
        """The host's addresses, looked up once: what is checked here is what is connected to (DNS rebinding)."""
        try:
            found = await self._resolve(url.host, url.port)
        except (OSError, UnicodeError) as problem:
            raise NoDocument(_NO_ADDRESS, f"{url.host} does not resolve: {problem}") from None
        refused = [address for address in found if not self._is_allowed(address)]
        if refused or not found:
            raise NoDocument(_NO_ADDRESS, f"{url.host} has an address that is not public: {refused}")
        return found[:MAX_ADDRESSES]

    async def _look_up(self, host: str, port: int) -> list[str]:
        answer = await asyncio.get_running_loop().run_in_executor(
            self._threads, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in answer))

    async def _fetch_from(self, addresses: list[str], url: DocumentUrl, etag: str) -> Fetched:
        """From the first address that takes the connection."""
        problem = ""
        for address in addresses:
            try:
                return await self._fetch(address, url, etag)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as refused:
                problem = f"{address}: {refused!r}"
            except (httpx2.HTTPError, ValueError) as broken:
                raise NoDocument("It did not answer as a web server does.", f"{address}: {broken!r}") from None
        raise NoDocument("No secure connection to it could be made.", problem)

    async def _fetch(self, address: str, url: DocumentUrl, etag: str) -> Fetched:
        """Connects to the number, and asks for the name: in SNI, in the certificate and as Host."""
        if self._tls is None:
            self._tls = httpx2.create_ssl_context(trust_env=False)
        transport = httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        timeout = httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS)
        headers = {
            "host": url.authority,
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "Gatepost",
            **({"if-none-match": etag} if etag else {}),
        }
        place = httpx2.URL(scheme="https", host=address, port=url.port, path="/")
        extensions = {"sni_hostname": url.host, "target": url.target.encode("ascii")}  # as it came, nothing tidied
        async with (
            httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", place, headers=headers, extensions=extensions) as response,
        ):
            if etag and response.status_code == httpx2.codes.NOT_MODIFIED:
                return Fetched(None, etag, _fresh_for(response))
            _check_head(response)
            return Fetched(await _body(response), _etag(response), _fresh_for(response))


_NO_ADDRESS = "Its name cannot be found, or leads to an address that is not public."  # which of both is not told


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
    """At most MAX_BYTES, whatever Content-Length says."""
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
    """The entity tag, where it is one that can be sent back (RFC 9110 section 8.8.3)."""
    tag = str(response.headers.get("etag", ""))
    return tag if len(tag) <= 200 and tag.isascii() and tag.isprintable() else ""


def _fresh_for(response: httpx2.Response) -> timedelta:
    """By ``max-age`` less ``Age`` (RFC 9111 section 4.2), within bounds of our own, as the draft allows."""
    control = response.headers.get("cache-control", "").lower()
    if "no-store" in control or "no-cache" in control:
        return SHORTEST
    stated = _MAX_AGE.search(control)
    if stated is None:
        return USUAL
    age = response.headers.get("age", "")
    left = int(stated[1]) - (int(age) if age.isdecimal() and len(age) < 10 else 0)
    return min(max(timedelta(seconds=left), SHORTEST), LONGEST)
