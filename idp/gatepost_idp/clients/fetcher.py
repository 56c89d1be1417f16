"""Fetches clients' metadata documents, within narrow limits, since strangers choose the URLs."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from gatepost_idp.clients.metadata_document import DocumentUrl, Fetched, NoDocument
from gatepost_idp.clients.public_addresses import is_public

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The IP addresses of a host name and port; raises OSError."""
Send = Callable[[list[str], DocumentUrl, str], Awaitable[Fetched]]

SECONDS = 5.0
MAX_ADDRESSES = 3
AT_ONCE = 32
AT_ONCE_FROM_A_NETWORK = AT_ONCE // 4


class TooMany(NoDocument):
    """A limit prevented the fetch. This says nothing about the document, so it is not remembered for the URL."""

    def __init__(self) -> None:
        super().__init__("Too many of these are being fetched just now. Try again in a minute.", "too many fetches")


class Fetcher:
    """Fetches each document with one request on a new connection, which can reach only public addresses."""

    def __init__(
        self,
        resolve: Resolve | None = None,
        is_allowed: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        # A separate thread pool: names that are slow to resolve block nothing else.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gatepost-names")
        self._lookups: dict[asyncio.Future[list[str]], str] = {}
        self._resolve = resolve or self._look_up
        self._is_allowed = is_allowed
        self._tls = tls
        self._send: Send | None = None

    async def fetch(self, url: DocumentUrl, etag: str = "", network: str = "") -> Fetched:
        """The document, without a body if it still matches ``etag``; raises NoDocument, after SECONDS at the latest.

        ``network``: the caller's, whose concurrent lookups are limited.
        """
        try:
            async with asyncio.timeout(SECONDS):  # in total: a slow drip of bytes would outlive a timeout per read
                addresses = await self._addresses(url, network)
                if self._send is None:
                    self._send = await asyncio.to_thread(self._sending)
                return await self._send(addresses, url, etag)
        except TimeoutError:
            raise NoDocument(f"It did not answer in full within {SECONDS:.0f} seconds.") from None

    def close(self) -> None:
        """Ends the lookup threads without waiting for lookups under way."""
        for lookup in self._lookups:
            lookup.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _sending(self) -> Send:
        """Imports the HTTP client for the first document, in a thread; at the start it would cost 2 MiB and 30 ms."""
        from gatepost_idp.clients.document_request import DocumentRequest  # noqa: PLC0415 (why: the line above)

        return DocumentRequest(self._tls, SECONDS).send

    async def _addresses(self, url: DocumentUrl, network: str) -> list[str]:
        """The host's addresses, resolved once: the checked addresses are the ones connected to (DNS rebinding)."""
        try:
            found = await self._looked_up(url, network)
        except (OSError, UnicodeError) as problem:
            raise NoDocument(_NO_ADDRESS, f"{url.host} does not resolve: {problem}") from None
        refused = [address for address in found if not self._is_allowed(address)]
        if refused or not found:
            raise NoDocument(_NO_ADDRESS, f"{url.host} has an address that is not public: {refused}")
        return found[:MAX_ADDRESSES]

    async def _looked_up(self, url: DocumentUrl, network: str) -> list[str]:
        """Counts each lookup until it ends: one that hangs occupies its thread after its caller has given up."""
        if len(self._lookups) >= AT_ONCE or list(self._lookups.values()).count(network) >= AT_ONCE_FROM_A_NETWORK:
            raise TooMany
        lookup = asyncio.ensure_future(self._resolve(url.host, url.port))
        self._lookups[lookup] = network
        lookup.add_done_callback(self._lookups.pop)
        return await asyncio.shield(lookup)

    async def _look_up(self, host: str, port: int) -> list[str]:
        answer = await asyncio.get_running_loop().run_in_executor(
            self._threads, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in answer))


_NO_ADDRESS = "Its name cannot be found, or leads to an address that is not public."  # does not say which of the two
