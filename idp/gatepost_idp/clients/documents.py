"""Clients that are metadata documents: fetched on first use, stored, and fetched again when no longer fresh."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from gatepost_idp import crypto
from gatepost_idp.clients import metadata_document, pinned
from gatepost_idp.clients.fetcher import AT_ONCE, AT_ONCE_FROM_A_NETWORK, Fetcher, TooMany
from gatepost_idp.clients.metadata import Registration
from gatepost_idp.clients.metadata_document import NoDocument
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import documents as store
from gatepost_idp.store.clients import Client
from gatepost_idp.store.documents import Copy, Document

log = structlog.get_logger("gatepost.documents")

ROW_PREFIX = "gp_md_"
AT_ONCE_FROM_A_HOST = 4
A_MINUTE, A_MINUTE_FROM_A_NETWORK, A_MINUTE_FROM_A_HOST = 600, 150, 60
STALE_FOR = timedelta(days=7)
KEPT_UNUSED = timedelta(days=90)
RETRY_KEPT = timedelta(minutes=5)
RETRY_REFUSED = timedelta(seconds=10)
_REFUSALS = 1024
_DAY = timedelta(days=1)


class Documents:
    """Finds the client behind a URL; documents are stored in the database, shared by all replicas."""

    def __init__(self, database: Database, fetcher: Fetcher, clock: Clock) -> None:
        self._database = database
        self._fetcher = fetcher
        self._clock = clock
        self._turns = _Turns()
        self._under_way: dict[str, asyncio.Task[Document | NoDocument]] = {}
        self._refused: dict[str, tuple[datetime, NoDocument]] = {}

    async def find(self, url: str, network: str) -> Client:
        """The client, disabled or not; raises NoDocument. ``network``: the caller's, whose fetches are limited."""
        host = metadata_document.parse(url).host
        now = self._clock()
        known = await self._database.read(lambda tx: store.find(tx, url))
        document: Document | NoDocument
        if known is not None and (known.disabled or known.fresh_until > now):
            document = known
        else:
            document = self._brake(url, now) or await self._renewed(url, _Turn(host, network), known)
        if isinstance(document, NoDocument):
            raise NoDocument(document.words, document.reason, document.received)
        if document.client is None:
            raise NoDocument("Whoever runs this server switched it off.", "disabled before it was ever fetched")
        if now - document.used_at > _DAY:
            await self._database.write(lambda tx: store.touch(tx, url, now))
        return document.client

    async def forget(self) -> None:
        """Deletes documents that nobody has used for KEPT_UNUSED."""
        since = self._clock() - KEPT_UNUSED
        await self._database.write(lambda tx: store.forget(tx, since))

    async def close(self) -> None:
        """Cancels the fetches under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fetcher.close()

    def _brake(self, url: str, now: datetime) -> NoDocument | None:
        """The failure of a fetch less than RETRY_REFUSED ago, so that a URL is not fetched again at once; else None."""
        at, refusal = self._refused.get(url, (None, None))
        return refusal if at is not None and abs(now - at) < RETRY_REFUSED else None

    async def _renewed(self, url: str, turn: "_Turn", known: Document | None) -> Document | NoDocument:
        """The result of a fetch, which concurrent callers share; a caller that disconnects does not cancel it."""
        task = self._under_way.get(url)
        if task is None:
            task = self._under_way[url] = asyncio.create_task(self._renew(url, turn, known))
            task.add_done_callback(lambda _done: self._under_way.pop(url))
        return await asyncio.shield(task)

    async def _renew(self, url: str, turn: "_Turn", known: Document | None) -> Document | NoDocument:
        now = self._clock()
        try:
            with self._turns.one(turn, now):
                renewed = await self._fetch(url, turn.network, known, now)
        except NoDocument as problem:
            log.warning("document_not_fetched", url=url, reason=problem.reason)
            renewed = await self._kept(url, known, now)
            if renewed is None:
                if not isinstance(problem, TooMany):  # that limit concerns the caller's network, not the URL
                    self._refuse(url, problem, now)
                return problem
        return renewed or NoDocument("It was removed just now. Try again.", "deleted while it was fetched")

    async def _fetch(self, url: str, network: str, known: Document | None, now: datetime) -> Document | None:
        etag = known.etag if known is not None and known.client is not None else ""
        fetched = await self._fetcher.fetch(metadata_document.parse(url), etag, network)
        fresh_until = now + fetched.fresh_for
        if fetched.body is None:
            return await self._database.write(lambda tx: store.extend(tx, url, now, fresh_until))
        registration = metadata_document.read(url, fetched.body)
        copy = _copy(url, registration, fetched.etag, now, fresh_until)
        return await self._database.write(lambda tx: store.keep(tx, copy, now))

    async def _kept(self, url: str, known: Document | None, now: datetime) -> Document | None:
        """The copy to use when the fetch failed: the stored one unless it is too old, else a pinned one, else None.

        A pinned copy never replaces one that was fetched after the pinned copy was written.
        """
        pin = pinned.documents().get(url)
        oldest = pin.written_at if pin else now - STALE_FOR
        if known is not None and known.client is not None and known.fetched_at >= oldest:
            fetched_at = known.fetched_at
            return await self._database.write(lambda tx: store.extend(tx, url, fetched_at, now + RETRY_KEPT))
        if pin is None:
            return None
        copy = _copy(url, pin.registration, "", pin.written_at, now + RETRY_KEPT)
        return await self._database.write(lambda tx: store.keep(tx, copy, now))

    def _refuse(self, url: str, problem: NoDocument, now: datetime) -> None:
        if len(self._refused) >= _REFUSALS:
            self._refused.clear()
        self._refused[url] = (now, problem)


class _Turn(NamedTuple):
    """One fetch from ``host`` on behalf of ``network``."""

    host: str
    network: str


class _Turns:
    """Limits fetches, so that nobody can make this server flood a host, or tie it up with fetches that hang."""

    def __init__(self) -> None:
        self._running: list[_Turn] = []
        self._minute = 0
        self._asked: list[_Turn] = []

    @contextmanager
    def one(self, turn: _Turn, now: datetime) -> Iterator[None]:
        """Counts one fetch while it runs; raises TooMany if a limit is reached."""
        minute = int(now.timestamp()) // 60
        if minute != self._minute:
            self._minute, self._asked = minute, []
        if _is_full(self._running, turn, AT_ONCE, AT_ONCE_FROM_A_HOST, AT_ONCE_FROM_A_NETWORK) or _is_full(
            self._asked, turn, A_MINUTE, A_MINUTE_FROM_A_HOST, A_MINUTE_FROM_A_NETWORK
        ):
            raise TooMany
        self._asked.append(turn)
        self._running.append(turn)
        try:
            yield
        finally:
            self._running.remove(turn)


def _is_full(turns: list[_Turn], turn: _Turn, most: int, from_a_host: int, from_a_network: int) -> bool:
    return (
        len(turns) >= most
        or sum(each.host == turn.host for each in turns) >= from_a_host
        or sum(each.network == turn.network for each in turns) >= from_a_network
    )


def _copy(url: str, registration: Registration, etag: str, fetched_at: datetime, fresh_until: datetime) -> Copy:
    """A copy whose row id depends on the metadata, so that consent is remembered only for unchanged metadata."""
    text = registration.canonical_json()
    row = ROW_PREFIX + crypto.base64url(crypto.token_hash(f"{url}\n{text}")[:24])
    return Copy(url, row, text, etag, fetched_at, fresh_until)
