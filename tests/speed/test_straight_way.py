"""The direct path to the program endpoints answers as the framework does, byte for byte and line for line."""

import contextlib
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from gatepost_idp import app as application
from gatepost_idp import limits
from gatepost_idp.brakes import Brakes
from gatepost_idp.clients.registry import Registry
from tests.support.ports import free_port
from tests.support.serving import Clock, listening, settings_of, upgrade
from tests.support.smtp import Postbox

ROOT = "/auth"
_NAMES = ("oauth-authorization-server", "openid-configuration")
DOCUMENTS = [
    "/jwks.json", f"{ROOT}/jwks.json", "/jwks.json/", "/jwks.jsonx",
    *(form.format(name) for name in _NAMES for form in (
        "/.well-known/{}", "/.well-known/{}" + ROOT, ROOT + "/.well-known/{}", "/.well-known/{}/",
        "/.well-known/{}/else",
    )),
]  # fmt: skip  # a list of addresses
_FORM = {"content-type": "application/x-www-form-urlencoded"}
_JSON = {"content-type": "application/json"}
Asked = tuple[str, str, dict[str, str], str]

ASKED: list[Asked] = [
    *((method, path, {}, "") for path in DOCUMENTS for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE")),
    ("GET", "/jwks.json", {"origin": "https://elsewhere.example", "if-none-match": '"x"'}, ""),
    ("GET", "/jwks.json", {"host": "elsewhere.example"}, ""),
    ("GET", "/.well-known/openid-configuration?a=b", {"accept": "text/html"}, ""),
    ("GET", "/.well-known/openid-configuration", {"host": "elsewhere.example"}, ""),
    ("POST", "/token", _FORM, ""),
    ("POST", "/token/", _FORM, "grant_type=password&client_id=x"),
    ("POST", f"{ROOT}/token", _FORM, "grant_type=refresh_token&refresh_token=x&client_id=nobody"),
    ("POST", "/token", _FORM, "grant_type=a&grant_type=b"),
    ("POST", "/token", _JSON, "{}"),
    ("POST", "/token", {**_FORM, "authorization": "Basic bm9ib2R5OnNlY3JldA=="}, "grant_type=authorization_code"),
    ("POST", "/token", _FORM, "x" * 1_100_000),
    ("POST", "/token", {**_FORM, "host": "elsewhere.example"}, "grant_type=a"),
    *((method, "/token", {}, "") for method in ("GET", "HEAD", "PUT", "OPTIONS")),
    ("POST", "/register", _JSON, '{"redirect_uris": ["https://client.example/callback"]}'),
    ("POST", "/register", _JSON, '{"redirect_uris": []}'),
    ("POST", "/register", _JSON, "no JSON"),
    *((method, "/register", {}, "") for method in ("GET", "OPTIONS")),
    *((method, "/authorize", {}, "") for method in ("GET", "HEAD", "POST", "OPTIONS")),
    ("GET", "/authorize?client_id=nobody", {}, ""),
    ("GET", "/authorize?client_id=%ff", {}, ""),
    *(("POST", path, _FORM, "token=x") for path in ("/revoke", "/introspect", "/userinfo")),
    *((method, "/userinfo", {"authorization": "Bearer x"}, "") for method in ("GET", "POST", "HEAD", "DELETE")),
]


@pytest.fixture
def answers(tmp_path: Path, postbox: Postbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """Sends a server all of it; with ``framework``, one with only FastAPI's endpoints, behind slowapi's own limiter."""
    port = free_port()
    settings = settings_of(tmp_path, postbox, port, oauth_issuer=f"http://localhost:{port}{ROOT}")
    upgrade(settings)
    clock = Clock()
    clock.stop()

    def ask(asked: list[Asked], *, framework: bool) -> list[Any]:
        with pytest.MonkeyPatch.context() as patched:
            if framework:
                patched.setattr(application, "StraightWay", lambda app, _routes, _errors: app)
                patched.setattr(Brakes, "before", lambda brakes, door, rule: brakes.limit(rule)(door))
            with listening(settings, clock, port), httpx2.Client(base_url=f"http://localhost:{port}") as client:
                return [_answered(client, caplog, *one) for one in asked]

    return ask


def _answered(client: httpx2.Client, caplog: pytest.LogCaptureFixture, *asked: Any) -> Any:
    method, path, headers, body = asked
    caplog.clear()
    with capture_logs() as logged:
        answer = client.request(method, path, headers=headers, content=body or None)
        with contextlib.suppress(httpx2.TransportError):  # after a fault the server closes the connection
            client.get("/healthz")  # on the same connection: the first one's line is written by then
    own = [line for line in logged if line.get("path") != "/healthz"]
    lines = [{name: value for name, value in line.items() if name not in ("ms", "exc_info")} for line in own]
    fields = [one for one in answer.headers.multi_items() if one[0] != "date"]
    libraries = [(record.name, record.getMessage()) for record in caplog.records if not record.name.startswith("http")]
    return asked[:2], answer.status_code, _plain(fields), _plain(answer.text), _plain(lines), libraries


def _plain(found: Any) -> str:
    """The answer without its random parts."""
    text = re.sub(r"\b[0-9a-z]{5}-[0-9a-z]{5}\b", "TRACE", str(found))
    return re.sub(r"gp_dc_([\w-]+)[\w.-]*", r"gp_dc_\1", text)


def test_both_ways_answer_alike(answers: Any) -> None:
    """Status, every field, body and log line: documents in each form, refusals, other methods, foreign hosts, CORS."""
    straight, routed = answers(ASKED, framework=False), answers(ASKED, framework=True)
    for one, other in zip(straight, routed, strict=True):
        assert one == other


def test_both_ways_brake_alike(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third request in a minute that allows two, and its line in the log."""
    for name in limits.BRAKES:
        monkeypatch.setitem(limits.BRAKES, name, "2/minute")
    paths = [("POST", path, _FORM, "x=y") for path in ("/token", "/register", "/revoke", "/introspect", "/userinfo")]
    asked = [one for one in [*paths, ("GET", "/authorize", {}, "")] for _ in range(3)]
    straight, routed = answers(asked, framework=False), answers(asked, framework=True)
    assert [one[1] for one in straight[2::3]] == [429] * len(straight[2::3])
    assert straight == routed


def test_both_ways_fail_alike(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours: 500 without its text, the fault in our log and in the server's."""

    async def broken(_registry: Registry, _client_id: str) -> None:
        raise RuntimeError("a secret of the code")

    monkeypatch.setattr(Registry, "find", broken)
    asked = [("POST", "/token", _FORM, "grant_type=a&client_id=x"), ("GET", "/authorize?client_id=x", {}, "")]
    straight, routed = answers(asked, framework=False), answers(asked, framework=True)
    assert [one[1] for one in straight] == [500, 500]
    assert "a secret" not in straight[0][3] + straight[1][3]
    assert straight == routed
