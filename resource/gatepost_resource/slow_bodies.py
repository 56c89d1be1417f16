"""Limits how long a request body may take to arrive: a trickling one would hold memory and a connection for ever."""

import asyncio

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_SECONDS = 20.0


class _TooSlow(Exception):
    """The body did not arrive in time."""


class SlowBodies:
    """Answers 408 and closes the connection if the whole body takes longer than BODY_SECONDS; the caller is verified.

    Expects that nothing further in answers before the body is complete, as the SDK's RequestBodyLimitMiddleware
    ensures.
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
                async with asyncio.timeout_at(None if is_whole else ends):  # then only a disconnect can come
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
