"""What the tests of faults share: a certificate authority that the server trusts, and ticks for a test's clock."""

from pathlib import Path

import pytest

from gatepost_idp.mail import outbox
from tests.faults.mailservers import Authority


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Signs certificates that this process believes: OpenSSL reads SSL_CERT_FILE, as it does for an operator."""
    made = Authority(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    return made


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox looks twenty times a second instead of once: the clock jumps here, and the look follows it."""
    monkeypatch.setattr(outbox, "LOOK_EVERY_SECONDS", 0.05)
