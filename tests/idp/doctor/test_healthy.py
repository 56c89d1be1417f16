"""Six shapes of a working deployment: doctor finds nothing, from the inside or the outside."""

from pathlib import Path

import pytest

from gatepost_idp.oneport import OnePort
from tests.idp.doctor.deployment import ONE, Names, Servers, fronted, loud, visited
from tests.idp.doctor.front import Route, listening


@pytest.mark.parametrize("shape", ["two-hosts", "one-host", "issuer-path", "stripped"])
@pytest.mark.parametrize("knows_settings", [True, False])
def test_behind_a_proxy(
    public: dict[str, Servers], network: Names, tmp_path: Path, shape: str, knows_settings: bool
) -> None:
    """Two hosts, one host by path, an issuer with a path, kept or stripped; run on the server and elsewhere."""
    both = public[shape]
    with fronted(network, both.routes(shape), tmp_path):
        outcomes = visited(network, both.idp.settings if knows_settings else None, both.mcp)
    assert loud(outcomes) == []
    assert [outcome.check for outcome in outcomes if outcome.left_out] == []


def test_one_port(public: dict[str, Servers], network: Names, tmp_path: Path) -> None:
    """As `demo --public` runs behind a tunnel: one port that routes by path."""
    both = public["one-port"]
    shared = OnePort(f"http://127.0.0.1:{both.idp_port}", f"http://127.0.0.1:{both.resource_port}")
    with listening(shared.application()) as port, fronted(network, [Route(ONE, "/", port)], tmp_path):
        outcomes = visited(network, both.idp.settings, both.mcp)
    assert loud(outcomes) == []


def test_on_loopback(local: Servers, network: Names) -> None:
    """The demo: plain http, any port, no certificate, no public name."""
    outcomes = visited(network, local.idp.settings, local.mcp)
    assert loud(outcomes) == []
