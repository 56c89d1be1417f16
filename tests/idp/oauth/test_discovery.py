"""A2, A6, A9, A14: the discovery documents, at every address where clients look, and the signing keys."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from authlib.oauth2 import rfc8414, rfc9207
from joserfc import jwt
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.util import urlsafe_b64decode

from gatepost_idp import keys
from gatepost_idp.protocol import system_clock
from tests.idp.oauth.wire import Server, authorize, beside, error_of, page_of, running, tokens_of
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose issuer has a path, as behind a proxy that does not strip it."""
    with running(tmp_path_factory.mktemp("below"), path="/auth") as server:
        yield server


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose public issuer is at https://auth.example.com, behind a proxy that strips /id."""
    changes: dict[str, Any] = {
        "oauth_issuer": "https://auth.example.com/id",
        "mcp_resource_url": "https://mcp.example.com/mcp",
    }
    with running(tmp_path_factory.mktemp("public"), **changes) as server:
        server.issuer = server.base
        yield server


@pytest.mark.clause("A2", "A2.forms")
@pytest.mark.parametrize("path", [OAUTH, OPENID, f"{OAUTH}/", f"{OPENID}/"])
def test_both_documents_stand_at_the_root(server: Server, path: str) -> None:
    """RFC 8414 and OpenID Discovery, with or without a trailing slash."""
    answer = server.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == server.get(OAUTH).json()


@pytest.mark.clause("A2.forms", "A2.issuer-path")
@pytest.mark.parametrize("path", [f"{OAUTH}/auth", f"{OPENID}/auth", f"/auth{OAUTH}", f"/auth{OPENID}", OAUTH, OPENID])
def test_an_issuer_with_a_path_is_found_in_every_form(below: Server, path: str) -> None:
    """Path-inserted, appended, and at the root if a proxy stripped the path."""
    answer = below.line.get(f"{below.base}{path}")
    assert answer.status_code == 200
    assert answer.json()["issuer"] == below.settings.oauth_issuer


@pytest.mark.clause("A2.forms")
@pytest.mark.parametrize("path", [f"{OAUTH}/elsewhere", f"{OAUTH}/auth/more", "/.well-known/x", "/jwks"])
def test_a_document_is_nowhere_else(below: Server, path: str) -> None:
    """404 elsewhere, so that a probing client tries the next form."""
    assert below.line.get(f"{below.base}{path}").status_code == 404


@pytest.mark.clause("A2.head")
@pytest.mark.parametrize("path", [OAUTH, OPENID, "/jwks.json"])
def test_a_head_request_is_answered_like_a_get(server: Server, path: str) -> None:
    """Gemini CLI probes by HEAD: the same status and headers, and no body."""
    head, get = server.request("HEAD", path), server.get(path)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-type", "content-length", "cache-control", "access-control-allow-origin"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.clause("A2.issuer-bytes", "A6.advertised")
def test_the_issuer_is_byte_identical_in_metadata_answers_and_tokens(
    server: Server, alice: Person, client: TestClient
) -> None:
    """Metadata, `iss` with a code and with an error, `iss` in both tokens: all exactly as the operator wrote it."""
    issuer = server.settings.oauth_issuer
    metadata = server.get(OAUTH).json()
    assert f'"issuer": "{issuer}"' in server.get(OAUTH).text
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert error_of(authorize(client, response_type=None), client)["iss"] == issuer
    found = answer_of(alice.walk(client.authorize_url(scope="openid demo:read")))
    assert found["iss"] == issuer
    tokens = tokens_of(client.redeem(found["code"]))
    published = KeySet.import_key_set(server.get("/jwks.json").json())
    for name in ("access_token", "id_token"):
        assert jwt.decode(tokens[name], published, algorithms=["ES256", "RS256"]).claims["iss"] == issuer


@pytest.mark.clause("A2", "A2.issuer-path")
def test_every_endpoint_in_the_metadata_stands_below_the_issuer_and_answers(below: Server) -> None:
    """Every advertised endpoint exists: each answers an empty request in its own way."""
    metadata = below.get(OAUTH).json()
    endpoints = {name: url for name, url in metadata.items() if name.endswith(("_endpoint", "_uri"))}
    assert {"authorization_endpoint", "token_endpoint", "registration_endpoint", "jwks_uri"} <= endpoints.keys()
    for name, url in endpoints.items():
        assert url.startswith(below.settings.oauth_issuer + "/"), name
        here = url.replace(below.settings.oauth_issuer, below.issuer)
        answers = [below.line.request(method, here).status_code for method in ("GET", "POST")]
        assert set(answers) & {200, 400, 401}, (name, answers)
        assert 404 not in answers


@pytest.mark.clause("A2.oidc")
def test_the_openid_configuration_has_its_required_members(server: Server) -> None:
    """Claude Code stops at a configuration that lacks one of them."""
    metadata = server.get(OPENID).json()
    for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"):
        assert isinstance(metadata[name], str), name
    for name in ("response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported"):
        assert metadata[name], name
    assert "openid" in metadata["scopes_supported"]


@pytest.mark.clause("A2.no-empty")
@pytest.mark.parametrize("path", [OAUTH, OPENID])
def test_no_member_of_the_metadata_is_empty(tmp_path: Path, path: str) -> None:
    """RFC 8414 section 3.2: an empty array is left out, even where the catalogue has no scope at all."""
    (tmp_path / "catalogue.toml").write_text('[[resource]]\nname = "Nothing to ask for"\n')
    with running(tmp_path, catalogue=str(tmp_path / "catalogue.toml")) as server:
        assert [name for name, value in server.get(path).json().items() if value in ([], "", {}, None)] == []


@pytest.mark.clause("A2.rfc8414")
def test_authlib_finds_nothing_wrong_with_the_metadata(public: Server) -> None:
    """An independent implementation of RFC 8414 and RFC 9207, with an https issuer that has a path."""
    document = rfc8414.AuthorizationServerMetadata(public.get(OAUTH).json())
    document.validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    assert document["issuer"] == "https://auth.example.com/id"


@pytest.mark.clause("A1.s256-advertised", "A5.methods")
def test_the_metadata_offers_what_is_taken_and_no_more(server: Server) -> None:
    """S256 only; three authentication methods, including `none`, without which hosted Claude cannot connect."""
    metadata = server.get(OAUTH).json()
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["grant_types_supported"][:2] == ["authorization_code", "refresh_token"]
    assert sorted(metadata["token_endpoint_auth_methods_supported"]) == [
        "client_secret_basic",
        "client_secret_post",
        "none",
    ]
    assert metadata["request_uri_parameter_supported"] is False


@pytest.mark.clause("A12.scopes", "C1")
def test_offline_access_is_not_advertised(server: Server) -> None:
    """A client that sees it always sends prompt=consent, so no consent would ever be remembered."""
    scopes = server.get(OAUTH).json()["scopes_supported"]
    assert scopes == ["demo:read", "demo:echo", "demo:ops", "openid", "profile", "email"]


@pytest.mark.clause("A2.issuer-path")
@pytest.mark.parametrize("stripped", [False, True])
def test_the_whole_flow_runs_below_a_path(below: Server, stripped: bool) -> None:
    """Registration, sign-in, consent, code, token: below the path, and at the root if a proxy stripped it."""
    here = below.issuer.removesuffix("/auth") if stripped else below.issuer
    server = replace(below, issuer=here)
    client = registered(server)
    with Person(f"path-{stripped}@example.com", server.postbox) as person:
        found = answer_of(person.walk(client.authorize_url()))
        assert person.page is not None
        assert person.page.url.path.startswith("/auth/consent/")
    assert found["iss"] == below.settings.oauth_issuer
    tokens = tokens_of(client.redeem(found["code"]))
    assert tokens_of(client.refresh(tokens["refresh_token"]))["scope"] == "demo:read demo:echo"


@pytest.mark.clause("A2.issuer-path")
@pytest.mark.parametrize("path", ["/auth/token", "/auth/token/", "/token", "/token/"])
def test_the_token_endpoint_answers_below_the_path_and_at_the_root(below: Server, path: str) -> None:
    """With or without the slash: never a redirect, which would turn the POST into a GET."""
    answer = below.line.post(f"{below.base}{path}", data={"grant_type": "authorization_code"})
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"


@pytest.mark.clause("A2.issuer-path")
@pytest.mark.parametrize("path", ["/authority", "/authtoken", "/auth.json", "/authorized"])
def test_a_path_that_only_begins_like_the_issuers_is_another(below: Server, path: str) -> None:
    """The issuer's path ends at a slash: `/authtoken` is not `/token`."""
    page_of(below.line.get(f"{below.base}{path}"), 404)


@pytest.mark.clause("A14.keys", "A9.header", "A12.rs256")
def test_the_jwks_has_public_keys_alone(server: Server) -> None:
    """One key per algorithm, with use, alg, and the thumbprint as kid; no private part."""
    answer = server.get("/jwks.json")
    assert answer.headers["content-type"] == "application/json"
    found = {key["alg"]: key for key in answer.json()["keys"]}
    assert len(answer.json()["keys"]) == len(found)
    members = {"kty", "use", "alg", "kid"}
    assert {alg: set(key) - members for alg, key in found.items()} == {"ES256": {"crv", "x", "y"}, "RS256": {"n", "e"}}
    for key in found.values():
        assert key["use"] == "sig"
        assert key["kid"] == JWKRegistry.import_key(key).thumbprint()


@pytest.mark.clause("A14.keys", "R7")
def test_a_new_key_is_published_before_it_signs_and_the_old_one_verifies_a_token_life_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotation as a client sees it: both keys; the old one signs for a minute more; then the new; then it alone."""
    monkeypatch.setattr("gatepost_idp.app.RELOAD_SECONDS", 0.05)
    with running(tmp_path) as idp:
        client = registered(idp)
        with Person("alice@example.com", idp.postbox) as person:
            first = client.connect(person)
        old = jwt_kid(first["access_token"])
        life = timedelta(minutes=idp.settings.access_token_minutes)
        made = beside(idp, lambda tx: keys.rotate(tx, idp.settings.secret_keys, idp.clock(), life))
        new = next(row.kid for row in made if row.algorithm == "ES256")
        wait_for_keys(idp, {old, new})
        second = tokens_of(client.refresh(first["refresh_token"]))
        assert jwt_kid(second["access_token"]) == old
        idp.clock.forward(seconds=61)
        third = tokens_of(client.refresh(second["refresh_token"]))
        assert jwt_kid(third["access_token"]) == new
        idp.clock.forward(minutes=idp.settings.access_token_minutes)
        wait_for_keys(idp, {old, new})
        idp.clock.forward(minutes=2)
        wait_for_keys(idp, {new})


def jwt_kid(token: str) -> str:
    """The kid of a token's header."""
    return str(json.loads(urlsafe_b64decode(token.partition(".")[0].encode()))["kid"])


def wait_for_keys(idp: Server, kids: set[str]) -> None:
    """Waits until the JWKS consistently shows these."""
    deadline = system_clock() + timedelta(seconds=10)
    while (shown := {k["kid"] for k in idp.get("/jwks.json").json()["keys"] if k["alg"] == "ES256"}) != kids:
        assert system_clock() < deadline, f"{shown} instead of {kids}"
