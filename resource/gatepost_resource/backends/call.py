"""A call on its way to a backend, and the error for one that fails."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatepost_resource.access_token import BearerToken
from gatepost_resource.tools import Origin, ToolEntry

Progress = Callable[[float, float | None, str | None], Awaitable[None]]


class NotDone(Exception):
    """A call that was not made or gave no usable result; the text is for the caller's model."""


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls what. ``owner``: a digest of the caller's bearer. ``version``: the caller's protocol version.

    ``progress``: reports progress to the caller; None if the caller did not ask for it.
    """

    entry: ToolEntry
    origin: Origin
    arguments: Mapping[str, Any]
    caller: BearerToken
    owner: bytes
    version: str
    progress: Progress | None
