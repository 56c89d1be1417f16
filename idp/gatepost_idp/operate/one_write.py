"""uvicorn's protocol, with head and body of a response in one write instead of two system calls and TCP segments."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWrite(HttpToolsProtocol):
    """uvicorn's httptools protocol on a Gathering transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wraps the connection's transport."""
        super().connection_made(Gathering(transport))


class Gathering(asyncio.Transport):
    """Collects writes until the event loop's next iteration, then sends them together."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[Any] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queues ``data`` for the next iteration."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Sends what is queued, and closes."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes at once, without sending what is queued."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The transport's information of that name."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Pauses reading."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resumes reading."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hands the connection to another protocol."""
        self._transport.set_protocol(protocol)
