"""A1, E: client authentication and request format at /token, /revoke and /register, and the errors."""

import base64
import socket
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx2
import pytest
from structlog.testing import capture_logs

from gatepost_idp import limits
from tests.idp.oauth.wire import FORM, Server, as_json, authorize, basic, refused, running, tokens_of
from tests.support.oauth import TestClient, registered
from tests.support.person import Person

METHODS = ("client_secret_basic", "client_secret_post")


@pytest.fixture(scope="module", params=METHODS)
def confidential(request: pytest.FixtureRequest, server: Server) -> TestClient:
    """A client with a secret, registered for either method."""
    return registered(server, token_endpoint_auth_method=request.param)


def redemption(client: TestClient, code: str = "gp_ac_unknown") -> dict[str, str]:
    """A redemption form, complete except for the client."""
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
    }


@pytest.mark.clause("A1.client-authentication", "A5.methods")
@pytest.mark.parametrize("way", ["basic", "post"])
def test_basic_and_post_are_taken_whatever_was_registered(alice: Person, confidential: TestClient, way: str) -> None:
    """Claude Code and Codex use Basic, hosted Claude post, whatever they registered."""
    form = redemption(confidential, confidential.code(alice))
    secret = confidential.information["client_secret"]
    if way == "post":
        form |= {"client_id": confidential.id, "client_secret": secret}
    headers = basic(confidential.id, secret) if way == "basic" else {}
    tokens_of(confidential.idp.post("/token", form, headers=headers))


@pytest.mark.clause("A1.client-authentication")
def test_basic_credentials_may_be_percent_encoded(alice: Person, confidential: TestClient) -> None:
    """RFC 6749 section 2.3.1 requires it; here every character is encoded."""
    encoded = [
        "".join(f"%{ord(c):02x}" for c in text) for text in (confidential.id, confidential.secret["client_secret"])
    ]
    form = redemption(confidential, confidential.code(alice))
    tokens_of(confidential.idp.post("/token", form, headers=basic(*encoded)))


@pytest.mark.clause("A1.client-authentication")
def test_basic_beside_the_same_client_id_in_the_form_is_taken(alice: Person, confidential: TestClient) -> None:
    """Several clients send the id in both places."""
    form = redemption(confidential, confidential.code(alice)) | {"client_id": confidential.id}
    tokens_of(
        confidential.idp.post("/token", form, headers=basic(confidential.id, confidential.secret["client_secret"]))
    )


@pytest.mark.clause("A1.client-authentication")
@pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic  "])
def test_the_name_of_the_scheme_may_be_written_in_any_case(
    alice: Person, confidential: TestClient, scheme: str
) -> None:
    """RFC 9110 section 11.1."""
    encoded = basic(confidential.id, confidential.secret["client_secret"])["authorization"].partition(" ")[2]
    form = redemption(confidential, confidential.code(alice))
    tokens_of(confidential.idp.post("/token", form, headers={"authorization": f"{scheme} {encoded}"}))


@pytest.mark.clause("A1.client-authentication", "E6")
@pytest.mark.parametrize("secret", [None, "", "wrong", " ", "gp_cs_"], ids=repr)
@pytest.mark.parametrize("way", ["basic", "post"])
@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_a_confidential_client_without_its_secret_is_refused(
    confidential: TestClient, way: str, secret: str | None, path: str
) -> None:
    """401 invalid_client; with a challenge only if Basic was used."""
    form = redemption(confidential) | {"token": "x"}
    headers: dict[str, str] = {}
    if way == "basic":
        headers = basic(confidential.id, secret or "")
    else:
        form |= {"client_id": confidential.id} | ({"client_secret": secret} if secret is not None else {})
    answer = confidential.idp.post(path, form, headers=headers)
    refused(answer, "invalid_client", 401)
    assert ("www-authenticate" in answer.headers) is (way == "basic")
    if way == "basic":
        assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.clause("A1.client-authentication", "A8.bound")
def test_a_confidential_client_without_its_secret_redeems_nothing_and_spends_nothing(
    alice: Person, confidential: TestClient
) -> None:
    """A code without the secret is useless, and the client can still redeem it."""
    code = confidential.code(alice)
    stolen = redemption(confidential, code) | {"client_id": confidential.id}
    refused(confidential.idp.post("/token", stolen), "invalid_client", 401)
    tokens_of(confidential.redeem(code))


@pytest.mark.clause("A1.client-authentication")
def test_the_secret_of_another_client_is_wrong(server: Server, confidential: TestClient) -> None:
    """A secret is valid only for its own client."""
    other = registered(server, token_endpoint_auth_method="client_secret_post")
    refused(confidential.token_request(grant_type="authorization_code", **other.secret), "invalid_client", 401)


@pytest.mark.clause("A1.guessing")
@pytest.mark.parametrize("path", ["/token", "/revoke", "/introspect"])
def test_who_guesses_secrets_is_braked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """A network has a number of tries per minute, for any client and method; then 429, even with the right secret."""
    monkeypatch.setitem(limits.BRAKES, "token", "6/minute")
    with running(tmp_path) as idp:
        client = registered(idp, token_endpoint_auth_method="client_secret_basic")
        form = redemption(client) | {"token": "x"}
        for number in range(6):
            headers = basic(client.id, f"guess-{number}") if number % 2 else {}
            guess = {} if number % 2 else {"client_id": client.id, "client_secret": f"guess-{number}"}
            refused(idp.post(path, form | guess, headers=headers), "invalid_client", 401)
        answer = idp.post(path, form, headers=basic(client.id, client.secret["client_secret"]))
        refused(answer, "temporarily_unavailable", 429)
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.clause("A13.sizes")
@pytest.mark.parametrize("method", ["none", *METHODS])
def test_what_is_handed_out_has_the_size_that_is_documented(server: Server, alice: Person, method: str) -> None:
    """docs/requirements.md states the sizes, so that clients can size their columns."""
    client = registered(server, token_endpoint_auth_method=method, client_name="n" * 100)
    code = client.code(alice, scope="openid email demo:read demo:echo demo:ops")
    tokens = tokens_of(client.redeem(code))
    again = tokens_of(client.refresh(tokens["refresh_token"]))
    assert len(client.id) <= 80
    assert {len(text) for text in (code, tokens["refresh_token"], again["refresh_token"])} == {49}
    assert all(len(secret) == 49 for secret in client.secret.values())
    assert len(tokens["access_token"]) <= 2048


@pytest.mark.clause("A1.client-authentication", "E1")
def test_two_ways_to_authenticate_at_once_are_refused(confidential: TestClient) -> None:
    """RFC 6749 section 2.3, even if both are right."""
    secret = confidential.secret["client_secret"]
    form = redemption(confidential) | {"client_id": confidential.id, "client_secret": secret}
    refused(confidential.idp.post("/token", form, headers=basic(confidential.id, secret)), "invalid_request")


@pytest.mark.clause("A1.client-authentication", "E6")
def test_basic_for_one_client_and_the_id_of_another_is_refused(client: TestClient, confidential: TestClient) -> None:
    """Neither client is authenticated."""
    headers = basic(confidential.id, confidential.secret["client_secret"])
    answer = confidential.idp.post("/token", redemption(confidential) | {"client_id": client.id}, headers=headers)
    refused(answer, "invalid_client", 401)


CREDENTIALS = {
    "nothing": b"Basic",
    "no-base64": b"Basic !!!",
    "no-colon": b"Basic " + base64.b64encode(b"client"),
    "only-a-colon": b"Basic Og==",
    "broken-utf-8": b"Basic " + base64.b64encode(b"\xff\xfe:\xff"),
    "nul": b"Basic " + base64.b64encode(b"gp_cc_\0:\0"),
    "encoded-nul": b"Basic " + base64.b64encode(b"gp_cc_%00:x"),
    "encoded-broken-utf-8": b"Basic " + base64.b64encode(b"gp_dc_%ff.%fe.%fd:x"),
    "unicode": b"Basic " + base64.b64encode("gp_cc_é:ü".encode()),
    "bytes": b"Basic \xff\xfe",
    "long": b"Basic " + base64.b64encode(b"gp_cc_" + b"a" * 20_000 + b":x"),
    "another-padding": b"Basic " + base64.b64encode(b"a:b").rstrip(b"="),
}


@pytest.mark.clause("E1", "E5", "E6", "E7")
@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_basic_credentials_that_cannot_be_read_are_refused(server: Server, name: str, path: str) -> None:
    """401 with a challenge, whatever the header contains."""
    headers = [(b"authorization", CREDENTIALS[name]), (b"content-type", FORM["content-type"].encode())]
    answer = server.line.post(
        f"{server.issuer}{path}", content=b"grant_type=authorization_code&token=x", headers=headers
    )
    refused(answer, "invalid_client", 401)
    assert "www-authenticate" in answer.headers


@pytest.mark.clause("A1", "E6")
@pytest.mark.parametrize("authorization", ["Bearer x", "Digest x", "x"])
def test_a_public_client_may_carry_another_authorization(alice: Person, client: TestClient, authorization: str) -> None:
    """A library that adds its bearer to every request is still known by its id, and refused without a challenge."""
    form = redemption(client, client.code(alice)) | {"client_id": client.id}
    tokens_of(client.idp.post("/token", form, headers={"authorization": authorization}))
    answer = client.idp.post("/token", redemption(client), headers={"authorization": authorization})
    refused(answer, "invalid_client", 401)
    assert "www-authenticate" not in answer.headers


@pytest.mark.clause("A1.no-secret")
@pytest.mark.parametrize("secret", ["", "undefined"])
def test_a_public_client_may_send_a_secret_that_it_was_not_given(
    alice: Person, client: TestClient, secret: str
) -> None:
    """In the form or by Basic: libraries do, and it is ignored."""
    form = redemption(client, client.code(alice)) | {"client_id": client.id, "client_secret": secret}
    tokens_of(client.idp.post("/token", form))
    tokens_of(client.idp.post("/token", redemption(client, client.code(alice)), headers=basic(client.id, secret)))


MISSING: dict[str, tuple[dict[str, str | None], str]] = {
    "grant-type": ({"grant_type": None}, "invalid_request"),
    "grant-type-empty": ({"grant_type": ""}, "invalid_request"),
    "code": ({"code": None}, "invalid_request"),
    "code-empty": ({"code": ""}, "invalid_request"),
    "verifier": ({"code_verifier": None}, "invalid_request"),
    "verifier-empty": ({"code_verifier": ""}, "invalid_request"),
    "refresh-token": ({"grant_type": "refresh_token"}, "invalid_request"),
    "refresh-token-empty": ({"grant_type": "refresh_token", "refresh_token": ""}, "invalid_request"),
    "password-grant": ({"grant_type": "password", "username": "a", "password": "b"}, "unsupported_grant_type"),
    "client-credentials": ({"grant_type": "client_credentials"}, "unauthorized_client"),
    "device": ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, "unsupported_grant_type"),
    "jwt-bearer": ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}, "unsupported_grant_type"),
    "implicit": ({"grant_type": "implicit"}, "unsupported_grant_type"),
    "upper-case": ({"grant_type": "AUTHORIZATION_CODE"}, "unsupported_grant_type"),
    "quotes": ({"grant_type": "\"\\é\n'"}, "unsupported_grant_type"),
    "endless": ({"grant_type": "g" * 5000}, "unsupported_grant_type"),
    "unknown-code": ({}, "invalid_grant"),
    "unknown-refresh-token": ({"grant_type": "refresh_token", "refresh_token": "gp_rt_x"}, "invalid_grant"),
    "code-as-refresh-token": ({"grant_type": "refresh_token", "refresh_token": "gp_ac_x"}, "invalid_grant"),
    "unicode-code": ({"code": "é\u202e🔑"}, "invalid_grant"),
}


@pytest.mark.clause("E1", "E2", "E7")
@pytest.mark.parametrize("name", MISSING)
def test_what_the_form_lacks_is_told(client: TestClient, name: str) -> None:
    """400 with RFC 6749's error; never 422."""
    changes, error = MISSING[name]
    answer = client.token_request(**{**redemption(client), **changes})
    refused(answer, error)
    assert "www-authenticate" not in answer.headers


@pytest.mark.clause("E1", "E2")
@pytest.mark.parametrize("client_id", [None, "", "unknown", "gp_cc_unknown", "gp_mc_unknown"])
@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_an_unknown_client_is_refused(client: TestClient, client_id: str | None, path: str) -> None:
    """401 invalid_client, on which Claude registers again. No challenge, since it did not use Basic."""
    form = {"token": "x", **redemption(client), **({} if client_id is None else {"client_id": client_id})}
    answer = client.idp.post(path, form)
    refused(answer, "invalid_client", 401)
    assert "www-authenticate" not in answer.headers


@pytest.mark.clause("E4")
@pytest.mark.parametrize(
    "name", ["grant_type", "code", "code_verifier", "redirect_uri", "client_id", "client_secret", "scope", "x", "token"]
)
@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_a_repeated_parameter_is_refused(client: TestClient, path: str, name: str) -> None:
    """Equal values too: a proxy may have read the other copy."""
    form = redemption(client) | {"client_id": client.id, "token": "x"}
    body = f"{urlencode(form)}&{urlencode([(name, form.get(name, 'x'))] * 2)}"
    assert isinstance(client.idp, Server)
    refused(client.idp.raw(path, body.encode()), "invalid_request")


@pytest.mark.clause("A7.repeats")
def test_equal_resources_count_once_and_different_ones_are_refused(alice: Person, client: TestClient) -> None:
    """RFC 8707 lets `resource` repeat; Codex sends it twice."""
    assert isinstance(client.idp, Server)
    resource = client.idp.settings.mcp_resource_url
    form = urlencode(redemption(client, client.code(alice)) | {"client_id": client.id, "resource": resource})
    refused(client.idp.raw("/token", f"{form}&resource=https://other.example".encode()), "invalid_target")
    tokens_of(client.idp.raw("/token", f"{form}&resource={quote(resource)}".encode()))


BODIES: dict[str, tuple[bytes, str]] = {
    "json": (b'{"grant_type": "authorization_code"}', "application/json"),
    "form-called-json": (b"grant_type=authorization_code", "application/json"),
    "json-called-form": (b'{"grant_type": "authorization_code"}', FORM["content-type"]),
    "multipart": (
        b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
    "text": (b"grant_type=authorization_code", "text/plain"),
    "no-type": (b"grant_type=authorization_code", ""),
    "nul": (b"grant_type=authorization_code%00", FORM["content-type"]),
    "raw-nul": (b"grant_type=authorization_code&a=\x00", FORM["content-type"]),
    "broken-utf-8": (b"grant_type=%ff", FORM["content-type"]),
    "raw-bytes": (b"grant_type=\xff\xfe", FORM["content-type"]),
    "raw-utf-8": ("grant_type=é".encode(), FORM["content-type"]),
    "surrogate": (b"grant_type=%ed%a0%80", FORM["content-type"]),
    "hundreds-of-fields": (b"&".join(b"a%d=1" % number for number in range(300)), FORM["content-type"]),
    "almost-a-megabyte": (b"grant_type=" + b"a" * 1_000_000, FORM["content-type"]),
    "deep-json": (b"[" * 100_000, "application/json"),
    "unknown-charset": (b"grant_type=authorization_code%00", "application/x-www-form-urlencoded; charset=utf-7"),
}


@pytest.mark.clause("E1", "E2", "E5")
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_a_body_that_is_no_form_is_refused(server: Server, name: str, path: str) -> None:
    """400 invalid_request, or 401 if it is readable and names no client."""
    body, content_type = BODIES[name]
    answer = server.raw(path, body, content_type=content_type)
    assert answer.status_code in (400, 401)
    refused(answer, "invalid_request" if answer.status_code == 400 else "invalid_client", answer.status_code)


@pytest.mark.clause("E1", "E5")
@pytest.mark.parametrize("path", ["/token", "/revoke", "/register"])
def test_two_megabytes_are_refused_as_json(server: Server, path: str) -> None:
    """A framework's own 413 would be plain text."""
    answer = server.raw(path, b"a=" + b"b" * 2_000_000)
    assert answer.status_code in (400, 413)
    refused(answer, answer.json()["error"], answer.status_code)


@pytest.mark.clause("E1.body-alone")
def test_parameters_in_the_query_are_not_read(alice: Person, client: TestClient) -> None:
    """Queries end up in logs (OAuth 2.1 section 3.2.2), so an empty form counts as empty."""
    query = urlencode(redemption(client, client.code(alice)) | {"client_id": client.id})
    assert isinstance(client.idp, Server)
    refused(client.idp.raw(f"/token?{query}", b""), "invalid_client", 401)


@pytest.mark.clause("E3")
@pytest.mark.parametrize("path", ["/token/", "/token//", "/revoke/", "/register/"])
def test_a_slash_at_the_end_is_answered_not_redirected(server: Server, path: str) -> None:
    """A redirect would lose the body, and a framework's carries the caller's Host."""
    answer = server.raw(path, b"")
    assert answer.status_code in (400, 401)
    assert "location" not in answer.headers


@pytest.mark.clause("E3")
def test_a_code_is_redeemed_at_the_address_with_a_slash(alice: Person, client: TestClient) -> None:
    """Some clients add one."""
    form = redemption(client, client.code(alice)) | {"client_id": client.id}
    tokens_of(client.idp.post("/token/", form))


@pytest.mark.clause("A9.no-store", "E1")
def test_each_answer_of_the_token_endpoint_is_kept_by_no_cache(client: TestClient) -> None:
    """no-store and no-cache, on errors too (RFC 6749 section 5.1)."""
    answer = client.redeem("gp_ac_unknown")
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")


@pytest.mark.clause("E2", "E5")
def test_a_request_that_breaks_off_leaves_the_server_standing(server: Server, client: TestClient) -> None:
    """A connection that breaks in the middle of a form is not an error of the server, and logs no traceback."""
    name, _, port = server.base.removeprefix("http://").partition(":")
    fields = {"host": f"{name}:{port}", **FORM, "content-length": "99"}
    head = "".join(f"{field}: {value}\r\n" for field, value in fields.items())
    with capture_logs() as logged:
        for _ in range(3):
            with socket.create_connection((name, int(port)), timeout=5) as connection:
                connection.sendall(f"POST /token HTTP/1.1\r\n{head}\r\ngrant_type=".encode())
        assert authorize(client).status_code == 303
        assert server.get("/healthz").status_code == 200
    assert logged
    assert not [entry for entry in logged if entry["log_level"] == "error"]


@pytest.mark.clause("A5", "E2")
def test_each_program_address_answers_a_browser_in_json_too(server: Server) -> None:
    """Whatever the Accept header asks for."""
    headers = {"accept": "text/html"}
    refused(server.request("POST", "/token", headers=headers | FORM, content=b""), "invalid_client", 401)
    refused(server.request("POST", "/register", headers=headers, content=as_json([])), "invalid_client_metadata")


@pytest.mark.clause("E1")
def test_a_caller_of_an_unknown_address_below_token_gets_json(server: Server) -> None:
    """404 in the form that programs read."""
    answer: httpx2.Response = server.raw("/token/x", b"")
    refused(answer, "invalid_request", 404)
