"""The straight way to the doors of programs: one look-up, the door, its answer."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_idp.errors import Errors


class StraightWay:
    """Goes to a program's door at once, where method and path are its own to the letter; all else goes to ``app``.

    Nothing is left out on it: the guard stands before it, brakes are the doors' own, and errors.py answers what is
    raised. The same routes hang in ``app`` too, which answers other methods at their addresses. What is saved is the
    framework's way, six layers of it: docs/performance.md.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Route], errors: Errors) -> None:
        self._app = app
        self._doors = {(method, route.path): route.endpoint for route in routes for method in route.methods or ()}
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers; a fault is raised after its answer, as the framework does, for the server's log."""
        door = self._doors.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if door is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await door(request)
        except Exception as problem:
            response, is_fault = await self._errors.answer(request, problem)
            await response(scope, receive, send)
            if is_fault:
                raise
            return
        await response(scope, receive, send)
