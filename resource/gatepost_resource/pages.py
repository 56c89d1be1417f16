"""A long list in pages: each cursor belongs to one list, and is good for no other."""

import hashlib
import re
from collections.abc import Sequence

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, ListToolsResult, Tool

PAGE = 100
_CURSOR = re.compile(r"([0-9a-f]{16})-([0-9]{1,6})")


def paged(tools: Sequence[Tool], cursor: str | None) -> ListToolsResult:
    """The page that the cursor names, the first one without; raises MCPError for a cursor of another list.

    A cursor is the list's digest and a position, and nothing is kept for it: any worker can answer, and a list that
    changed in between is begun again rather than shown with a gap.
    """
    if cursor is None and len(tools) <= PAGE:
        return ListToolsResult(tools=list(tools))
    mark = _mark(tools)
    start = _position(cursor, mark, len(tools)) if cursor is not None else 0
    end = start + PAGE
    return ListToolsResult(tools=list(tools[start:end]), next_cursor=f"{mark}-{end}" if end < len(tools) else None)


def _position(cursor: str, mark: str, length: int) -> int:
    found = _CURSOR.fullmatch(cursor)
    if found is None or found[1] != mark or not 0 < int(found[2]) < length or int(found[2]) % PAGE:
        raise MCPError(INVALID_PARAMS, "The cursor is not of this list. Ask for the list from its beginning.")
    return int(found[2])


def _mark(tools: Sequence[Tool]) -> str:
    digest = hashlib.sha256()
    for tool in tools:
        digest.update(tool.model_dump_json(by_alias=True).encode())
    return digest.hexdigest()[:16]
