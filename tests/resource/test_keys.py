"""R7: the issuer's keys: rotation, storms of unknown ones, an issuer that is down, slow, or an impostor."""

import json
import ssl
import time
from typing import Any

import pytest
import trustme
from joserfc.jwk import ECKey

from gatepost_resource import verifier
from tests.resource.issuer import Issuer, issuing, new_key
from tests.resource.running import LIST, Running, at_once, serving, wait_for


def fetches(issuer: Issuer) -> int:
    return issuer.asked.count("/jwks.json")


@pytest.mark.clause("R7")
def test_a_new_key_is_taken_at_its_first_token(issuer: Issuer) -> None:
    """Rotation refuses nobody: the first token with a new key causes a fetch, and the old key still works."""
    with serving(issuer) as resource:
        old = resource.token()
        issuer.keys.append(new_key("second"))
        before = fetches(issuer)
        assert resource.post(LIST, resource.token()).status_code == 200
        assert fetches(issuer) == before + 1
        assert resource.post(LIST, old).status_code == 200


@pytest.mark.clause("R7")
def test_all_the_first_tokens_of_a_new_key_share_one_fetch(issuer: Issuer) -> None:
    """Thirty at once after a rotation: one fetch, and not one of them is refused."""
    with serving(issuer) as resource:
        issuer.keys.append(new_key("second"))
        issuer.delay = 0.2
        before = fetches(issuer)
        tokens = [resource.token() for _ in range(30)]
        answers = at_once(30, lambda number: resource.post(LIST, tokens[number]))
        assert {answer.status_code for answer in answers} == {200}
        assert fetches(issuer) == before + 1


@pytest.mark.clause("R7")
def test_a_storm_of_unknown_keys_costs_one_fetch_in_ten_seconds(issuer: Issuer) -> None:
    """Anybody can invent a kid; the issuer is asked at most once in ten seconds."""
    with serving(issuer) as resource:
        before = fetches(issuer)
        for round_number in range(3):
            answers = at_once(20, lambda number: resource.post(LIST, resource.token(key=new_key(f"invented-{number}"))))
            assert {answer.status_code for answer in answers} == {401}
            assert fetches(issuer) == before + 1 + round_number
            resource.monotonic.offset += 10.5


@pytest.mark.clause("R7")
def test_a_storm_does_not_hold_up_good_tokens(issuer: Issuer) -> None:
    """While an invented kid waits for a slow issuer, a known one is answered."""
    with serving(issuer) as resource:
        issuer.delay = 1.0
        good = resource.token()
        started = time.monotonic()

        def ask(number: int) -> Any:
            if number == 0:
                return resource.post(LIST, resource.token(key=new_key("invented")))
            time.sleep(0.2)
            response = resource.post(LIST, good)
            assert time.monotonic() - started < 0.9
            return response

        assert [answer.status_code for answer in at_once(2, ask)] == [401, 200]


@pytest.mark.clause("R7", "R3.signature")
def test_a_key_taken_back_takes_its_tokens_with_it(issuer: Issuer) -> None:
    """Once the JWKS no longer has a key, even cached tokens that it verified are refused."""
    with serving(issuer, refresh_seconds=0.1) as resource:
        issuer.keys.insert(0, new_key("older"))
        stays, goes = resource.token(key=issuer.keys[1]), resource.token(key=issuer.keys[0])
        wait_for(lambda: resource.post(LIST, goes).status_code == 200)
        assert resource.post(LIST, stays).status_code == 200
        del issuer.keys[0]
        wait_for(lambda: resource.post(LIST, goes).status_code == 401)
        assert resource.post(LIST, stays).status_code == 200


@pytest.mark.clause("R7", "R3.signature")
def test_another_key_under_the_same_kid_is_another_key(issuer: Issuer) -> None:
    """A kid is a name, not a proof: cached tokens end with the old key."""
    with serving(issuer, refresh_seconds=0.1) as resource:
        token = resource.token()
        assert resource.post(LIST, token).status_code == 200
        issuer.keys[0] = new_key("first")
        wait_for(lambda: resource.post(LIST, token).status_code == 401)
        assert resource.post(LIST, resource.token()).status_code == 200


@pytest.mark.clause("R7")
def test_with_the_issuer_away_known_keys_go_on(issuer: Issuer) -> None:
    """Old and new tokens with a known key are accepted for as long as the issuer is down."""
    with serving(issuer, refresh_seconds=0.05) as resource:
        remembered = resource.token()
        assert resource.post(LIST, remembered).status_code == 200
        issuer.stop()
        time.sleep(0.3)
        assert resource.post(LIST, remembered).status_code == 200
        assert resource.post(LIST, resource.token()).status_code == 200
        assert resource.request("GET", "/readyz").status_code == 200


@pytest.mark.clause("R7")
def test_with_the_issuer_away_an_unknown_key_is_not_called_bad(issuer: Issuer) -> None:
    """It may be a new one, just rotated in: 503 with Retry-After, not 401, which would end a sign-in."""
    with serving(issuer) as resource:
        issuer.stop()
        response = resource.post(LIST, resource.token(key=new_key("perhaps")))
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert "www-authenticate" not in response.headers


@pytest.mark.clause("R7")
def test_an_issuer_that_comes_up_later_is_found_by_the_first_token(issuer: Issuer) -> None:
    """The servers can start in either order: until then 503 and not ready, then both change at once."""
    issuer.stop()
    with serving(issuer, ready=False) as resource:
        token = resource.token()
        refused = resource.post(LIST, token)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert resource.request("GET", "/readyz").status_code == 503
        assert resource.request("GET", "/healthz").status_code == 200
        issuer.start()
        resource.monotonic.offset += 1
        assert resource.post(LIST, token).status_code == 200
        assert resource.request("GET", "/readyz").status_code == 200


def test_without_a_token_the_challenge_works_while_the_issuer_is_away(issuer: Issuer) -> None:
    """The challenge needs no keys to say where to get a token."""
    issuer.stop()
    with serving(issuer, ready=False) as resource:
        assert resource.post(LIST).status_code == 401
        assert resource.post(LIST, "rubbish").status_code == 401


def foreign_issuer(issuer: Issuer) -> None:
    issuer.metadata = {"issuer": "https://evil.example"}


def issuer_with_a_slash(issuer: Issuer) -> None:
    issuer.metadata = {"issuer": issuer.url + "/"}


def keys_elsewhere(issuer: Issuer) -> None:
    """The same keys at another origin than the issuer's, which could replace them."""
    other = issuer.twin()
    issuer.metadata = {"jwks_uri": f"{other.url}/jwks.json"}


def no_keys_named(issuer: Issuer) -> None:
    issuer.metadata = {"jwks_uri": None}


def a_redirect(issuer: Issuer) -> None:
    issuer.status, issuer.headers = 302, {"location": "/elsewhere"}


def an_error(issuer: Issuer) -> None:
    issuer.status = 500


def a_flood(issuer: Issuer) -> None:
    """Valid keys in a document that is too large."""
    issuer.jwks = json.dumps({"keys": [issuer.keys[0].as_dict(private=False)]}).encode() + b" " * 200_000


def no_json(issuer: Issuer) -> None:
    issuer.jwks = b"<html>"


def deep_json(issuer: Issuer) -> None:
    issuer.jwks = b"[" * 50_000


def a_list(issuer: Issuer) -> None:
    issuer.jwks = b"[]"


def an_empty_set(issuer: Issuer) -> None:
    issuer.jwks = b'{"keys":[]}'


def keys_that_are_none(issuer: Issuer) -> None:
    issuer.jwks = b'{"keys":"abc"}'


def keys_we_do_not_use(issuer: Issuer) -> None:
    public = issuer.keys[0].as_dict(private=False)
    off_curve = {**public, "y": public["x"]}
    variants = [
        {**public, "use": "enc"},
        {**public, "alg": "ES384"},
        {**public, "crv": "P-384"},
        {**public, "kid": ""},
        {name: value for name, value in public.items() if name != "kid"},
        {**public, "kty": "oct", "k": "c2VjcmV0"},
        off_curve,
        {**public, "x": 5},
        "text",
        None,
    ]
    issuer.jwks = json.dumps({"keys": variants}).encode()


WRONG = [
    foreign_issuer,
    issuer_with_a_slash,
    keys_elsewhere,
    no_keys_named,
    a_redirect,
    an_error,
    a_flood,
    no_json,
    deep_json,
    a_list,
    an_empty_set,
    keys_that_are_none,
    keys_we_do_not_use,
]


@pytest.mark.clause("R3", "R7", "R7.documents")
@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_documents_that_cannot_be_trusted_give_no_keys(issuer: Issuer, spoil: Any) -> None:
    """Wrong, foreign, huge or broken: 503, never a key from it, and never a redirect followed."""
    spoil(issuer)
    with serving(issuer, ready=False) as resource:
        assert resource.post(LIST, resource.token()).status_code == 503
        assert "/elsewhere" not in issuer.asked
        assert all(twin.asked == [] for twin in issuer.twins)


@pytest.mark.clause("R7", "R7.documents")
@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_documents_that_spoil_later_leave_the_keys_that_are_known(issuer: Issuer, spoil: Any) -> None:
    """A bad answer changes nothing: the keys fetched before stay in use."""
    with serving(issuer, refresh_seconds=0.05) as resource:
        spoil(issuer)
        before = len(issuer.asked)
        wait_for(lambda: len(issuer.asked) > before + 2)
        assert resource.post(LIST, resource.token()).status_code == 200


class SecureIssuer(Issuer):
    """An issuer behind TLS, with a certificate for ``localhost``."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        super().start()
        assert self._server is not None
        self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)


@pytest.mark.clause("R7.certificate")
def test_an_issuer_whose_certificate_nobody_vouches_for_gives_no_keys() -> None:
    """RFC 8414 section 6.2: an attacker between this server and the issuer must not supply the keys."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    issuer = SecureIssuer(context)
    try:
        with serving(issuer, ready=False) as resource:
            assert resource.post(LIST, resource.token()).status_code == 503
            assert resource.request("GET", "/readyz").status_code == 503
        assert issuer.asked == []
    finally:
        issuer.stop()


def test_keys_for_other_uses_beside_ours_do_no_harm(issuer: Issuer) -> None:
    """Beside an RSA key for ID tokens, an encryption key and a broken one, the ES256 key is found."""
    keys_we_do_not_use(issuer)
    assert issuer.jwks is not None
    mixed = json.loads(issuer.jwks)["keys"]
    issuer.jwks = json.dumps({"keys": [*mixed, issuer.keys[0].as_dict(private=False), {"kty": "RSA"}]}).encode()
    with serving(issuer) as resource:
        assert resource.post(LIST, resource.token()).status_code == 200


@pytest.mark.parametrize(("delay", "drip"), [(3.0, 0.0), (0.0, 0.1)])
def test_a_slow_issuer_is_given_up(issuer: Issuer, monkeypatch: pytest.MonkeyPatch, delay: float, drip: float) -> None:
    """The whole fetch has a time-out, so neither silence nor a byte-by-byte answer holds up a token."""
    monkeypatch.setattr("gatepost_resource.jwks.ANSWER_SECONDS", 0.4)
    issuer.delay, issuer.drip = delay, drip
    with serving(issuer, ready=False) as resource:
        started = time.monotonic()
        assert resource.post(LIST, resource.token()).status_code == 503
        assert time.monotonic() - started < 2


@pytest.mark.clause("A2")
def test_an_issuer_with_a_path_is_discovered_by_the_inserted_form() -> None:
    """RFC 8414, section 3.1: the well-known part comes before the issuer's path."""
    with issuing("/tenant/a") as issuer, serving(issuer) as resource:
        assert issuer.asked[0] == "/.well-known/oauth-authorization-server/tenant/a"
        assert resource.post(LIST, resource.token()).status_code == 200


class Counter:
    """Counts the signature checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._check = verifier._check_signature
        monkeypatch.setattr(verifier, "_check_signature", self)

    def __call__(self, bearer: str, key: ECKey) -> None:
        self.count += 1
        self._check(bearer, key)


def test_a_token_is_verified_once(resource: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verified token is cached by its digest: many requests, one signature check; a failed one is not cached."""
    counter = Counter(monkeypatch)
    token = resource.token()
    assert {resource.post(LIST, token).status_code for _ in range(5)} == {200}
    assert counter.count == 1
    middle = len(token) - 40
    broken = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    assert [resource.post(LIST, broken).status_code for _ in range(2)] == [401, 401]
    assert counter.count == 3


def test_the_memory_of_tokens_is_bounded(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more tokens than the cache holds, the least recently used is checked again; none is refused."""
    monkeypatch.setattr(verifier, "MAX_CACHED_TOKENS", 3)
    counter = Counter(monkeypatch)
    with serving(issuer) as resource:
        first, *others = [resource.token() for _ in range(5)]
        for token in [first, others[0], first, others[1], others[2]]:
            assert resource.post(LIST, token).status_code == 200
        assert counter.count == 4
        resource.post(LIST, first)
        assert counter.count == 4
        assert resource.post(LIST, others[0]).status_code == 200
        assert counter.count == 5
