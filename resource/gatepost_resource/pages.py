"""Pagination of tool lists: a cursor is valid only for the list that it came from."""

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, ListToolsResult, Tool

PAGE = 100
_CURSOR = re.compile(r"([0-9a-f]{16})-([0-9]{1,6})")


class Paged:
    """An immutable list of tools, and its pages of PAGE tools.

    A cursor is the list's digest and a position; the server keeps no state for it, so any worker can answer. If the
    list changed in between, the client has to start again rather than miss a tool.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = list(tools)

    def page(self, cursor: str | None) -> ListToolsResult:
        """The page that the cursor names, the first for None; raises MCPError for a cursor of another list."""
        if cursor is None and len(self.tools) <= PAGE:
            return ListToolsResult(tools=self.tools)
        start = self._position(cursor) if cursor is not None else 0
        end = start + PAGE
        onwards = f"{self._mark}-{end}" if end < len(self.tools) else None
        return ListToolsResult(tools=self.tools[start:end], next_cursor=onwards)

    def _position(self, cursor: str) -> int:
        found = _CURSOR.fullmatch(cursor)
        if found is None or found[1] != self._mark or not 0 < int(found[2]) < len(self.tools) or int(found[2]) % PAGE:
            raise MCPError(INVALID_PARAMS, "The cursor is not from this list. Ask for the list from the beginning.")
        return int(found[2])

    @cached_property
    def _mark(self) -> str:
        """The list's digest, computed once: it covers every tool, and a client reads all the pages."""
        digest = hashlib.sha256()
        for tool in self.tools:
            digest.update(tool.model_dump_json(by_alias=True).encode())
        return digest.hexdigest()[:16]
