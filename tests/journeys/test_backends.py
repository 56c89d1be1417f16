"""The operator's own tools behind Gatepost: the real IdP, backends of both protocol eras, real clients of both."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.journeys.connecting import MODES, Mode, Tracked, connection
from tests.resource.backend import Backend, backing
from tests.resource.gate import write
from tests.support.mcp_client import Storage
from tests.support.ports import free_port
from tests.support.processes import environment_of, run_gatepost, running
from tests.support.smtp import Postbox

pytestmark = pytest.mark.clause("A15")
SCOPES = [("crm:read", "true"), ("crm:write", "false"), ("hr:read", "true")]


@dataclass
class House:
    """The IdP, the resource server and its backends: ``crm`` speaks 2025 and keeps sessions, ``hr`` speaks 2026."""

    issuer: str
    mcp: str
    catalogue: Path
    environment: dict[str, str]
    crm: Backend
    hr: Backend

    def told(self, **rules: dict[str, str]) -> str:
        """The catalogue with these rules, by backend."""
        text = '[[resource]]\nname = "Company tools"\n'
        for name, new in SCOPES:
            text += f'[[resource.scope]]\nname = "{name}"\ntitle = "{name}"\nnew_accounts = {new}\n'
        for name, chosen in rules.items():
            text += f'[[backend]]\nname = "{name}"\nurl = "{getattr(self, name).url}"\ntimeout = 5\n[backend.tools]\n'
            text += "".join(f"{json.dumps(tool)} = {json.dumps(scope)}\n" for tool, scope in chosen.items())
        return text

    def claims(self, backend: Backend) -> dict[str, Any]:
        """The claims of the latest call's token, verified with the issuer's keys."""
        token = backend.seen[-1]["authorization"].removeprefix("Bearer ")
        keys = KeySet.import_key_set(httpx2.get(f"{self.issuer}/jwks.json", trust_env=False).json())
        return dict(jwt.decode(token, keys, algorithms=["ES256"]).claims)


RULES = {
    "crm": {
        "delete_person": "crm:write",
        "find_*": "crm:read",
        "count": "crm:read",
        "slow": "crm:read",
        "hang": "crm:read",
    },
    "hr": {"find_person": "hr:read", "slow": "hr:read", "hang": "hr:read"},
}

EVERYTHING = [
    *("crm_count", "crm_find_person", "crm_hang", "crm_slow", "hr_find_person", "hr_hang", "hr_slow"),
    *("request_access", "whoami"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    ports = free_port(), free_port()
    issuer, mcp = f"http://localhost:{ports[0]}", f"http://localhost:{ports[1]}/mcp"
    with backing("2025") as crm, backing("2026") as hr, contextlib.ExitStack() as servers:
        house = House(issuer, mcp, folder / "catalogue.toml", {}, crm, hr)
        write(house.catalogue, house.told(**RULES))
        house.environment = environment_of(
            OAUTH_ISSUER=issuer,
            MCP_RESOURCE_URL=mcp,
            IDP_PORT=str(ports[0]),
            RESOURCE_PORT=str(ports[1]),
            DATABASE_URL=f"sqlite:///{folder / 'gatepost.db'}",
            SMTP_HOST="127.0.0.1",
            SMTP_PORT=str(postbox.port),
            SMTP_SECURITY="none",
            MAIL_FROM="gatepost@example.test",
            METRICS_ADDRESS="",
            LIMIT_ADDRESS="1000/minute",
            LIMIT_NETWORK="1000/minute",
            LIMIT_TOTAL="1000/minute",
            CATALOGUE=str(house.catalogue),
            DEMO_TOOLS="false",
            TOOL_APPROVALS=str(folder / "approved.json"),
        )
        run_gatepost(house.environment, "db", "upgrade")
        made = json.loads(run_gatepost(house.environment, "clients", "add", "gate", "--resource-server", "--json"))
        house.environment |= {
            "INTROSPECTION_CLIENT_ID": made["client_id"],
            "INTROSPECTION_CLIENT_SECRET": made["client_secret"],
        }
        bases = [f"http://127.0.0.1:{port}" for port in ports]
        servers.enter_context(running(bases[0], house.environment, folder / "idp.log", "gatepost_idp", "idp"))
        servers.enter_context(running(bases[1], house.environment, folder / "gate.log", "gatepost_resource"))
        yield house


async def _eventually(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("mode", MODES)
async def test_a_person_connects_and_calls_the_tools_of_both(house: House, postbox: Postbox, mode: Mode) -> None:
    """One URL, nothing configured: they see what their scopes allow, and each call's token names them."""
    with Tracked(f"ada-{mode}@example.com", postbox) as person:
        async with connection(house.mcp, person, Storage(), mode) as connected:
            assert await connected.tools() == EVERYTHING
            assert connected.storage.tokens is not None
            for name, scope in (("crm", "crm:read"), ("hr", "hr:read")):
                backend: Backend = getattr(house, name)
                result = await connected.client.call_tool(f"{name}_find_person", {"name": "Alan", "limit": 1})
                assert result.structured_content == {"found": ["Alan"]}
                said = house.claims(backend)
                assert said["aud"] == backend.url
                assert said["email"] == f"ada-{mode}@example.com"
                assert said["scope"] == scope
                assert said["act"] == {"sub": house.environment["INTROSPECTION_CLIENT_ID"]}
                assert connected.storage.tokens.access_token not in str(backend.seen)
            refused = await connected.client.call_tool("crm_delete_person", {"name": "Alan"})
            assert refused.is_error
            assert "crm:write" in str(refused.content)
            said = (await connected.call("whoami")).structured_content or {}
            assert said["hidden_tools"] == [{"name": "crm_delete_person", "scope": "crm:write"}]
            assert said["unreachable"] == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["crm", "hr"])
async def test_progress_and_cancelling_go_all_the_way(house: House, postbox: Postbox, mode: Mode, name: str) -> None:
    """In both protocol eras on both sides."""
    backend: Backend = getattr(house, name)
    steps: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, message))

    with Tracked(f"grace-{name}-{mode}@example.com", postbox) as person:
        async with connection(house.mcp, person, Storage(), mode) as connected:
            await connected.client.call_tool(f"{name}_slow", {"steps": 2}, progress_callback=note)
            assert steps == [(1, "step 1"), (2, "step 2")]
            before = backend.cancelled
            call = asyncio.create_task(connected.client.call_tool(f"{name}_hang", {}))

            async def runs() -> bool:
                return backend.running > 0

            async def ended() -> bool:
                return backend.cancelled > before

            await _eventually(runs)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await _eventually(ended, 3)


async def test_one_dies_and_comes_back_and_the_file_is_edited_meanwhile(house: House, postbox: Postbox) -> None:
    """The other backend's tools go on; nobody has to reconnect."""
    with Tracked("edsger@example.com", postbox) as person:
        async with connection(house.mcp, person, Storage()) as connected:
            house.hr.stop()
            down = await connected.client.call_tool("hr_find_person", {"name": "x"})
            assert down.is_error
            assert "hr, the server behind this tool, cannot be reached" in str(down.content)
            assert not (await connected.client.call_tool("crm_find_person", {"name": "x"})).is_error
            house.hr.start()

            async def back() -> bool:
                return not (await connected.client.call_tool("hr_find_person", {"name": "x"})).is_error

            await _eventually(back)

            async def gone() -> bool:
                return "crm_find_person" not in await connected.tools()

            async def there() -> bool:
                return "crm_find_person" in await connected.tools()

            write(house.catalogue, house.told(hr=RULES["hr"]))
            await _eventually(gone)
            assert "hr_find_person" in await connected.tools()
            write(house.catalogue, house.told(**RULES))
            await _eventually(there)
            assert not (await connected.client.call_tool("crm_find_person", {"name": "x"})).is_error
