"""A file that is looked at again and again: whether it is still the one that was read."""

from pathlib import Path

POLL_SECONDS = 1.0


class Watched:
    """Tells one state of a file from the next by its identity, size and time; a missing file is a state as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = self._look()

    def changed(self) -> bool:
        """Whether it is another one since the last question. Ask before reading, so that no change falls between."""
        state = self._look()
        changed = state != self._state
        self._state = state
        return changed

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
