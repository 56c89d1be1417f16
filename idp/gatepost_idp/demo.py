"""The whole product on one machine: both servers and the mailbox, each server a process of its own."""

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

from gatepost_idp.database import Database
from gatepost_idp.mailbox import Mailbox
from gatepost_idp.pages import Pages
from gatepost_idp.settings import Settings, load_or_exit
from gatepost_idp.store import schema

SMTP_PORT = 9025
MAILBOX_PORT = 9026
START_SECONDS = 30


def run() -> int:
    """Runs until Ctrl-C; answers the exit code."""
    environment = {**os.environ, **_defaults(dict(os.environ))}
    os.environ.update(environment)
    settings = load_or_exit()
    _upgrade(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    own_mailbox = environment["SMTP_HOST"] == "127.0.0.1" and environment["SMTP_PORT"] == str(SMTP_PORT)
    mailbox = _start_mailbox(settings) if own_mailbox else None
    servers = [_start("gatepost_idp", "idp"), _start("gatepost_resource")]
    try:
        return _watch(settings, servers, stop, mailbox is not None)
    finally:
        _stop(servers)
        if mailbox is not None:
            mailbox.should_exit = True


def _defaults(environment: dict[str, str]) -> dict[str, str]:
    """What the demo sets where the operator did not: both addresses of ``localhost``, and mail to the mailbox."""
    hosts = ",".join(["127.0.0.1", *(["::1"] if _has_ipv6_loopback() else [])])
    defaults = {"IDP_HOST": hosts, "RESOURCE_HOST": hosts, "LOG_LEVEL": "warning"}
    if not environment.get("SMTP_HOST") and not environment.get("SMTP_HOST_FILE"):
        defaults |= {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(SMTP_PORT),
            "SMTP_SECURITY": "none",
            "SMTP_USERNAME": "",
            "MAIL_FROM": "gatepost@demo.localhost",
        }
    return {name: value for name, value in defaults.items() if name.startswith("SMTP") or name not in environment}


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _upgrade(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        schema.upgrade(database.engine)
    finally:
        database.close()


def _start_mailbox(settings: Settings) -> uvicorn.Server:
    """The mailbox in a thread of this process; returns once its SMTP server takes mail."""
    mailbox = Mailbox(Pages(settings.model_copy(update={"oauth_issuer": "http://localhost"})), SMTP_PORT)
    listener = _listener(MAILBOX_PORT)
    config = uvicorn.Config(mailbox.application(), log_config=None, access_log=False, proxy_headers=False)
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, kwargs={"sockets": listener}, name="mailbox", daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    if not server.started:
        raise SystemExit(f"The mailbox did not start: is port {SMTP_PORT} or {MAILBOX_PORT} in use?")
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


def _watch(
    settings: Settings, servers: Sequence[subprocess.Popen[bytes]], stop: threading.Event, has_mailbox: bool
) -> int:
    """Waits until both servers answer, says what to paste, then waits for the end."""
    resource = settings.mcp_resource_url.rpartition("/")[0]
    waiting = [f"{settings.oauth_issuer}/healthz", f"{resource}/healthz"]
    deadline = time.monotonic() + START_SECONDS
    while waiting and not stop.is_set():
        if (code := _ended(servers)) is not None:
            return code
        if time.monotonic() > deadline:
            print(f"No answer from {waiting[0]} within {START_SECONDS} s.", file=sys.stderr)
            return 1
        waiting = [url for url in waiting if not _answers(url)]
        time.sleep(0.05)
    if not stop.is_set():
        print(_welcome(settings, has_mailbox), flush=True)
    while not stop.wait(0.2):
        if (code := _ended(servers)) is not None:
            return code
    return 0


def _ended(servers: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """The exit code of a server that ended by itself; 1 where it claims success."""
    return next((server.returncode or 1 for server in servers if server.poll() is not None), None)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 (our own address, from the settings)
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


def _welcome(settings: Settings, has_mailbox: bool) -> str:
    mail = f"http://localhost:{MAILBOX_PORT}" if has_mailbox else f"sent through {settings.smtp_host}"
    return f"""
Gatepost is running.

  MCP URL    {settings.mcp_resource_url}
  Mailbox    {mail}
  Sign-in    {settings.oauth_issuer}

Paste the MCP URL into your client, or run:

  claude mcp add --transport http gatepost {settings.mcp_resource_url}

Ctrl-C ends it."""
