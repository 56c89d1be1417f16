"""An internal error is logged with where it happened, and without the values it happened with."""

import subprocess
import sys

import pytest

from tests.support.processes import environment_of

_FAULT = """
import structlog
from gatepost_resource import logs

def called(bearer):
    raise ZeroDivisionError

logs.configure({style!r}, "info")
try:
    called("gp_" + "secret")
except ZeroDivisionError:
    structlog.get_logger("test").exception("tool_crashed")
"""


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_tells_no_variable(style: str) -> None:
    """Our stack frames hold tokens and arguments."""
    command = [sys.executable, "-c", _FAULT.format(style=style)]
    done = subprocess.run(command, env=environment_of(), capture_output=True, text=True, check=True)
    assert "gp_secret" not in done.stdout + done.stderr
    assert "tool_crashed" in done.stderr
    assert "ZeroDivisionError" in done.stderr
