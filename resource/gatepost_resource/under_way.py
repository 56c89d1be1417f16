"""The calls under way that a notification can cancel: those of clients older than MCP 2026-07-28.

Such a client sends ``notifications/cancelled`` as a separate request, with only the id that it gave the call. There
are no sessions here, so only the bearer ties the two requests together.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import RequestId

REQUEST_CANCELLED = -32800  # the SDK's code for a cancelled call (from LSP)

_Key = tuple[bytes, type, RequestId]


class UnderWay:
    """Finds a call by its owner and id. If two calls of one owner share an id, neither is cancelled."""

    def __init__(self) -> None:
        self._calls: defaultdict[_Key, list[anyio.CancelScope]] = defaultdict(list)

    @contextmanager
    def call(self, owner: bytes, id_: RequestId) -> Iterator[None]:
        """Within it, ``cancel`` ends the call with MCPError. ``owner``: a digest of the caller's bearer."""
        key = owner, type(id_), id_
        with anyio.CancelScope() as scope:
            self._calls[key].append(scope)
            try:
                yield
            finally:
                self._calls[key].remove(scope)
                if not self._calls[key]:
                    del self._calls[key]
        if scope.cancelled_caught:
            raise MCPError(REQUEST_CANCELLED, "Request cancelled")

    def cancel(self, owner: bytes, id_: RequestId) -> None:
        """Ends the one call of that owner and id. Clients that share a bearer are not told apart."""
        found = self._calls.get((owner, type(id_), id_), [])
        if len(found) == 1:
            found[0].cancel()
