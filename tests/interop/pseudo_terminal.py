"""A terminal without a person: runs a program as if somebody were using it, until it prints the wanted text."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

WIDE = struct.pack("HHHH", 50, 4000, 0, 0)  # so that no program breaks a URL over two lines
SECONDS = 60


def until(
    wanted: str,
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    answers: Mapping[str, str] | None = None,
) -> str:
    """The first match of ``wanted`` in the program's output; ``answers``: what to type at each of its questions.

    If the program ends without a match, or after SECONDS, raises AssertionError with its whole output.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, WIDE)
    with subprocess.Popen(
        command, cwd=cwd, env=dict(environment), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            return _watched(ours, re.compile(wanted), dict(answers or {}))
        finally:
            process.kill()
            os.close(ours)


def _watched(terminal: int, wanted: re.Pattern[str], answers: dict[str, str]) -> str:
    said, deadline = "", time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        heard = b""
        with contextlib.suppress(OSError):  # Linux reports the program's end this way
            heard = os.read(terminal, 65536)
        said += heard.decode(errors="replace")
        if found := wanted.search(said):
            return found.group()
        if not heard:
            break
        for question in [question for question in answers if question in said]:
            os.write(terminal, f"{answers.pop(question)}\r".encode())
    raise AssertionError(f"{wanted.pattern} did not come:\n{said}")
