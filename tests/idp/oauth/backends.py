"""A server with two resources that have backends, and the requests of their resource servers."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost_idp.catalogue import Backends
from gatepost_idp.clients.registry import Registry
from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from gatepost_idp.protocol import ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE
from tests.idp.oauth.wire import Server, basic, running
from tests.support.processes import ROOT
from tests.support.serving import Idp

MCP = "http://localhost:9001/mcp"
OTHER_MCP = "http://localhost:9003/mcp"
CRM = "https://crm.internal.example/mcp"
FILES = "http://127.0.0.1:9101/mcp"
ABROAD = "https://abroad.internal.example/mcp"

RESOURCES = f"""
[[resource]]
name = "Ours"
url = "{MCP}"
[[resource.scope]]
name = "crm:read"
title = "Read people"
new_accounts = true
[[resource.scope]]
name = "crm:write"
title = "Change people"
new_accounts = true
[[resource.scope]]
name = "crm:delete"
title = "Delete people"
[[resource.scope]]
name = "files:read"
title = "Read files"
new_accounts = true

[[resource]]
name = "Others"
url = "{OTHER_MCP}"
[[resource.scope]]
name = "crm:read"
title = "Read people there"
new_accounts = true
"""
BACKENDS = f"""
[[backend]]
name = "crm"
url = "{CRM}"
timeout = 30
[backend.tools]
"find_*" = "crm:read"
"delete_person" = "crm:delete"
"change_*" = "crm:write"

[[backend]]
name = "files"
url = "{FILES}"
tools = {{ "*" = "files:read" }}

[[backend]]
name = "abroad"
url = "{ABROAD}"
resource = "{OTHER_MCP}"
tools = {{ "*" = "crm:read" }}
"""
ALL = "crm:read crm:write files:read"


@dataclass(frozen=True)
class ResourceServer:
    """A resource server's credentials, and its requests with them."""

    idp: Idp
    id: str
    secret: str

    def ask(self, **form: Any) -> httpx2.Response:
        """POST /token; a value of None leaves a parameter out."""
        sent = {name: value for name, value in form.items() if value is not None}
        return self.idp.post("/token", sent, headers=basic(self.id, self.secret))

    def exchange(self, subject_token: str | None, **changes: Any) -> httpx2.Response:
        """A token exchange for the CRM, unless ``changes`` say otherwise."""
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": subject_token,
            "subject_token_type": ACCESS_TOKEN_TYPE,
            "resource": CRM,
            **changes,
        }
        return self.ask(**form)

    def lists(self, resource: str | None = CRM, **changes: Any) -> httpx2.Response:
        """Requests a token on the resource server's own behalf."""
        return self.ask(**{"grant_type": "client_credentials", "resource": resource, **changes})


def beside_the_demo(folder: Path) -> str:
    """The path of the demo's catalogue with the CRM behind it."""
    packaged = (ROOT / "idp" / "gatepost_idp" / "catalogue.toml").read_text(encoding="utf-8")
    path = folder / "catalogue.toml"
    path.write_text(f'{packaged}\n[[backend]]\nname = "crm"\nurl = "{CRM}"\ntools = {{ "*" = "demo:read" }}\n', "utf-8")
    return str(path)


@contextlib.contextmanager
def with_backends(folder: Path, **changes: Any) -> Iterator[Server]:
    """A server whose catalogue is in ``folder``, where a test may change it."""
    path = folder / "catalogue.toml"
    path.write_text(RESOURCES + BACKENDS, encoding="utf-8")
    with running(folder, catalogue=str(path), **changes) as idp:
        yield idp


def changed(path: Path, text: str | None) -> None:
    """Writes the catalogue, or removes it for None, and returns once the server has noticed."""
    looked, look = threading.Event(), Backends.look

    def telling(backends: Backends) -> None:
        look(backends)
        if backends.path == path:
            looked.set()

    path.unlink() if text is None else path.write_text(text, "utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Backends, "look", telling)
        assert looked.wait(20), "the server did not look at its catalogue"


def resource_server(idp: Idp, resource: str = MCP) -> ResourceServer:
    """Credentials as `gatepost clients add NAME --resource-server --resource URL` makes them."""
    database = Database(idp.settings.database_url)

    async def made() -> tuple[str, str]:
        registry = Registry(database, Keys(database, idp.settings.secret_keys, idp.clock), idp.clock)
        return await registry.register_resource_server("The tools", resource)

    try:
        return ResourceServer(idp, *asyncio.run(made()))
    finally:
        database.close()
