"""ACCOUNT_IDLE_DAYS on a running server."""

from pathlib import Path

import pytest

from gatepost_idp import app
from tests.faults.asking import eventually
from tests.idp.oauth.wire import rows
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.serving import serving


def test_who_stays_away_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next purge, within a minute, with every connection; a person who comes back signs up again."""
    monkeypatch.setattr(app, "PURGE_SECONDS", 0.1)
    with serving(tmp_path, account_idle_days=45) as idp, Person("alice@example.com", idp.postbox) as alice:
        client = registered(idp)
        client.connect(alice)
        (before,) = rows(idp, "SELECT id FROM account")
        idp.clock.forward(days=46)
        eventually(lambda: rows(idp, "SELECT id FROM account") == [], "the account stays")
        assert rows(idp, "SELECT id FROM authorization_grant") == []
        with Person("alice@example.com", idp.postbox) as again:
            registered(idp).connect(again)
        assert rows(idp, "SELECT id FROM account") != [before]
