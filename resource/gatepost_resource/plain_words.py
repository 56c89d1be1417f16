"""What stands here for Starlette's own words: an address that nobody serves, a method it does not take, a fault."""

from typing import ClassVar

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ExceptionHandler

log = structlog.get_logger("gatepost_resource.plain_words")

FAULT = "The server failed, and it is not your doing. Its log has the reason.\n"


class PlainWords:
    """Exception handlers, to be hung into the application."""

    _WORDS: ClassVar[dict[int, str]] = {
        404: "There is nothing here. The address of the MCP server is {mcp_url}\n",
        405: "This address does not take requests of that method.\n",
    }

    def __init__(self, mcp_url: str) -> None:
        self._mcp_url = mcp_url

    def handlers(self) -> dict[int | type[Exception], ExceptionHandler]:
        """As Starlette takes them."""
        return {HTTPException: self.refused, Exception: self.crashed}

    def refused(self, _request: Request, problem: Exception) -> Response:
        """The status and headers of ``problem`` with words of ours."""
        if not isinstance(problem, HTTPException):
            raise problem
        words = self._WORDS.get(problem.status_code, "This request cannot be answered.\n")
        body = words.format(mcp_url=self._mcp_url)
        return PlainTextResponse(body, problem.status_code, {**(problem.headers or {}), "Cache-Control": "no-store"})

    def crashed(self, _request: Request, problem: Exception) -> Response:
        """A fault of ours; its text stays in the log."""
        log.error("fault", exc_info=problem)
        return PlainTextResponse(FAULT, 500, {"Cache-Control": "no-store"})
