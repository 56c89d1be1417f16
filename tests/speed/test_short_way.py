"""What a list and a call cost the resource server, in function calls rather than time."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import joserfc.jws
import pydantic_core
import pytest

from tests.resource.both_ways import ECHO, LIST, NOW, RESOURCE, WIRES, Way, way
from tests.resource.issuer import Issuer, issuing
from tests.resource.running import calling

COUNTED = [
    (pydantic_core, "from_json"), (json, "loads"), (joserfc.jws, "deserialize_compact"), (anyio.to_thread, "run_sync"),
]  # fmt: skip  # functions


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as one:
        yield one


@pytest.fixture
def short(issuer: Issuer) -> Iterator[Way]:
    with way(issuer, short=True) as found:
        yield found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of calls of each of these functions, by name."""
    found: Counter[str] = Counter()

    def counting(module: Any, name: str) -> None:
        function = getattr(module, name)

        def call(*given: Any, **named: Any) -> Any:
            found[name] += 1
            return function(*given, **named)

        monkeypatch.setattr(module, name, call)

    for module, name in COUNTED:
        counting(module, name)
    return found


@pytest.mark.parametrize("version", WIRES)
@pytest.mark.parametrize("message", [LIST, ECHO, calling("whoami")], ids=["list", "echo", "whoami"])
def test_what_was_asked_before_is_read_once_and_goes_nowhere_else(
    short: Way, counted: Counter[str], version: str, message: dict[str, Any]
) -> None:
    """The body is parsed once; no signature is verified again, no thread is used, and the SDK's path is not taken."""
    token = short.server.issuer.token(RESOURCE, now=NOW)
    assert short.ask(token, message, version).status == 200
    assert counted["deserialize_compact"] == 1
    asked = list(short.asked)
    counted.clear()
    assert short.ask(token, {**message, "id": 2}, version).status == 200
    assert dict(counted) == {"from_json": 1}
    assert short.asked == asked
