"""The IdP as a separate process on a clock that the test controls: ``python -m tests.support.clocked FILE CHORES``.

``CHORES`` is how many times as often as usual what runs in the background comes round: the test's time runs faster.
"""

import mmap
import os
import struct
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn

from gatepost_idp import app as application
from gatepost_idp import audit
from gatepost_idp.operate import garbage, logs
from gatepost_idp.settings import load
from tests.support.processes import ROOT
from tests.support.serving import Clock

_CHORES = (
    *((application, f"{name}_SECONDS") for name in ("ERASE", "FORGET", "PURGE", "FIGURES", "RELOAD")),
    (audit, "SEAL_SECONDS"),
)


class SharedClock(Clock):
    """A clock that several processes read from one small file."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        if not place.exists():
            place.write_bytes(struct.pack("d", 0.0))
        with place.open("r+b") as file:
            self._seconds = mmap.mmap(file.fileno(), 8)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=struct.unpack("d", self._seconds[:8])[0])

    def forward(self, **duration: float) -> None:
        """Moves the clock ahead, for every process at once."""
        ahead: float = struct.unpack("d", self._seconds[:8])[0] + timedelta(**duration).total_seconds()
        self._seconds[:8] = struct.pack("d", ahead)


def clocked(environment: dict[str, str]) -> dict[str, str]:
    """The environment in which this module is found."""
    return {**environment, "PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(ROOT)])}


def main(place: str, faster: float) -> None:
    """Serves what the environment says, as ``gatepost idp`` does."""
    settings = load()
    logs.configure(settings)
    for module, name in _CHORES:
        setattr(module, name, getattr(module, name) / faster)
    app = application.create(settings, SharedClock(Path(place)))
    garbage.settle()
    uvicorn.run(
        app, port=settings.idp_port, log_config=None, access_log=False, proxy_headers=False, ws="none", http="httptools"
    )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
