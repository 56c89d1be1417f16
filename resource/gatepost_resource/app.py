"""Builds the ASGI application from the settings; the only module that wires the parts together."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import structlog
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gatepost_resource import catalogue as catalogues
from gatepost_resource import logs
from gatepost_resource import settings as configuration
from gatepost_resource.access_token import Identifiers
from gatepost_resource.addresses import Proxies
from gatepost_resource.backends.roster import Roster
from gatepost_resource.catalogue import Catalogue
from gatepost_resource.challenge import Challenge
from gatepost_resource.chores import steadily
from gatepost_resource.counts import Counts
from gatepost_resource.demo import DemoTools, Facts
from gatepost_resource.details import Details
from gatepost_resource.drain import Drain
from gatepost_resource.exchange import BackendTokens
from gatepost_resource.hosts import HostRule
from gatepost_resource.introspection import Introspection
from gatepost_resource.issuer import Issuer
from gatepost_resource.jwks import REFRESH_SECONDS, IssuerKeys
from gatepost_resource.latest import Latest
from gatepost_resource.mcp_server import ScopedServer, build_server, current_caller, streamable_http
from gatepost_resource.metadata import ROOT_PATH, ProtectedResourceMetadata, metadata_url
from gatepost_resource.origins import OriginRule
from gatepost_resource.page import ConnectPage, PageForBrowsers
from gatepost_resource.plain_words import PlainWords
from gatepost_resource.settings import Settings
from gatepost_resource.short_way import ShortWay
from gatepost_resource.slow_bodies import SlowBodies
from gatepost_resource.stepup import StepUp
from gatepost_resource.tools import BUILTINS, OURS, Toolbox
from gatepost_resource.verifier import Verifier

log = structlog.get_logger("gatepost_resource")

MAX_BODY_BYTES = 512 * 1024


def build_app(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    refresh_seconds: float = REFRESH_SECONDS,
) -> Starlette:
    """The resource server as one ASGI application; raises SettingsError for a wrong catalogue.

    ``clock``: seconds since the epoch. ``monotonic``: seconds from any origin, for cache lifetimes.
    ``refresh_seconds``: how often the issuer's keys are fetched.
    """
    counts = Counts()
    catalogue = Latest(catalogues.load(settings.catalogue, settings.mcp_resource_url))
    ours = OURS if settings.demo_tools else BUILTINS
    tools = Latest(Toolbox(ours))
    _warn(settings, catalogue.current(), tools.current())
    issuer = Issuer(settings.oauth_issuer)
    keys = IssuerKeys(issuer, monotonic)
    expected = Identifiers(settings.oauth_issuer, settings.mcp_resource_url)
    credentials = settings.introspection_credentials
    introspection = Introspection(issuer, expected, credentials, clock, monotonic) if credentials else None
    verifier = Verifier(expected, keys, introspection, clock)
    tokens = BackendTokens(issuer, credentials, clock, monotonic)
    roster = Roster(settings, ours, catalogue, tools, tokens, counts, monotonic)
    functions = _demo_tools(settings, tools, clock, monotonic)
    server = build_server(settings.service_name, tools, functions, counts, roster.call)
    page = ConnectPage(settings, catalogue)
    drain = Drain(settings.workers)
    details = Details(settings.metrics_address, settings.allowed_hosts, settings.workers, keys, counts, drain, roster)
    endpoint = _endpoint(settings, catalogue, tools, server, verifier, page, counts)
    routes = [
        *_endpoints(settings, endpoint),  # first, as they get the most requests
        *_probes(keys, drain),
        *_documents(settings, catalogue),
        Route("/", page.answer),
    ]
    return _application(
        settings, counts, routes, lambda _: _lifespan(server, issuer, keys, refresh_seconds, details, roster)
    )


def from_environment() -> Starlette:
    """The application of a worker process, built from the environment; raises SettingsError."""
    settings = configuration.load()
    logs.configure(settings.log_style, settings.log_level)
    return build_app(settings)


def _warn(settings: Settings, catalogue: Catalogue, toolbox: Toolbox) -> None:
    for scope in sorted(toolbox.scopes.difference(catalogue.all_scopes)):
        log.warning("scope_not_in_catalogue", scope=scope, setting="CATALOGUE", hint="nobody can be given this scope")
    if settings.introspection_credentials is None:
        hint = "only JWTs are accepted: INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET are not set"
        log.info("jwt_only", hint=hint)


def _demo_tools(
    settings: Settings, tools: Latest[Toolbox], clock: Callable[[], float], monotonic: Callable[[], float]
) -> DemoTools:
    facts = Facts(
        service_name=settings.service_name,
        issuer=settings.oauth_issuer,
        resource=settings.mcp_resource_url,
        access_page=settings.access_page,
        support_email=settings.support_email,
    )
    return DemoTools(facts, tools, clock, monotonic, current_caller)


def _endpoint(
    settings: Settings,
    catalogue: Latest[Catalogue],
    tools: Latest[Toolbox],
    server: ScopedServer,
    verifier: Verifier,
    page: ConnectPage,
    counts: Counts,
) -> ASGIApp:
    """The MCP endpoint behind its middleware, which is added innermost first."""
    app: ASGIApp = ShortWay(streamable_http(server, MAX_BODY_BYTES), server, tools)
    app = StepUp(app, tools, catalogue)
    app = AuthContextMiddleware(app)
    app = RequestBodyLimitMiddleware(app, MAX_BODY_BYTES)  # inside the challenge: strangers' bodies are not buffered
    app = SlowBodies(app)
    app = Challenge(app, verifier, metadata_url(settings.mcp_resource_url), catalogue, counts)
    app = PageForBrowsers(app, page)
    return OriginRule(app, settings.mcp_resource_url, settings.allowed_origins, counts)


def _middleware(settings: Settings, counts: Counts) -> list[Middleware]:
    """The middleware every request passes, outermost first."""
    return [
        Middleware(logs.RequestLog, proxies=Proxies(settings.trusted_proxies), counts=counts),
        Middleware(
            HostRule,
            resource_url=settings.mcp_resource_url,
            bound=settings.resource_host,
            allowed=settings.allowed_hosts,
            counts=counts,
        ),
    ]


def _application(
    settings: Settings,
    counts: Counts,
    routes: list[Route],
    lifespan: Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]],
) -> Starlette:
    app = Starlette(
        routes=routes,
        middleware=_middleware(settings, counts),
        exception_handlers=PlainWords(settings.mcp_resource_url).handlers(),
        lifespan=lifespan,
    )
    # A redirect would echo the caller's Host, and clients would lose their POST in following it.
    app.router.redirect_slashes = False
    return app


def _public_path(settings: Settings) -> str:
    return urlsplit(settings.mcp_resource_url).path.rstrip("/")


def _endpoints(settings: Settings, endpoint: ASGIApp) -> list[Route]:
    public = _public_path(settings)
    # Also /mcp, for a proxy that strips the path it publishes; each with and without a trailing slash.
    paths = dict.fromkeys([public, f"{public}/", "/mcp", "/mcp/"])
    return [Route(path, endpoint) for path in paths if path]


def _documents(settings: Settings, catalogue: Latest[Catalogue]) -> list[Route]:
    public = _public_path(settings)
    metadata = ProtectedResourceMetadata(settings, catalogue)
    paths = dict.fromkeys([ROOT_PATH, f"{ROOT_PATH}{public}", f"{ROOT_PATH}{public}/"])
    return [Route(path, metadata.answer, methods=["GET", "OPTIONS"]) for path in paths]


def _probes(keys: IssuerKeys, drain: Drain) -> list[Route]:
    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        if keys.ready and not drain.is_told():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", status_code=503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


@contextlib.asynccontextmanager
async def _lifespan(
    server: ScopedServer,
    issuer: Issuer,
    keys: IssuerKeys,
    refresh_seconds: float,
    details: Details,
    roster: Roster,
) -> AsyncIterator[None]:
    async with server.running():
        details.drain.watch()
        fresh = steadily("keys", lambda: keys.keep_fresh(refresh_seconds))
        tasks = [asyncio.create_task(run) for run in (fresh, steadily("details", details.serve), roster.run())]
        try:
            await roster.ready()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await keys.aclose()
            await issuer.aclose()
