"""The calls under way that a notification can cancel: those of clients from before 2026-07-28.

Such a client says ``notifications/cancelled`` in a request of its own, with nothing but the id that it gave to the
call. Requests stand alone here, so the only thing that ties the two together is the bearer.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import RequestId

REQUEST_CANCELLED = -32800  # as the SDK answers a call that was cancelled (LSP's number)

_Key = tuple[bytes, type, RequestId]


class UnderWay:
    """Finds a call by whose it is and its id. An id that two calls of one bearer bear cancels neither."""

    def __init__(self) -> None:
        self._calls: defaultdict[_Key, list[anyio.CancelScope]] = defaultdict(list)

    @contextmanager
    def call(self, owner: bytes, id_: RequestId) -> Iterator[None]:
        """While it runs, ``cancel`` ends it with MCPError. ``owner``: a digest of the caller's bearer."""
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
        """Ends the one call of that bearer and id. Two clients that share a bearer count alike: then it is a guess."""
        found = self._calls.get((owner, type(id_), id_), [])
        if len(found) == 1:
            found[0].cancel()
