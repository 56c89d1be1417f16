"""A resource server with backends behind it, and the catalogue file that names them, for a test to edit."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.resource.issuer import Issuer
from tests.resource.running import LIST, Running, serving, wait_for

SCOPES = ("demo:read", "demo:echo", "demo:ops")


@dataclass
class Gate:
    """``files``: the folder with the catalogue and the approvals."""

    running: Running
    files: Path

    @property
    def catalogue(self) -> Path:
        return self.files / "catalogue.toml"

    @property
    def approvals(self) -> Path:
        return self.files / "approved.json"

    def names(self, token: str, era: str = "2026-07-28") -> list[str]:
        """Every name in the caller's list, from all pages."""
        names: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            told = self.running.post({**LIST, "params": cursor}, token, era).json()["result"]
            names += [tool["name"] for tool in told["tools"]]
            if "nextCursor" not in told:
                return names
            cursor = {"cursor": told["nextCursor"]}

    def token(self, scope: str = "demo:read demo:echo", **claims: Any) -> str:
        return self.running.token(scope=scope, entitlements=scope.split(), **claims)

    def result(self, tool: str, token: str, era: str = "2026-07-28", **arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = answer(self.running.call(tool, token, era, **arguments))["result"]
        return found

    def words(self, tool: str, token: str, era: str = "2026-07-28", **arguments: Any) -> str:
        """The text of a call that failed."""
        result = self.result(tool, token, era, **arguments)
        assert result["isError"] is True
        return str(result["content"][0]["text"])

    def shows(self, name: str, token: str) -> None:
        wait_for(lambda: name in self.names(token))

    def hides(self, name: str, token: str) -> None:
        wait_for(lambda: name not in self.names(token))


def answer(response: httpx2.Response) -> dict[str, Any]:
    """The JSON-RPC answer, from a document or the last event of a stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        return dict(json.loads(data[-1]))
    return dict(response.json())


def listing(*backends: tuple[str, str], rules: dict[str, str] | None = None, more: str = "") -> str:
    """A catalogue with these backends, by name and URL; ``more``: further lines in each of them."""
    scopes = [f'[[resource.scope]]\nname = "{name}"\ntitle = "{name}"\nnew_accounts = true' for name in SCOPES]
    lines = ['[[resource]]\nname = "Tools"', *scopes]
    chosen = {"delete_person": "demo:ops", "[!u]*": "demo:read"} if rules is None else rules
    told = "\n".join(f"{json.dumps(tool)} = {json.dumps(scope)}" for tool, scope in chosen.items())
    for name, url in backends:
        lines.append(f'[[backend]]\nname = "{name}"\nurl = "{url}"\n{more}\n[backend.tools]\n{told}')
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Replaces the whole file at once, as an editor does."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


@contextlib.contextmanager
def gate(issuer: Issuer, files: Path, text: str, **settings: Any) -> Iterator[Gate]:
    write(files / "catalogue.toml", text)
    identity, secret = issuer.credentials
    chosen: dict[str, Any] = {
        "catalogue": files / "catalogue.toml",
        "tool_approvals": files / "approved.json",
        "introspection_client_id": identity,
        "introspection_client_secret": secret,
    } | settings
    with serving(issuer, **chosen) as running:
        yield Gate(running, files)
