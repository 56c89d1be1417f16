"""/admin/backends: the backends, as currently in the catalogue."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.idp.admin.being_admin import administrator, opened
from tests.idp.oauth.backends import BACKENDS, CRM, MCP, RESOURCES, changed, resource_server, with_backends
from tests.idp.oauth.wire import Server
from tests.support.oauth import registered
from tests.support.person import Person


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[Server]:
    with with_backends(tmp_path) as served:
        yield served


def rows_of(text: str) -> list[list[str]]:
    """The table's cells, without markup."""
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr><td>.*?</tr>", text)]
    return [[re.sub(r"<[^>]+>", "", cell) for cell in row] for row in cells]


def test_each_backend_with_what_it_needs_and_how_often_it_was_called(
    idp: Server, tmp_path: Path, people: Callable[..., Person]
) -> None:
    """Only tokens of the last hour count; the file is reread, and the page says what a backend without rules means."""
    admin, alice, own = administrator(idp, people), people(), resource_server(idp)
    bearer = registered(idp).connect(alice, scope="crm:read", resource=MCP)["access_token"]
    for _ in range(2):
        assert own.exchange(bearer).status_code == 200
    assert own.lists().status_code == 200
    assert rows_of(opened(admin, idp, "/admin/backends").text) == [
        ["crm", CRM, "Ours", "crm:read crm:write crm:delete", "2"],
        ["files", "http://127.0.0.1:9101/mcp", "Ours", "files:read", "0"],
        ["abroad", "https://abroad.internal.example/mcp", "Others", "crm:read", "0"],
    ]
    idp.clock.forward(hours=1, minutes=1)
    changed(tmp_path / "catalogue.toml", RESOURCES + BACKENDS.replace('tools = { "*" = "files:read" }', ""))
    found = rows_of(opened(admin, idp, "/admin/backends").text)
    assert found[0][-1] == "0"
    assert found[1][-2] == "none: its tools are hidden from everyone"


def test_without_a_backend_it_says_how_to_have_one(idp: Server, tmp_path: Path, people: Callable[..., Person]) -> None:
    """It names the file and what to write in it."""
    changed(tmp_path / "catalogue.toml", RESOURCES)
    text = opened(administrator(idp, people), idp, "/admin/backends").text
    assert "<table" not in text
    assert "CATALOGUE" in text
