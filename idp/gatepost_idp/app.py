"""Builds the application: creates all parts from the settings and a clock, and connects them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gatepost_idp import account, admin, audit, limits
from gatepost_idp import catalogue as catalogues
from gatepost_idp.account.access import Access
from gatepost_idp.account.cut_off import CutOff
from gatepost_idp.account.doors import AccountPages, Steps
from gatepost_idp.account.overview import Overview
from gatepost_idp.account.personal_tokens import PersonalTokens
from gatepost_idp.admin.acts import Acts
from gatepost_idp.admin.backends import Backends as BackendPages
from gatepost_idp.admin.clients import Clients
from gatepost_idp.admin.connections import Connections
from gatepost_idp.admin.doors import AdminPages
from gatepost_idp.admin.doors import Steps as AdminSteps
from gatepost_idp.admin.events import Events
from gatepost_idp.admin.figures import Figures
from gatepost_idp.admin.people import People
from gatepost_idp.admin.state import Found, Health
from gatepost_idp.authorize import doors as authorize_doors
from gatepost_idp.authorize.doors import AuthorizePages
from gatepost_idp.authorize.journey import Journey
from gatepost_idp.brakes import SHARE_SECONDS, BrakeCounts, Brakes, Sharing
from gatepost_idp.catalogue import LOOK_SECONDS as CATALOGUE_SECONDS
from gatepost_idp.catalogue import Backends
from gatepost_idp.clients.documents import Documents
from gatepost_idp.clients.fetcher import Fetcher
from gatepost_idp.clients.register_endpoint import RegisterEndpoint
from gatepost_idp.clients.registry import Registry
from gatepost_idp.connect import doors as connect_doors
from gatepost_idp.counts import Counts
from gatepost_idp.database import Database
from gatepost_idp.discovery import documents
from gatepost_idp.discovery.doors import DiscoveryDoors
from gatepost_idp.errors import HANDLED, Errors
from gatepost_idp.grants.authorization_code import authorization_code
from gatepost_idp.grants.client_authentication import ClientAuthentication
from gatepost_idp.grants.client_credentials import ClientCredentials
from gatepost_idp.grants.introspection import IntrospectionEndpoint
from gatepost_idp.grants.refresh_token import refresh_token
from gatepost_idp.grants.revocation import RevocationEndpoint
from gatepost_idp.grants.token_endpoint import Grants, TokenEndpoint
from gatepost_idp.grants.token_exchange import TokenExchange
from gatepost_idp.grants.userinfo import UserinfoEndpoint
from gatepost_idp.keys import RELOAD_SECONDS, Keys
from gatepost_idp.mail.letters import Letters
from gatepost_idp.mail.outbox import Outbox
from gatepost_idp.operate import garbage, logs
from gatepost_idp.operate.background import Purge, before_serving, erase_salts, steadily
from gatepost_idp.operate.details import Details
from gatepost_idp.operate.doctor.readiness import Readiness
from gatepost_idp.operate.drain import Drain
from gatepost_idp.operate.guard import Guard
from gatepost_idp.operate.programs import StraightWay
from gatepost_idp.operate.steady_clock import LOOK_SECONDS, SteadyClock, TimeSeen
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import TOKEN_EXCHANGE, Clock, system_clock
from gatepost_idp.recorder import WRITE_SECONDS, Recorder
from gatepost_idp.sessions import Cookies
from gatepost_idp.settings import Settings, load
from gatepost_idp.signin import doors as sign_in_doors
from gatepost_idp.signin.doors import SignInPages
from gatepost_idp.signin.steps import SignIn
from gatepost_idp.store import schema
from gatepost_idp.visitors import Visitors

log = structlog.get_logger("gatepost")
ERASE_SECONDS = 10.0
FORGET_SECONDS = 3600.0
PURGE_SECONDS = 60.0
FIGURES_SECONDS = 60.0
_READ = ["GET", "HEAD"]


class Parts:
    """The objects that live as long as the process."""

    def __init__(self, settings: Settings, clock: Clock, fetcher: Fetcher) -> None:
        self.settings = settings
        self.clock = clock = SteadyClock(clock)
        self.catalogue = catalogues.load(settings)
        self.backends = Backends(settings, self.catalogue)
        self.database = Database(settings.database_url)
        self.time_seen = TimeSeen(self.database, clock)
        self.keys = Keys(self.database, settings.secret_keys, clock)
        self.documents = Documents(self.database, fetcher, clock)
        self.registry = Registry(self.database, self.keys, clock, self.documents)
        self.pages = Pages(settings)
        self.callers = limits.Callers(settings)
        self.brake_counts = BrakeCounts(shared=bool(settings.redis_url))
        self.sharing = (
            Sharing(self.brake_counts, settings.redis_url, settings.oauth_issuer) if settings.redis_url else None
        )
        self.drain = Drain(settings.workers)
        self.visitors = Visitors(Cookies(settings), self.callers)
        self.letters = Letters(settings, self.catalogue)
        self.recorder = Recorder(self.database, clock)
        self.counts = Counts()
        self.outbox = Outbox(self.database, settings, self.letters, self.recorder, self.counts, clock)
        self.refusals = audit.Refusals(self.database, clock)
        kept_for = timedelta(days=settings.audit_days) if settings.audit_days else None
        self.sealer = audit.Sealer(self.database, settings.secret_keys, clock, kept_for)
        account_idle = timedelta(days=settings.account_idle_days) if settings.account_idle_days else None
        self.purge = Purge(self.database, clock, account_idle)
        self.figures = Figures(self.database, clock)
        self.readiness = Readiness(settings, self.database, clock)

    async def start(self) -> list[asyncio.Task[None]]:
        """Checks the schema, loads clock, keys and audit head, and starts the background tasks, which it returns."""
        await before_serving("schema", self._check_schema)
        await before_serving("clock", self.time_seen.load)
        await before_serving("keys", self.keys.load)
        await before_serving("audit", self.sealer.load)
        return [
            asyncio.create_task(steadily("clock", self.time_seen.work, LOOK_SECONDS)),
            asyncio.create_task(steadily("backends", self.backends.work, CATALOGUE_SECONDS)),
            asyncio.create_task(steadily("keys", self.keys.reload, RELOAD_SECONDS)),
            asyncio.create_task(steadily("outbox", self.outbox.work, 0)),
            asyncio.create_task(steadily("salts", self._erase_salts, ERASE_SECONDS)),
            asyncio.create_task(steadily("documents", self.documents.forget, FORGET_SECONDS)),
            asyncio.create_task(steadily("recorder", self.recorder.work, WRITE_SECONDS)),
            asyncio.create_task(steadily("purge", self.purge.work, PURGE_SECONDS)),
            asyncio.create_task(steadily("refusals", self.refusals.work, audit.WRITE_SECONDS)),
            asyncio.create_task(steadily("audit", self.sealer.work, audit.SEAL_SECONDS)),
            asyncio.create_task(steadily("figures", self.figures.work, FIGURES_SECONDS)),
            *self._sharing(),
            *self._details(),
        ]

    async def _check_schema(self) -> None:
        schema.compare(await self.database.read(schema.found))

    async def _erase_salts(self) -> None:
        grace = timedelta(seconds=self.settings.refresh_grace_seconds)
        await erase_salts(self.database, grace, self.clock)

    def _sharing(self) -> list[asyncio.Task[None]]:
        """The task that shares the brakes' counts, if REDIS_URL is set."""
        if self.sharing is None:
            return []
        return [asyncio.create_task(steadily("brakes", self.sharing.work, SHARE_SECONDS))]

    def _details(self) -> list[asyncio.Task[None]]:
        """The task of the operator's listener, unless METRICS_ADDRESS is empty."""
        settings, database = self.settings, self.database
        if not settings.metrics_address:
            return []
        problems = {"mail": lambda: self.outbox.problem}
        if sharing := self.sharing:
            problems["limits"] = lambda: sharing.problem
        details = Details(settings, database, self.keys, self.counts, self.drain, problems, self.readiness, self.clock)
        return [asyncio.create_task(details.serve())]


def create(settings: Settings, clock: Clock = system_clock, fetcher: Fetcher | None = None) -> ASGIApp:
    """The application, including the guard; its database is opened here and closed by its lifespan.

    The default ``fetcher`` fetches clients' metadata documents only from public addresses.
    """
    parts = Parts(settings, clock, fetcher or Fetcher())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = await parts.start()
        parts.drain.watch()
        log.info("serving", issuer=settings.oauth_issuer, mail=parts.outbox.problem or "ready")
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await parts.outbox.close()
            await parts.documents.close()
            await parts.recorder.close()
            await parts.refusals.close()
            if parts.sharing is not None:
                await parts.sharing.close()
            parts.database.close()

    app = FastAPI(
        title="Gatepost",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    programs = _hang_doors(app, parts)
    errors = Errors(parts.pages, settings.is_local)
    for kind, name in HANDLED.items():
        app.add_exception_handler(kind, getattr(errors, name))
    straight = StraightWay(app, programs, errors)
    return Guard(straight, settings, parts.callers, parts.recorder, parts.refusals, parts.counts)


def from_environment() -> ASGIApp:
    """The application of a worker process, with logging set up."""
    settings = load()
    logs.configure(settings)
    if not settings.smtp_host and not settings.is_local:
        log.warning("nobody_can_sign_in", setting="SMTP_HOST", reason="no mail server is set, and sign-in is by mail")
    app = create(settings)
    garbage.settle()
    return app


def _hang_doors(app: FastAPI, parts: Parts) -> list[Route]:
    """Adds all routes. Returns those for programs, which are plain routes; those for people are FastAPI's."""
    settings, clock = parts.settings, parts.clock
    authentication = ClientAuthentication(parts.registry, parts.callers)
    grants = Grants(
        {"authorization_code": authorization_code, "refresh_token": refresh_token},
        {TOKEN_EXCHANGE: TokenExchange(parts.backends), "client_credentials": ClientCredentials(parts.backends)},
    )
    token = TokenEndpoint(parts.database, settings, parts.keys, authentication, grants, parts.callers, clock)
    register = RegisterEndpoint(parts.registry, parts.callers, clock)
    revoke = RevocationEndpoint(parts.database, settings, parts.keys, authentication, parts.callers, clock)
    introspect = IntrospectionEndpoint(parts.database, settings, parts.keys, authentication, clock)
    userinfo = UserinfoEndpoint(parts.database, settings, parts.keys, clock)
    journey = Journey(parts.database, settings, parts.catalogue, clock)
    authorize = AuthorizePages(journey, parts.registry, parts.pages, parts.visitors, settings, parts.catalogue, clock)
    discovery = DiscoveryDoors(documents.encoded(documents.metadata(settings, parts.catalogue)), parts.keys)

    app.state.limiter = limiter = Brakes(parts.callers, parts.brake_counts)
    braked = limiter.before
    programs = [
        Route("/token", braked(token.post, limits.BRAKES["token"]), methods=["POST"]),
        _get_alone("/authorize", braked(authorize.authorize, limits.BRAKES["authorize"])),
        Route("/register", braked(register.post, limits.BRAKES["register"]), methods=["POST"]),
        Route("/revoke", braked(revoke.post, limits.BRAKES["token"]), methods=["POST"]),
        Route("/introspect", limiter.refusals(introspect.post, limits.BRAKES["token"]), methods=["POST"]),
        Route("/userinfo", braked(userinfo.answer, limits.BRAKES["token"]), methods=["GET", "POST"]),
        *discovery.routes(settings.root),
    ]
    app.router.routes += programs
    _hang_pages(app, parts, authorize, limiter)
    _hang_plain_doors(app, parts)
    return programs


def _hang_pages(app: FastAPI, parts: Parts, authorize: AuthorizePages, limiter: Brakes) -> None:
    settings = parts.settings
    sign_in = SignIn(parts.database, settings, parts.catalogue, parts.letters, parts.outbox, parts.clock)
    sign_in_pages = SignInPages(sign_in, parts.pages, parts.visitors, settings, parts.catalogue)
    for pages in (
        authorize_doors.router(authorize),
        sign_in_doors.router(sign_in_pages, limiter.limit(limits.BRAKES["sign-in"])),
        account.router(_account_pages(parts), limiter.limit(limits.BRAKES["sign-in"])),
        admin.router(_admin_pages(parts), limiter.limit(limits.BRAKES["sign-in"])),
        connect_doors.router(parts.pages, settings),
    ):
        app.router.routes += pages.routes  # include_router would create each route again, at the first request


def _account_pages(parts: Parts) -> AccountPages:
    database, catalogue, clock = parts.database, parts.catalogue, parts.clock
    steps = Steps(
        overview=Overview(database, clock),
        access=Access(database, catalogue, clock),
        tokens=PersonalTokens(database, catalogue, clock),
        cut_off=CutOff(database, parts.settings.secret_keys, clock),
    )
    return AccountPages(steps, database, parts.pages, parts.visitors, parts.settings, catalogue, clock)


def _admin_pages(parts: Parts) -> AdminPages:
    database, settings, catalogue, clock = parts.database, parts.settings, parts.catalogue, parts.clock
    acts = Acts(database, clock)

    async def findings() -> list[Found]:
        return [Found(each.level, each.seen, each.setting, each.expected) for each in await parts.readiness.findings()]

    steps = AdminSteps(
        people=People(acts, catalogue),
        clients=Clients(acts, catalogue),
        connections=Connections(acts),
        backends=BackendPages(acts, catalogue, parts.backends),
        events=Events(acts),
        figures=parts.figures,
        health=Health(acts, settings, lambda: parts.outbox.problem, findings),
    )
    return AdminPages(steps, acts, database, parts.pages, parts.visitors, settings, catalogue, clock)


def _get_alone(path: str, door: Callable[[Request], Awaitable[Response]]) -> Route:
    """A GET route without the HEAD that Starlette adds: a HEAD at /authorize would issue a code that nobody reads."""
    route = Route(path, door)
    route.methods = {"GET"}
    return route


def _hang_plain_doors(app: FastAPI, parts: Parts) -> None:
    @app.api_route("/healthz", methods=_READ, include_in_schema=False)
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.api_route("/readyz", methods=_READ, include_in_schema=False)
    async def readyz(_request: Request) -> Response:
        if parts.drain.is_told():
            raise HTTPException(503)
        await parts.database.ping()
        return JSONResponse({"status": "ready"})

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon() -> Response:
        return Response(status_code=204, headers={"cache-control": "public, max-age=86400"})
