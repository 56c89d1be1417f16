"""Whether a backend that failed again and again is asked once more yet: one circuit for each backend."""

from collections.abc import Callable
from typing import Literal

FAILURES = 5
PAUSE_SECONDS = 10.0

State = Literal["closed", "open", "half-open"]


class Circuit:
    """Opens after FAILURES failures in a row; after a pause lets one call through, whose outcome decides.

    Failures of one person alone open it for nobody: what they asked for may take too long, or be too much.
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
        """Whether a call may be made; one that may must end in ``succeeded``, ``failed`` or ``left``."""
        state = self.state
        if state == "open" or (state == "half-open" and self._probing):
            return False
        self._probing = state == "half-open"
        return True

    def succeeded(self) -> None:
        """The backend answered, whatever it answered."""
        self._failures = 0
        self._whose.clear()
        self._probing = False

    def failed(self, whose: str, *, is_away: bool = False) -> None:
        """No usable answer to a call of ``whose``; ``is_away``: there was no connection, for whomever."""
        self._failures += 1
        self._whose |= {whose, ""} if is_away else {whose}
        self._probing = False
        self._opened_at = self._monotonic()

    def left(self) -> None:
        """The caller went away, which says nothing of the backend."""
        self._probing = False
