"""A running server's audit log: what happened, to whom, from where, under which trace; and no secrets."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gatepost_idp import audit
from gatepost_idp.__main__ import cli
from gatepost_idp.store import accounts, clients
from tests.faults.asking import environment_for
from tests.idp.account.being_there import BOTH, connected, entered
from tests.idp.account.test_cut_off import link_in
from tests.idp.account.test_personal_tokens import made
from tests.idp.oauth.wire import beside, rows
from tests.idp.operator.recorded import until
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.serving import Idp, serving
from tests.support.smtp import code_of, link_of

People = Callable[..., Person]
FROM = "127.0.0.1"


@dataclass(frozen=True)
class Told:
    """A row of the log."""

    event: str
    account_id: str
    client_id: str
    grant_id: str
    trace_id: str
    network: str
    detail: str


def told(idp: Idp) -> list[Told]:
    query = "SELECT event, account_id, client_id, grant_id, trace_id, network, detail FROM audit_event ORDER BY id"
    return [Told(*row) for row in rows(idp, query)]


def the(idp: Idp, event: str) -> Told:
    """The last event of that name."""
    found = [one for one in told(idp) if one.event == event]
    assert found, f"no {event} in {[one.event for one in told(idp)]}"
    return found[-1]


def gatepost(idp: Idp, *arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), env=environment_for(idp))


def logged(idp: Idp, *arguments: str) -> list[dict[str, Any]]:
    """What `gatepost audit ARGUMENTS --json` prints."""
    result = gatepost(idp, "audit", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def account_of(idp: Idp, person: Person) -> str:
    return str(rows(idp, "SELECT id FROM account WHERE email = :email", email=person.email)[0][0])


def test_the_way_to_a_connection_is_recorded(idp: Idp, people: People) -> None:
    """Client, account, sign-in, consent, grant, refresh: each with person, address, and the authorization's trace."""
    alice = people()
    client, tokens = connected(idp, alice)
    client.refresh(tokens["refresh_token"])
    own, kind = account_of(idp, alice), client.id.partition(".")[0]
    found = told(idp)
    assert [one.event for one in found] == [
        "client.made", "account.created", "sign_in", "consent.given", "grant.started", "grant.refreshed",
    ]  # fmt: skip  # a list of names
    assert (found[0].client_id, found[0].detail, found[0].network) == (kind, "registered", FROM)
    assert {one.account_id for one in found[1:]} == {own}
    assert {one.network for one in found} == {FROM}
    assert len({one.trace_id for one in found[1:]}) == 1
    assert all(one.trace_id for one in found)
    assert {one.client_id for one in found[3:]} == {client.id}
    assert found[3].detail == "demo:read"
    assert found[4].grant_id == found[5].grant_id != ""


def test_what_people_take_back_is_recorded(idp: Idp, people: People) -> None:
    """Each with its person, address and trace; the end of a family has its reason."""
    alice = people()
    client, tokens = connected(idp, alice)
    phone = people("phone@example.com")
    phone.open(link_in(idp, alice))
    phone.submit(phone.form("token"))
    assert the(idp, "grant.ended").detail == "cut off by mail"
    _, tokens = connected(idp, alice, client=client)
    idp.post("/revoke", {"client_id": client.id, "token": tokens["refresh_token"]})
    assert the(idp, "grant.ended").detail == "revoked by the client"
    connected(idp, alice, client=client)
    made(idp, alice)
    alice.submit(next(form for form in entered_forms(alice, idp) if form.action.endswith("/tokens/end")))
    entered(alice, idp, "/account/access")
    alice.submit(alice.form("grant"), scope=["demo:echo"])
    entered(alice, idp)
    alice.submit(alice.form_to("/forget"))
    alice.submit(alice.form_to("/disconnect"))
    assert the(idp, "grant.ended").detail == "disconnected by the person"
    alice.submit(next(form for form in alice.forms() if form.action.endswith("/sign-out")))
    own = account_of(idp, alice)
    for event in ("grant.ended", "token.made", "token.ended", "grant.scope_changed", "consent.forgotten", "signed_out"):
        found = the(idp, event)
        assert (found.account_id, found.network, bool(found.trace_id)) == (own, FROM, True), event


def entered_forms(person: Person, idp: Idp) -> list[Any]:
    entered(person, idp)
    return person.forms()


def test_a_deletion_is_recorded_without_its_person(idp: Idp, people: People) -> None:
    """That it was done, and its trace; not whose account, nor from where."""
    alice = people()
    entered(alice, idp, "/account/delete")
    alice.submit(alice.form("sure"))
    found = the(idp, "account.deleted")
    assert (found.account_id, found.network, found.detail, bool(found.trace_id)) == ("", "", "by the person", True)
    assert {one.network for one in told(idp)} == {""}


def test_saying_no_and_another_account_are_recorded(idp: Idp, people: People) -> None:
    """Who refused which client, and who was signed out for another account."""
    alice = people()
    client, _ = connected(idp, alice, BOTH)
    assert the(idp, "consent.given").detail == BOTH
    alice.open(client.authorize_url(scope=BOTH, prompt="consent"))
    alice.submit(alice.form("decision"), decision="deny")
    found = the(idp, "consent.denied")
    assert (found.account_id, found.client_id, found.network) == (account_of(idp, alice), client.id, FROM)
    alice.open(client.authorize_url(scope=BOTH, prompt="consent"))
    alice.submit(alice.form_to("/switch"))
    assert (the(idp, "signed_out").account_id, the(idp, "signed_out").network) == (account_of(idp, alice), FROM)
    assert the(idp, "signed_out").trace_id == trace_of_newest(idp)


def trace_of_newest(idp: Idp) -> str:
    """The trace of the latest authorization."""
    return str(rows(idp, "SELECT trace_id FROM authorization_request ORDER BY created_at DESC LIMIT 1")[0][0])


def test_a_no_of_nobody_is_recorded(idp: Idp, people: People) -> None:
    """Before the sign-in there is no account to record, only the client and the trace."""
    stranger, client = people(), registered(idp)
    stranger.open(client.authorize_url())
    stranger.submit(stranger.form_to("/deny"))
    found = the(idp, "consent.denied")
    assert (found.account_id, found.client_id, found.network) == ("", client.id, FROM)
    assert found.trace_id == trace_of_newest(idp)


def test_signing_out_on_a_page_that_is_over_is_recorded(idp: Idp, people: People) -> None:
    """The person is signed out all the same; the finished request gets no further event."""
    alice = people()
    client, _ = connected(idp, alice)
    alice.open(client.authorize_url(scope=BOTH, prompt="consent"))
    idp.clock.forward(minutes=31)
    alice.submit(alice.form_to("/switch"))
    found = the(idp, "signed_out")
    assert (found.account_id, found.trace_id) == (account_of(idp, alice), "")


# --- Refusals ---------------------------------------------------------------------------------------------------------


def _wrong_secret(idp: Idp, alice: Person) -> str:
    client = registered(idp, token_endpoint_auth_method="client_secret_post")
    client.token_request(grant_type="refresh_token", refresh_token="x", client_secret="gp_cs_wrong")
    return client.id


def _disabled(idp: Idp, alice: Person) -> str:
    client = registered(idp)
    row = client.id.partition(".")[0]
    beside(idp, lambda tx: clients.set_disabled(tx, row, idp.clock()))
    client.refresh("gp_rt_x")
    return client.id


def _wrong_verifier(idp: Idp, alice: Person) -> str:
    client = registered(idp)
    client.redeem(client.code(alice), code_verifier="w" * 64)
    return client.id


def _code_of_another(idp: Idp, alice: Person) -> str:
    client, other = registered(idp), registered(idp)
    other.redeem(client.code(alice))
    return other.id


def _refresh_of_another(idp: Idp, alice: Person) -> str:
    (_, tokens), other = connected(idp, alice), registered(idp)
    other.refresh(tokens["refresh_token"])
    return other.id


def _code_replayed(idp: Idp, alice: Person) -> str:
    client = registered(idp)
    code = client.code(alice)
    client.redeem(code)
    client.redeem(code)
    return client.id


def _refresh_replayed(idp: Idp, alice: Person) -> str:
    client, tokens = connected(idp, alice)
    client.refresh(tokens["refresh_token"])
    idp.clock.forward(seconds=31)
    client.refresh(tokens["refresh_token"])
    return client.id


def _after_the_end(idp: Idp, alice: Person) -> str:
    client, tokens = connected(idp, alice)
    idp.post("/revoke", {"client_id": client.id, "token": tokens["refresh_token"]})
    client.refresh(tokens["refresh_token"])
    return client.id


def _person_shut_out(idp: Idp, alice: Person) -> str:
    client, tokens = connected(idp, alice)
    own = account_of(idp, alice)
    beside(idp, lambda tx: accounts.set_disabled(tx, own, idp.clock()))
    client.refresh(tokens["refresh_token"])
    return client.id


def _foreign_redirect(idp: Idp, alice: Person) -> str:
    client = registered(idp)
    alice.open(client.authorize_url(redirect_uri="https://evil.test/callback"))
    return client.id


def _foreign_form(idp: Idp, alice: Person) -> str:
    entered(alice, idp)
    alice.browser.post(f"{idp.issuer}/account/forget", data={"csrf": "x"}, headers={"origin": "https://evil.test"})
    return ""


REFUSALS: dict[str, Callable[[Idp, Person], str]] = {
    "refused.wrong_secret": _wrong_secret,
    "refused.client_disabled": _disabled,
    "refused.wrong_verifier": _wrong_verifier,
    "refused.code_of_another": _code_of_another,
    "refused.refresh_of_another": _refresh_of_another,
    "refused.code_replayed": _code_replayed,
    "refused.refresh_replayed": _refresh_replayed,
    "refused.grant_ended": _after_the_end,
    "refused.account_disabled": _person_shut_out,
    "refused.foreign_redirect": _foreign_redirect,
    "refused.foreign_form": _foreign_form,
}


@pytest.mark.parametrize("event", REFUSALS)
def test_a_refusal_is_recorded(idp: Idp, people: People, event: str) -> None:
    """With client, address, trace and reason; a replay also records the family that it ended."""
    client_id = REFUSALS[event](idp, people())
    until(idp, "SELECT count(*) FROM audit_event WHERE event = :event", event=event)
    found = the(idp, event)
    assert (found.client_id, found.network) == (client_id, FROM)
    assert found.trace_id
    assert found.detail
    if event.endswith("replayed"):
        ended = the(idp, "grant.ended")
        assert "replayed" in ended.detail
        assert (bool(ended.account_id), ended.client_id, ended.network) == (True, client_id, FROM)


def test_at_authorize_a_client_that_is_switched_off_is_recorded(idp: Idp) -> None:
    """An operator wants to see that it still tries; an unknown id, or a repeated one, is noise and not recorded."""
    client = registered(idp)
    row = client.id.partition(".")[0]
    beside(idp, lambda tx: clients.set_disabled(tx, row, idp.clock()))
    path = client.authorize_url().removeprefix(idp.issuer)
    for asked in (path.replace(client.id, "nobody"), f"{path}&client_id=again", path):
        assert idp.get(asked).status_code == 400
    until(idp, "SELECT count(*) FROM audit_event WHERE event = 'refused.client_disabled'")
    events = [(one.event, one.client_id, one.network) for one in told(idp)]
    assert events == [("client.made", row, FROM), ("refused.client_disabled", client.id, FROM)]


def test_refused_sign_ins_are_recorded(idp: Idp, people: People) -> None:
    """A wrong code, the link in another browser, not me, and a disabled account, with the attempt's id."""
    alice, elsewhere = people(), people("elsewhere@example.com")
    alice.open(registered(idp).authorize_url())
    alice.ask_for_mail()
    alice.submit(alice.form("code"), code="0000 0000")
    mail = idp.postbox.wait(alice.email)
    elsewhere.open(link_of(mail))
    csrf = dict(elsewhere.form_to("not-me").fields)["csrf"]
    token = dict(elsewhere.form_to("not-me").fields)["token"]
    headers = {"origin": idp.issuer, "sec-fetch-site": "same-origin"}
    elsewhere.browser.post(f"{idp.issuer}/sign-in/link", data={"csrf": csrf, "token": token}, headers=headers)
    elsewhere.submit(elsewhere.form_to("not-me"))
    ((attempt,),) = rows(idp, "SELECT id FROM sign_in_attempt")
    for event in ("refused.wrong_code", "refused.link_elsewhere", "sign_in.not_me"):
        found = the(idp, event)
        assert (found.detail, found.network, bool(found.trace_id)) == (f"attempt {attempt}", FROM, True), event
        assert found.account_id == "", "there is no account yet"
    entered(alice, idp)
    own = account_of(idp, alice)
    beside(idp, lambda tx: accounts.set_disabled(tx, own, idp.clock()))
    stranger = people("alice@example.com")
    stranger.open(registered(idp).authorize_url())
    stranger.ask_for_mail()
    assert (the(idp, "refused.sign_in").account_id, the(idp, "refused.sign_in").network) == (own, FROM)


def test_a_refresh_writes_one_row(idp: Idp, people: People) -> None:
    """The most frequent event costs only one INSERT."""
    client, tokens = connected(idp, people())
    before = len(told(idp))
    client.refresh(tokens["refresh_token"])
    assert len(told(idp)) == before + 1


def test_no_secret_is_in_the_log(idp: Idp, people: People) -> None:
    """Codes, tokens, secrets, verifiers, links, mailed codes, cookies, however they were used."""
    alice = people()
    client, tokens = connected(idp, alice, token_endpoint_auth_method="client_secret_post")
    secret = str(client.information["client_secret"])
    personal = made(idp, alice)
    code = client.code(alice, scope="demo:read")
    client.redeem(code, code_verifier="verifier-as-a-marker" * 3)
    client.redeem(code)
    client.redeem(code)
    client.token_request(grant_type="refresh_token", refresh_token="x", client_secret=f"{secret}x")
    client.refresh(tokens["refresh_token"])
    until(idp, "SELECT count(*) FROM audit_event WHERE event = 'refused.wrong_secret'")
    kept = json.dumps([str(row) for row in rows(idp, "SELECT * FROM audit_event")])
    mail = idp.postbox.wait(alice.email)
    secrets = (code, secret, personal, client.verifier, "verifier-as-a-marker", code_of(mail), link_of(mail)[-20:],
               tokens["access_token"], tokens["refresh_token"], *alice.browser.cookies.values())  # fmt: skip  # a list
    for each in (str(value) for value in secrets):
        assert each not in kept, each


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_command_filters(idp: Idp, people: People) -> None:
    """By event, person, client or its kind, trace and time; as text or JSON, one event per line."""
    alice, bob = people(), people("bob@example.com")
    client, _ = connected(idp, alice)
    connected(idp, bob)
    names = {one["event"] for one in logged(idp, "--email", "Alice@example.com")}
    assert names == {"account.created", "sign_in", "consent.given", "grant.started"}
    assert {one["email"] for one in logged(idp, "--event", "sign_in")} == {alice.email, bob.email}
    assert {one["event"] for one in logged(idp, "--event", "grant")} == {"grant.started"}
    assert {one["email"] for one in logged(idp, "--client", client.id)} == {alice.email}
    assert len(logged(idp, "--client", client.id.partition(".")[0])) == 5
    (started,) = logged(idp, "--client", client.id, "--event", "grant.started")
    assert len(logged(idp, "--trace", started["trace_id"].upper())) == 4
    assert logged(idp, "--since", "5m") == logged(idp)
    assert logged(idp, "--until", "5m") == []
    assert logged(idp, "--since", started["at"], "--until", started["at"]) == []
    assert logged(idp, "--email", "nobody@example.com") == []
    lines = gatepost(idp, "audit", "--event", "grant").stdout.splitlines()
    assert len(lines) == 2
    assert f"grant.started  {alice.email}  {FROM}  client={client.id}" in lines[0]


@pytest.mark.parametrize(
    "wrong", [("--since", "yesterday"), ("--since", "999999d"), ("--until", "2026-13-01"), ("--email", "nobody")]
)
def test_a_wrong_filter_is_said_in_one_line(idp: Idp, wrong: tuple[str, str]) -> None:
    """On stderr, with exit code 1 and no other output."""
    result = gatepost(idp, "audit", *wrong)
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1


def test_verify_says_that_all_is_well_and_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The running server seals events by itself; a changed row is named, with exit code 1."""
    monkeypatch.setattr(audit, "SEAL_SECONDS", 0.2)
    with serving(tmp_path) as idp, Person("alice@example.com", idp.postbox) as alice:
        connected(idp, alice)
        until(idp, "SELECT count(*) FROM audit_batch")
    result = gatepost(idp, "audit", "verify", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"], found["broken"], result.stderr) == (0, True, None, "")
    assert found["events"] + found["not_sealed_yet"] == len(told(idp))
    assert found["head"]["batch"] == found["batches"]
    assert "as they were sealed" in gatepost(idp, "audit", "verify").stdout
    ((event,),) = rows(idp, "SELECT id FROM audit_event WHERE batch = 1 ORDER BY id LIMIT 1")
    beside(idp, lambda tx: tx._cursor.execute("UPDATE audit_event SET detail = 'x' WHERE batch = 1") and None)
    result = gatepost(idp, "audit", "verify", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"]) == (1, False)
    assert found["broken"] == {"batch": 1, "event": event, "reason": "was changed"}
    assert f"BROKEN at batch 1, event {event}: was changed." in gatepost(idp, "audit", "verify").stderr


def test_what_a_command_did_is_recorded(idp: Idp, people: People) -> None:
    """As done by the command line, with its subject; repeating it without a change records nothing."""
    alice = people()
    entered(alice, idp)
    client = json.loads(gatepost(idp, "clients", "add", "App", "--claude", "--json").stdout)["client_id"]
    for command in (
        "users grant alice@example.com demo:ops", "users grant alice@example.com demo:ops",
        "users revoke alice@example.com demo:ops", "users grant alice@example.com admin",
        "users revoke alice@example.com admin", "users disable alice@example.com", "users enable alice@example.com",
        "users invite carol@example.com", "users export alice@example.com", f"clients disable {client}",
        f"clients enable {client}", "clients add https://app.test/client.json --checks-iss", "keys rotate",
        "users delete alice@example.com --yes",
    ):  # fmt: skip  # a list of commands
        result = gatepost(idp, *command.split())
        assert result.exit_code == 0, result.output
    query = "SELECT event, client_id, address, detail FROM audit_event WHERE network != '127.0.0.1' ORDER BY id"
    resource = idp.settings.mcp_resource_url
    found = [row for row in rows(idp, query) if row[0] not in ("account.created", "sign_in")]
    assert found[:-2] == [
        ("client.made", client, "", "manual"),
        ("scope.granted", "", "", f"demo:ops at {resource}"),
        ("scope.revoked", "", "", f"demo:ops at {resource}"),
        ("role.granted", "", "", "admin"),
        ("role.revoked", "", "", "admin"),
        ("account.disabled", "", "", ""),
        ("account.enabled", "", "", ""),
        ("account.invited", "", "carol@example.com", ""),
        ("account.exported", "", "", ""),
        ("client.disabled", client, "", ""),
        ("client.enabled", client, "", ""),
        ("client.marked", "https://app.test/client.json", "", "checks_iss: true"),
    ]
    assert [row[0] for row in found[-2:]] == ["key.rotated", "account.deleted"]
