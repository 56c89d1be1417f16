"""What is built before the first answer, and what only when needed."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies.utils import get_dependant
from joserfc.jwk import RSAKey

from gatepost_idp import app as application
from tests.support.serving import serving


def test_no_door_is_made_while_somebody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI's include_router builds each a second time at the first request, in the event loop."""
    made: list[int] = []
    at_start: list[int] = []
    create = application.create

    def making(**given: Any) -> Any:
        made.append(1)
        return get_dependant(**given)

    def creating(*given: Any) -> Any:
        app = create(*given)
        at_start.append(len(made))
        return app

    monkeypatch.setattr("fastapi.routing.get_dependant", making)
    monkeypatch.setattr(application, "create", creating)
    with serving(tmp_path) as idp:
        assert idp.get("/healthz").status_code == 200
    assert at_start == [len(made)]
    assert len(made) > 20


def test_an_rsa_key_is_not_opened_to_be_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading it tests its primes, which takes most of a tenth of a second, for id tokens only."""
    opened: list[object] = []
    monkeypatch.setattr(RSAKey, "import_key", opened.append)
    with serving(tmp_path) as idp:
        published = idp.get("/jwks.json").json()["keys"]
    assert {key["kty"] for key in published} == {"EC", "RSA"}
    assert not opened
