"""Reads the flight recorder's traces as an operator does, with `gatepost trace`, while the server runs."""

import json
import time
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner, Result

from gatepost_idp.__main__ import cli
from tests.faults.asking import environment_for
from tests.idp.oauth.wire import rows
from tests.support.serving import Idp


@dataclass(frozen=True, slots=True)
class Story:
    """The output of `gatepost trace ID --json`."""

    steps: list[dict[str, Any]]
    advice: str

    @property
    def names(self) -> list[str]:
        return [step["step"] for step in self.steps]

    def step(self, name: str) -> dict[str, Any]:
        """The last step of that name."""
        return next(step for step in reversed(self.steps) if step["step"] == name)


def gatepost_trace(idp: Idp, *arguments: str) -> Result:
    """`gatepost trace ARGUMENTS`."""
    return CliRunner().invoke(cli, ["trace", *arguments], env=environment_for(idp))


def told(idp: Idp, key: str, waits_for: str = "") -> Story:
    """The story of ``key``, once a step of that name (any, if empty) is written."""
    until(idp, "SELECT count(*) FROM trace_step WHERE :key IN (trace_id, client_id) AND :step IN (step, '')",
          key=key, step=waits_for)  # fmt: skip  # one query
    result = gatepost_trace(idp, key, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return Story(found["steps"], found["what_to_do"])


def until(idp: Idp, query: str, seconds: float = 10, **values: object) -> None:
    """Returns once ``query`` gives something other than 0."""
    deadline = time.monotonic() + seconds
    while not rows(idp, query, **values)[0][0]:
        assert time.monotonic() < deadline, f"never: {query} {values}"
        time.sleep(0.05)
