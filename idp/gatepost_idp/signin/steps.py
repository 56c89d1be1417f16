"""The steps of a sign-in, each one transaction: start, resend, look, redeem, cancel."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from gatepost_idp import crypto, limits, sessions, tokens, traces
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.database import Database
from gatepost_idp.mail.letters import Letters
from gatepost_idp.mail.outbox import Outbox
from gatepost_idp.models import Account
from gatepost_idp.protocol import Clock, milliseconds
from gatepost_idp.settings import Settings
from gatepost_idp.signin import addresses, words
from gatepost_idp.signin.addresses import Address
from gatepost_idp.store import accounts, attempts, audit, clients, outbox, requests
from gatepost_idp.store.attempts import Attempt, AttemptState
from gatepost_idp.store.clients import Client
from gatepost_idp.store.requests import Request
from gatepost_idp.transaction import Transaction

RESEND_AFTER = timedelta(seconds=30)
TAB_ALIVE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Browser:
    """Where a request comes from: digests of its two cookies, and the label and network that the mail shows."""

    hash: bytes
    session_hash: bytes | None
    label: str
    network: str


@dataclass(frozen=True, slots=True)
class Asking:
    """An authorization request and the client behind it."""

    request: Request
    client: Client


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the waiting page shows."""

    asking: Asking
    attempt: Attempt
    state: AttemptState
    mail: outbox.Progress


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh session's cookie value; ``tab_alive``: the waiting tab still polls and will go on by itself."""

    session: str
    request_id: str
    tab_alive: bool


@dataclass(frozen=True, slots=True)
class WrongCode:
    """The code was wrong; ``codes_off``: no code is accepted for this mailbox today."""

    tries_left: int
    codes_off: bool = False


class SignIn:
    """The steps of signing in."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        catalogue: Catalogue,
        letters: Letters,
        outbox_worker: Outbox,
        clock: Clock,
    ) -> None:
        self._database = database
        self._settings = settings
        self._catalogue = catalogue
        self._letters = letters
        self._outbox = outbox_worker
        self._clock = clock

    def milliseconds(self) -> int:
        """The current time in milliseconds since the epoch."""
        return milliseconds(self._clock())

    def seconds_left(self, attempt: Attempt) -> int:
        """Seconds until the attempt expires, for the countdown; never more than SIGN_IN_MINUTES.

        The minutes count from when the mail server accepts the mail.
        """
        life = timedelta(minutes=self._settings.sign_in_minutes)
        return max(0, round(min(attempt.expires_at - self._clock(), life).total_seconds()))

    def seconds_to_resend(self, attempt: Attempt) -> int:
        """Seconds until the mail may be sent again; 0 if it may now."""
        return max(0, round((attempt.resend_at - self._clock()).total_seconds()))

    async def asking(self, request_id: str, browser_hash: bytes) -> Asking | None:
        """The request behind a sign-in page; None if it is over or another browser's."""
        now = self._clock()
        return await self._database.read(lambda tx: _asking(tx, request_id, browser_hash, now))

    async def start(self, request_id: str, address: Address, browser: Browser) -> Attempt | int | None:
        """Queues a mail; returns the attempt, seconds to wait if a limit is reached, or None if the request is over.

        An address that may not sign in gets the same answer as any other, but no mail.
        """
        now = self._clock()
        found = await self._database.write(lambda tx: self._start(tx, request_id, address, browser, now))
        self._outbox.wake()
        return found

    async def resend(self, attempt_id: str, browser_hash: bytes) -> None:
        """Queues the same link and code again, 30 seconds after the last mail at the earliest; else does nothing."""
        now = self._clock()
        await self._database.write(lambda tx: self._resend(tx, attempt_id, browser_hash, now))
        self._outbox.wake()

    async def look(self, attempt_id: str, browser_hash: bytes, polling: bool = False) -> Waiting | None:
        """An attempt for the browser that started it, else None; ``polling`` marks its tab alive."""
        now = self._clock()
        found = await self._database.read(lambda tx: self._look(tx, attempt_id, browser_hash, now))
        if found is not None and polling and found.state == "pending":
            await self._database.write(lambda tx: attempts.mark_polled(tx, attempt_id, now))
        return found

    async def opened_link(self, token: str) -> tuple[Attempt, AttemptState, Client | None, Request | None] | None:
        """The attempt that a mailed link names, its state, and the client and request if they live; None if forged.

        Changes nothing, so mail scanners may open links.
        """
        now = self._clock()
        return await self._database.read(lambda tx: self._opened_link(tx, token, now))

    async def redeem_link(self, token: str, browser: Browser) -> SignedIn | None:
        """Signs in the browser that asked for the link; None for any other browser, or if the attempt is over."""
        now = self._clock()
        return await self._database.write(lambda tx: self._redeem_link(tx, token, browser, now))

    async def redeem_code(self, attempt_id: str, code: str, browser: Browser) -> SignedIn | WrongCode | None:
        """Signs in the browser that asked for the code; None for any other browser, or if the attempt is over."""
        now = self._clock()
        return await self._database.write(lambda tx: self._redeem_code(tx, attempt_id, code, browser, now))

    async def cancel(self, attempt_id: str, browser_hash: bytes) -> None:
        """``change address``: ends the attempt but keeps the request; ignored from any other browser."""
        now = self._clock()
        await self._database.write(lambda tx: _cancel(tx, attempt_id, browser_hash, now))

    async def not_me(self, token: str, network: str) -> AttemptState | None:
        """``It wasn't me``, from any device that has the mail; returns the attempt's state, None for a forged link."""
        now = self._clock()
        return await self._database.write(lambda tx: self._not_me(tx, token, network, now))

    async def lives(self, request_id: str) -> bool:
        """Whether the request lives in some browser; if so, this browser only lacks its cookie."""
        now = self._clock()
        return await self._database.read(lambda tx: requests.lives(tx, request_id, now))

    async def person(self, session_hash: bytes | None) -> accounts.Session | None:
        """The session of the person signed in with this cookie, else None."""
        if session_hash is None:
            return None
        now = self._clock()
        return await self._database.read(lambda tx: accounts.session(tx, session_hash, now))

    def code_of(self, attempt: Attempt) -> str:
        """The code as people read it: ``1234 5678``."""
        code = tokens.sign_in_code(self._settings.secret_keys, attempt)
        return f"{code[:4]} {code[4:]}"

    def _start(
        self, tx: Transaction, request_id: str, address: Address, browser: Browser, now: datetime
    ) -> Attempt | int | None:
        request = requests.find(tx, request_id, browser.hash, now)
        if request is None or request.finished:
            return None
        account = accounts.by_key(tx, address.key)
        wait = limits.take_mail(
            tx, self._settings, address.rate_key, browser.network, now, is_known=account is not None
        )
        if wait:
            return wait
        attempt = Attempt(
            id=crypto.random_id(12),
            request_id=request_id,
            browser_hash=browser.hash,
            email=address.mailbox,
            email_key=address.key,
            seed=crypto.random_bytes(),
            key_id=self._settings.secret_keys.newest,
            reference=words.reference(),
            stored_state="pending",
            wrong_codes=0,
            browser=browser.label,
            network=browser.network,
            created_at=now,
            expires_at=request.created_at + requests.LIFE,
            polled_at=None,
            resend_at=now + RESEND_AFTER,
        )
        attempts.add(tx, attempt)
        # To the account's address, not to a look-alike that was typed (Django CVE-2019-19844). An address that may not
        # sign in gets a letter to NOBODY, processed like any other, so that no page tells them apart.
        recipient = account.email if account else address.mailbox
        if not self._may_sign_in(tx, address.key, account):
            recipient = outbox.NOBODY
            self._note(tx, "refused.sign_in", attempt, browser.network, now)
        outbox.add(tx, crypto.random_id(12), attempt.id, recipient, self._letters.message_id(), now)
        return attempt

    def _may_sign_in(self, tx: Transaction, key: str, account: Account | None) -> bool:
        """Whether this mailbox may sign in; checked when the mail is queued and when its link or code is used."""
        if not addresses.may_sign_in(self._settings, key):
            return False
        if account is not None:
            return account.disabled_at is None
        return addresses.may_sign_up(self._settings, key, accounts.is_invited(tx, key))

    def _resend(self, tx: Transaction, attempt_id: str, browser_hash: bytes, now: datetime) -> None:
        attempt = attempts.find(tx, attempt_id)
        if attempt is None or attempt.browser_hash != browser_hash:
            return
        letter, address = outbox.newest(tx, attempt_id), addresses.parse(attempt.email)
        if letter is None or address is None or attempt.resend_at > now:
            return
        known = accounts.by_key(tx, attempt.email_key) is not None
        wait = limits.take_mail(tx, self._settings, address.rate_key, attempt.network, now, is_known=known)
        # If a limit is reached, the page's countdown shows when it ends.
        following = now + max(RESEND_AFTER, timedelta(seconds=wait))
        if attempts.take_resend(tx, attempt_id, now, following) and not wait:
            outbox.add(tx, crypto.random_id(12), attempt_id, letter.recipient, self._letters.message_id(), now)

    def _look(self, tx: Transaction, attempt_id: str, browser_hash: bytes, now: datetime) -> Waiting | None:
        attempt = attempts.find(tx, attempt_id)
        if attempt is None or attempt.browser_hash != browser_hash:
            return None
        asking = _asking(tx, attempt.request_id, browser_hash, now)
        if asking is None:
            return None
        mail = outbox.progress(tx, attempt_id)
        if mail == "queued" and self._outbox.problem:
            mail = "delayed"
        return Waiting(asking, attempt, attempt.state(now), mail)

    def _verified(self, tx: Transaction, token: str) -> Attempt | None:
        """The attempt of a link with a valid MAC, else None."""
        attempt = attempts.find(tx, token.partition(".")[0])
        if attempt is None or not self._settings.secret_keys.knows(attempt.key_id):
            return None
        expected = tokens.link_token(self._settings.secret_keys, attempt)
        return attempt if hmac.compare_digest(expected.encode(), token.encode("utf-8", "replace")) else None

    def _opened_link(
        self, tx: Transaction, token: str, now: datetime
    ) -> tuple[Attempt, AttemptState, Client | None, Request | None] | None:
        attempt = self._verified(tx, token)
        if attempt is None:
            return None
        asking = _asking(tx, attempt.request_id, attempt.browser_hash, now)
        return attempt, attempt.state(now), asking.client if asking else None, asking.request if asking else None

    def _redeem_link(self, tx: Transaction, token: str, browser: Browser, now: datetime) -> SignedIn | None:
        attempt = self._verified(tx, token)
        # The central rule: a link signs in only the browser that asked for it.
        if attempt is None:
            return None
        if not hmac.compare_digest(attempt.browser_hash, browser.hash):
            self._note(tx, "refused.link_elsewhere", attempt, browser.network, now)
            return None
        return self._consume(tx, attempt, browser, now)

    def _redeem_code(
        self, tx: Transaction, attempt_id: str, code: str, browser: Browser, now: datetime
    ) -> SignedIn | WrongCode | None:
        attempt = attempts.locked(tx, attempt_id)
        if attempt is None or not hmac.compare_digest(attempt.browser_hash, browser.hash):
            return None
        if attempt.state(now) != "pending" or not self._settings.secret_keys.knows(attempt.key_id):
            return None
        if limits.codes_are_off(tx, attempt.email_key, now):
            self._note(tx, "refused.codes_off", attempt, browser.network, now)
            return WrongCode(tries_left=0, codes_off=True)
        digits = "".join(c for c in code if c in "0123456789")
        if not hmac.compare_digest(digits, tokens.sign_in_code(self._settings.secret_keys, attempt)):
            limits.count_wrong_code(tx, attempt.email_key, now)
            self._note(tx, "refused.wrong_code", attempt, browser.network, now)
            return WrongCode(attempts.count_wrong_code(tx, attempt_id, now))
        return self._consume(tx, attempt, browser, now)

    def _consume(self, tx: Transaction, attempt: Attempt, browser: Browser, now: datetime) -> SignedIn | None:
        """Consumes the attempt and makes account and session in one transaction; of concurrent calls one succeeds."""
        if not attempts.turn(tx, attempt.id, "consumed", now):
            return None
        account = accounts.by_key(tx, attempt.email_key)
        if not self._may_sign_in(tx, attempt.email_key, account):
            self._note(tx, "refused.sign_in", attempt, browser.network, now)
            return None
        if account is None:
            account = accounts.sign_up(
                tx, attempt.email, attempt.email_key, self._catalogue.entitlements_of_new_accounts, now
            )
            self._note(tx, "account.created", attempt, browser.network, now)
        if browser.session_hash is not None:
            accounts.end_session(tx, browser.session_hash, now)
        session = sessions.new_session()
        expires_at = sessions.session_expiry(now)
        accounts.start_session(
            tx, crypto.token_hash(session), account.id, now, expires_at, browser.label, browser.network
        )
        self._note(tx, "sign_in", attempt, browser.network, now)
        tab_alive = attempt.polled_at is not None and now - attempt.polled_at <= TAB_ALIVE
        return SignedIn(session, attempt.request_id, tab_alive)

    def _not_me(self, tx: Transaction, token: str, network: str, now: datetime) -> AttemptState | None:
        attempt = self._verified(tx, token)
        if attempt is None or not attempts.turn(tx, attempt.id, "cancelled", now):
            return attempt.state(now) if attempt else None
        self._note(tx, "sign_in.not_me", attempt, network, now)
        return "cancelled"

    @staticmethod
    def _note(tx: Transaction, event: str, attempt: Attempt, network: str, now: datetime) -> None:
        """Adds an event to the audit log, without an account id if the mailbox has no account."""
        account = accounts.by_key(tx, attempt.email_key)
        trace_id, account_id = traces.id_of(attempt.request_id), account.id if account else ""
        audit.record(
            tx, event, now, account_id=account_id, network=network, trace_id=trace_id, detail=f"attempt {attempt.id}"
        )


def _asking(tx: Transaction, request_id: str, browser_hash: bytes, now: datetime) -> Asking | None:
    request = requests.find(tx, request_id, browser_hash, now)
    client = clients.find(tx, request.client_id, request.client_row) if request else None
    if request is None or client is None:
        return None
    return Asking(request, client)


def _cancel(tx: Transaction, attempt_id: str, browser_hash: bytes, now: datetime) -> None:
    attempt = attempts.find(tx, attempt_id)
    if attempt is not None and attempt.browser_hash == browser_hash:
        attempts.turn(tx, attempt_id, "cancelled", now)
