"""What the servers import: a list that must not grow unnoticed, as it is most of the start time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import Server, deployed, wait_for
from tests.support.smtp import Postbox

# Runs a module as ``python -m`` does, and prints what is imported once it reads a line.
_TELLS = """
import json, runpy, sys, threading
def tell():
    sys.stdin.readline()
    print(json.dumps([name for name, module in list(sys.modules.items()) if module is not None]), flush=True)
threading.Thread(target=tell, daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def _named(text: str) -> set[str]:
    return set(text.split())


# structlog.dev imports rich, pygments and attr if they are installed, and greenlet, which the browser tests install.
BOTH = _named("""
    annotated_types anyio attr click cryptography greenlet httptools idna joserfc opentelemetry pydantic pydantic_core
    pygments python_multipart rich starlette structlog typing_extensions typing_inspection uvicorn uvloop
""")

IDP = BOTH | _named("""
    aiosmtplib annotated_doc authlib deprecated email_validator fastapi itsdangerous jinja2 limits markupsafe packaging
    shellingham slowapi sqlalchemy sqlmodel typer wrapt
""")

# It has fetched the issuer's keys by then.
RESOURCE = BOTH | _named("h11 httpcore2 httpx2 mcp mcp_types sse_starlette truststore")

# Only on some Pythons or beside some tools: uvicorn looks for watchfiles, which only an example installs.
_HERE_AND_THERE = {"backports", "cython_runtime", "watchfiles", "sitecustomize", "distutils", "coverage"}

# Commands, the demo and doctor's probes are not part of a server; nor are migrations, resolvers, other HTTP stacks or
# the other database's dialect.
NEVER = _named("""
    aiosmtpd alembic dns gatepost_idp.demo gatepost_idp.demo_mailbox gatepost_idp.oneport httpcore httpx jsonschema
    mako prometheus_client psycopg redis sqlalchemy.dialects.postgresql
""")


def _modules(base: str, environment: dict[str, str], *command: str) -> set[str]:
    """What a server has imported once it has sent its first answer."""
    process = subprocess.Popen(
        [sys.executable, "-c", _TELLS, *command], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process as server:
        try:
            wait_for(f"{base}/healthz", Server(base, server, Path(os.devnull)))
            said = _told(server)
        finally:
            server.kill()
    return set(json.loads(said))


def _told(server: "subprocess.Popen[bytes]") -> bytes:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(b"\n")
    server.stdin.flush()
    return server.stdout.readline()


def _packages(modules: set[str]) -> set[str]:
    """The distributions that modules come from, without Python's own, ours, and those of editable installs."""
    tops = {name.partition(".")[0] for name in modules}
    return {
        n
        for n in tops
        if n not in sys.stdlib_module_names | _HERE_AND_THERE and n[0] != "_" and not n.startswith("gatepost_")
    }


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox) -> dict[str, set[str]]:
    """The modules of both servers, started as an operator starts them, after their first answer."""
    with deployed(tmp_path_factory.mktemp("imports"), postbox.port) as both:
        ports = free_port(), free_port()
        environment = both.environment | {"IDP_PORT": str(ports[0]), "RESOURCE_PORT": str(ports[1])}
        return {
            "idp": _modules(f"http://127.0.0.1:{ports[0]}", environment, "gatepost_idp", "idp"),
            "resource": _modules(f"http://127.0.0.1:{ports[1]}", environment, "gatepost_resource"),
        }


@pytest.mark.parametrize(("server", "expected"), [("idp", IDP), ("resource", RESOURCE)])
def test_a_server_imports_these_packages_and_no_others(
    imported: dict[str, set[str]], server: str, expected: set[str]
) -> None:
    """Adding one is a deliberate choice: it costs every start and every worker."""
    assert _packages(imported[server]) == expected


@pytest.mark.parametrize("server", ["idp", "resource"])
def test_what_a_server_never_needs_is_not_on_its_way(imported: dict[str, set[str]], server: str) -> None:
    """Neither as a whole nor in part."""
    assert not {name for name in imported[server] if NEVER & {name, name.partition(".")[0]}}


MOST_MODULES = {"idp": 1250, "resource": 915}


@pytest.mark.parametrize("server", MOST_MODULES)
def test_a_server_imports_no_more_modules(imported: dict[str, set[str]], server: str) -> None:
    """Including Python's own, with room for what its releases and ours add over time."""
    assert len(imported[server]) <= MOST_MODULES[server]
