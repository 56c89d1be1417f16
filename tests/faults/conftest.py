"""Shared by the fault tests: a certificate authority that the server trusts, and an outbox that polls faster."""

from pathlib import Path

import pytest

from gatepost_idp.mail import outbox
from tests.faults.mailservers import Authority


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Signs certificates that this process trusts: OpenSSL reads SSL_CERT_FILE, as it does for an operator."""
    made = Authority(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    return made


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox polls twenty times a second instead of once, to follow the test's clock when it jumps."""
    monkeypatch.setattr(outbox, "LOOK_EVERY_SECONDS", 0.05)
