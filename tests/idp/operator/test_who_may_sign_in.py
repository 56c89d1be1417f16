"""SIGNUP, SIGNUP_DOMAINS, EMAIL_ALLOW and EMAIL_DENY: who gets a mail; others get the same pages and no mail."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.asking import Waiting, as_thread, built, changed, crowd, environment_for
from tests.faults.mailservers import Office, opened
from tests.idp.oauth.wire import rows
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.processes import run_gatepost
from tests.support.serving import Idp


@contextlib.contextmanager
def _choosing(folder: Path, members: tuple[str, ...] = (), **settings: Any) -> Iterator[tuple[Idp, Office]]:
    """A server with ``settings``, where ``members`` got accounts while sign-up was open to everybody."""
    office = Office()
    idp = built(folder, office)
    with opened(office):
        if members:
            with as_thread(idp):
                for email in members:
                    assert _gets_in(idp, office, email)
            office.mails.clear()
        chosen = changed(idp, **settings)
        with as_thread(chosen):
            yield chosen, office


def _gets_in(idp: Idp, office: Office, email: str) -> bool:
    """Whether ``email`` can sign in: asks, and uses the mail if one comes."""
    with Person(email, office) as person:
        before = len(office.mails)
        waiting = _asks(idp, person)
        return len(office.mails) > before and waiting.signs_in(office.mails[-1])


def _asks(idp: Idp, person: Person) -> Waiting:
    """``person`` asks, and waits until the page says that a mail is sent, as it does for everybody."""
    person.open(registered(idp).authorize_url())
    idp.clock.forward(seconds=1.1)  # a form sent that fast is delayed
    person.ask_for_mail()
    assert person.page is not None
    waiting = Waiting(person, str(person.page.url))
    waiting.until("sent")
    return waiting


@pytest.mark.parametrize(
    ("settings", "lets_in", "keeps_out"),
    [
        ({"signup": "open"}, ["a@example.com", "b@elsewhere.test"], []),
        (
            {"signup": "domains", "signup_domains": ("example.org", "*.example.net")},
            ["a@example.org", "A.B@EXAMPLE.ORG", "a@x.example.net", "a@y.x.example.net", "member@elsewhere.test"],
            ["a@example.com", "a@sub.example.org", "a@notexample.org", "a@example.net", "a@xexample.net"],
        ),
        ({"signup": "invite"}, ["member@elsewhere.test"], ["a@example.com"]),
        ({"signup": "closed"}, ["member@elsewhere.test", "Member@ELSEWHERE.test"], ["a@example.com"]),
        (
            {"email_allow": ("example.org", "one@example.com", "*.example.net")},
            ["a@example.org", "one@example.com", "ONE@example.com", "a@x.example.net"],
            ["two@example.com", "one@example.com.evil.test", "a@example.net", "member@elsewhere.test"],
        ),
        (
            {"email_deny": ("elsewhere.test", "one@example.com", "*.example.net")},
            ["a@example.org", "two@example.com", "a@example.net", "a@sub.elsewhere.test"],
            ["member@elsewhere.test", "one@example.com", "One@Example.com", "a@x.example.net", "a@y.x.example.net"],
        ),
        (
            {"email_allow": ("example.org",), "email_deny": ("bad@example.org",)},
            ["good@example.org"],
            ["bad@example.org"],
        ),
        (
            {"signup": "domains", "signup_domains": ("example.org",), "email_allow": ("example.com",)},
            [],
            ["a@example.org", "a@example.com"],
        ),
    ],
    ids=["open", "domains", "invite", "closed", "allow", "deny", "a denial wins", "both must agree"],
)
def test_who_may_sign_in(tmp_path: Path, settings: dict[str, Any], lets_in: list[str], keeps_out: list[str]) -> None:
    """People the operator admits get a mail that signs in; anybody else gets none, even with an earlier account."""
    members = ("member@elsewhere.test",)
    with _choosing(tmp_path, members, **settings) as (idp, office):
        assert {email: _gets_in(idp, office, email) for email in lets_in} == dict.fromkeys(lets_in, True)
        assert {email: _gets_in(idp, office, email) for email in keeps_out} == dict.fromkeys(keeps_out, False)


def test_invite(tmp_path: Path) -> None:
    """``gatepost users invite`` lets one mailbox, in any letter case, sign up while SIGNUP is invite or domains; with
    closed nobody new can, invited or not."""
    with _choosing(tmp_path, signup="invite") as (idp, office):
        assert not _gets_in(idp, office, "alice@example.com")
        said = json.loads(run_gatepost(environment_for(idp), "users", "invite", "Alice@Example.com", "--json"))
        assert said["email"] == "alice@example.com"
        assert said["mcp_url"] == idp.settings.mcp_resource_url
        assert _gets_in(idp, office, "alice@example.com")
        assert not _gets_in(idp, office, "bob@example.com")
        run_gatepost(environment_for(idp), "users", "invite", "bob@example.com")
        assert "bob@example.com" not in run_gatepost(environment_for(idp), "users", "list")
    for choice, may in (({"signup": "closed"}, False), ({"signup": "domains", "signup_domains": ("x.test",)}, True)):
        with opened(office), as_thread(changed(idp, **choice)):
            assert _gets_in(idp, office, "bob@example.com") is may


def test_a_denial_holds_for_a_mail_that_was_sent_before(tmp_path: Path) -> None:
    """A person denied while their mail is on its way cannot use it: the rule is checked again when the link is used."""
    office = Office()
    idp = built(tmp_path, office)
    with opened(office), contextlib.ExitStack() as stack:
        with as_thread(idp):
            [alice] = stack.enter_context(crowd(idp, ["alice"]))
            mail = office.wait("alice@example.com")
        with as_thread(changed(idp, email_deny=("alice@example.com",))):
            assert not alice.signs_in(mail)
    assert rows(idp, "SELECT count(*) FROM audit_event WHERE event = 'refused.sign_in'") == [(1,)]


def test_unicode_twin_of_a_domain(tmp_path: Path) -> None:
    """A non-ASCII domain may be listed as people write it; it admits that domain and no look-alike."""
    twin = "ex\N{CYRILLIC SMALL LETTER A}mple.org"
    settings = {"EMAIL_ALLOW": "bücher.example,example.org", "SIGNUP_DOMAINS": "bücher.example,example.org"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        office = Office()
        idp = built(tmp_path, office, signup="domains")
    with opened(office), as_thread(idp):
        for email, may in (("a@bücher.example", True), ("a@xn--bcher-kva.example", True), (f"a@{twin}", False)):
            with Person(email, office) as person:
                before = len(office.mails)
                _asks(idp, person)
                assert (len(office.mails) > before) is may, email


def test_the_lists_are_read_from_the_environment(tmp_path: Path) -> None:
    """With commas, spaces and capitals as operators write them; SIGNUP=domains without domains stops the start."""
    office = Office()
    idp = built(tmp_path, office)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMAIL_DENY", " Bad@Example.com , *.Example.net,")
        patch.setenv("SIGNUP", "domains")
        patch.setenv("SIGNUP_DOMAINS", "Example.COM, example.net")
        chosen = built(tmp_path, office)
    assert chosen.settings.email_deny == ("bad@example.com", "*.example.net")
    with opened(office), as_thread(chosen):
        found = {email: _gets_in(chosen, office, email) for email in ("bad@example.com", "good@example.com")}
        assert found == {"bad@example.com": False, "good@example.com": True}
    with pytest.raises(AssertionError, match=r"SIGNUP_DOMAINS: is required with SIGNUP=domains"):
        run_gatepost(environment_for(idp, SIGNUP="domains"), "users", "list")
