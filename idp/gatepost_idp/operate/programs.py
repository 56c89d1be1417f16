"""A fast path to the endpoints for programs, which bypasses the framework's routing and middleware."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_idp.errors import Errors


class StraightWay:
    """Calls an endpoint directly if method and path match exactly; passes all other requests to ``app``.

    No protection is bypassed: the guard runs first, brakes are part of the endpoints, and errors.py answers exceptions.
    ``app`` has the same routes, and answers other methods on their paths. What is saved is six layers of the framework:
    docs/performance.md.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Route], errors: Errors) -> None:
        self._app = app
        self._doors = {(method, route.path): route.endpoint for route in routes for method in route.methods or ()}
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request; a fault is raised again after its response, as the framework does, to be logged."""
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
