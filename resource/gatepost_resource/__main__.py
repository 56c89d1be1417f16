"""``python -m gatepost_resource``: serves until a signal; exit code 2 and a line when a setting is wrong.

``--tools`` prints instead, as a JSON object, the scope that each tool needs: doctor asks so. ``tools …`` is the command
of that name (``tools_command``).
"""

import contextlib
import json
import signal
import sys

from gatepost_resource import logs, serving
from gatepost_resource import settings as configuration
from gatepost_resource.app import build_app
from gatepost_resource.settings import Settings, SettingsError
from gatepost_resource.tools import OURS


def main() -> int:
    """Runs the server; returns the exit code."""
    if sys.argv[1:] == ["--tools"]:
        sys.stdout.write(json.dumps({entry.name: entry.scope for entry in OURS}))
        return 0
    # uvicorn stops gracefully and then raises the signal once more: that second one ends us without a trace.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = configuration.load()
        if sys.argv[1:2] == ["tools"]:
            return _tools(settings)
        logs.configure(settings.log_style, settings.log_level)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve(settings, build_app(settings))
    except SettingsError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 0


def _tools(settings: Settings) -> int:
    """Imported by the command alone: the server needs none of it."""
    from gatepost_resource import tools_command  # noqa: PLC0415 (why: the line above)

    logs.configure("text", "error")  # what went wrong is in the rows
    return tools_command.run(sys.argv[2:], settings)


if __name__ == "__main__":
    sys.exit(main())
