"""uvicorn's protocol, with each answer in one write: head and body apart are two system calls, and two segments."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWrite(HttpToolsProtocol):
    """What is written while the loop runs a request once leaves together."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A connection, behind its gathering transport."""
        super().connection_made(Gathering(transport))


class Gathering(asyncio.Transport):
    """Holds what is written until the loop comes by, and no longer: nothing waits for more to come."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[Any] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Holds ``data``."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Sends what is held, and closes."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is, or was."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the connection knows of itself."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Takes no more in."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Goes on."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol takes over."""
        self._transport.set_protocol(protocol)
