"""``gatepost clients …``: values for a client's dialog, and decisions about metadata URLs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.faults.asking import environment_for
from tests.idp.oauth.wire import (
    Server,
    asks_one_tap,
    authorize,
    basic,
    error_of,
    page_of,
    refused,
    running,
    scope_of,
    tokens_of,
    went_silently,
)
from tests.support.documents import DocumentHost, showing
from tests.support.oauth import TestClient, answer_of, challenge_of, registered
from tests.support.person import Person
from tests.support.processes import run_gatepost

CALLBACK = "https://app.test/oauth/callback"
VERIFIER = "v" * 43


@pytest.fixture
def host() -> Iterator[DocumentHost]:
    with showing() as shown:
        yield shown


@pytest.fixture
def idp(tmp_path: Path, host: DocumentHost) -> Iterator[Server]:
    with running(tmp_path, fetcher=host.fetcher()) as served:
        yield served


@pytest.fixture
def alice(idp: Server) -> Iterator[Person]:
    with Person("alice@example.com", idp.postbox) as person:
        yield person


def gatepost(idp: Server, *arguments: str) -> Any:
    """``gatepost ARGUMENTS --json``, as a process beside the server."""
    return json.loads(run_gatepost(environment_for(idp), *arguments, "--json"))


def made(idp: Server, *options: str) -> TestClient:
    """A manually added client with one redirect URI."""
    return TestClient(idp, gatepost(idp, "clients", "add", "App", "--redirect", CALLBACK, *options), CALLBACK)


def complaint(idp: Server, *arguments: str) -> str:
    """A failing command's message; asserts that it is one line, with exit code 1."""
    command = [sys.executable, "-m", "gatepost_idp", *arguments]
    done = subprocess.run(command, env=environment_for(idp), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


# --- By hand --------------------------------------------------------------------------------------------------------


@pytest.mark.clause("A1.client-authentication", "A12.scopes", "A13.default-scope")
@pytest.mark.parametrize("way", ["basic", "post"])
def test_what_is_printed_is_what_a_dialog_asks_for(idp: Server, alice: Person, way: str) -> None:
    """Authorization URL, token URL, id, secret, scopes: with only these, and no resource, a client connects."""
    said = run_gatepost(environment_for(idp), "clients", "add", "Caddy", "--redirect", CALLBACK, "--confidential")
    dialog = dict(line.split(": ", 1) for line in said.splitlines())
    assert list(dialog) == ["client_id", "client_secret", "authorization_url", "token_url", "scopes"]
    assert dialog["scopes"] == "openid profile email offline_access"
    query = {
        "response_type": "code",
        "client_id": dialog["client_id"],
        "redirect_uri": CALLBACK,
        "scope": dialog["scopes"],
        "state": "s",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    code = answer_of(alice.walk(f"{dialog['authorization_url']}?{urlencode(query)}"))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    credentials = (dialog["client_id"], dialog["client_secret"])
    headers = basic(*credentials) if way == "basic" else {}
    own = {} if way == "basic" else dict(zip(("client_id", "client_secret"), credentials, strict=True))
    assert dialog["token_url"] == f"{idp.issuer}/token"
    tokens = tokens_of(idp.post("/token", {**form, **own}, headers=headers))
    assert scope_of(tokens) == {"demo:read", "demo:echo", *dialog["scopes"].split()}
    assert tokens["id_token"]
    again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refused(idp.post("/token", {**again, "client_id": dialog["client_id"]}), "invalid_client", 401)
    tokens_of(idp.post("/token", {**again, **own}, headers=headers))


def test_a_public_client_has_no_secret(idp: Server, alice: Person) -> None:
    """It is protected by PKCE only, and there is no secret anywhere."""
    client = made(idp)
    assert "client_secret" not in client.information
    client.connect(alice)


def test_the_claude_preset_has_both_callbacks(idp: Server) -> None:
    """Those of claude.ai and claude.com, in addition to others given."""
    client_id = gatepost(idp, "clients", "add", "Claude", "--claude", "--redirect", CALLBACK)["client_id"]
    for uri in (
        "https://claude.ai/api/mcp/auth_callback",
        "https://claude.com/api/mcp/auth_callback",
        CALLBACK,
    ):
        assert authorize(TestClient(idp, {"client_id": client_id}, uri)).status_code == 303
    page_of(authorize(TestClient(idp, {"client_id": client_id}, "https://claude.ai/other")))


@pytest.mark.clause("C6", "A13.default-scope")
@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("demo:read demo:echo", {"demo:echo"}),
        ("demo:echo", {"demo:echo"}),
        ("demo:read", {"demo:echo"}),
        ("openid", {"demo:echo", "openid"}),
        (None, {"demo:echo"}),
    ],
)
def test_the_operators_scopes_cap_a_client_and_are_its_default(
    idp: Server, alice: Person, asked: str | None, granted: set[str]
) -> None:
    """At /authorize, and so at every refresh; the values for the dialog name them."""
    client = made(idp, "--scope", "demo:echo", "--scope", "demo:ops openid")
    assert client.information["scopes"] == "openid profile email offline_access demo:echo demo:ops"
    tokens = client.connect(alice, scope=asked)
    assert scope_of(tokens) == granted
    again = tokens_of(client.refresh(tokens["refresh_token"], scope="demo:read demo:echo"))
    assert "demo:read" not in scope_of(again)


@pytest.mark.clause("C6")
def test_nobody_widens_a_client_beyond_the_operators_scopes(idp: Server, alice: Person) -> None:
    """The account page does not offer others, and a forged form does not get them."""
    client = made(idp, "--scope", "demo:echo")
    tokens = client.connect(alice)
    alice.open(f"{idp.issuer}/account/access")
    assert "Read the clock and the help" not in alice.text
    alice.submit(alice.form("grant"), scope=["demo:read", "demo:echo"])
    assert "Saved." in alice.text
    assert scope_of(tokens_of(client.refresh(tokens["refresh_token"]))) == {"demo:echo"}


@pytest.mark.clause("C6")
def test_the_scope_of_a_registration_caps_nothing(idp: Server, alice: Person) -> None:
    """Clients register narrow and ask for more later."""
    client = registered(idp, scope="demo:read")
    assert scope_of(client.connect(alice)) == {"demo:read", "demo:echo"}


def test_what_cannot_be_added_is_said_in_a_line(idp: Server) -> None:
    """The line says what would be accepted."""
    add = ("clients", "add")
    assert "--redirect" in complaint(idp, *add, "App")
    assert "javascript:x" in complaint(idp, *add, "App", "--redirect", CALLBACK, "--redirect", "javascript:x")
    assert "demo:read demo:echo demo:ops" in complaint(idp, *add, "App", "--redirect", CALLBACK, "--scope", "demo:all")
    assert "demo:read" in complaint(idp, *add, "App", "--redirect", CALLBACK, "--scope", "openid")
    assert "URL" in complaint(idp, *add, "App", "--redirect", CALLBACK, "--checks-iss")
    assert "--checks-iss" in complaint(idp, *add, "https://client.test/client.json")
    for command in (add, ("clients", "disable")):
        assert "not a metadata URL" in complaint(idp, *command, "https://client.test/../x")
    assert "Nobody has used" in complaint(idp, "clients", "show", "https://client.test/client.json")


# --- Metadata URLs --------------------------------------------------------------------------------------------------


@pytest.mark.clause("C1")
def test_an_operator_lets_a_metadata_url_be_silent(idp: Server, host: DocumentHost, alice: Person) -> None:
    """``clients add URL --checks-iss``, before or after its first use; list and show display it."""
    url = host.show()
    client = TestClient(idp, {"client_id": url})
    assert gatepost(idp, "clients", "add", url, "--checks-iss") == {"client_id": url, "checks_iss": True}
    assert gatepost(idp, "clients", "show", url)["redirect_uris"] == []
    client.connect(alice)
    alice.open(client.authorize_url())
    went_silently(alice, client)
    [listed] = gatepost(idp, "clients", "list")
    assert listed == {
        "client": url,
        "name": "Test client",
        "origin": "document",
        "disabled": False,
        "checks_iss": True,
    }
    shown = gatepost(idp, "clients", "show", url)
    assert (shown["name"], shown["redirect_uris"], shown["checks_iss"]) == (
        "Test client",
        ["https://client.test/callback"],
        True,
    )
    gatepost(idp, "clients", "add", url, "--no-checks-iss")
    alice.open(client.authorize_url())
    assert asks_one_tap(alice)


@pytest.mark.clause("A4.disabled")
def test_an_operator_switches_a_metadata_url_off_and_on(idp: Server, host: DocumentHost, alice: Person) -> None:
    """It takes effect at once, at each endpoint, and for an open page too."""
    client = TestClient(idp, {"client_id": host.show()})
    tokens = client.connect(alice)
    alice.open(client.authorize_url())
    assert asks_one_tap(alice)
    assert gatepost(idp, "clients", "disable", client.id) == {"client": client.id, "disabled": True}
    page_of(authorize(client))
    refused(client.refresh(tokens["refresh_token"]), "invalid_client", 401)
    alice.allow()
    assert "code=" not in alice.text
    assert gatepost(idp, "clients", "show", client.id)["disabled"] is True
    gatepost(idp, "clients", "enable", client.id)
    tokens_of(client.refresh(tokens["refresh_token"]))
    assert error_of(authorize(client, prompt="none"), client)["error"] == "login_required"


@pytest.mark.clause("A3.unseen")
def test_an_error_goes_back_at_once_to_a_client_that_an_operator_knows(idp: Server, host: DocumentHost) -> None:
    """One added manually, or a metadata URL that checks iss; for any other URL it is a link on a page."""
    assert authorize(made(idp), response_type="token").status_code == 302
    client = TestClient(idp, {"client_id": host.show()})
    page_of(authorize(client, response_type="token"))
    gatepost(idp, "clients", "add", client.id, "--checks-iss")
    idp.clock.forward(seconds=11)
    assert authorize(client, response_type="token").status_code == 302
