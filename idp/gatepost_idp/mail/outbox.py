"""The worker that sends queued mails: woken for a new one, and polling every second for retries."""

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from gatepost_idp import traces
from gatepost_idp.counts import Counts, MailOutcome
from gatepost_idp.database import Database
from gatepost_idp.mail.letters import Letters
from gatepost_idp.mail.smtp import Delivery, deliver, probe
from gatepost_idp.protocol import Clock
from gatepost_idp.recorder import Recorder
from gatepost_idp.settings import Settings
from gatepost_idp.store import attempts
from gatepost_idp.store import outbox as store
from gatepost_idp.store.outbox import Letter, News, Occasion
from gatepost_idp.transaction import Transaction

log = structlog.get_logger("gatepost.mail")

RETRY_SECONDS = (1, 3, 10, 30, 60, 120)
LOOK_EVERY_SECONDS = 1.0
AT_ONCE = 20
AT_FIRST = 2
CLOSE_SECONDS = 5.0
CIRCUIT_OPEN = timedelta(seconds=30)
_OF_ONE_MAIL = ("accepted", "later", "refused")
"""Outcomes that are possible only after connecting and logging in succeeded."""


class Outbox:
    """The outbox worker of one process; several may run on one database."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        letters: Letters,
        recorder: Recorder,
        counts: Counts,
        clock: Clock,
    ) -> None:
        self._database = database
        self._settings = settings
        self._letters = letters
        self._recorder = recorder
        self._counts = counts
        self._clock = clock
        self._wake = asyncio.Event()
        self._proven = False
        self._tls: ssl.SSLContext | None = None
        self._preparing = asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()
        self._put_off: Delivery | None = None
        self._closed_until = datetime.min.replace(tzinfo=UTC)
        self.problem = "" if settings.smtp_host else "SMTP_HOST is not set"
        """Why mail cannot be sent now; empty if it can."""

    def wake(self) -> None:
        """Makes ``work`` look at once; to be called after a commit that queued a mail."""
        self._wake.set()

    async def work(self) -> None:
        """Starts sending what is due, then waits until woken or for a second."""
        self._wake.clear()
        await self._send_due()
        with suppress(TimeoutError):
            # Not wait_for: in Python 3.11 it loses a cancellation that coincides with the result.
            async with asyncio.timeout(LOOK_EVERY_SECONDS):
                await self._wake.wait()

    async def _send_due(self) -> None:
        now = self._clock()
        if not self._settings.smtp_host or now < self._closed_until:
            return
        free = self._at_once() - len(self._sending)
        while free > 0 and await self._database.read(partial(store.any_due, now=now)):
            letters = await self._database.write(partial(store.claim, now=now, at_most=free))
            for letter in letters:
                self._start(letter)
            free -= len(letters) or free

    def _at_once(self) -> int:
        """How many mails may be sent in parallel: few until the server has accepted one, and one while something is
        wrong, so that a wrong password is not tried twenty times at once. Also one while the first is prepared: a
        letter to NOBODY behind it must learn that the server defers mail, or its progress would reveal that it is not
        sent."""
        if self.problem or self._tls is None:
            return 1
        return AT_ONCE if self._proven else AT_FIRST

    def _start(self, letter: Letter) -> None:
        """Sends in a task, so that a slow SMTP conversation delays no other mail."""
        task = asyncio.create_task(self._send(letter))
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not self.problem:  # or the whole queue would be tried at once, and postponed further
            self._wake.set()
        if not task.cancelled() and (problem := task.exception()):  # retried when its lease ends
            log.error("mail_failed", exc_info=problem)

    async def close(self) -> None:
        """Lets sending tasks finish within CLOSE_SECONDS; mails cut short are retried when their lease ends."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _send(self, letter: Letter) -> None:
        occasion = await self._database.read(lambda tx: _occasion(tx, letter))
        now = self._clock()
        if occasion is None or (isinstance(occasion, Occasion) and occasion.attempt.state(now) != "pending"):
            await self._database.write(lambda tx: store.close(tx, letter.id, "dropped", "what it is about ended"))
            return
        await self._note(letter, occasion, await self._delivery(letter, occasion, now))

    async def _delivery(self, letter: Letter, occasion: Occasion | News, now: datetime) -> Delivery:
        """Sends the mail. One to NOBODY behaves alike: it probes the server, and is deferred if other mail is."""
        tls = await self._prepared()
        if letter.recipient == store.NOBODY:
            found = await probe(self._settings, tls)
            return self._put_off if self._put_off and found.outcome == "accepted" else found
        if isinstance(occasion, News):
            message = self._letters.connected(occasion, letter.id, now)
        else:
            message = self._letters.sign_in(occasion, letter.recipient, letter.message_id, now)
        delivery = await deliver(self._settings, tls, message, letter.recipient)
        self._put_off = delivery if delivery.outcome == "later" else None
        return delivery

    async def _prepared(self) -> ssl.SSLContext:
        """The TLS context; made once, with the templates, before the first mail and in a thread, since loading the
        certificate authorities and templates takes 60 ms and 3 MiB."""
        async with self._preparing:
            if self._tls is None:
                await asyncio.to_thread(self._letters.prepare)
                self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    async def _note(self, letter: Letter, occasion: Occasion | News, delivery: Delivery) -> None:
        now = self._clock()
        about = self._trace(letter, occasion, delivery)
        if delivery.outcome in _OF_ONE_MAIL:
            self.problem = ""
        if delivery.outcome == "accepted":
            self._proven = True
            life = timedelta(minutes=self._settings.sign_in_minutes)
            await self._database.write(lambda tx: _accepted(tx, letter, occasion, delivery, now, life))
            log.info("mail_sent", **about, tries=letter.tries + 1)
            return
        log.warning("mail_not_sent", **about, outcome=delivery.outcome, answer=delivery.answer)
        if delivery.outcome == "refused":
            await self._database.write(lambda tx: _refused(tx, letter, delivery, now))
            return
        if delivery.outcome not in _OF_ONE_MAIL:
            self.problem = delivery.answer
        if delivery.outcome == "misconfigured":
            self._closed_until = now + CIRCUIT_OPEN
        wait = RETRY_SECONDS[min(letter.tries, len(RETRY_SECONDS) - 1)]
        at = now + timedelta(seconds=wait)
        await self._database.write(lambda tx: store.postpone(tx, letter.id, at, delivery.answer))

    def _trace(self, letter: Letter, occasion: Occasion | News, delivery: Delivery) -> dict[str, str | None]:
        """Counts the mail, and records a sign-in mail's outcome in its trace; returns the fields for the log."""
        withheld = letter.recipient == store.NOBODY and delivery.outcome == "accepted"
        outcome: MailOutcome = "withheld" if withheld else delivery.outcome
        self._counts.mail(outcome)
        if isinstance(occasion, News):
            return {"grant": letter.grant_id}
        trace_id = traces.id_of(occasion.attempt.request_id)
        self._recorder.note_mail(trace_id, outcome, "" if withheld else delivery.answer)
        return {"attempt": letter.attempt_id, "trace_id": trace_id}


def _occasion(tx: Transaction, letter: Letter) -> Occasion | News | None:
    return store.news(tx, letter.grant_id) if letter.attempt_id is None else store.occasion(tx, letter.attempt_id)


def _accepted(
    tx: Transaction, letter: Letter, occasion: Occasion | News, delivery: Delivery, now: datetime, life: timedelta
) -> None:
    store.close(tx, letter.id, "sent", delivery.answer)
    if isinstance(occasion, Occasion):
        # The minutes count from here, so that the link in a delayed mail still works.
        until = min(now + life, occasion.request_expires_at)
        attempts.mark_accepted(tx, occasion.attempt.id, now, until)


def _refused(tx: Transaction, letter: Letter, delivery: Delivery, now: datetime) -> None:
    store.close(tx, letter.id, "failed", delivery.answer)
    if delivery.no_mailbox:  # not for its content, which a stranger can influence: they could stop other people's mail
        store.suppress(tx, letter.recipient, delivery.answer, now)
