"""A circuit breaker per backend: pauses calls to one that keeps failing, then tries it again."""

from collections.abc import Callable
from typing import Literal

FAILURES = 5
PAUSE_SECONDS = 10.0

State = Literal["closed", "open", "half-open"]


class Circuit:
    """Opens after FAILURES failures in a row; after PAUSE_SECONDS lets one call through, whose outcome decides.

    Failures of one person's calls alone do not open it: what they ask for may take too long, or be too large.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """``monotonic``: seconds, from any origin."""
        self._monotonic = monotonic
        self._failures = 0
        self._whose: set[str] = set()
        self._opened_at = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        """``half-open``: the next call is let through."""
        if self._failures < FAILURES or len(self._whose) < 2:
            return "closed"
        return "half-open" if self._monotonic() - self._opened_at >= PAUSE_SECONDS else "open"

    def enter(self) -> bool:
        """Whether a call may be made; if so, it must end with ``succeeded``, ``failed`` or ``left``."""
        state = self.state
        if state == "open" or (state == "half-open" and self._probing):
            return False
        self._probing = state == "half-open"
        return True

    def succeeded(self) -> None:
        """The backend answered, if only with an error or a refusal."""
        self._failures = 0
        self._whose.clear()
        self._probing = False

    def failed(self, whose: str, *, is_away: bool = False) -> None:
        """A call of person ``whose`` got no usable answer; ``is_away``: no connection, which concerns everybody."""
        self._failures += 1
        self._whose |= {whose, ""} if is_away else {whose}
        self._probing = False
        self._opened_at = self._monotonic()

    def left(self) -> None:
        """The call ended for a reason that says nothing about the backend: cancelled, no token, too many calls."""
        self._probing = False
