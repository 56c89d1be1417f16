"""The approved definition of each tool: a description changed after approval may carry instructions to a model.

One JSON file (TOOL_APPROVALS), read by every worker and written by the worker that first sees a tool and by
``gatepost tools accept``. It stores the whole definition, not a digest, so that a person can read what changed.
Nothing is ever removed from it: a tool that disappears and comes back different counts as changed.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

MAX_TOOLS = 10_000

Texts = Mapping[str, Mapping[str, str]]
"""The text of each tool's definition, by backend and tool."""


class ApprovalsUnusable(Exception):
    """The file cannot be read or written; the text names the setting."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a list compares with the file. ``first``: tools not seen before. ``changed``: by tool, its approved text."""

    first: tuple[str, ...]
    changed: Mapping[str, str]


def judge(known: Mapping[str, str], seen: Mapping[str, str]) -> Judgement:
    """Compares one backend's definitions (``seen``) with the approved ones (``known``), both by tool."""
    first = tuple(tool for tool in seen if tool not in known)
    return Judgement(first, {tool: known[tool] for tool in seen if tool in known and known[tool] != seen[tool]})


class _File(BaseModel):
    version: Literal[1]
    tools: dict[str, dict[str, str]]


class Approvals:
    """The file. Each write replaces it atomically, under a lock that all writers take."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, dict[str, str]]:
        """The approved definitions, by backend and tool; empty if there is no file yet. Raises ApprovalsUnusable."""
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise ApprovalsUnusable(f"TOOL_APPROVALS: {self.path} cannot be read ({problem.strerror})") from None
        except (ValueError, RecursionError):
            raise ApprovalsUnusable(self._foreign) from None
        return self._checked(told)

    def add(self, texts: Texts, *, only_new: bool) -> None:
        """Approves ``texts``; ``only_new`` leaves the entries of known tools as they are. Raises ApprovalsUnusable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path.with_name(f"{self.path.name}.lock"), "w", opener=_private) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._write(_merged(self.read(), texts, only_new))
        except OSError as problem:
            raise ApprovalsUnusable(f"TOOL_APPROVALS: {self.path} cannot be written ({problem.strerror})") from None

    @property
    def _foreign(self) -> str:
        return f"TOOL_APPROVALS: {self.path} is not a file of approved tools; it is left as it is"

    def _checked(self, told: object) -> dict[str, dict[str, str]]:
        try:
            return _File.model_validate(told).tools
        except ValidationError:
            raise ApprovalsUnusable(self._foreign) from None

    def _write(self, approved: Texts) -> None:
        if sum(map(len, approved.values())) > MAX_TOOLS:
            # A backend that invents names without end must neither fill the disk nor push out what is approved.
            raise ApprovalsUnusable(f"TOOL_APPROVALS: {self.path} holds {MAX_TOOLS} tools, and takes no more")
        told = {"version": 1, "written": datetime.now(UTC).isoformat(timespec="seconds"), "tools": approved}
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(told, file, ensure_ascii=False, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _merged(known: Texts, texts: Texts, only_new: bool) -> dict[str, dict[str, str]]:
    merged = {backend: dict(tools) for backend, tools in known.items()}
    for backend, tools in texts.items():
        kept = merged.setdefault(backend, {})
        for tool, text in tools.items():
            if not only_new or tool not in kept:
                kept[tool] = text
    return merged


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
