"""What each import adds to the authorization server's memory and start: ``python -m bench.imports [MODULE …]``."""

import gc
import resource  # Python's own
import sys
import time
from importlib import import_module

# Each module comes after those that it imports, so that its row shows only its own cost.
ORDER = """
    asyncio cryptography.hazmat.primitives.asymmetric.ec pydantic.types fastapi sqlmodel sqlalchemy.dialects.sqlite
    structlog jinja2 uvicorn uvloop joserfc.jwt authlib.oauth2.rfc8414 slowapi aiosmtplib itsdangerous typer
    gatepost_idp.__main__ gatepost_idp.models gatepost_idp.app
"""


def main(names: list[str]) -> None:
    """Prints a row per module: MiB of memory, and ms of CPU with garbage collection off, as in a server's start."""
    gc.disable()
    rows = ["| | MiB | CPU ms |", "| --- | --: | --: |", f"| Python | {_mib():.1f} | |"]
    for name in names:
        held, spent = _mib(), time.process_time()
        import_module(name)
        rows.append(f"| {name} | {_mib() - held:.1f} | {(time.process_time() - spent) * 1000:.0f} |")
    sys.stdout.write("\n".join([*rows, f"| all of it | {_mib():.1f} | |", ""]))


def _mib() -> float:
    """Peak resident memory in MiB (Linux reports KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1:] or ORDER.split())
