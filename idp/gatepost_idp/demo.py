"""Runs the whole product on one machine: both servers as processes, and a mailbox."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from gatepost_idp import catalogue as catalogues
from gatepost_idp.clients.registry import RESOURCE_SERVER_PREFIX, Registry
from gatepost_idp.database import Database
from gatepost_idp.demo_mailbox import Mailbox
from gatepost_idp.keys import Keys
from gatepost_idp.oneport import OnePort
from gatepost_idp.operate.serve import listeners
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import system_clock
from gatepost_idp.settings import Settings, load_or_exit
from gatepost_idp.store import schema

SMTP_PORT = 9025
MAILBOX_PORT = 9026
PUBLIC_PORT = 9000
BEHIND_PORT = 9002
START_SECONDS = 30


def run(public: str | None = None) -> int:
    """Runs until Ctrl-C; returns the exit code. ``public``: a tunnel's URL, under which both servers are served."""
    os.environ.update(_defaults(dict(os.environ), public))
    settings = load_or_exit()
    resource_port = os.environ.get("RESOURCE_PORT") or "9001"
    _look_at_ports(settings, resource_port, public)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    resource = f"http://127.0.0.1:{resource_port}"
    inside = _serve_inside(settings, resource, public)
    servers: list[subprocess.Popen[bytes]] = []
    try:
        _prepare(settings)
        # In this order, so that the resource server's first request for the keys succeeds.
        servers.append(_start("gatepost_idp", "idp"))
        if (code := _wait(f"http://127.0.0.1:{settings.idp_port}/healthz", servers, stop)) is not None:
            return code
        servers.append(_start("gatepost_resource"))
        if (code := _wait(f"{resource}/healthz", servers, stop)) is not None:
            return code
        print(_welcome(settings), flush=True)
        return _watch(servers, stop)
    finally:
        _stop(servers)
        for server in inside:
            server.should_exit = True


def _look_at_ports(settings: Settings, resource_port: str, public: str | None) -> None:
    """Exits if a port is in use, before anything is changed: another demo may be running on this database."""
    ours = [SMTP_PORT, MAILBOX_PORT] if _has_mailbox(settings) else []
    for port in [*ours, *([PUBLIC_PORT] if public is not None else [])]:
        for probe in _listener(port):
            probe.close()
    probes = listeners(settings.idp_host, settings.idp_port, "IDP")
    if _is_port(resource_port):  # if not, the resource server reports the error
        hosts = [host.strip() for host in os.environ.get("RESOURCE_HOST", "").split(",") if host.strip()]
        probes += listeners(hosts, int(resource_port), "RESOURCE")
    for probe in probes:
        probe.close()


def _serve_inside(settings: Settings, resource: str, public: str | None) -> list[uvicorn.Server]:
    """Starts what runs in this process: the mailbox, and with a tunnel the proxy to both servers."""
    inside = []
    if _has_mailbox(settings):
        mailbox = Mailbox(Pages(settings.model_copy(update={"oauth_issuer": "http://localhost"})), SMTP_PORT)
        inside.append(_start_inside(mailbox.application(), MAILBOX_PORT))
    if public is not None:
        inside.append(_start_inside(OnePort(f"http://127.0.0.1:{BEHIND_PORT}", resource).application(), PUBLIC_PORT))
    return inside


def _has_mailbox(settings: Settings) -> bool:
    return settings.smtp_host == "127.0.0.1" and settings.smtp_port == SMTP_PORT


def _prepare(settings: Settings) -> None:
    """Migrates the database, and makes credentials for the resource server unless they are set."""
    _upgrade(settings)
    if not _is_set(dict(os.environ), "INTROSPECTION_CLIENT_ID"):
        client_id, secret = asyncio.run(_resource_server(settings))
        os.environ.update(INTROSPECTION_CLIENT_ID=client_id, INTROSPECTION_CLIENT_SECRET=secret)


def _defaults(environment: dict[str, str], public: str | None) -> dict[str, str]:
    """Defaults for unset variables: both addresses of ``localhost``, and mail to the mailbox."""
    hosts = ",".join(["127.0.0.1", *(["::1"] if _has_ipv6_loopback() else [])])
    usual = {"IDP_HOST": hosts, "RESOURCE_HOST": hosts, "LOG_LEVEL": "warning"}
    defaults = {name: value for name, value in (usual | _urls(environment)).items() if not _is_set(environment, name)}
    if not _is_set(environment, "SMTP_HOST"):
        mailbox = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(SMTP_PORT), "SMTP_SECURITY": "none", "SMTP_USERNAME": ""}
        defaults |= mailbox | {"MAIL_FROM": environment.get("MAIL_FROM") or "gatepost@demo.localhost"}
    if public is not None:
        url = public.rstrip("/")
        # The tunnel's client and the proxy run on this machine, so their X-Forwarded-For is trusted.
        tunnel = {"OAUTH_ISSUER": url, "MCP_RESOURCE_URL": f"{url}/mcp", "TRUSTED_PROXIES": "127.0.0.1/32,::1/128"}
        defaults |= tunnel | {"IDP_HOST": "127.0.0.1", "RESOURCE_HOST": "127.0.0.1", "IDP_PORT": str(BEHIND_PORT)}
    return defaults


def _urls(environment: dict[str, str]) -> dict[str, str]:
    """The public URLs that follow from ports set by the operator."""
    ports = {name: environment.get(name, "") for name in ("IDP_PORT", "RESOURCE_PORT")}
    urls = {"OAUTH_ISSUER": ("IDP_PORT", ""), "MCP_RESOURCE_URL": ("RESOURCE_PORT", "/mcp")}
    return {name: f"http://localhost:{ports[at]}{path}" for name, (at, path) in urls.items() if _is_port(ports[at])}


def _is_set(environment: dict[str, str], name: str) -> bool:
    return bool(environment.get(name) or environment.get(f"{name}_FILE"))


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 65536


def _upgrade(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        schema.upgrade(database.engine)
    finally:
        database.close()


async def _resource_server(settings: Settings) -> tuple[str, str]:
    """The id and secret of the demo's resource server; the secret is new at each start, so it need not be stored."""
    database = Database(settings.database_url)
    try:
        registry = Registry(database, Keys(database, settings.secret_keys, system_clock), system_clock)
        url = catalogues.load(settings).default.url
        return await registry.register_resource_server("The demo", url, f"{RESOURCE_SERVER_PREFIX}demo")
    finally:
        database.close()


def _start_inside(application: ASGIApp, port: int) -> uvicorn.Server:
    """Serves an application in a thread of this process; returns once it is up."""
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
    )
    server = uvicorn.Server(config)
    listener = _listener(port)
    threading.Thread(target=server.run, kwargs={"sockets": listener}, name=f"port-{port}", daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    if not server.started:
        raise SystemExit(f"Port {port} did not start answering; is SMTP port {SMTP_PORT} in use by another demo?")
    return server


def _listener(port: int) -> list[socket.socket]:
    """Both loopback addresses, since browsers take either for ``localhost``."""
    bound = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        if family == socket.AF_INET6 and not _has_ipv6_loopback():
            continue
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            raise SystemExit(f"Port {port} is in use: is another demo running? End it first.") from None
        bound.append(listener)
    return bound


def _start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *arguments])


def _wait(url: str, servers: Sequence[subprocess.Popen[bytes]], stop: threading.Event) -> int | None:
    """None once ``url`` answers; else the exit code: a server ended, the time ran out, or 0 on a stop."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if stop.wait(0.05):
            return 0
        if (code := _ended(servers)) is not None:
            return code
        if time.monotonic() > deadline:
            print(f"No answer from {url} within {START_SECONDS} s.", file=sys.stderr)
            return 1
    return None


def _watch(servers: Sequence[subprocess.Popen[bytes]], stop: threading.Event) -> int:
    """Waits for Ctrl-C or the end of a server; returns the exit code."""
    while not stop.wait(0.2):
        if (code := _ended(servers)) is not None:
            return code
    return 0


def _ended(servers: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """The exit code of a server that has ended (1 if its own was 0); None while all run."""
    return next((server.returncode or 1 for server in servers if server.poll() is not None), None)


def _answers(url: str) -> bool:
    try:
        # Without a proxy from HTTP_PROXY, which could not reach this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(servers: Sequence[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        server.terminate()
    for server in servers:
        with suppress(subprocess.TimeoutExpired):
            server.wait(15)
    for server in servers:
        server.kill()


def _welcome(settings: Settings) -> str:
    """The welcome text: the URL to paste, and where mail arrives."""
    mail = f"http://localhost:{MAILBOX_PORT}" if _has_mailbox(settings) else f"sent through {settings.smtp_host}"
    return f"""
Gatepost is running.

  MCP URL    {settings.mcp_resource_url}
  Mailbox    {mail}
  Sign-in    {settings.oauth_issuer}

Paste the MCP URL into your client, or run:

  claude mcp add --transport http gatepost {settings.mcp_resource_url}

Ctrl-C ends it."""
