"""``python -m gatepost_resource``: serves until a signal; exits 2, with a line on stderr for each wrong setting.

``--tools`` instead prints the scope of each of our own tools as a JSON object (null: any valid token), for doctor.
``tools …`` runs ``tools_command``.
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
    # uvicorn stops gracefully, then raises the signal again: exit on that one without a traceback.
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
    """Runs ``gatepost tools …``. The module is imported here because the server itself does not need it."""
    from gatepost_resource import tools_command  # noqa: PLC0415 (why: the line above)

    logs.configure("text", "error")  # failures are shown in the rows
    return tools_command.run(sys.argv[2:], settings)


if __name__ == "__main__":
    sys.exit(main())
