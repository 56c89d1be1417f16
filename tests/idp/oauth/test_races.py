"""A8: twenty concurrent requests. Comparable servers let 2 to 5 of 20 redemptions and 6 to 10 refreshes succeed."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.idp.oauth.wire import Server, basic, line, refused, rows, running, tokens_of
from tests.store.servers import running as postgresql
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person

TOGETHER = 20
ROUNDS = 2


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each database in turn: SQLite has one writer, on PostgreSQL the twenty really run concurrently."""
    with contextlib.ExitStack() as kept:
        changes: dict[str, Any] = {}
        if request.param == "postgresql":
            changes = {"database_url": kept.enter_context(postgresql()).empty(), "secret_key": ("k" * 40,)}
        yield kept.enter_context(running(tmp_path_factory.mktemp("races"), **changes))


def at_once(server: Server, path: str, forms: list[dict[str, str]]) -> list[httpx2.Response]:
    """Sends each form over a separate connection, all at the same moment."""
    gate = threading.Barrier(len(forms))

    def send(form: dict[str, str]) -> httpx2.Response:
        with line() as own:
            own.get(f"{server.issuer}/healthz")  # the connection is open before the race begins
            gate.wait()
            return own.post(f"{server.issuer}{path}", data=form)

    with ThreadPoolExecutor(len(forms)) as pool:
        return list(pool.map(send, forms))


@pytest.mark.clause("A8.one-winner", "A8.replayed-code")
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_of_twenty_parallel_redemptions_one_wins_and_its_grant_ends(
    server: Server, alice: Person, client: TestClient, _round: int
) -> None:
    """The others are replays, so the grant ends."""
    form = {
        "grant_type": "authorization_code",
        "client_id": client.id,
        "code": client.code(alice),
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
    }
    answers = at_once(server, "/token", [form] * TOGETHER)
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1, [answer.status_code for answer in answers]
    for answer in answers:
        if answer is not won[0]:
            refused(answer, "invalid_grant")
    refused(client.refresh(tokens_of(won[0])["refresh_token"]), "invalid_grant")
    assert rows(server, "SELECT count(*) FROM authorization_grant WHERE client_id = :id", id=client.id) == [(1,)]


@pytest.mark.clause("A8.one-successor", "A8.grace")
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_twenty_parallel_refreshes_get_one_and_the_same_successor(
    server: Server, alice: Person, client: TestClient, _round: int
) -> None:
    """Several processes of Claude Code refresh at once: all go on, with one chain of tokens."""
    tokens = client.connect(alice)
    form = {"grant_type": "refresh_token", "client_id": client.id, "refresh_token": tokens["refresh_token"]}
    answers = [tokens_of(answer) for answer in at_once(server, "/token", [form] * TOGETHER)]
    following = {answer["refresh_token"] for answer in answers}
    assert len(following) == 1
    assert following != {tokens["refresh_token"]}
    assert len({answer["access_token"] for answer in answers}) == TOGETHER
    tokens_of(client.refresh(following.pop()))
    of_client = "SELECT count(*) FROM refresh_token JOIN authorization_grant g ON g.id = grant_id WHERE client_id = :id"
    assert rows(server, of_client, id=client.id) == [(3,)]


@pytest.mark.clause("A8.one-winner", "A8.five-verifiers")
def test_twenty_parallel_guesses_have_five_tries_between_them(
    server: Server, alice: Person, client: TestClient
) -> None:
    """Counting is one statement: after a burst of wrong verifiers the right one is refused."""
    code = client.code(alice)
    form = {"grant_type": "authorization_code", "client_id": client.id, "code": code}
    answers = at_once(server, "/token", [form | {"code_verifier": f"{number:043d}"} for number in range(TOGETHER)])
    assert {answer.status_code for answer in answers} == {400}
    refused(client.redeem(code), "invalid_grant")


@pytest.mark.clause("A5.one-kind")
def test_twenty_parallel_registrations_of_a_new_kind_share_one_row(server: Server) -> None:
    """None of them fails for being second."""
    before = rows(server, "SELECT count(*) FROM client")[0][0]
    gate = threading.Barrier(TOGETHER)

    def register(_number: int) -> httpx2.Response:
        with line() as own:
            own.get(f"{server.issuer}/healthz")
            gate.wait()
            metadata = {"client_name": "Race", "redirect_uris": ["https://race.test/cb"]}
            return own.post(f"{server.issuer}/register", json=metadata)

    with ThreadPoolExecutor(TOGETHER) as pool:
        answers = list(pool.map(register, range(TOGETHER)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["client_id"] for answer in answers}) == TOGETHER
    assert rows(server, "SELECT count(*) FROM client") == [(before + 1,)]


@pytest.mark.clause("C5")
def test_twenty_parallel_presses_of_allow_give_one_code(server: Server, newcomer: Callable[[], Person]) -> None:
    """One is redirected to the client, the others see that it is finished."""
    person = newcomer()
    client = registered(server)
    registered(server, client_name="Other").connect(person)
    person.open(client.authorize_url())
    assert person.page is not None
    form, address = person.form("decision"), str(person.page.url)
    # Nothing is remembered: the consent's row would serialise the twenty, which the request's own UPDATE has to do.
    data = {name: value for name, value in form.fields if name != "remember"} | {"decision": "allow"}
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.browser.cookies.jar)
    gate = threading.Barrier(TOGETHER)

    def press(_number: int) -> httpx2.Response:
        with line() as own:
            own.get(f"{server.issuer}/healthz")
            gate.wait()
            return own.post(address, data=data, headers={"origin": server.issuer, "cookie": cookies})

    with ThreadPoolExecutor(TOGETHER) as pool:
        answers = list(pool.map(press, range(TOGETHER)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum("data-target" in answer.text for answer in answers) == 1
    assert sum("This is finished" in answer.text for answer in answers) == TOGETHER - 1
    assert rows(server, "SELECT count(*) FROM authorization_code WHERE client_id = :id", id=client.id) == [(1,)]


@pytest.mark.clause("A8.one-winner", "A11.revoke")
def test_a_refresh_that_races_a_revocation_leaves_nothing_alive(server: Server, alice: Person) -> None:
    """Whichever comes first, afterwards the family has ended."""
    client = registered(server)
    token = client.connect(alice)["refresh_token"]
    refresh = {"grant_type": "refresh_token", "client_id": client.id, "refresh_token": token}
    gate = threading.Barrier(4)

    def send(path: str) -> httpx2.Response:
        with line() as own:
            own.get(f"{server.issuer}/healthz")
            gate.wait()
            form = {"client_id": client.id, "token": token} if path == "/revoke" else refresh
            return own.post(f"{server.issuer}{path}", data=form)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, ["/token", "/revoke", "/token", "/token"]))
    assert answers[1].status_code == 200
    for answer in (answers[0], answers[2], answers[3]):
        if answer.status_code == 200:
            refused(client.refresh(answer.json()["refresh_token"]), "invalid_grant")
    refused(client.refresh(token), "invalid_grant")


@pytest.mark.clause("A8.one-winner", "A1")
def test_different_codes_in_parallel_are_all_redeemed(server: Server, alice: Person, client: TestClient) -> None:
    """A race affects nobody else: twenty codes give twenty grants."""
    codes = [client.code(alice) for _ in range(TOGETHER)]
    form = {"grant_type": "authorization_code", "client_id": client.id, "code_verifier": client.verifier}
    answers = at_once(server, "/token", [form | {"code": code} for code in codes])
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == TOGETHER
    assert "code" in answer_of(alice.answer())


@pytest.mark.clause("E5", "E7")
@pytest.mark.parametrize("client_id", ["gp_cc_\0", "gp_mc_%00", "gp_dc_\0.a.b"])
def test_nul_in_a_clients_name_is_refused_by_either_database(server: Server, client_id: str) -> None:
    """PostgreSQL accepts no NUL in a text; SQLite does."""
    headers = basic(client_id, "x")
    refused(server.post("/token", {"grant_type": "authorization_code"}, headers=headers), "invalid_client", 401)


@pytest.mark.clause("E5")
@pytest.mark.parametrize(
    "path", ["/consent/%00", "/sign-in/%00", "/sign-in/x/%00", "/sign-in/x/%00/state", "/sign-in/link?t=%00.x"]
)
def test_nul_in_an_address_is_refused_by_either_database(server: Server, path: str) -> None:
    """4xx, or the page for an unknown id: never a 500."""
    assert server.get(path).status_code < 500
