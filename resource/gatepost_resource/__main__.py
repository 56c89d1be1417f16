"""``python -m gatepost_resource``: serves until a signal; exit code 2 and a line when a setting is wrong."""

import contextlib
import signal
import sys

from gatepost_resource import logs, serving
from gatepost_resource import settings as configuration
from gatepost_resource.app import build_app
from gatepost_resource.settings import SettingsError


def main() -> int:
    """Runs the server; returns the exit code."""
    # uvicorn stops gracefully and then raises the signal once more: that second one ends us without a trace.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = configuration.load()
        logs.configure(settings.log_style, settings.log_level)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve(settings, build_app(settings))
    except SettingsError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
