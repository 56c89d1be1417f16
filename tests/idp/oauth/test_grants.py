"""A7, A8, A9, A11, A12: codes and refresh tokens, single use and bound to their client; and what tokens contain."""

import time
from collections.abc import Callable

import pytest

from gatepost_idp.store import accounts
from tests.idp.oauth.wire import (
    Server,
    at_rest,
    authorize,
    beside,
    line,
    opened,
    refused,
    rows,
    scope_of,
    tokens_of,
)
from tests.support.oauth import TestClient, challenge_of, registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import listening

CODE_SECONDS = 60
GRACE_SECONDS = 30


@pytest.fixture
def grant(idp: Server, people: Callable[[str], Person]) -> tuple[TestClient, Person]:
    """A client and a person at a server whose clock the test moves."""
    return registered(idp), people("alice@example.com")


def ended(client: TestClient, refresh_token: str) -> bool:
    """Whether the family of a refresh token has ended."""
    answer = client.refresh(refresh_token)
    if answer.status_code == 200:
        return False
    refused(answer, "invalid_grant")
    return True


# --- Codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("A1", "A9.no-store", "A9.scope")
def test_a_code_is_redeemed(alice: Person, client: TestClient) -> None:
    """It gives an access token, its lifetime and scope, and a refresh token."""
    body = tokens_of(client.redeem(client.code(alice)))
    assert set(body) == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert body["expires_in"] == 15 * 60
    assert body["scope"] == "demo:read demo:echo"


@pytest.mark.clause("A8.bound")
def test_a_code_of_another_client_is_refused(server: Server, alice: Person, client: TestClient) -> None:
    """Even between registrations of the same kind; and that does not spend it."""
    code = client.code(alice)
    for other in (registered(server), registered(server, client_name="Other")):
        other.verifier = client.verifier
        refused(other.redeem(code), "invalid_grant")
    tokens_of(client.redeem(code))


@pytest.mark.clause("A8.bound", "A1.client-authentication")
def test_a_code_of_a_public_client_is_refused_to_one_with_a_secret(
    server: Server, alice: Person, client: TestClient
) -> None:
    """A valid secret does not make another client's code usable."""
    thief = registered(server, token_endpoint_auth_method="client_secret_basic")
    thief.verifier = client.verifier
    refused(thief.redeem(client.code(alice)), "invalid_grant")


@pytest.mark.clause("A8.bound")
@pytest.mark.parametrize(
    "other", ["https://client.test/other", "https://client.test/callback/", "http://localhost/", "x"]
)
def test_a_code_with_another_redirect_is_refused(alice: Person, client: TestClient, other: str) -> None:
    """And it is not spent by that."""
    code = client.code(alice)
    refused(client.redeem(code, redirect_uri=other), "invalid_grant")
    tokens_of(client.redeem(code))


@pytest.mark.clause("A8.bound", "A3.loopback-port")
def test_a_code_with_another_loopback_port_is_refused(server: Server, alice: Person) -> None:
    """The port is ignored only at /authorize: the code is for exactly the address that it went to."""
    client = registered(server, redirect_uris=["http://127.0.0.1:5000/cb"])
    code = client.code(alice, redirect_uri="http://127.0.0.1:6000/cb")
    refused(client.redeem(code, redirect_uri="http://127.0.0.1:5000/cb"), "invalid_grant")
    tokens_of(client.redeem(code, redirect_uri="http://127.0.0.1:6000/cb"))


@pytest.mark.clause("A8.bound")
def test_the_redirect_may_be_left_out_at_the_token_endpoint(alice: Person, client: TestClient) -> None:
    """OAuth 2.1 dropped it (section 10.2): PKCE replaces it."""
    tokens_of(client.redeem(client.code(alice), redirect_uri=None))


@pytest.mark.clause("A1.verifier")
@pytest.mark.parametrize(
    "verifier",
    ["x" * 43, "x" * 128, "short", "a" * 129, "é" * 43, "a" * 42 + "=", "a" * 43 + "\n", "CHALLENGE", " "],
    ids=ascii,
)
def test_a_wrong_verifier_is_refused(alice: Person, client: TestClient, verifier: str) -> None:
    """The challenge itself is not a verifier; a wrong one does not spend the code."""
    code = client.code(alice)
    wrong = challenge_of(client.verifier) if verifier == "CHALLENGE" else verifier
    refused(client.redeem(code, code_verifier=wrong), "invalid_grant")
    tokens_of(client.redeem(code))


@pytest.mark.clause("A1.verifier")
@pytest.mark.parametrize("verifier", ["a" * 43, "~._-" * 32, "A0" * 32])
def test_each_verifier_that_the_rfc_allows_is_taken(server: Server, alice: Person, verifier: str) -> None:
    """43 to 128 characters; Python's SDK sends 128 with all four marks."""
    client = registered(server)
    client.verifier = verifier
    client.connect(alice)


@pytest.mark.clause("A8.five-verifiers")
def test_four_wrong_verifiers_leave_a_code_alive_and_the_fifth_ends_it(alice: Person, client: TestClient) -> None:
    """So that nobody can go on guessing, and nobody can end another's code with one request."""
    code = client.code(alice)
    for _ in range(4):
        refused(client.redeem(code, code_verifier="x" * 43), "invalid_grant")
    tokens_of(client.redeem(code))
    code = client.code(alice)
    for _ in range(5):
        refused(client.redeem(code, code_verifier="x" * 43), "invalid_grant")
    refused(client.redeem(code), "invalid_grant")


@pytest.mark.clause("A8.short")
@pytest.mark.parametrize(("seconds", "status"), [(CODE_SECONDS - 5, 200), (CODE_SECONDS + 1, 400)])
def test_a_code_lives_a_minute(grant: tuple[TestClient, Person], seconds: int, status: int) -> None:
    """invalid_grant afterwards."""
    client, alice = grant
    code = client.code(alice)
    client.idp.clock.forward(seconds=seconds)
    assert client.redeem(code).status_code == status


@pytest.mark.clause("A8.replayed-code")
def test_a_replayed_code_is_refused_and_ends_its_grant(alice: Person, client: TestClient) -> None:
    """Two parties had the code, and nobody knows whose tokens are the thief's."""
    code = client.code(alice)
    tokens = tokens_of(client.redeem(code))
    refused(client.redeem(code), "invalid_grant")
    assert ended(client, tokens["refresh_token"])


@pytest.mark.clause("A8.replayed-code")
def test_a_code_replayed_after_its_minute_ends_its_grant_too(grant: tuple[TestClient, Person]) -> None:
    """Even a replay after the code's expiry ends its grant."""
    client, alice = grant
    code = client.code(alice)
    tokens = tokens_of(client.redeem(code))
    client.idp.clock.forward(minutes=10)
    refused(client.redeem(code), "invalid_grant")
    assert ended(client, tokens["refresh_token"])


@pytest.mark.clause("A8.replayed-code")
def test_a_replayed_code_ends_the_refreshed_family_too(alice: Person, client: TestClient) -> None:
    """Every successor of the first refresh token ends too."""
    code = client.code(alice)
    second = tokens_of(client.refresh(tokens_of(client.redeem(code))["refresh_token"]))
    refused(client.redeem(code), "invalid_grant")
    assert ended(client, second["refresh_token"])


@pytest.mark.clause("A8.replayed-code", "A8.bound")
def test_a_replay_that_is_not_fully_right_ends_nothing(server: Server, alice: Person, client: TestClient) -> None:
    """Otherwise anybody who sees a code in a log could end a stranger's connection."""
    code = client.code(alice)
    tokens = tokens_of(client.redeem(code))
    other = registered(server)
    other.verifier = client.verifier
    refused(other.redeem(code), "invalid_grant")
    for _ in range(6):
        refused(client.redeem(code, code_verifier="x" * 43), "invalid_grant")
    refused(client.redeem(code, redirect_uri="https://client.test/other"), "invalid_grant")
    assert not ended(client, tokens["refresh_token"])


@pytest.mark.clause("A7.token")
@pytest.mark.parametrize("other", ["https://other.example/mcp", "http://localhost:9001/other", "x"])
def test_a_code_for_another_resource_is_refused(alice: Person, client: TestClient, other: str) -> None:
    """invalid_target, and nothing is spent."""
    code = client.code(alice)
    refused(client.redeem(code, resource=other), "invalid_target")
    tokens_of(client.redeem(code, resource=client.idp.settings.mcp_resource_url))


@pytest.mark.clause("A8.hashed")
def test_codes_and_refresh_tokens_are_kept_as_hashes(server: Server, alice: Person, client: TestClient) -> None:
    """A reader of the database or a backup gets no token; the test reads the whole file, with its journal."""
    code = client.code(alice)
    first = tokens_of(client.redeem(code))
    second = tokens_of(client.refresh(first["refresh_token"]))
    kept = at_rest(server)
    assert client.id.encode() in kept
    for secret in (code, first["refresh_token"], second["refresh_token"], second["access_token"]):
        assert secret.encode() not in kept
        assert secret[6:].encode() not in kept


# --- Refresh tokens -------------------------------------------------------------------------------------------------


@pytest.mark.clause("A8.rotation")
def test_a_refresh_gives_a_new_refresh_token(alice: Person, client: TestClient) -> None:
    """They form a chain: each leads to the next, with a new access token each time."""
    tokens = client.connect(alice)
    seen = [tokens["refresh_token"]]
    access = {tokens["access_token"]}
    for _ in range(3):
        tokens = tokens_of(client.refresh(seen[-1]))
        seen.append(tokens["refresh_token"])
        access.add(tokens["access_token"])
    assert len(set(seen)) == 4
    assert len(access) == 4


@pytest.mark.clause("A8.grace", "A8.rotation")
def test_a_repeat_within_the_grace_gets_the_same_successor(grant: tuple[TestClient, Person]) -> None:
    """If an answer got lost, the repeat gets the same refresh token, however long the chain has grown."""
    client, alice = grant
    first = client.connect(alice)["refresh_token"]
    second = tokens_of(client.refresh(first))["refresh_token"]
    third = tokens_of(client.refresh(second))["refresh_token"]
    client.idp.clock.forward(seconds=GRACE_SECONDS - 5)
    assert tokens_of(client.refresh(first))["refresh_token"] == second
    assert tokens_of(client.refresh(second))["refresh_token"] == third
    assert not ended(client, third)


@pytest.mark.clause("A8.reuse")
@pytest.mark.parametrize("generation", [0, 1])
def test_a_repeat_after_the_grace_ends_the_family(grant: tuple[TestClient, Person], generation: int) -> None:
    """Thief or victim, one of them comes too late, and then neither has a working token."""
    client, alice = grant
    chain = [client.connect(alice)["refresh_token"]]
    for _ in range(2):
        chain.append(tokens_of(client.refresh(chain[-1]))["refresh_token"])
    client.idp.clock.forward(seconds=GRACE_SECONDS + 1)
    refused(client.refresh(chain[generation]), "invalid_grant")
    assert ended(client, chain[-1])
    assert len(rows(server_of(client), "SELECT id FROM authorization_grant WHERE ended_at IS NOT NULL")) == 1


@pytest.mark.clause("A8.grace", "A8.reuse")
def test_the_grace_counts_from_the_first_use(grant: tuple[TestClient, Person]) -> None:
    """Repeats do not renew it."""
    client, alice = grant
    first = client.connect(alice)["refresh_token"]
    for _ in range(2):
        tokens_of(client.refresh(first))
        client.idp.clock.forward(seconds=GRACE_SECONDS - 10)
    assert ended(client, first)


@pytest.mark.clause("A8.reuse")
def test_a_family_that_ended_does_not_touch_another(grant: tuple[TestClient, Person]) -> None:
    """Two connections of one person with one client are two families."""
    client, alice = grant
    one, two = client.connect(alice)["refresh_token"], client.connect(alice)["refresh_token"]
    tokens_of(client.refresh(one))
    client.idp.clock.forward(seconds=GRACE_SECONDS + 1)
    assert ended(client, one)
    assert not ended(client, two)


@pytest.mark.clause("A8.refresh-bound")
def test_a_refresh_token_of_another_client_is_refused(server: Server, alice: Person, client: TestClient) -> None:
    """better-auth CVE-2026-53512: not to another kind, not to another registration; and it ends nothing."""
    token = client.connect(alice)["refresh_token"]
    secretive = registered(server, token_endpoint_auth_method="client_secret_post")
    for other in (registered(server), registered(server, client_name="Other"), secretive):
        refused(other.refresh(token), "invalid_grant")
    following = tokens_of(client.refresh(token))["refresh_token"]
    refused(registered(server).refresh(token), "invalid_grant")
    assert not ended(client, following)


@pytest.mark.clause("A8.refresh-bound", "A1.client-authentication")
@pytest.mark.parametrize("secret", [None, "", "wrong"], ids=repr)
def test_a_refresh_without_its_clients_secret_is_refused(server: Server, alice: Person, secret: str | None) -> None:
    """401, and nothing is spent: without the secret the refresh token is useless."""
    client = registered(server, token_endpoint_auth_method="client_secret_post")
    first = client.connect(alice)["refresh_token"]
    refused(client.refresh(first, client_secret=secret), "invalid_client", 401)
    second = tokens_of(client.refresh(first))["refresh_token"]
    refused(client.refresh(first, client_secret=secret), "invalid_client", 401)
    assert not ended(client, second)


@pytest.mark.clause("A8.refresh-bound")
def test_a_thief_with_another_id_cannot_end_a_family_after_the_grace(grant: tuple[TestClient, Person]) -> None:
    """A spent token from another client is refused before it counts as a repeat."""
    client, alice = grant
    first = client.connect(alice)["refresh_token"]
    second = tokens_of(client.refresh(first))["refresh_token"]
    client.idp.clock.forward(seconds=GRACE_SECONDS + 1)
    refused(registered(client.idp).refresh(first), "invalid_grant")
    assert not ended(client, second)


@pytest.mark.clause("A8.narrows")
def test_scope_at_a_refresh_narrows_that_one_token(server: Server, alice: Person, client: TestClient) -> None:
    """The next refresh has the full scope again; a scope never granted is refused."""
    tokens = client.connect(alice)
    for asked, given in [
        ("demo:read", "demo:read"),
        (None, "demo:read demo:echo"),
        ("demo:echo demo:ops unknown", "demo:echo"),
        ("demo:ops", ""),
        ("", "demo:read demo:echo"),
    ]:
        tokens = tokens_of(client.refresh(tokens["refresh_token"], scope=asked))
        assert tokens["scope"] == given
        assert opened(server, tokens["access_token"]).claims["scope"] == given


@pytest.mark.clause("A7.token")
def test_a_refresh_for_another_resource_is_refused(alice: Person, client: TestClient) -> None:
    """invalid_target, and nothing is spent or ended; its own resource may be named even if /authorize had none."""
    tokens = client.connect(alice, resource=None)
    refused(client.refresh(tokens["refresh_token"], resource="https://other.example/mcp"), "invalid_target")
    tokens_of(client.refresh(tokens["refresh_token"], resource=client.idp.settings.mcp_resource_url))


@pytest.mark.clause("A8.lives-while-used")
def test_an_unused_connection_ends_and_a_used_one_lives(grant: tuple[TestClient, Person]) -> None:
    """Each refresh renews its 30 days."""
    client, alice = grant
    token = client.connect(alice)["refresh_token"]
    for _ in range(3):
        client.idp.clock.forward(days=29)
        token = tokens_of(client.refresh(token))["refresh_token"]
    client.idp.clock.forward(days=31)
    assert ended(client, token)


@pytest.mark.clause("A8.lives-while-used")
def test_a_connection_lives_a_year_at_the_most(grant: tuple[TestClient, Person]) -> None:
    """However much it is used."""
    client, alice = grant
    token = client.connect(alice)["refresh_token"]
    for _ in range(13):
        client.idp.clock.forward(days=28)
        token = tokens_of(client.refresh(token))["refresh_token"]
    client.idp.clock.forward(days=2)
    assert ended(client, token)


@pytest.mark.clause("A9.recomputed")
def test_a_scope_that_a_person_lost_is_gone_at_the_next_refresh(
    server: Server, newcomer: Callable[[], Person], client: TestClient
) -> None:
    """In a comparable server it survived every refresh; once granted again, it returns."""
    person = newcomer()
    tokens = client.connect(person)
    account, resource = str(opened(server, tokens["access_token"]).claims["sub"]), server.settings.mcp_resource_url
    beside(server, lambda tx: accounts.revoke_scope(tx, account, resource, "demo:echo"))
    tokens = tokens_of(client.refresh(tokens["refresh_token"]))
    assert tokens["scope"] == "demo:read"
    beside(server, lambda tx: accounts.grant_scope(tx, account, resource, "demo:echo", server.clock()))
    assert scope_of(tokens_of(client.refresh(tokens["refresh_token"]))) == {"demo:read", "demo:echo"}


@pytest.mark.clause("A9.recomputed", "C6")
def test_a_scope_that_a_person_got_later_is_in_the_next_token_where_it_was_agreed_to(
    server: Server, newcomer: Callable[[], Person], client: TestClient
) -> None:
    """A scope asked for and ticked but not held stays out until the operator grants it."""
    person = newcomer()
    tokens = client.connect(person, scope="demo:read demo:ops")
    assert tokens["scope"] == "demo:read"
    account, resource = str(opened(server, tokens["access_token"]).claims["sub"]), server.settings.mcp_resource_url
    beside(server, lambda tx: accounts.grant_scope(tx, account, resource, "demo:ops", server.clock()))
    tokens = tokens_of(client.refresh(tokens["refresh_token"]))
    assert scope_of(tokens) == {"demo:read", "demo:ops"}
    assert scope_of(client.connect(person, scope="demo:read")) == {"demo:read"}


# --- Revocation -----------------------------------------------------------------------------------------------------


@pytest.mark.clause("A11.revoke")
@pytest.mark.parametrize("hint", [None, "refresh_token", "access_token", "unheard-of"])
def test_revoking_a_refresh_token_ends_its_family(alice: Person, client: TestClient, hint: str | None) -> None:
    """200 with nothing in it, whatever the hint says (RFC 7009 section 2.1)."""
    first = client.connect(alice)["refresh_token"]
    second = tokens_of(client.refresh(first))["refresh_token"]
    answer = revoke(client, second, **({"token_type_hint": hint} if hint else {}))
    assert (answer, ended(client, second), ended(client, first)) == (200, True, True)


@pytest.mark.clause("A11.revoke")
def test_revoking_a_spent_refresh_token_ends_its_family_too(alice: Person, client: TestClient) -> None:
    """A client that lost an answer revokes the token it has."""
    first = client.connect(alice)["refresh_token"]
    second = tokens_of(client.refresh(first))["refresh_token"]
    assert revoke(client, first) == 200
    assert ended(client, second)


@pytest.mark.clause("A11.revoke")
@pytest.mark.parametrize("token", ["gp_rt_unknown", "x", "é", "a" * 10_000, "gp_ac_unknown"], ids=lambda t: t[:9])
def test_revoking_an_unknown_token_is_no_error(client: TestClient, token: str) -> None:
    """200: the token is already invalid, as the client wants (RFC 7009 section 2.2)."""
    assert revoke(client, token) == 200


@pytest.mark.clause("A11.access-token")
def test_revoking_an_access_token_is_refused(alice: Person, client: TestClient) -> None:
    """unsupported_token_type: it stays valid until it expires, which 200 would deny. Its refresh token still works."""
    tokens = client.connect(alice)
    form = {"client_id": client.id, "token": tokens["access_token"]}
    for hint in ({}, {"token_type_hint": "access_token"}, {"token_type_hint": "refresh_token"}):
        refused(client.idp.post("/revoke", form | hint), "unsupported_token_type")
    assert not ended(client, tokens["refresh_token"])


@pytest.mark.clause("A11.access-token", "A11.own")
def test_revoking_an_access_token_that_is_none_of_its_own_is_no_error(
    idp: Server, people: Callable[..., Person]
) -> None:
    """200 for another client's, a forged or an expired one: there is nothing to end."""
    client, alice = registered(idp), people("alice@example.com")
    token = client.connect(alice)["access_token"]
    assert revoke(registered(idp), token) == 200
    assert revoke(client, token[:-5] + "AAAAA") == 200
    idp.clock.forward(minutes=idp.settings.access_token_minutes)
    assert revoke(client, token) == 200


@pytest.mark.clause("A11.revoke")
def test_revoking_twice_is_no_error(alice: Person, client: TestClient) -> None:
    """200 both times."""
    token = client.connect(alice)["refresh_token"]
    assert [revoke(client, token), revoke(client, token)] == [200, 200]


@pytest.mark.clause("A11.own")
def test_a_token_of_another_client_is_not_revoked(server: Server, alice: Person, client: TestClient) -> None:
    """200, which reveals nothing, and the token still works."""
    token = client.connect(alice)["refresh_token"]
    assert revoke(registered(server), token) == 200
    assert not ended(client, token)


@pytest.mark.clause("A11", "E1")
@pytest.mark.parametrize("token", [None, ""])
def test_revoking_nothing_is_refused(client: TestClient, token: str | None) -> None:
    """400 invalid_request."""
    form = {"client_id": client.id} | ({} if token is None else {"token": token})
    refused(client.idp.post("/revoke", form), "invalid_request")


@pytest.mark.clause("A8.restart", "A11.revoke")
def test_what_was_ended_stays_ended_after_a_restart(idp: Server, people: Callable[[str], Person]) -> None:
    """Keycloak CVE-2026-9802. What is valid stays so: keys, ids and tokens are in the database, not the process."""
    client, alice = registered(idp), people("alice@example.com")
    code = client.code(alice)
    spent = tokens_of(client.redeem(code))["refresh_token"]
    revoked = client.connect(alice)["refresh_token"]
    living = client.connect(alice)["refresh_token"]
    assert revoke(client, revoked) == 200
    port = free_port()
    with listening(idp.settings, idp.clock, port), line() as again:
        client.idp = Server(idp.base, f"http://127.0.0.1:{port}", idp.settings, idp.clock, idp.postbox, again)
        refused(client.redeem(code), "invalid_grant")
        assert ended(client, spent)
        assert ended(client, revoked)
        assert not ended(client, living)
        assert authorize(client).status_code == 303


# --- Tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.clause("A9.claims", "A9.header", "A7.bound", "A9")
def test_an_access_token_says_who_may_do_what_where(server: Server, alice: Person, client: TestClient) -> None:
    """Read with joserfc against the published keys (RFC 9068 section 2)."""
    before = int(time.time())
    token = opened(server, client.connect(alice)["access_token"])
    (published,) = [key for key in server.get("/jwks.json").json()["keys"] if key["alg"] == "ES256"]
    assert token.header == {"typ": "at+jwt", "alg": "ES256", "kid": published["kid"]}
    claims = token.claims
    assert claims["iss"] == server.settings.oauth_issuer
    assert claims["aud"] == server.settings.mcp_resource_url
    assert claims["client_id"] == client.id
    assert claims["email"] == alice.email
    assert claims["scope"] == "demo:read demo:echo"
    assert claims["entitlements"] == []
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert claims["sub"]
    assert alice.email not in claims["sub"]
    assert len(claims["jti"]) >= 16
    assert claims["auth_time"] <= claims["iat"]


@pytest.mark.clause("A9.claims")
def test_entitlements_are_what_step_up_could_add(server: Server, alice: Person, client: TestClient) -> None:
    """Scopes held but not in this token: narrowed at a refresh, or never asked for."""
    tokens = client.connect(alice, scope="demo:read")
    assert opened(server, tokens["access_token"]).claims["entitlements"] == ["demo:echo"]
    wide = client.connect(alice)
    narrowed = tokens_of(client.refresh(wide["refresh_token"], scope="demo:echo"))
    assert opened(server, narrowed["access_token"]).claims["entitlements"] == ["demo:read"]


@pytest.mark.clause("A9.claims")
def test_each_access_token_has_an_id_of_its_own(server: Server, alice: Person, client: TestClient) -> None:
    """And the subject of one person is the same for every client."""
    tokens = [client.connect(alice)["access_token"], registered(server, client_name="B").connect(alice)["access_token"]]
    found = [opened(server, token).claims for token in tokens]
    assert found[0]["jti"] != found[1]["jti"]
    assert found[0]["sub"] == found[1]["sub"]


@pytest.mark.clause("A12.id-token", "A12.scopes")
def test_an_id_token_comes_with_openid(server: Server, alice: Person, client: TestClient) -> None:
    """Its audience is the client; it has the request's nonce, and the address if email was asked for."""
    nonce = "n-0S6_WzA2Mj & š"
    tokens = client.connect(alice, scope="openid email demo:read", nonce=nonce)
    token = opened(server, tokens["id_token"])
    assert token.header["typ"] == "JWT"
    claims = token.claims
    access = opened(server, tokens["access_token"]).claims
    assert (claims["iss"], claims["aud"], claims["sub"]) == (access["iss"], client.id, access["sub"])
    assert claims["nonce"] == nonce
    assert (claims["email"], claims["email_verified"]) == (alice.email, True)
    assert claims["iat"] < claims["exp"]
    assert claims["auth_time"] <= claims["iat"]


@pytest.mark.clause("A12.id-token", "A12.scopes")
def test_an_id_token_says_no_more_than_was_asked(server: Server, alice: Person, client: TestClient) -> None:
    """No nonce unless one was sent, no address without email, and no id_token without openid."""
    claims = opened(server, client.connect(alice, scope="openid")["id_token"]).claims
    assert not {"nonce", "email", "email_verified"} & claims.keys()
    for scope in ("demo:read", "email profile", "offline_access"):
        assert "id_token" not in client.connect(alice, scope=scope)


@pytest.mark.clause("A12.id-token", "R3")
def test_an_id_token_is_no_access_token(server: Server, alice: Person, client: TestClient) -> None:
    """It has another type and another audience, and a resource server refuses it for either."""
    tokens = client.connect(alice, scope="openid")
    token = opened(server, tokens["id_token"])
    assert token.header["typ"] != "at+jwt"
    assert token.claims["aud"] != server.settings.mcp_resource_url
    assert "scope" not in token.claims


@pytest.mark.clause("A8.rotation", "A12.scopes")
def test_a_refresh_token_comes_without_offline_access(alice: Person, client: TestClient) -> None:
    """A client that registered the grant gets one; the scope is accepted and has no effect."""
    assert "refresh_token" in client.connect(alice, scope="demo:read")
    assert "refresh_token" in client.connect(alice, scope="demo:read offline_access")


def revoke(client: TestClient, token: str, **more: str) -> int:
    """POST /revoke; returns the status."""
    form = {"client_id": client.id, **client.secret, "token": token, **more}
    answer = client.idp.post("/revoke", form)
    assert answer.content == b""
    return answer.status_code


def server_of(client: TestClient) -> Server:
    """The client's server."""
    assert isinstance(client.idp, Server)
    return client.idp
