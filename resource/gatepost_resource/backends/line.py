"""One backend: its list is kept fresh, its calls are bounded, and failures are explained in plain words."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map
from mcp_types import SERVER_INFO_META_KEY, CallToolResult
from mcp_types.methods import serialize_server_result
from pydantic import ValidationError

from gatepost_resource.backends import offering
from gatepost_resource.backends.arguments import Arguments
from gatepost_resource.backends.call import Call, NotDone
from gatepost_resource.backends.circuit import Circuit
from gatepost_resource.backends.offering import Definition, LeftOut
from gatepost_resource.backends.peer import HeaderMap, Peer, RemoteError, ToolCall
from gatepost_resource.backends.rules import Backend
from gatepost_resource.backends.wire import Asks, BackendFailure, Busy, Unfit, Wire
from gatepost_resource.counts import Counts, PassedOn
from gatepost_resource.exchange import BackendTokens, NoToken
from gatepost_resource.tools import Origin

log = structlog.get_logger("gatepost_resource.backends")

REFRESH_SECONDS = 60.0
RETRY_SECONDS = 5.0
CALLS_OF_ONE = 25
"""How many calls one person may have under way at a backend: a quarter of ``wire.MAX_CONNECTIONS``."""
GRACE_SECONDS = 20.0
"""How long a failing backend's last list is still shown, so that a restart of it does not change the tools."""


class Line:
    """One backend. It shares nothing with another one: no lock, no connection, no queue."""

    def __init__(
        self,
        backend: Backend,
        tokens: BackendTokens,
        counts: Counts,
        monotonic: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        """``monotonic``: seconds, from any origin. ``changed``: called when the list, or its failure, changes."""
        self.backend = backend
        self.circuit = Circuit(monotonic)
        self._calls: Counter[str] = Counter()
        self.definitions: tuple[Definition, ...] = ()
        self.unfit: tuple[LeftOut, ...] = ()
        self.problem = "it has not been asked yet"
        self.asked = asyncio.Event()
        self._tokens = tokens
        self._counts = counts
        self._monotonic = monotonic
        self._changed = changed
        self._failing_since: float | None = None
        self._again = asyncio.Event()
        self._peer = Peer(Wire(backend.url), monotonic)
        self._checks: WeakKeyDictionary[Origin, tuple[Arguments, HeaderMap]] = WeakKeyDictionary()

    async def keep_fresh(self) -> None:
        """Fetches the list repeatedly, sooner while that fails, until cancelled; then ends the sessions."""
        try:
            while True:
                await self.refresh()
                self._peer.tidy()
                try:
                    async with asyncio.timeout(RETRY_SECONDS if self.problem else REFRESH_SECONDS):
                        await self._again.wait()
                except TimeoutError:
                    pass
                self._again.clear()
        finally:
            await self._peer.aclose()

    async def aclose(self) -> None:
        """Ends the sessions and closes the connections."""
        await self._peer.aclose()

    async def refresh(self) -> None:
        """Fetches the list once; a failure becomes ``problem``, is not raised, and empties the list if it lasts."""
        before = (self.definitions, self.unfit, self.problem)
        try:
            bearer = await self._tokens.for_lists(self.backend.url)
            definitions, unfit = offering.read(await self._peer.tools(bearer))
        except (BackendFailure, NoToken, RemoteError) as problem:
            self._failed(str(problem))
        except Exception as problem:  # a backend's answer: whatever goes wrong with it, the other lists go on
            log.exception("backend_not_listed", backend=self.backend.name)
            self._failed(f"its list cannot be read ({type(problem).__name__})")
        else:
            if tuple(definitions) != self.definitions:  # an unchanged list stays the same object: others go by identity
                self.definitions = tuple(definitions)
            self.unfit, self.problem = tuple(unfit), ""
            self._failing_since = None
        self.asked.set()
        if before != (self.definitions, self.unfit, self.problem):
            self._changed()

    def _failed(self, problem: str) -> None:
        if self._failing_since is None:
            self._failing_since = self._monotonic()
            log.warning("backend_down", backend=self.backend.name, reason=problem)
        self.problem = problem
        if self._monotonic() - self._failing_since >= GRACE_SECONDS:
            self.definitions, self.unfit = (), ()

    async def call(self, call: Call) -> CallToolResult:
        """The backend's result; raises MCPError with the backend's own error, or NotDone in our words."""
        check, headers = self._check(call.origin)
        if problem := check.problem(call.arguments):
            self._counts.passed_on(self.backend.name, "arguments")
            raise NotDone(f"The arguments do not fit {call.entry.name}: {problem}")
        if not self.circuit.enter():
            self._counts.passed_on(self.backend.name, "rested")
            raise NotDone(self._words("failed several times in a row and is tried again in a few seconds"))
        outcome: PassedOn = "cancelled"
        whose = call.caller.subject
        self._calls[whose] += 1
        try:
            if self._calls[whose] > CALLS_OF_ONE:
                raise Busy(f"{CALLS_OF_ONE} calls of one person are under way")
            result = await self._made(call, headers)
            outcome = "error" if result.is_error else "ok"
        except RemoteError as told:
            outcome = "error"
            raise MCPError.from_error_data(told.error) from None
        except (BackendFailure, NoToken) as failure:
            outcome = failure.outcome if isinstance(failure, BackendFailure) else "no_token"
            log.warning("call_not_done", backend=self.backend.name, tool=call.origin.name, reason=str(failure))
            raise NotDone(self._words(getattr(failure, "words", "cannot be called for you at the moment"))) from None
        finally:
            self._note(outcome, whose)
            self._calls[whose] -= 1
            if not self._calls[whose]:
                del self._calls[whose]
        return result

    async def _made(self, call: Call, headers: HeaderMap) -> CallToolResult:
        held = self.backend.scopes.intersection(call.caller.scopes)
        bearer = await self._tokens.for_caller(call.caller, self.backend.url, held)
        told = ToolCall(call.origin.name, call.arguments, call.owner, headers, call.progress)
        result = await self._peer.call(bearer, self.backend.timeout, told)
        if result.get("resultType", "complete") != "complete":
            raise Asks(f"{self.backend.url} answered {call.origin.name} with {str(result['resultType'])[:50]!r}")
        try:
            result = _without_envelope(result)
            serialize_server_result("tools/call", call.version, result)
            return CallToolResult.model_validate(result)
        except ValidationError:
            raise Unfit(f"{self.backend.url}: no result of a tool that MCP {call.version} can carry") from None

    def _note(self, outcome: PassedOn, whose: str) -> None:
        self._counts.passed_on(self.backend.name, outcome)
        if outcome in ("ok", "error", "refused"):
            self.circuit.succeeded()
        elif outcome in ("unreachable", "timeout", "unfit"):
            self.circuit.failed(whose, is_away=outcome == "unreachable")
            if self.circuit.state != "closed":
                self._again.set()  # fetching its list shows whether it is down altogether
        else:
            self.circuit.left()

    def _check(self, origin: Origin) -> tuple[Arguments, HeaderMap]:
        """The tool's validator and header map, built at its first call and kept as long as its table."""
        found = self._checks.get(origin)
        if found is None:
            schema = origin.shown.input_schema
            found = self._checks[origin] = Arguments(schema), x_mcp_header_map(schema)
        return found

    def _words(self, what: str) -> str:
        return f"{self.backend.name}, the server behind this tool, {what}. Other tools are not affected."


def _without_envelope(result: dict[str, Any]) -> dict[str, Any]:
    """The result without the backend's server info and result type, which this server sets itself."""
    meta = result.get("_meta")
    if isinstance(meta, dict) and SERVER_INFO_META_KEY in meta:
        result = {**result, "_meta": {name: value for name, value in meta.items() if name != SERVER_INFO_META_KEY}}
    return {**result, "resultType": "complete"}
