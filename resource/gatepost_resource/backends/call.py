"""A call on its way to a backend, and what is said where it comes to nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatepost_resource.access_token import BearerToken
from gatepost_resource.tools import Origin, ToolEntry

Progress = Callable[[float, float | None, str | None], Awaitable[None]]


class NotDone(Exception):
    """A call that was not made or came to nothing, in words for the caller's model."""


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls what. ``owner``: a digest of the caller's bearer. ``version``: the protocol version of the caller.

    ``progress`` is None where none was asked for.
    """

    entry: ToolEntry
    origin: Origin
    arguments: Mapping[str, Any]
    caller: BearerToken
    owner: bytes
    version: str
    progress: Progress | None
