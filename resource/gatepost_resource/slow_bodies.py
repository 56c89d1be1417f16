"""A request's body has so long to arrive: one that drips would hold its memory and its connection for ever."""

import asyncio

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_SECONDS = 20.0


class _TooSlow(Exception):
    """The body is not there in time."""


class SlowBodies:
    """Answers 408 and closes the line, once the whole body took longer than it may; whoever sends it is known here.

    Expects that nobody answers before the body is whole, as the SDK's RequestBodyLimitMiddleware sees to.
    """

    def __init__(self, app: ASGIApp) -> None:
        """``app``: reads the body."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        is_whole = False
        ends = asyncio.get_running_loop().time() + BODY_SECONDS

        async def body() -> Message:
            nonlocal is_whole
            try:
                async with asyncio.timeout_at(None if is_whole else ends):  # left to come is that they hang up
                    message = await receive()
            except TimeoutError:
                raise _TooSlow from None
            is_whole = not message.get("more_body", False)
            return message

        try:
            await self._app(scope, body, send)
        except _TooSlow:
            late = PlainTextResponse("The body took too long.\n", 408, {"connection": "close"})
            await late(scope, receive, send)
