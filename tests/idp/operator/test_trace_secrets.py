"""No secret in a trace: a whole journey with every kind of secret, each of which is searched for in what was kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from gatepost_idp import redirects, traces
from gatepost_idp.parameters import Parameters, parse
from tests.faults.asking import as_process, built
from tests.idp.oauth.wire import basic, rows
from tests.idp.operator.recorded import gatepost_trace, until
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person
from tests.support.serving import Idp
from tests.support.smtp import code_of, link_of, receiving

OTHER = "someone.else@example.com"


def _mixed_up(idp: Idp, secrets: dict[str, str], client_id: str) -> None:
    """Puts secrets in wrong places: an allowed parameter's value, an unknown name, a path."""
    for number, secret in enumerate(list(secrets.values())):
        wrong = {"client_id": client_id, "scope": f"a {secret}", "resource": f"https://x.test/?k={secret}"}
        idp.get(f"/authorize?{urlencode({**wrong, f'name{number}': secret, 'access_token': secret})}")
        idp.get(f"/authorize?{urlencode({'client_id': client_id, 'redirect_uri': f'https://u:{secret}@x.test/'})}")
        idp.post("/token", {"client_id": client_id, "grant_type": "x", "unknown": secret})
        idp.request("POST", "/register", json={"client_name": 1, "software_statement": secret, "jwks": {"k": secret}})
        headers = {"content-type": "text/plain", "authorization": f"Bearer {secret}", "cookie": secret}
        idp.request("POST", "/token", content=secret, headers=headers)
        idp.get("/userinfo", headers={"authorization": f"Bearer {secret}"})
        idp.get(f"/sign-in/{urlsplit(secret).path}")
        idp.get(f"/sign-in/link?t={secret}")
        idp.get(f"/.well-known/oauth-authorization-server?token={secret}")


def _walk(idp: Idp, person: Person) -> tuple[TestClient, dict[str, str]]:
    """A journey with mishaps; returns its client and every secret in it."""
    client = registered(idp, token_endpoint_auth_method="client_secret_basic")
    changes = {"state": "state-as-a-marker", "nonce": "nonce-as-a-marker", "login_hint": person.email}
    person.open(client.authorize_url(**changes))
    person.submit(person.form("email"), email=OTHER)
    person.submit(person.form_to("/change"))
    person.ask_for_mail()
    mail = person.postbox.wait(person.email)
    person.submit(person.form("code"), code="0000 0000")
    link = parse_qs(urlsplit(link_of(mail)).query)["t"][0]
    person.open(f"{link_of(mail)}x")
    person.open(link_of(mail))
    csrf = dict(person.form("token").fields)["csrf"]
    person.submit(person.form("token"))
    person.allow()
    code = answer_of(person.answer())["code"]
    secret = str(client.information["client_secret"])
    idp.post("/token", {"grant_type": "authorization_code", "code": code}, headers=basic(client.id, f"{secret}x"))
    client.redeem(code, code_verifier="verifier-as-a-marker" * 3)
    tokens: dict[str, Any] = client.redeem(code).json()
    client.redeem(code)
    client.refresh(tokens["refresh_token"])
    return client, {
        "state": "state-as-a-marker", "nonce": "nonce-as-a-marker", "address": person.email, "other address": OTHER,
        "link": link, "link's MAC": link.partition(".")[2], "code": code, "secret": secret, "verifier": client.verifier,
        "wrong verifier": "verifier-as-a-marker", "digits": code_of(mail),
        "bare digits": code_of(mail).replace(" ", ""),
        "csrf": csrf, "access token": tokens["access_token"], "refresh token": tokens["refresh_token"],
        **{f"cookie {name}": value for name, value in person.browser.cookies.items()},
    }  # fmt: skip  # a table


def test_no_secret_of_a_journey_is_in_the_table_the_output_or_the_log(tmp_path: Path) -> None:
    """Codes, tokens, verifiers, client secrets, links, mailed codes, cookies, CSRF tokens, state, nonce, addresses."""
    with receiving() as postbox:
        idp = built(tmp_path, postbox, log_level="debug")
        with as_process(idp, tmp_path / "idp.log") as process, Person("marker.person@example.com", postbox) as person:
            client, secrets = _walk(idp, person)
            plain = (
                "state",
                "nonce",
                "digits",
                "bare digits",
                "wrong verifier",
            )  # nothing identifies these as secrets in a wrong place
            _mixed_up(idp, {name: value for name, value in secrets.items() if name not in plain}, client.id)
            until(idp, "SELECT count(*) FROM trace_step WHERE step = 'userinfo'")
        kept = json.dumps(rows(idp, "SELECT * FROM trace_step"))
        told = gatepost_trace(idp, client.id).output + gatepost_trace(idp, client.id, "--json").output
        written = {"table": kept, "output": told, "log": process.logged()}
    for place, text in written.items():
        assert len(text) > 5_000, place
        for name, secret in secrets.items():
            for part in (secret, secret[:24], secret[-24:]) if len(secret) >= 40 else (secret,):
                assert part not in text, f"{name} in the {place}"
    assert "HTTP Basic" in told
    assert "ma...@example.com" in told


def parsed(values: dict[str, str]) -> Parameters:
    """Parameters as /authorize and /token parse them."""
    found = parse(urlencode(values))
    assert isinstance(found, Parameters)
    return found


def test_parameters_are_kept_by_an_allow_list() -> None:
    """A parameter not known to be harmless is at most named, and one with an odd name not even that."""
    names = ("code", "state", "password", "id_token_hint", "S3CR3T=", "x1")
    asked = parsed(dict.fromkeys(names, "s3cr3t"))
    shown = traces.Trace("", asked=asked).detail(200)["asked"]
    assert shown == {"code": "6 characters", "state": "6 characters", "password": "present", "id_token_hint": "present"}


def test_a_trace_takes_no_more_room_than_it_may() -> None:
    """Whatever is sent, be it 64 KB of scope or a hundred parameters."""
    many = {f"n{'abcdefghij'[n % 10]}{'abcdefghij'[n // 10]}": "x" * 400 for n in range(90)}
    asked = parsed({"scope": "s" * 10_000, "redirect_uri": f"https://x.test/{'a&' * 3_000}", **many})
    assert len(json.dumps(traces.Trace("", asked=asked).detail(400))) < 3_000
    assert len(json.dumps(traces.registration(json.dumps({name: ["x" * 500] * 50 for name in many}).encode()))) < 3_000


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://client.test/cb", "https://client.test/cb"),
        ("https://user:pw@client.test:8443/cb", "https://client.test:8443/cb"),
        ("https://user:pw@client.test/by@hand", "https://client.test/by@hand"),
        ("https://client.test/cb?a=secret&b=secret&c", "https://client.test/cb?a=...&b=...&c"),
        ("cursor://anysphere.cursor-mcp/oauth", "cursor://anysphere.cursor-mcp/oauth"),
        ("com.example:/cb?x=secret", "com.example:/cb?x=..."),
        ("https://client.test/cb#token=secret", "https://client.test/cb#..."),
        (f"app:{'a' * 300}", f"app:{'a' * 296}"),
        (f"app:/cb?{'n' * 33}=secret", f"app:/cb?{'n' * 32}=..."),
        ("", ""),
        (None, "none"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret_in_it(uri: str | None, shown: str) -> None:
    """Without user information, query values and fragment."""
    assert redirects.shown(uri) == shown


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m\r\nnext\0", " [31mred [0m next"),
        ("gp_rt_abcdefgh1ABCDEFGH_ijkl, gp_dc_abcdefgh1ABCDEFGH.k", "gp_rt_..., gp_dc_abcdefgh1ABCDEFGH.k"),
        ("Bearer eyJhbGciOiJFUzI1NiJ9.c2lnbmF0dXJlIGlzIGxvbmc", "Bearer eyJhbG....c2lnbm..."),
        ("to alice.smith@mail.example.com, or bob@localhost", "to al...@mail.example.com, or bo...@localhost"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}moc.live", "moc.live"),
    ],
)  # fmt: skip  # a table
def test_what_is_kept_is_one_plain_line(text: str, kept: str) -> None:
    """It has no terminal control characters, PostgreSQL accepts it, and a misplaced token is masked."""
    assert traces.plain(text) == " ".join(kept.split())


@pytest.mark.parametrize(
    "hostile", ["@" * 300, "a" * 299 + "@", "a@" * 150, "gp_" * 100, "eyJ" * 100, "a.-" * 100 + "@"]
)
def test_masking_takes_no_time_whatever_was_sent(hostile: str, timed: Callable[[Callable[[], object]], float]) -> None:
    """A backtracking regular expression would let a stranger block the server."""
    assert timed(lambda: traces.plain(hostile)) < 0.001


@pytest.fixture
def timed() -> Callable[[Callable[[], object]], float]:
    """The shortest time of a few runs, in seconds."""
    import timeit

    return lambda work: min(timeit.repeat(work, number=1, repeat=20))


def test_a_user_agent_is_kept_since_it_names_the_program(idp: Idp) -> None:
    """Truncated to a hundred characters."""
    httpx2.get(f"{idp.issuer}/authorize", headers={"user-agent": "claude-code/2.0 " + "x" * 500}, trust_env=False)
    until(idp, "SELECT count(*) FROM trace_step WHERE detail LIKE '%claude-code/2.0 %'")
    assert len(rows(idp, "SELECT detail FROM trace_step")[0][0]) < 600
