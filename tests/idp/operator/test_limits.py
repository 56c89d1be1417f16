"""LIMIT_ADDRESS, LIMIT_NETWORK, LIMIT_TOTAL and TRUSTED_PROXIES: floods are stopped, and people see for how long."""

import contextlib
import itertools
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost_idp.limits import BRAKES
from tests.faults.asking import as_process, built, changed, eventually
from tests.faults.mailservers import Office, opened
from tests.idp.signin.walk import field_value, press, words_of
from tests.store.servers import Postgres
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import Idp, serving
from tests.support.smtp import code_of, link_of

PROXY = ("127.0.0.1/32",)


@contextlib.contextmanager
def _flooded(folder: Path, **settings: Any) -> Iterator[tuple[Idp, "Flood"]]:
    """A server at the start of a day, so that a test stays within one window of each limit, and a flooding client."""
    with serving(folder, **settings) as idp:
        idp.clock.forward(seconds=86_400 - idp.clock().timestamp() % 86_400 + 1)
        with _flood(idp) as flood:
            yield idp, flood


@contextlib.contextmanager
def _flood(idp: Idp) -> Iterator["Flood"]:
    """A browser on the address page, which sends that one form any number of times."""
    with Person("flood@example.com", idp.postbox) as person:
        person.open(registered(idp).authorize_url())
        assert person.page is not None
        idp.clock.forward(seconds=1.1)  # a form that comes back within a second is made to wait
        form = {name: field_value(person.text, name) for name in ("csrf", "form_time")}
        yield Flood(idp, person, str(person.page.url), form)


class Flood:
    """Posts one form for any address, from any network as a proxy in front would report it."""

    def __init__(self, idp: Idp, person: Person, url: str, form: dict[str, str]) -> None:
        self._idp = idp
        self._person = person
        self.url = url
        self._form = form
        self.page = ""

    def send(self, email: str, forwarded_for: str | None = None, base: str | None = None) -> int:
        """Sends one form; 303 if a mail may be sent, else the page's status. ``base``: another process's address."""
        url = self.url if base is None else self.url.replace(self._idp.issuer, base)
        headers = {"origin": self._idp.issuer, "x_forwarded_for": forwarded_for}
        answer = press(self._person, url, {**self._form, "email": email}, **headers)
        self.page = answer.text
        return answer.status_code


def test_limit_ip_v6_64(tmp_path: Path) -> None:
    """One IPv6 /64, or one IPv4 address in any spelling, has one allowance; the next network has its own."""
    with _flooded(tmp_path, limit_network="3/15minutes", trusted_proxies=PROXY) as (_, flood):
        names = (f"person{n}@example.com" for n in itertools.count())
        one = ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "[2001:DB8:1:2::3]", "2001:db8:1:2::4"]
        assert [flood.send(next(names), address) for address in one] == [303, 303, 303, 429]
        assert flood.send(next(names), "2001:db8:1:3::1") == 303
        other = ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:cb00:7107", "203.0.113.7"]
        assert [flood.send(next(names), address) for address in other] == [303, 303, 303, 429]
        assert flood.send(next(names), "203.0.113.8") == 303


def test_forwarded_for_spoof(tmp_path: Path) -> None:
    """X-Forwarded-For from a peer that is not a trusted proxy changes nothing: the network's limit holds, the mail
    names the real network, and the log says once which setting a proxy would need."""
    office = Office()
    idp = built(tmp_path, office, limit_network="3/day")
    with opened(office), as_process(idp, tmp_path / "idp.log") as server, _flood(idp) as flood:
        sent = [flood.send(f"person{n}@example.com", f"198.51.100.{n}") for n in range(5)]
        assert sent == [303, 303, 303, 429, 429]
        mail = office.wait("person0@example.com")
        assert "127.0.0.1" in str(mail.get_body(("plain",)))
        assert "198.51.100" not in str(mail)
        warnings = [line for line in server.logged().splitlines() if "forwarded_for_ignored" in line]
        assert len(warnings) == 1
        assert json.loads(warnings[0])["setting"] == "TRUSTED_PROXIES"


def test_forwarded_for_spoof_behind_a_proxy(tmp_path: Path) -> None:
    """Behind a trusted proxy the rightmost hop that is not a trusted proxy counts: the caller can invent what is left
    of it, and something that is not an address does not evade the limit."""
    with _flooded(tmp_path, limit_network="3/15minutes", trusted_proxies=(*PROXY, "10.0.0.0/8")) as (_, flood):
        invented = [f"198.51.100.{n}, 203.0.113.7" for n in range(4)]
        assert [flood.send(f"a{n}@example.com", hops) for n, hops in enumerate(invented)] == [303, 303, 303, 429]
        assert flood.send("b@example.com", "198.51.100.99,203.0.113.7, 10.1.2.3") == 429, "two proxies of ours"
        assert flood.send("c@example.com", "203.0.113.7, 203.0.113.8") == 303
        for n, hops in enumerate(["unknown", "203.0.113", "<script>"]):
            assert flood.send(f"d{n}@example.com", hops) == 303
        assert flood.send("e@example.com", "no address") == 429, "the proxy's own allowance, and it is used up"


def test_limit_global(tmp_path: Path) -> None:
    """A flood of strangers stops at three quarters of LIMIT_TOTAL, with an alert in the log; people with an account
    get mail until the last quarter is used too."""
    office = Office()
    idp = built(tmp_path, office, limit_total="12/day")
    with opened(office), as_process(idp, tmp_path / "idp.log") as server:
        with Person("member@example.com", office) as member:
            member.walk(registered(idp).authorize_url())
        with _flood(idp) as flood:
            assert "mail_limit_reached" not in server.logged()
            time.sleep(1.1)  # a form that comes back within a second is made to wait
            assert [flood.send(f"stranger{n}@example.com") for n in range(10)] == [303] * 8 + [429] * 2
            assert "That is a lot of mail in a short time" in words_of(flood.page)
            [alert, *_] = [json.loads(line) for line in server.logged().splitlines() if "mail_limit_reached" in line]
            assert alert["level"] == "error"
            assert alert["setting"] == "LIMIT_TOTAL"
            assert [flood.send("member@example.com") for _ in range(4)] == [303] * 3 + [429]
        assert "member@example.com" not in server.logged()


def test_the_wait_is_shown(tmp_path: Path) -> None:
    """A limit is a page and never a bare 429: it says how long, counts down and keeps the address, and a refused try
    does not lengthen it; the earlier mail still signs in."""
    for name, limit, shown in (
        ("limit_address", "1/30seconds", r"You can ask again in 30 seconds"),
        ("limit_network", "1/15minutes", r"You can ask again in 15 minutes"),
        ("limit_total", "1/20minutes", r"You can ask again in 20 minutes"),
    ):
        with _flooded(tmp_path / name, **{name: limit}) as (idp, flood):
            idp.clock.stop()
            assert flood.send("alice@example.com") == 303
            assert flood.send("alice@example.com") == 429
            words = words_of(flood.page)
            assert re.search(shown, words), words
            first = _countdown(flood.page)
            assert field_value(flood.page, "email") == "alice@example.com"
            assert "A link we mailed before still works" in words
            idp.clock.forward(seconds=10)
            for _ in range(5):
                assert flood.send("alice@example.com") == 429
            assert _countdown(flood.page) == first - 10, name
            idp.clock.forward(seconds=first - 10)
            assert flood.send("alice@example.com") == 303, name


def _countdown(page: str) -> int:
    found = re.search(r'data-countdown="(\d+)"', page)
    assert found, page
    return int(found.group(1))


def test_the_coarse_brake_is_a_page_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who opens the sign-in without end gets a page that says to wait a minute, not a bare 429."""
    monkeypatch.setitem(BRAKES, "authorize", "3/minute")
    with serving(tmp_path) as idp, httpx2.Client(trust_env=False) as browser:
        url = registered(idp).authorize_url()
        answers = [browser.get(url) for _ in range(4)]
        assert answers[-1].status_code == 429
        assert answers[-1].headers["content-type"].startswith("text/html")
        assert "Wait a minute and load the page again" in words_of(answers[-1].text)
        assert answers[-1].headers["retry-after"] == "60"


def test_the_coarse_brake_counts_a_door_whatever_its_address_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A different made-up id in each path does not evade it."""
    monkeypatch.setitem(BRAKES, "sign-in", "3/minute")
    with serving(tmp_path) as idp:
        answers = [idp.post(f"/sign-in/made-up-{number}", {"csrf": "x"}).status_code for number in range(4)]
    assert answers == [403, 403, 403, 429]


@contextlib.contextmanager
def _two_processes(folder: Path, url: str, **settings: Any) -> Iterator[tuple[Idp, Office, str]]:
    """Two servers of one issuer on one database; gives the second one's address too."""
    office = Office()
    first = changed(
        built(folder, office, secret_key=("the key that both of them share as they must",)),
        database_url=url,
        trusted_proxies=PROXY,
        **settings,
    )
    port = free_port()
    second = replace(changed(first, idp_port=port), base=f"http://localhost:{port}")  # the cookies' host
    with (
        opened(office),
        as_process(first, folder / "first.log", DATABASE_URL=url, TRUSTED_PROXIES=PROXY[0], **_as_text(settings)),
        as_process(second, folder / "second.log", DATABASE_URL=url, TRUSTED_PROXIES=PROXY[0], **_as_text(settings)),
    ):
        yield first, office, second.base


def _as_text(settings: dict[str, Any]) -> dict[str, str]:
    return {name.upper(): str(value) for name, value in settings.items()}


def test_limits_across_two_processes(tmp_path: Path, postgres: Postgres) -> None:
    """Two servers on one PostgreSQL, thirty forms at a time, alternating between the servers: each limit lets through
    exactly its number, and each mail is sent once, by one of them."""
    limits = {"limit_address": "3/day", "limit_network": "7/day", "limit_total": "40/day"}
    with _two_processes(tmp_path, postgres.migrated(), **limits) as (idp, office, second), _flood(idp) as flood:
        sent = itertools.count()

        def at_once(forms: list[tuple[str, str]]) -> int:
            def send(number: int) -> int:
                return flood.send(*forms[number], base=second if number % 2 else None)

            with ThreadPoolExecutor(30) as pool:
                found = list(pool.map(send, range(len(forms))))
            assert set(found) <= {303, 429}, found
            return found.count(303)

        def network() -> str:
            return f"2001:db8:{next(sent):x}::1"

        assert at_once([("alice@example.com", network()) for _ in range(30)]) == 3
        assert at_once([(f"b{n}@example.com", f"2001:db8:ffff::{n:x}") for n in range(30)]) == 7
        assert at_once([(f"c{n}@example.com", network()) for n in range(30)]) == 30 - 10, "a quarter of 40 is kept"
        eventually(lambda: len(office.mails) >= 30, "not every mail was sent")
        assert len({str(mail["Message-ID"]) for mail in office.mails}) == len(office.mails) == 30


def test_thirty_at_once(tmp_path: Path) -> None:
    """Thirty forms at once to one server on SQLite: exactly as many mails as each limit says."""
    for name, strangers in (("limit_address", 5), ("limit_network", 5), ("limit_total", 3)):
        with _flooded(tmp_path / name, **{name: "5/day"}) as (_, flood):
            one = name == "limit_address"
            addresses = ["alice@example.com" if one else f"person{n}@example.com" for n in range(30)]
            with ThreadPoolExecutor(30) as pool:
                found = list(pool.map(flood.send, addresses))
            assert sorted(found) == [303] * strangers + [429] * (30 - strangers), name


def _wrong_codes(idp: Idp, person: Person, count: int) -> None:
    """``person`` asks for a mail, and types that many wrong codes."""
    before = len(idp.postbox.to(person.email))
    person.open(registered(idp).authorize_url())
    person.ask_for_mail()
    right = code_of(idp.postbox.wait(person.email, before + 1))
    assert person.page is not None
    url = str(person.page.url)
    for n in range(count):
        wrong = f"{(int(right.replace(' ', '')) + 1 + n) % 10**8:08d}"
        press(person, f"{url}/code", {"csrf": field_value(person.text, "csrf"), "code": wrong})
        person.open(url)


def test_wrong_code_daily(tmp_path: Path) -> None:
    """After twenty wrong codes in a day, over several attempts and browsers, no code is accepted for that mailbox, not
    even the right one; the link in the asking browser still signs in, other mailboxes are not affected, and the next
    day codes work again."""
    with serving(tmp_path) as idp, Person("alice@example.com", idp.postbox) as attacker:
        idp.clock.forward(seconds=86_400 - idp.clock().timestamp() % 86_400 + 1)
        for _ in range(3):
            _wrong_codes(idp, attacker, 5)
        _wrong_codes(idp, attacker, 4)
        with Person("alice@example.com", idp.postbox) as alice:
            assert _by_code(idp, alice), "nineteen are not twenty"
        _wrong_codes(idp, attacker, 1)
        with Person("ALICE@example.com", idp.postbox) as alice, Person("bob@example.com", idp.postbox) as bob:
            assert _by_code(idp, bob)
            assert not _by_code(idp, alice, mailbox="alice@example.com")
            said = (
                "Too many wrong codes were typed for this address today. Open the link from the mail in this browser."
            )
            assert said in words_of(alice.text)
            assert alice.page is not None
            alice.open(link_of(idp.postbox.to("alice@example.com")[-1]))
            alice.submit(alice.form("token"))
            assert _signed_in(alice)
        idp.clock.forward(days=1)
        with Person("alice@example.com", idp.postbox) as alice:
            assert _by_code(idp, alice)


def _by_code(idp: Idp, person: Person, mailbox: str = "") -> bool:
    """Whether the mailed code signs ``person`` in."""
    mailbox = mailbox or person.email
    before = len(idp.postbox.to(mailbox))
    person.open(registered(idp).authorize_url())
    person.ask_for_mail()
    person.submit(person.form("code"), code=code_of(idp.postbox.wait(mailbox, before + 1)))
    return _signed_in(person)


def _signed_in(person: Person) -> bool:
    return any("gp-session" in name for name in person.browser.cookies)


def test_limits_are_as_the_operator_wrote_them(tmp_path: Path) -> None:
    """Several rules in one setting all apply."""
    with _flooded(tmp_path, limit_address="2/minute;3/hour") as (idp, flood):
        assert [flood.send("alice@example.com") for _ in range(3)] == [303, 303, 429]
        idp.clock.forward(minutes=1)
        assert [flood.send("alice@example.com") for _ in range(2)] == [303, 429]
        idp.clock.forward(minutes=1)
        assert flood.send("alice@example.com") == 429
