"""An MCP client of one backend, in the backend's protocol era; each session is for one bearer's calls."""

import asyncio
import contextlib
import itertools
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from mcp.shared.inbound import encode_header_value, mcp_param_headers
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    HEADER_MISMATCH,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    PROTOCOL_VERSION_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    URL_ELICITATION_REQUIRED,
    ErrorData,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from pydantic import ValidationError

from gatepost_resource.backends.call import Progress
from gatepost_resource.backends.wire import Asks, BackendFailure, Gone, Message, TimedOut, Unfit, Wire

REQUEST_SECONDS = 15.0
GOODBYE_SECONDS = 2.0
MAX_TOOLS = 2_000
MAX_PAGES = 100
MAX_LIST_BYTES = 8 * 1024 * 1024
MAX_ASKED = 20
MAX_SESSIONS = 500
IDLE_SECONDS = 600.0
_SESSION = re.compile(r"[\x21-\x7e]{1,1024}")  # 2025-11-25, session management
_CLIENT = {"name": "gatepost", "version": "1"}
_ENVELOPE = {
    PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
    CLIENT_INFO_META_KEY: _CLIENT,
    CLIENT_CAPABILITIES_META_KEY: {},  # none: a backend may not ask for sampling, elicitation or roots
}

# Errors about this server's own request: a caller's client would take them to be about its request.
_BETWEEN_US = frozenset({HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY, UNSUPPORTED_PROTOCOL_VERSION})

HeaderMap = Mapping[tuple[str, ...], str]


class RemoteError(Exception):
    """A JSON-RPC error from the backend, which the caller gets unchanged."""

    def __init__(self, error: ErrorData) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call, under the tool's name at the backend.

    ``owner``: a digest of the caller's own bearer, whose session it may use. ``headers``: the arguments that the
    schema also wants as headers (2026-07-28). ``progress``: None if the caller did not ask for it.
    """

    name: str
    arguments: Mapping[str, Any]
    owner: bytes
    headers: HeaderMap
    progress: Progress | None


@dataclass(slots=True)
class _Session:
    """``id``: None if the backend keeps no sessions. ``bearer``: the latest call's. ``used``: monotonic seconds."""

    id: str | None
    version: str
    bearer: str
    used: float
    calls: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """The headers that name the session."""
        named = {"mcp-session-id": self.id} if self.id is not None else {}
        return {"mcp-protocol-version": self.version, **named}


class Peer:
    """One backend. Its protocol era is detected with each list, and assumed in between."""

    def __init__(self, wire: Wire, monotonic: Callable[[], float]) -> None:
        """``monotonic``: seconds, from any origin."""
        self._wire = wire
        self._monotonic = monotonic
        self._ids = itertools.count(1)  # unique within a session, whose calls run concurrently
        self._handshake: str | None = None  # the version agreed by handshake; None: 2026-07-28, which has none
        self._keeps_sessions = True
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._opening: dict[bytes, asyncio.Task[_Session]] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._sessions)

    async def tools(self, bearer: str) -> list[dict[str, Any]]:
        """Every tool of its list, all pages; raises BackendFailure and RemoteError."""
        if await self._speaks_modern(bearer):
            self._handshake = None
            return await self._pages(bearer, None)
        session = await self._opened(bearer, REQUEST_SECONDS)
        self._handshake, self._keeps_sessions = session.version, session.id is not None
        try:
            return await self._pages(bearer, session)
        finally:
            self._end(session)

    async def call(self, bearer: str, seconds: float, call: ToolCall) -> dict[str, Any]:
        """The raw result of a call; raises BackendFailure and RemoteError. ``seconds``: the limit of each request."""
        if self._handshake is None:
            return await self._called(bearer, None, seconds, call)
        if not self._keeps_sessions:
            session = _Session(None, self._handshake, bearer, self._monotonic())
            return await self._called(bearer, session, seconds, call)
        try:
            return await self._called_in_session(bearer, seconds, call)
        except Gone:
            # The call was not carried out, so it is made once more, in a new session.
            return await self._called_in_session(bearer, seconds, call)

    def tidy(self) -> None:
        """Ends the sessions that were idle for IDLE_SECONDS."""
        oldest = self._monotonic() - IDLE_SECONDS
        for owner, session in list(self._sessions.items()):
            if not session.calls and session.used < oldest:
                self._end(self._sessions.pop(owner))

    async def aclose(self) -> None:
        """Ends every session, waits GOODBYE_SECONDS at most for that, and closes the connections."""
        for task in self._opening.values():
            task.cancel()
        while self._sessions:
            self._end(self._sessions.popitem()[1])
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=GOODBYE_SECONDS)
        self._wire.close()

    async def _called(self, bearer: str, session: _Session | None, seconds: float, call: ToolCall) -> dict[str, Any]:
        parameters = {"name": call.name, "arguments": call.arguments}
        headers = {}
        if session is None:
            headers = {"mcp-name": encode_header_value(call.name), **mcp_param_headers(call.headers, call.arguments)}
        return await self._ask(bearer, session, "tools/call", parameters, seconds, headers, call.progress)

    async def _called_in_session(self, bearer: str, seconds: float, call: ToolCall) -> dict[str, Any]:
        session = await self._own(bearer, call.owner, seconds)
        session.calls += 1
        session.bearer = bearer
        try:
            return await self._called(bearer, session, seconds, call)
        except Gone:
            if self._sessions.get(call.owner) is session:  # and not the one that another call opened meanwhile
                del self._sessions[call.owner]
            raise
        finally:
            session.calls -= 1
            session.used = self._monotonic()

    async def _own(self, bearer: str, owner: bytes, seconds: float) -> _Session:
        """The owner's session; of several concurrent first calls, one opens it."""
        if owner not in self._sessions:
            if owner not in self._opening:
                task = asyncio.create_task(self._open(bearer, owner, seconds))
                task.add_done_callback(lambda _: self._opening.pop(owner, None))
                self._opening[owner] = task
            # Shielded: one caller's cancellation must not cancel the session that others wait for.
            return await asyncio.shield(self._opening[owner])
        self._sessions.move_to_end(owner)
        return self._sessions[owner]

    async def _open(self, bearer: str, owner: bytes, seconds: float) -> _Session:
        session = self._sessions[owner] = await self._opened(bearer, seconds)
        self._make_room(owner)
        return session

    def _make_room(self, newest: bytes) -> None:
        idle = (owner for owner, session in self._sessions.items() if not session.calls and owner != newest)
        if len(self._sessions) > MAX_SESSIONS and (longest := next(idle, None)) is not None:
            self._end(self._sessions.pop(longest))

    async def _speaks_modern(self, bearer: str) -> bool:
        """Whether the backend supports 2026-07-28; short of proof, the handshake is used, as in the SDK's client."""
        try:
            told = await self._ask(bearer, None, "server/discover", {}, REQUEST_SECONDS)
        except (RemoteError, Unfit):
            return False
        versions = told.get("supportedVersions")
        return isinstance(versions, list) and LATEST_MODERN_VERSION in versions

    async def _opened(self, bearer: str, seconds: float) -> _Session:
        parameters = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": "initialize", "params": parameters}
        answer = await self._wire.send(message, _authorized(bearer), seconds, _deaf)
        version = _result(answer.message).get("protocolVersion")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise Unfit(f"{self._wire.url} speaks no version of MCP that is spoken here")
        if answer.session is not None and not _SESSION.fullmatch(answer.session):
            raise Unfit(f"{self._wire.url} named its session in characters that no header may have")
        session = _Session(answer.session, str(version), bearer, self._monotonic())
        await self._tell(session, {"method": "notifications/initialized"}, seconds)
        return session

    async def _pages(self, bearer: str, session: _Session | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        parameters: dict[str, Any] = {}
        size = 0
        for _ in range(MAX_PAGES):
            page = await self._ask(bearer, session, "tools/list", parameters, REQUEST_SECONDS)
            tools = page.get("tools")
            if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
                raise Unfit(f"{self._wire.url} answered tools/list without a list of tools")
            found += tools
            size += len(str(tools))
            if len(found) > MAX_TOOLS or size > MAX_LIST_BYTES:
                raise Unfit(f"{self._wire.url} lists more than {MAX_TOOLS} tools, or {MAX_LIST_BYTES} bytes of them")
            if not isinstance(page.get("nextCursor"), str):
                return found
            parameters = {"cursor": page["nextCursor"]}
        raise Unfit(f"{self._wire.url} lists more than {MAX_PAGES} pages of tools")

    async def _ask(
        self,
        bearer: str,
        session: _Session | None,
        method: str,
        parameters: Mapping[str, Any],
        seconds: float,
        headers: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """The result of one request; ``session`` None: as in 2026-07-28. Raises BackendFailure and RemoteError."""
        id_ = next(self._ids)
        meta: dict[str, Any] = {} if progress is None else {"progressToken": id_}
        sent = {**_authorized(bearer), "mcp-protocol-version": LATEST_MODERN_VERSION, "mcp-method": method}
        if session is None:
            meta |= _ENVELOPE
        else:
            sent = {**_authorized(bearer), **session.headers}
        message = {"jsonrpc": "2.0", "id": id_, "method": method, "params": {**parameters, "_meta": meta}}
        hear = _Ears(self._wire.url, id_, progress, lambda answer: self._refuse(session, answer)).hear
        try:
            answer = await self._wire.send(message, {**sent, **(headers or {})}, seconds, hear)
        except (asyncio.CancelledError, TimedOut):
            self._cancel(session, id_)
            raise
        return _result(answer.message)

    async def _tell(self, session: _Session, message: Message, seconds: float) -> None:
        sent = {**_authorized(session.bearer), **session.headers}
        await self._wire.send({"jsonrpc": "2.0", **message}, sent, seconds, _deaf)

    async def _refuse(self, session: _Session | None, answer: Message) -> None:
        if session is not None:  # 2026-07-28 has no such requests, so there is nobody to answer
            await self._tell(session, answer, GOODBYE_SECONDS)

    def _cancel(self, session: _Session | None, id_: int) -> None:
        """Before 2026-07-28 a closed stream cancels nothing, so a notification follows (2025-11-25, cancellation)."""
        if session is not None:
            said = {"method": "notifications/cancelled", "params": {"requestId": id_}}
            self._afterwards(self._tell(session, said, GOODBYE_SECONDS))

    def _end(self, session: _Session) -> None:
        if session.id is not None:
            self._afterwards(self._wire.end({**_authorized(session.bearer), **session.headers}, GOODBYE_SECONDS))

    def _afterwards(self, words: Coroutine[Any, Any, None]) -> None:
        """Sends in the background, and may fail: a call that is being cancelled cannot wait."""
        task = asyncio.create_task(_attempted(words))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)


class _Ears:
    """Handles what the backend sends before its answer: passes progress on, refuses requests, drops the rest."""

    def __init__(
        self, url: str, token: int, progress: Progress | None, refuse: Callable[[Message], Awaitable[None]]
    ) -> None:
        self._url = url
        self._token = token
        self._progress = progress
        self._refuse = refuse
        self._asked = 0

    async def hear(self, message: Message) -> None:
        """Handles one message; raises Unfit after MAX_ASKED requests."""
        method, parameters = message.get("method"), message.get("params")
        if "id" in message and isinstance(method, str):
            await self._answer(message["id"], method)
        elif method == "notifications/progress" and isinstance(parameters, dict):
            await self._carry(parameters)

    async def _answer(self, id_: object, method: str) -> None:
        """Refuses all but ping (sampling, elicitation, roots): a backend may not prompt the person's model."""
        self._asked += 1
        if self._asked > MAX_ASKED:
            raise Unfit(f"{self._url} asks more than {MAX_ASKED} questions within one call")
        refusal = {"error": {"code": METHOD_NOT_FOUND, "message": f"{method} is not offered here"}}
        await self._refuse({"id": id_, **({"result": {}} if method == "ping" else refusal)})

    async def _carry(self, parameters: dict[str, Any]) -> None:
        done, total, said = (parameters.get(name) for name in ("progress", "total", "message"))
        if self._progress is None or parameters.get("progressToken") != self._token or not _is_number(done):
            return
        await self._progress(done, total if _is_number(total) else None, said if isinstance(said, str) else None)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _authorized(bearer: str) -> dict[str, str]:
    return {"authorization": f"Bearer {bearer}"}


def _result(message: Message) -> dict[str, Any]:
    if "error" not in message:
        found: dict[str, Any] = message["result"]
        return found
    try:
        error = ErrorData.model_validate(message["error"])
    except ValidationError:
        raise Unfit("an error without a code and a message") from None
    if error.code in _BETWEEN_US:
        raise Unfit(f"error {error.code}: {error.message[:200]}")
    if error.code == URL_ELICITATION_REQUIRED:
        raise Asks(f"error {error.code}")
    raise RemoteError(error)


async def _deaf(_message: Message) -> None:
    """Ignores what the backend sends before its answer."""


async def _attempted(words: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(BackendFailure):
        await words
