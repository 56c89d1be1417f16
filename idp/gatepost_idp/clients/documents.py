"""Clients that are metadata documents: fetched when first met, kept, and asked for again when no longer fresh."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from gatepost_idp import crypto
from gatepost_idp.clients import metadata_document, pinned
from gatepost_idp.clients.fetcher import Fetcher
from gatepost_idp.clients.metadata import Registration
from gatepost_idp.clients.metadata_document import NoDocument
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import documents as store
from gatepost_idp.store.clients import Client
from gatepost_idp.store.documents import Copy, Document

log = structlog.get_logger("gatepost.documents")

ROW_PREFIX = "gp_md_"
AT_ONCE, AT_ONCE_FROM_A_HOST = 32, 4
A_MINUTE, A_MINUTE_FROM_A_HOST = 600, 60
STALE_FOR = timedelta(days=7)
KEPT_UNUSED = timedelta(days=90)
RETRY_KEPT = timedelta(minutes=5)
RETRY_REFUSED = timedelta(seconds=10)
_REFUSALS = 1024
_DAY = timedelta(days=1)


class Documents:
    """Finds the client behind a URL; what it knows stands in the database, for every replica and after a restart."""

    def __init__(self, database: Database, fetcher: Fetcher, clock: Clock) -> None:
        self._database = database
        self._fetcher = fetcher
        self._clock = clock
        self._turns = _Turns()
        self._under_way: dict[str, asyncio.Task[Document | NoDocument]] = {}
        self._refused: dict[str, tuple[datetime, NoDocument]] = {}

    async def find(self, url: str) -> Client:
        """The client, disabled or not; raises NoDocument."""
        host = metadata_document.parse(url).host
        now = self._clock()
        known = await self._database.read(lambda tx: store.find(tx, url))
        document: Document | NoDocument
        if known is not None and (known.disabled or known.fresh_until > now):
            document = known
        else:
            document = self._brake(url, now) or await self._renewed(url, host, known)
        if isinstance(document, NoDocument):
            raise NoDocument(document.words, document.reason, document.received)
        if document.client is None:
            raise NoDocument("Whoever runs this server switched it off.", "disabled before it was ever fetched")
        if now - document.used_at > _DAY:
            await self._database.write(lambda tx: store.touch(tx, url, now))
        return document.client

    async def forget(self) -> None:
        """Deletes what nobody used for KEPT_UNUSED."""
        since = self._clock() - KEPT_UNUSED
        await self._database.write(lambda tx: store.forget(tx, since))

    async def close(self) -> None:
        """Ends the fetches under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fetcher.close()

    def _brake(self, url: str, now: datetime) -> NoDocument | None:
        """A refusal of a moment ago: the same URL is not asked for again at once. No copy is kept of an error."""
        at, refusal = self._refused.get(url, (None, None))
        return refusal if at is not None and abs(now - at) < RETRY_REFUSED else None

    async def _renewed(self, url: str, host: str, known: Document | None) -> Document | NoDocument:
        """What a fetch gives. Whoever asks meanwhile waits for the same one; who goes away does not end it."""
        task = self._under_way.get(url)
        if task is None:
            task = self._under_way[url] = asyncio.create_task(self._renew(url, host, known))
            task.add_done_callback(lambda _done: self._under_way.pop(url))
        return await asyncio.shield(task)

    async def _renew(self, url: str, host: str, known: Document | None) -> Document | NoDocument:
        now = self._clock()
        try:
            with self._turns.one(host, now):
                renewed = await self._fetch(url, known, now)
        except NoDocument as problem:
            log.warning("document_not_fetched", url=url, reason=problem.reason)
            renewed = await self._kept(url, known, now)
            if renewed is None:
                self._refuse(url, problem, now)
                return problem
        return renewed or NoDocument("It was removed just now. Try again.", "deleted while it was fetched")

    async def _fetch(self, url: str, known: Document | None, now: datetime) -> Document | None:
        etag = known.etag if known is not None and known.client is not None else ""
        fetched = await self._fetcher.fetch(metadata_document.parse(url), etag)
        fresh_until = now + fetched.fresh_for
        if fetched.body is None:
            return await self._database.write(lambda tx: store.extend(tx, url, now, fresh_until))
        registration = metadata_document.read(url, fetched.body)
        copy = _copy(url, registration, fetched.etag, now, fresh_until)
        return await self._database.write(lambda tx: store.keep(tx, copy, now))

    async def _kept(self, url: str, known: Document | None, now: datetime) -> Document | None:
        """What serves although the fetch failed: the stored copy while it is not too old, else a pinned one.

        A pinned copy never takes the place of one that was fetched after it was written down.
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


class _Turns:
    """How many fetches there may be: nobody can make this server hammer a host, or fill up with those that hang."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._minute = 0
        self._asked: Counter[str] = Counter()

    @contextmanager
    def one(self, host: str, now: datetime) -> Iterator[None]:
        """One fetch from ``host``; raises NoDocument where there are too many."""
        minute = int(now.timestamp()) // 60
        if minute != self._minute:
            self._minute, self._asked = minute, Counter()
        if (
            self._running.total() >= AT_ONCE
            or self._running[host] >= AT_ONCE_FROM_A_HOST
            or self._asked.total() >= A_MINUTE
            or self._asked[host] >= A_MINUTE_FROM_A_HOST
        ):
            raise NoDocument("Too many of these are being fetched just now. Try again in a minute.", "too many fetches")
        self._asked[host] += 1
        self._running[host] += 1
        try:
            yield
        finally:
            self._running[host] -= 1
            if not self._running[host]:
                del self._running[host]


def _copy(url: str, registration: Registration, etag: str, fetched_at: datetime, fresh_until: datetime) -> Copy:
    """Other metadata is another row: a remembered consent is for what the document said then."""
    text = registration.canonical_json()
    row = ROW_PREFIX + crypto.base64url(crypto.token_hash(f"{url}\n{text}")[:24])
    return Copy(url, row, text, etag, fetched_at, fresh_until)
