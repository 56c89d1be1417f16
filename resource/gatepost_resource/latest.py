"""Values that are replaced as a whole while the server runs; readers ask for the current one."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Made = TypeVar("Made")


class Latest(Generic[Value]):
    """Holds one immutable value. Only the event loop's thread reads and replaces it, so no reader sees half an update.

    Identity tells one generation from the next: a result computed from a value is valid as long as ``current()``
    is that same object.
    """

    def __init__(self, first: Value) -> None:
        self._value = first

    def current(self) -> Value:
        """The current value; read it once where several uses have to agree."""
        return self._value

    def replace(self, value: Value) -> None:
        """Makes ``value`` the current one."""
        self._value = value


class Kept(Generic[Value, Made]):
    """A result computed from a ``Latest`` value, cached until that value is replaced."""

    def __init__(self, latest: Latest[Value], make: Callable[[Value], Made]) -> None:
        """``make``: computes the result; called at once for the first value, so that errors show at start-up."""
        self._latest = latest
        self._make = make
        self._source = latest.current()
        self._made = make(self._source)

    def current(self) -> Made:
        """The result for the current value."""
        source = self._latest.current()
        if source is not self._source:
            self._source, self._made = source, self._make(source)
        return self._made
