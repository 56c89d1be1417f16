"""The mail about a new app: one for each kind of app; its link disconnects the app and does nothing else."""

import re
import time
from collections.abc import Callable

import pytest

from tests.idp.account.being_there import BOTH, READ, connected, entered
from tests.support.oauth import answer_of, registered
from tests.support.person import Person
from tests.support.serving import Idp
from tests.support.smtp import notice_to, text_of

People = Callable[..., Person]


def link_in(idp: Idp, person: Person) -> str:
    found = re.search(r"http\S+/account/cut-off\?t=\S+", text_of(notice_to(idp.postbox, person.email)))
    assert found
    return found.group()


def test_the_mail_says_who_where_when_and_what(idp: Idp, people: People) -> None:
    """In both parts of the mail, without any code or token."""
    alice = people()
    connected(idp, alice)
    mail = notice_to(idp.postbox, alice.email)
    assert str(mail["Subject"]) == "A new app is connected - client.test"
    html = mail.get_body(("html",))
    assert html is not None
    for said in (text_of(mail), str(html.get_content()).replace("<span>.</span>", ".")):
        for word in ("client.test", "Some app", "Example tools", "Read the clock", "Firefox on Linux", "UTC"):
            assert word in said, word
        assert "/account" in said
    assert "Repeat a text" not in text_of(mail)


def test_the_link_cuts_off_without_signing_in(idp: Idp, people: People) -> None:
    """It works on any device; the app has to ask again, and nobody is signed in by it."""
    alice, phone = people(), people("alice@example.com")
    client, tokens = connected(idp, alice, BOTH)
    phone.open(link_in(idp, alice))
    assert "Disconnect this app?" in phone.text
    phone.submit(phone.form("token"))
    assert "It is disconnected" in phone.text
    assert client.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert not any("session" in name for name in phone.browser.cookies)
    alice.open(client.authorize_url(scope=BOTH))
    assert any(("decision", "allow") in form.buttons for form in alice.forms()), "it must ask again"


def test_a_scanner_cuts_nothing_off(idp: Idp, people: People) -> None:
    """Any number of GETs and HEADs changes nothing."""
    alice = people()
    client, tokens = connected(idp, alice)
    link = link_in(idp, alice)
    scanner = people("nobody@example.com")
    for method in ("GET", "HEAD", "GET"):
        assert scanner.browser.request(method, link).status_code == 200
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def test_a_second_press_is_as_good_as_the_first(idp: Idp, people: People) -> None:
    """The link then says that there is nothing left to do."""
    alice = people()
    connected(idp, alice)
    alice.open(link_in(idp, alice))
    form = alice.form("token")
    for _ in range(2):
        alice.submit(form)
        assert "It is disconnected" in alice.text
    alice.open(link_in(idp, alice))
    assert "Nothing to disconnect" in alice.text


@pytest.mark.parametrize("bend", ["cut", "other grant", "other key", "nothing", "nul"])
def test_a_bent_link_cuts_nothing_off(idp: Idp, people: People, bend: str) -> None:
    """A made-up link, or another person's with one's own grant in it."""
    alice, bob = people(), people("bob@example.com")
    client, tokens = connected(idp, alice)
    connected(idp, bob)
    link, other = link_in(idp, alice), link_in(idp, bob)
    grant, key, mac = link.partition("?t=")[2].split(".")
    bent = {
        "cut": f"{grant}.{key}.{mac[:-3]}",
        "other grant": f"{grant}.{'.'.join(other.partition('?t=')[2].split('.')[1:])}",
        "other key": f"{grant}.00000000.{mac}",
        "nothing": "",
        "nul": f"{grant}.{key}.{mac}%00",
    }[bend]
    stranger = people("mallory@example.com")
    assert stranger.open(f"{idp.issuer}/account/cut-off?t={bent}").status_code == 410
    stranger.open(link)
    stranger.submit(stranger.form("token"), token=bent.replace("%00", "\0"))
    assert "Nothing to disconnect" in stranger.text
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def test_one_mail_for_each_kind_of_app(idp: Idp, people: People) -> None:
    """A reconnect, asked or silent, or another registration of the same kind sends none; another app does."""
    alice = people()
    client, _ = connected(idp, alice)
    notice_to(idp.postbox, alice.email)
    connected(idp, alice, BOTH, client=client)
    connected(idp, alice, client=client)
    assert alice.page is not None
    assert alice.page.status_code == 302, "this time in silence"
    connected(idp, alice)
    connected(idp, alice, client_name="Another", redirect_uris=["https://another.test/callback"])
    deadline = time.monotonic() + 10
    while len(idp.postbox.notices) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert [str(mail["Subject"]).rpartition(" ")[2] for mail in idp.postbox.notices] == ["client.test", "another.test"]


def test_no_mail_where_the_code_was_never_used(idp: Idp, people: People) -> None:
    """Then nothing was connected."""
    alice = people()
    client = registered(idp)
    alice.open(client.authorize_url(scope=READ))
    alice.ask_for_mail()
    alice.sign_in_by_code()
    alice.allow()
    assert "code" in answer_of(alice.answer())
    time.sleep(1.5)
    assert idp.postbox.notices == []


def test_the_mail_leads_to_the_account(idp: Idp, people: People) -> None:
    """The account page lists everything that is connected."""
    alice = people()
    connected(idp, alice)
    assert f"{idp.issuer}/account\n" in text_of(notice_to(idp.postbox, alice.email)).replace("\r\n", "\n")
    assert "Some app" in entered(alice, idp).text
