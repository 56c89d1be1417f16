"""The journey of an authorization request: ``next_step`` alone decides what comes next, Journey carries it out."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

from gatepost_idp import crypto, redirects, tokens
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.consent import rules
from gatepost_idp.consent.rules import Memory
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock, Refused, scope_text
from gatepost_idp.settings import Settings
from gatepost_idp.store import accounts, audit, clients, codes, connections, consents, requests
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.clients import Client
from gatepost_idp.store.consents import Agreement
from gatepost_idp.store.requests import Request
from gatepost_idp.transaction import Transaction
from gatepost_idp.visitors import Visitor

Step = Literal["sign_in", "ask", "one_tap", "silent", "own_page"]


def next_step(request: Request, session: Session | None, memory: Memory, now: datetime) -> Step | Refused:
    """What comes next for a request: sign-in, a form of consent, or an error to send back (OIDC Core 3.1.2.3)."""
    quiet = "none" in request.prompt
    if session is None or _wants_sign_in(request, session, now):
        return Refused("login_required", "Nobody is signed in.", "prompt=none") if quiet else "sign_in"
    if request.is_own:
        return "own_page"
    if "consent" in request.prompt:
        return "ask"
    if "select_account" in request.prompt:
        return "one_tap" if memory.agreement else "ask"
    if quiet and memory.kind != "silent":
        return Refused("consent_required", "The person has to be asked first.", "prompt=none")
    return memory.kind


def _wants_sign_in(request: Request, session: Session, now: datetime) -> bool:
    """Whether ``prompt`` or ``max_age`` demands a fresh sign-in; one since the request began satisfies both."""
    if session.auth_time >= request.created_at:
        return False
    if "login" in request.prompt:
        return True
    return request.max_age is not None and now - session.auth_time > timedelta(seconds=request.max_age)


@dataclass(frozen=True, slots=True)
class Place:
    """A browser's label and network, as the account page and the mail about a connection show them."""

    browser: str
    network: str


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit of a browser to an authorization request."""

    request_id: str
    visitor: Visitor

    @property
    def place(self) -> Place:
        """The browser's label and network."""
        return Place(self.visitor.label, self.visitor.network)


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a request has come, with all that its page needs."""

    request: Request
    client: Client
    session: Session | None
    step: Step | Refused | Literal["finished"]
    agreement: Agreement | None
    place: Place
    held: frozenset[str] = frozenset()
    """Scopes that the person holds at the resource; read only for pages."""
    answer: str | None = None
    """The redirect to the client, with a code or an error, once the request is answered."""


class Journey:
    """Carries requests through their steps, each in one transaction."""

    def __init__(self, database: Database, settings: Settings, catalogue: Catalogue, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._catalogue = catalogue
        self._clock = clock

    async def begin(self, request: Request, client: Client, visit: Visit) -> Stage:
        """Begins a request: answers at once if consent may be silent; else stores it for its browser or refuses it."""
        now = self._clock()
        return await self._database.write(lambda tx: self._begin(tx, request, client, visit, now))

    async def resume(self, visit: Visit) -> Stage | None:
        """Goes on with a stored request; None if this browser has no such request, or its client is disabled."""
        now = self._clock()
        return await self._database.write(lambda tx: self._resume(tx, visit, now))

    async def lives(self, request_id: str) -> bool:
        """Whether the request lives in some browser; if so, this browser only lacks its cookie."""
        now = self._clock()
        return await self._database.read(lambda tx: requests.lives(tx, request_id, now))

    async def is_signed_in(self, session_hash: bytes | None) -> bool:
        """Whether the session is a living one; False for None."""
        now = self._clock()
        if session_hash is None:
            return False
        return await self._database.read(lambda tx: accounts.session(tx, session_hash, now) is not None)

    async def agree(self, visit: Visit, ticked: list[str], days: int) -> Stage | None:
        """Consents to the scopes in ``ticked``, to be remembered for ``days``; None as in ``resume``."""
        now = self._clock()
        return await self._database.write(lambda tx: self._agree(tx, visit, ticked, days, now))

    async def agree_again(self, visit: Visit) -> Stage | None:
        """Consents with one tap to what the person agreed to before; None as in ``resume``."""
        now = self._clock()
        return await self._database.write(lambda tx: self._agree_again(tx, visit, now))

    async def deny(self, visit: Visit) -> Stage | None:
        """Denies: the client is sent ``access_denied``; None as in ``resume``."""
        now = self._clock()
        return await self._database.write(lambda tx: self._deny(tx, visit, now))

    async def sign_out(self, visit: Visit) -> None:
        """Ends this browser's session, for the button ``Use another address``."""
        now = self._clock()
        await self._database.write(lambda tx: self._sign_out(tx, visit, now))

    def refusal(self, redirect_uri: str, state: str | None, refused: Refused) -> str:
        """The URL that redirects an error to the client, with ``iss`` (RFC 9207)."""
        return self._answer(redirect_uri, {"error": refused.error, "error_description": refused.description}, state)

    def _sign_out(self, tx: Transaction, visit: Visit, now: datetime) -> None:
        if visit.visitor.session_hash is None:
            return
        person = accounts.session(tx, visit.visitor.session_hash, now)
        accounts.end_session(tx, visit.visitor.session_hash, now)
        if person is not None:
            request = requests.find(tx, visit.request_id, visit.visitor.browser_hash, now)
            trace_id, own = request.trace_id if request else "", person.account_id
            audit.record(tx, "signed_out", now, account_id=own, network=visit.place.network, trace_id=trace_id)

    def _begin(self, tx: Transaction, request: Request, client: Client, visit: Visit, now: datetime) -> Stage:
        stage = self._stage(tx, request, client, visit, now)
        if stage.step == "silent":
            return self._issue(tx, stage, now)
        if not isinstance(stage.step, Refused):
            requests.add(tx, request, visit.visitor.browser_hash, request.created_at + requests.LIFE)
        return stage

    def _resume(self, tx: Transaction, visit: Visit, now: datetime) -> Stage | None:
        stage = self._open(tx, visit, now)
        if stage is not None and stage.step == "silent" and requests.finish(tx, visit.request_id, now):
            return self._issue(tx, stage, now)
        return stage

    def _agree(self, tx: Transaction, visit: Visit, ticked: list[str], days: int, now: datetime) -> Stage | None:
        stage = self._open(tx, visit, now)
        if stage is None or stage.session is None or stage.step not in ("ask", "one_tap", "silent"):
            return stage
        request = stage.request
        approved = rules.approved(request, [*ticked, *self._without_tick_box(request)])
        until = now + timedelta(days=days)
        agreed = Agreement(request.client_id, request.scope, approved, until)
        is_new = not connections.has_been(tx, stage.session.account_id, request.client_row)
        return self._settle(tx, stage, stage.session, agreed, now, announced=is_new)

    def _agree_again(self, tx: Transaction, visit: Visit, now: datetime) -> Stage | None:
        stage = self._open(tx, visit, now)
        if stage is None or stage.session is None or stage.agreement is None or stage.step not in ("one_tap", "silent"):
            return stage
        # Stored under this registration's id, with the date of the earlier consent: one tap extends nothing.
        agreed = replace(stage.agreement, client_id=stage.request.client_id)
        return self._settle(tx, stage, stage.session, agreed, now)

    def _settle(
        self,
        tx: Transaction,
        stage: Stage,
        person: Session,
        agreed: Agreement,
        now: datetime,
        *,
        announced: bool = False,
    ) -> Stage:
        """Claims the request's one answer, remembers the consent, and issues a code."""
        request = stage.request
        if not requests.finish(tx, request.id, now):
            return replace(stage, step="finished")
        host = redirects.host_shown(request.redirect_uri)
        consents.remember(tx, person.account_id, request.client_row, host, request.resource, agreed, now)
        audit.record(
            tx,
            "consent.given",
            now,
            account_id=person.account_id,
            client_id=request.client_id,
            trace_id=request.trace_id,
            network=stage.place.network,
            detail=" ".join(agreed.approved),
        )
        return self._with_code(tx, stage, person, rules.approved(request, agreed.approved), now, announced=announced)

    def _open(self, tx: Transaction, visit: Visit, now: datetime) -> Stage | None:
        """This browser's request with everything that decides its next step and that its page shows, or None."""
        request = requests.find(tx, visit.request_id, visit.visitor.browser_hash, now)
        client = clients.find(tx, request.client_id, request.client_row) if request else None
        if request is None or client is None or client.disabled:
            return None
        stage = self._stage(tx, request, client, visit, now)
        if stage.session is None:
            return stage
        return replace(stage, held=accounts.held_scopes(tx, stage.session.account_id, request.resource))

    def _deny(self, tx: Transaction, visit: Visit, now: datetime) -> Stage | None:
        stage = self._open(tx, visit, now)
        if stage is None or stage.request.is_own:
            return stage
        if not requests.finish(tx, visit.request_id, now):
            return replace(stage, step="finished")
        request = stage.request
        refused = Refused("access_denied", "The person did not agree.", "denied")
        audit.record(
            tx,
            "consent.denied",
            now,
            account_id=stage.session.account_id if stage.session else "",
            client_id=request.client_id,
            trace_id=request.trace_id,
            network=visit.place.network,
        )
        return replace(stage, step=refused, answer=self.refusal(request.redirect_uri, request.state, refused))

    def _stage(self, tx: Transaction, request: Request, client: Client, visit: Visit, now: datetime) -> Stage:
        """Reads the session and remembered consents, from which ``next_step`` decides."""
        session_hash = visit.visitor.session_hash
        if request.finished:
            return Stage(request, client, None, "finished", None, visit.place)
        session = accounts.session(tx, session_hash, now) if session_hash else None
        memory = Memory("ask")
        if session is not None and session_hash is not None:
            if not session.seen_lately:
                accounts.mark_seen(tx, session_hash, now)
            host = redirects.host_shown(request.redirect_uri)
            agreements = consents.living(tx, session.account_id, request.client_row, host, request.resource, now)
            memory = rules.recall(request, client, agreements)
        step = next_step(request, session, memory, now)
        return Stage(request, client, session, step, memory.agreement, visit.place)

    def _issue(self, tx: Transaction, stage: Stage, now: datetime) -> Stage:
        """Answers with a code for what was agreed before, without showing a page."""
        if stage.session is None or stage.agreement is None:
            return stage
        return self._with_code(tx, stage, stage.session, rules.approved(stage.request, stage.agreement.approved), now)

    def _with_code(
        self,
        tx: Transaction,
        stage: Stage,
        person: Session,
        approved: tuple[str, ...],
        now: datetime,
        *,
        announced: bool = False,
    ) -> Stage:
        """The stage with a fresh code as its answer; the code is stored as a hash and lives one minute."""
        request = stage.request
        code = crypto.opaque_token(tokens.CODE_PREFIX)
        codes.add_code(
            tx,
            codes.NewCode(
                code_hash=crypto.token_hash(code),
                grant_id=crypto.random_id(12),
                account_id=person.account_id,
                client_id=request.client_id,
                client_row=request.client_row,
                redirect_uri=request.redirect_uri,
                code_challenge=request.code_challenge,
                resource=request.resource,
                scope=scope_text(approved),
                nonce=request.nonce,
                auth_time=person.auth_time,
                trace_id=request.trace_id,
                browser=stage.place.browser,
                network=stage.place.network,
                announced=announced,
                expires_at=now + tokens.CODE_LIFE,
            ),
        )
        return replace(stage, answer=self._answer(request.redirect_uri, {"code": code}, request.state))

    def _without_tick_box(self, request: Request) -> tuple[str, ...]:
        """Requested scopes that the consent page has no tick box for, because they open no tool: ``openid`` etc."""
        resource = self._catalogue.find(request.resource)
        known = resource.scope_names if resource else ()
        return tuple(name for name in request.scope if name not in known)

    def _answer(self, redirect_uri: str, members: dict[str, str], state: str | None) -> str:
        """``redirect_uri`` with the response's parameters appended to its query; ``state`` is returned unchanged."""
        if state is not None:
            members = {**members, "state": state}
        query = urlencode({**members, "iss": self._settings.oauth_issuer})
        return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"
