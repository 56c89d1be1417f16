"""The third-party programs that these tests run unmodified, and what each does against both servers."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Program:
    """``source``: what pins its version, ``npm:`` or ``pypi:`` and the package. ``does``: what its tests prove."""

    key: str
    name: str
    source: str
    speaks: str
    registers: str
    does: str

    @property
    def version(self) -> str:
        """The version that the tests run, from the lock file."""
        registry, _, package = self.source.partition(":")
        if registry == "npm":
            pinned = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
            return str(pinned[package])
        locked = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
        found = re.search(rf"^{re.escape(package)}==(\S+)", locked, re.MULTILINE)
        assert found, f"{package} is not in requirements-dev.lock"
        return found.group(1)


OLD, BOTH = "2025-11-25", "2025-11-25 and 2026-07-28"

PROGRAMS = (
    Program(
        "python-sdk",
        "MCP Python SDK",
        "pypi:mcp",
        BOTH,
        "RFC 7591, metadata URL",
        "connect, list, call, refresh, step-up",
    ),
    Program(
        "typescript-sdk",
        "MCP TypeScript SDK 1.x",
        "npm:@modelcontextprotocol/sdk",
        OLD,
        "RFC 7591, metadata URL",
        "connect, list, call, refresh; step-up through the link of `request_access`: after a 403 it only refreshes",
    ),
    Program(
        "typescript-client",
        "MCP TypeScript client 2.x",
        "npm:@modelcontextprotocol/client",
        BOTH,
        "RFC 7591, metadata URL",
        "connect, list, call, refresh, step-up",
    ),
    Program(
        "mcp-remote",
        "mcp-remote",
        "npm:mcp-remote",
        OLD,
        "RFC 7591, metadata URL",
        "connect, list, call, refresh, step-up",
    ),
    Program(
        "mcp-inspector",
        "MCP Inspector, command line",
        "npm:@modelcontextprotocol/inspector",
        BOTH,
        "RFC 7591, metadata URL",
        "connect, list, call, refresh, sign-in again; no step-up: it calls only listed tools",
    ),
    Program(
        "authlib",
        "Authlib's OAuth 2 client",
        "pypi:authlib",
        "OAuth only",
        "RFC 7591: none, Basic, post",
        "tokens, id_token, call, refresh, revocation",
    ),
    Program(
        "conformance",
        "Official MCP conformance suite",
        "npm:@modelcontextprotocol/conformance",
        BOTH,
        "an operator",
        "every check that applies, at both servers",
    ),
)
