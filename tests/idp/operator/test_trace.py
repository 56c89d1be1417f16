"""`gatepost trace ID`: one authorization from discovery to tokens, under one short id that a person can read out."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gatepost_idp import traces
from gatepost_idp.recorder import WRITE_SECONDS
from tests.idp.operator.recorded import gatepost_trace, told, until
from tests.idp.signin.walk import asks, press
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.processes import Deployment
from tests.support.serving import Idp, serving
from tests.support.smtp import Postbox, link_of

People = Callable[..., Person]
SHORT = re.compile(r"[0-9a-hjkmnp-tv-z]{5}-[0-9a-hjkmnp-tv-z]{5}")


def id_on(person: Person) -> str:
    """The trace id at the foot of the page that is open."""
    found = re.search(r"trace <code>([^<]*)</code>", person.text)
    assert found, person.text
    return found.group(1)


def test_a_whole_connection_is_told_in_order(idp: Idp, people: People) -> None:
    """What the client did, what the person saw, what became of the mail: each step once, without failures."""
    assert idp.get("/.well-known/oauth-authorization-server").status_code == 200
    client = registered(idp, client_name="Storyteller")
    alice = people("alice@example.com")
    alice.open(client.authorize_url())
    trace_id = id_on(alice)
    assert client.redeem(client.code(alice)).status_code == 200
    story = told(idp, client.id, "token")
    assert trace_id in {step["trace_id"] for step in story.steps}
    assert story.names[:3] == ["discovery", "register", "authorize"]
    assert "token" in story.names
    assert all(step["outcome"] == "ok" for step in story.steps)
    assert story.advice.startswith("What to do: nothing failed here: the client has its tokens")


def test_every_step_of_an_authorization_has_its_one_id(idp: Idp, people: People) -> None:
    """The id that the first page shows finds pages, log lines and the call to /token."""
    client, alice = registered(idp), people("alice@example.com")
    with capture_logs() as logged:
        alice.open(client.authorize_url())
        trace_id = id_on(alice)
        alice.ask_for_mail()
        assert id_on(alice) == trace_id
        alice.sign_in_by_code()
        assert id_on(alice) == trace_id
        alice.allow()
        code = alice.answer().split("code=")[1].split("&")[0]
        assert client.redeem(code).status_code == 200
        assert client.refresh("gp_rt_nobody").status_code == 400
    assert {line["trace_id"] for line in logged if line["event"] == "mail_sent"} == {trace_id}
    lines = [line for line in logged if line["event"] == "request"]
    own = [line["path"] for line in lines if line["trace_id"] == trace_id]
    assert own == [
        "/authorize", "/sign-in/...", "/sign-in/...", "/sign-in/...", "/sign-in/...", "/consent/...", "/consent/...",
        "/token",
    ]  # fmt: skip  # in order
    names = told(idp, trace_id, "token").names
    assert [name for name in names if name != "mail"] == [
        "register", "authorize", "sign-in page", "sign-in mail", "sign-in page", "sign-in code", "consent page",
        "consent decision", "token", "token",
    ]  # fmt: skip  # in order; the last one, with an unknown token, is joined by its client
    assert "mail" in names


def test_a_refresh_goes_on_under_the_authorizations_id_and_is_recorded_only_when_refused(
    idp: Idp, people: People
) -> None:
    """Thousands a minute would displace everything else; its log line still has the id."""
    client, alice = registered(idp), people("alice@example.com")
    tokens = client.connect(alice)
    with capture_logs() as logged:
        newest = client.refresh(tokens["refresh_token"]).json()["refresh_token"]
        client.refresh(newest, resource="https://other.test/mcp")
        idp.get("/healthz")  # the log line of a request is written after its answer
    ids = {line["trace_id"] for line in logged if line.get("path") == "/token"}
    assert len(ids) == 1
    story = told(idp, ids.pop(), "token")
    until(idp, "SELECT count(*) FROM trace_step WHERE step = 'token' AND outcome = 'refused'")
    story = told(idp, client.id, "token")
    grants = [step["asked"]["grant_type"] for step in story.steps if step["step"] == "token"]
    assert grants == ["authorization_code", "refresh_token"]


def test_an_id_is_short_and_unmistakable_and_understood_as_typed(idp: Idp, people: People) -> None:
    """Ten unmistakable letters and digits; capitals, blanks, O for 0 and I for 1 do no harm."""
    alice = people("alice@example.com")
    alice.open(registered(idp).authorize_url())
    trace_id = id_on(alice)
    assert SHORT.fullmatch(trace_id)
    told(idp, trace_id)
    typed = trace_id.replace("-", " ").upper().replace("0", "O").replace("1", "I")
    assert gatepost_trace(idp, f" {typed} ").exit_code == 0
    assert len({traces.new_id() for _ in range(10_000)}) == 10_000


def test_an_id_that_is_not_known_says_so_in_one_line(idp: Idp) -> None:
    """Exit code 1."""
    result = gatepost_trace(idp, "abcde-fgh")
    assert result.exit_code == 1
    assert (
        result.output
        == "Nothing is known about abcde-fgh: it is mistyped, older than a day, or from another database.\n"
    )
    assert gatepost_trace(idp, "abcde-fgh", "--json").output.startswith('{"error": "Nothing is known')


def test_the_text_for_people_ends_with_what_to_do(idp: Idp, people: People) -> None:
    """Times, steps, received against expected, and a last line that says what to do."""
    client = registered(idp)
    refused = client.redeem(client.code(people("alice@example.com")), code_verifier="w" * 43)
    told(idp, refused.headers["x-trace-id"], "token")
    lines = gatepost_trace(idp, refused.headers["x-trace-id"]).stdout.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  token  REFUSED 400", next(x for x in lines if "REFUSED" in x))
    assert "         >  received: a verifier of another S256" in lines
    assert lines[-1].startswith("What to do: token failed, invalid_grant: code_verifier does not match the code_chall")


def test_an_error_page_of_a_request_that_is_over_belongs_to_its_authorization(idp: Idp, people: People) -> None:
    """The page's URL names its authorization, even if nothing of that is stored any more."""
    alice = people("alice@example.com")
    alice.open(registered(idp).authorize_url())
    assert alice.page is not None
    url, trace_id = str(alice.page.url), id_on(alice)
    idp.clock.forward(minutes=31)
    assert alice.open(url).status_code == 410
    assert id_on(alice) == trace_id
    until(idp, "SELECT count(*) FROM trace_step WHERE trace_id = :id AND outcome = 'refused'", id=trace_id)
    step = told(idp, trace_id).step("sign-in page")
    assert step["reason"] == "request is not this browser's, or is over"
    assert step["expected"] == "the browser that started it, within 30 minutes"


def test_a_wrong_code_and_a_link_in_another_browser_are_told(idp: Idp, people: People) -> None:
    """So that support on the phone sees what the person did."""
    pending = asks(idp, people("alice@example.com"))
    pending.person.submit(pending.person.form("code"), code="0000 0000")
    people("alice@example.com").open(pending.link)
    story = told(idp, id_on(pending.person), "sign-in link")
    code = story.step("sign-in code")
    assert (code["outcome"], code["reason"], code["received"]) == (
        "refused", "wrong code", "That code is not right. 4 tries left.",
    )  # fmt: skip  # one row
    assert story.step("sign-in link")["told"]["opened"] == "in another browser, or by a scanner"
    assert story.step("sign-in mail")["told"]["email"] == "al...@example.com"
    assert "newest mail, in the browser that started" in story.advice


def test_a_form_from_elsewhere_is_told(idp: Idp, people: People) -> None:
    """It is recorded with the authorization whose page it claims to be."""
    alice = people("alice@example.com")
    alice.open(registered(idp).authorize_url())
    assert alice.page is not None
    trace_id = id_on(alice)
    press(alice, str(alice.page.url), {"csrf": "", "email": alice.email}, origin="https://evil.test")
    step = told(idp, trace_id, "sign-in mail").step("sign-in mail")
    assert (step["reason"], step["received"]) == ("foreign form", "Origin: https://evil.test")
    assert step["expected"] == f"a form from {idp.issuer}, sent with the browser's cookie"


def test_a_mail_that_does_not_go_out_is_told(idp: Idp, people: People) -> None:
    """With the mail server's answer, and the command that tests it."""
    idp.postbox.refusal = "550 no such user"
    alice = people("alice@example.com")
    alice.open(registered(idp).authorize_url())
    trace_id = id_on(alice)
    alice.ask_for_mail()
    story = told(idp, trace_id, "mail")
    assert story.step("mail")["received"] == "550 no such user"
    assert "gatepost mail test" in story.advice


def test_a_mail_that_is_withheld_is_told_to_the_operator_alone(tmp_path: Path) -> None:
    """No page tells the visitor that the address is not admitted; the trace does."""
    with serving(tmp_path, signup="closed") as idp, Person("stranger@example.com", idp.postbox) as stranger:
        stranger.open(registered(idp).authorize_url())
        trace_id = id_on(stranger)
        stranger.ask_for_mail()
        story = told(idp, trace_id, "mail")
        assert story.step("mail")["reason"] == "no mail was sent"
        assert "SIGNUP" in story.advice


def test_a_limit_of_mails_is_told(tmp_path: Path) -> None:
    """The trace names the limit and the settings to look at."""
    with serving(tmp_path, limit_address="1/hour") as idp, Person("alice@example.com", idp.postbox) as alice:
        client = registered(idp)
        alice.open(client.authorize_url())
        alice.ask_for_mail()
        alice.open(client.authorize_url())
        trace_id = id_on(alice)
        alice.ask_for_mail()
        step = told(idp, trace_id, "sign-in mail").step("sign-in mail")
        assert (step["status"], step["reason"]) == (429, "a limit of mails")
        assert "LIMIT_ADDRESS" in step["expected"]


def test_a_client_that_never_comes_for_its_tokens_is_told(idp: Idp, people: People) -> None:
    """The most frequent failure: the callback was not reached, or rejected the answer."""
    client = registered(idp)
    client.code(people("alice@example.com"))
    story = told(idp, client.id, "consent decision")
    assert "never came to /token" in story.advice


def test_a_person_who_says_no_is_told(idp: Idp, people: People) -> None:
    """It is not a failure."""
    client, alice = registered(idp), people("alice@example.com")
    alice.open(client.authorize_url())
    alice.ask_for_mail()
    alice.sign_in_by_code()
    alice.submit(alice.form("decision"), decision="deny")
    story = told(idp, client.id, "consent decision")
    assert story.advice == "What to do: the person said no; nothing failed."


def test_discovery_of_another_network_or_an_earlier_hour_is_not_joined(tmp_path: Path) -> None:
    """Discovery names no client: only requests from the same network just before count as the client's."""
    with serving(tmp_path, trusted_proxies=("127.0.0.1/32",)) as idp:
        idp.get("/.well-known/openid-configuration", headers={"x-forwarded-for": "198.51.100.7"})
        idp.get("/healthz")  # a step is recorded after its answer
        idp.clock.forward(minutes=6)
        idp.get("/.well-known/openid-configuration", headers={"x-forwarded-for": "203.0.113.9"})
        idp.get("/.well-known/oauth-authorization-server", headers={"x-forwarded-for": "198.51.100.7"})
        body = {"redirect_uris": ["https://client.test/callback"]}
        answer = idp.request("POST", "/register", json=body, headers={"x-forwarded-for": "198.51.100.7"})
        story = told(idp, answer.json()["client_id"], "register")
        assert [step["told"].get("asked_for") for step in story.steps] == [
            "GET /.well-known/oauth-authorization-server", None,
        ]  # fmt: skip  # in order
        assert story.steps[0]["joined_by"] == "network and time"


def test_clients_that_share_one_id_are_kept_apart(idp: Idp, people: People) -> None:
    """A manually added client serves many people: one person's trace shows nothing of another's."""
    client = registered(idp)
    first, second = people("first@example.com"), people("second@example.com")
    first.open(client.authorize_url())
    second.open(client.authorize_url())
    second_id = id_on(second)
    first_id = id_on(first)
    client.redeem(client.code(second), code_verifier="w" * 43)
    told(idp, client.id, "token")
    assert second_id != first_id
    assert "token" not in told(idp, first_id).names


def test_the_command_works_beside_running_servers(deployment: Deployment, postbox: Postbox) -> None:
    """As a separate process on the same database."""
    with Person("beside@example.com", postbox) as person:
        person.open(f"{deployment.issuer}/authorize?client_id=claude-web")
        trace_id = id_on(person)
    time.sleep(2 * WRITE_SECONDS)
    assert "reason: unknown client_id" in deployment.gatepost("trace", trace_id)


def test_a_mailed_link_that_is_over_shows_its_authorizations_id(idp: Idp, people: People) -> None:
    """The link names the authorization even long after its end."""
    office_mail = asks(idp, people("alice@example.com"))
    trace_id = id_on(office_mail.person)
    idp.clock.forward(minutes=31)
    phone = people("alice@example.com")
    assert phone.open(link_of(office_mail.mail)).status_code == 410
    assert id_on(phone) == trace_id


@pytest.mark.parametrize("text", ["", "0", "gp_dc_x.y.z", "https://client.test/oauth-client", "../../etc/passwd"])
def test_any_text_may_be_asked_for(idp: Idp, text: str) -> None:
    """Text that is not an id is reported as unknown, and breaks nothing."""
    assert gatepost_trace(idp, text).exit_code == 1
