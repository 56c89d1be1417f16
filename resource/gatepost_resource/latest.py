"""What is replaced as a whole while the server runs; whoever needs it asks for the one of the moment."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Made = TypeVar("Made")


class Latest(Generic[Value]):
    """Holds one immutable value. The event loop's thread alone reads and replaces, so no reader meets half of it.

    The value's identity tells one generation from the next: what was worked out from one is good as long as
    ``current()`` is that very object.
    """

    def __init__(self, first: Value) -> None:
        self._value = first

    def current(self) -> Value:
        """The value of the moment; take it once for each thing that has to fit together."""
        return self._value

    def replace(self, value: Value) -> None:
        """From now on everybody who asks gets this one."""
        self._value = value


class Kept(Generic[Value, Made]):
    """Something worked out from a value that is replaced, kept until it is."""

    def __init__(self, latest: Latest[Value], make: Callable[[Value], Made]) -> None:
        """``make``: works it out, at once for the first value, so that what is wrong shows at the start."""
        self._latest = latest
        self._make = make
        self._source = latest.current()
        self._made = make(self._source)

    def current(self) -> Made:
        """What belongs to the value of the moment."""
        source = self._latest.current()
        if source is not self._source:
            self._source, self._made = source, self._make(source)
        return self._made
