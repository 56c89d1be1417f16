"""Watches a file by polling it for changes."""

from pathlib import Path

POLL_SECONDS = 1.0


class Watched:
    """Compares a file's inode, size and modification time; a missing file is a state as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = self._look()

    def changed(self) -> bool:
        """Whether the file changed since the last call. Call it before reading, so that no change is missed."""
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
