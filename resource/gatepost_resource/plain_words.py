"""Plain-text answers in place of Starlette's: for an unknown address, a wrong method, a fault of the server."""

from typing import ClassVar

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ExceptionHandler

log = structlog.get_logger("gatepost_resource.plain_words")

FAULT = "The server failed, through no fault of yours. Its log has the reason.\n"


class PlainWords:
    """Exception handlers for the application."""

    _WORDS: ClassVar[dict[int, str]] = {
        404: "There is nothing here. The address of the MCP server is {mcp_url}\n",
        405: "This address does not accept that method.\n",
    }

    def __init__(self, mcp_url: str) -> None:
        self._mcp_url = mcp_url

    def handlers(self) -> dict[int | type[Exception], ExceptionHandler]:
        """The handlers, as Starlette takes them."""
        return {HTTPException: self.refused, Exception: self.crashed}

    def refused(self, _request: Request, problem: Exception) -> Response:
        """The status and headers of ``problem``, with our own text."""
        if not isinstance(problem, HTTPException):
            raise problem
        words = self._WORDS.get(problem.status_code, "This request cannot be answered.\n")
        body = words.format(mcp_url=self._mcp_url)
        return PlainTextResponse(body, problem.status_code, {**(problem.headers or {}), "Cache-Control": "no-store"})

    def crashed(self, _request: Request, problem: Exception) -> Response:
        """A 500 for a fault of the server; the exception goes to the log only."""
        log.error("fault", exc_info=problem)
        return PlainTextResponse(FAULT, 500, {"Cache-Control": "no-store"})
