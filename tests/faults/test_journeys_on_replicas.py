"""The journeys of tests/journeys again, unchanged, on replicas; each request goes to a random one."""

import contextlib
import inspect
import random
import threading
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.faults.asking import eventually
from tests.faults.sizes import SIZES
from tests.journeys import test_consent, test_main_road, test_refresh, test_scopes
from tests.store.servers import running as postgresql
from tests.support.ports import free_port
from tests.support.processes import Deployment, environment_of, run_gatepost, running
from tests.support.smtp import Postbox, receiving

_CONNECTION = ("connection", "keep-alive", "transfer-encoding")
for _module in (test_consent, test_main_road, test_refresh, test_scopes):
    # Only those that leave the deployment as it is; tests that stop one of its servers use another one.
    _found = {name: test for name, test in vars(_module).items() if name.startswith("test_")}
    globals().update({n: t for n, t in _found.items() if "deployment" in inspect.signature(t).parameters})


def balancer(ports: list[int]) -> Starlette:
    """Sends each request to a random replica, be it from a browser, a client or the resource server."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as app.state.line:
            yield

    async def answer(request: Request) -> Response:
        port = random.choice(ports)  # noqa: S311 (which replica, not a secret)
        url = f"http://127.0.0.1:{port}{request.scope['raw_path'].decode()}?{request.scope['query_string'].decode()}"
        body = await request.body()
        sent = await request.app.state.line.request(
            request.method, url.rstrip("?"), headers=request.headers.raw, content=body
        )
        response = Response(sent.content, sent.status_code)
        kept = [(name.lower(), value) for name, value in sent.headers.raw if name.lower().decode() not in _CONNECTION]
        response.raw_headers = kept
        return response

    return Starlette(
        lifespan=lifespan, routes=[Route("/{path:path}", answer, methods=["GET", "HEAD", "POST", "OPTIONS"])]
    )


@contextlib.contextmanager
def listening(app: Starlette, port: int) -> Iterator[None]:
    """Runs the balancer in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started, "the balancer does not start")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module", params=SIZES.replicas, ids="{} replicas".format)
def count(request: pytest.FixtureRequest) -> int:
    """How many replicas there are."""
    return int(request.param)


@pytest.fixture(scope="module")
def postbox(count: int) -> Iterator[Postbox]:
    """Replaces the session's: the same people sign in there, and their mails are counted."""
    with receiving() as received:
        yield received


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox, count: int) -> Iterator[Deployment]:
    """Replaces the suite's: several authorization servers on PostgreSQL behind one address."""
    folder = tmp_path_factory.mktemp("replicas")
    public, tools, *ports = (free_port() for _ in range(2 + count))
    issuer, mcp = f"http://localhost:{public}", f"http://localhost:{tools}/mcp"
    wide = {f"LIMIT_{name}": "1000/minute" for name in ("ADDRESS", "NETWORK", "TOTAL")}
    mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(postbox.port), "SMTP_SECURITY": "none"}
    with contextlib.ExitStack() as stack:
        environment = environment_of(
            OAUTH_ISSUER=issuer,
            MCP_RESOURCE_URL=mcp,
            RESOURCE_PORT=str(tools),
            DATABASE_URL=stack.enter_context(postgresql()).migrated(),
            SECRET_KEY="k" * 40,
            MAIL_FROM="gatepost@example.test",
            METRICS_ADDRESS="",
            **mail,
            **wide,
        )
        run_gatepost(environment, "db", "upgrade")
        idps = [
            stack.enter_context(
                running(
                    f"http://127.0.0.1:{port}",
                    {**environment, "IDP_PORT": str(port)},
                    folder / f"idp-{port}.log",
                    "gatepost_idp",
                    "idp",
                )
            )
            for port in ports
        ]
        stack.enter_context(listening(balancer(ports), public))
        base = f"http://127.0.0.1:{tools}"
        resource = stack.enter_context(running(base, environment, folder / "resource.log", "gatepost_resource"))
        yield Deployment(issuer, mcp, idps[0], resource, environment)
        for idp in idps:
            assert "/consent/..." in idp.logged(), "the coin did not fall on this one"
