"""The mail: what it says, how it is built, and that a stranger's input cannot alter it."""

import re
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.idp.signin.walk import asks, words_of
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.serving import Idp, serving
from tests.support.smtp import code_of, link_of, text_of

People = Callable[..., Person]


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """One server for the file: nothing here moves the clock."""
    with serving(tmp_path_factory.mktemp("idp")) as served:
        yield served


def _html_of(mail: EmailMessage) -> str:
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def test_mail_format(idp: Idp, people: People) -> None:
    """Date, Message-ID on our own domain, headers against automatic replies, text first, 7bit, no list headers."""
    pending = asks(idp, people())
    mail = pending.mail
    assert abs((parsedate_to_datetime(mail["Date"]) - idp.clock()).total_seconds()) < 60
    assert re.fullmatch(r"<[\w-]{16,}@example\.test>", mail["Message-ID"])
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert mail["From"] == "Gatepost demo <gatepost@example.test>"
    assert mail["To"] == "alice@example.com"
    for absent in ("List-Unsubscribe", "Bcc", "Cc", "Reply-To", "Precedence"):
        assert mail[absent] is None
    for name in ("Date", "Message-ID", "From", "To", "Subject"):
        assert len(mail.get_all(name, [])) == 1
    assert mail.get_content_type() == "multipart/alternative"
    kinds = [part.get_content_type() for part in mail.iter_parts()]
    assert kinds == ["text/plain", "text/html"]
    text = next(mail.iter_parts())
    assert text["Content-Transfer-Encoding"] == "7bit"
    assert all(len(line) <= 998 for line in mail.as_bytes().splitlines())


def test_mail_link_stands_unbroken_on_a_line_of_its_own(idp: Idp, people: People) -> None:
    """No wrapping or encoding can break the link: the raw bytes have it whole, alone on its line, at our issuer."""
    pending = asks(idp, people())
    part = next(pending.mail.iter_parts()).as_bytes().splitlines()
    assert pending.link.encode() in part
    assert pending.link.startswith(f"{idp.issuer}/sign-in/link?t=")
    assert text_of(pending.mail).count(pending.link) == 1


def test_mail_code_leads(idp: Idp, people: People) -> None:
    """The code is the first thing in subject, text and HTML, so that a phone's notification shows it."""
    mail = asks(idp, people()).mail
    code = code_of(mail)
    assert str(mail["Subject"]) == f"{code} is your code for Gatepost demo"
    assert text_of(mail).startswith(code)
    body = _html_of(mail).partition("<body")[2]
    assert words_of("<body" + body).startswith(code)


def test_mail_says_who_asked_for_what_from_where(idp: Idp, people: People) -> None:
    """Host, browser, network, time, words, account, lifetime, and what to do if it was not you: in both parts."""
    pending = asks(idp, people())
    for part in (text_of(pending.mail), words_of(_html_of(pending.mail)).replace(" . ", ".")):
        for fact in (
            "client.test",
            "calls itself",
            "not verified",
            "Firefox on Linux",
            "127.0.0.1",
            f"{idp.clock():%d %B %Y}",
            "UTC",
            pending.reference,
            "alice@example.com",
            "10 minutes",
            "do nothing",
            "nobody gets in with this mail alone",
            f"localhost:{idp.settings.idp_port}",
        ):
            assert fact in " ".join(part.split()), fact


def test_mail_of_a_local_program_says_on_which_computer(idp: Idp, people: People) -> None:
    """``This computer`` would be wrong for somebody who reads the mail on a phone."""
    client = registered(idp, redirect_uris=["http://127.0.0.1:33418/callback"])
    mail = asks(idp, people(), client).mail
    for part in (text_of(mail), words_of(_html_of(mail))):
        assert "on the computer that asked" in " ".join(part.split())
        assert "this computer" not in part


class _Fetched(HTMLParser):
    """Collects whatever a mail program would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.links.add(value or "")
            elif name in ("src", "srcset", "background", "href", "action", "poster", "data") or name.startswith("on"):
                self.found.append((tag, name, value or ""))
        if tag in ("script", "iframe", "object", "form", "link", "img", "base"):
            self.found.append((tag, "", ""))


def test_mail_fetches_nothing(idp: Idp, people: People) -> None:
    """No image, no script, no tracking: the only URL in the HTML is the link, as a button and in full."""
    pending = asks(idp, people())
    html = _html_of(pending.mail)
    parser = _Fetched()
    parser.feed(html)
    assert parser.found == []
    assert parser.links == {pending.link}
    assert "url(" not in html
    assert "@import" not in html
    assert pending.link in words_of(html)
    assert re.search(r"<html lang=\"en\">", html)
    assert "prefers-color-scheme: dark" in html


HOSTILE_NAMES = {
    "CR LF and a header": "Claude\r\nBcc: mallory@evil.example\r\n\r\nhello",
    "HTML": '<a href="https://evil.example">Claude</a><img src=x onerror=alert(1)><!--',
    "a link": "https://evil.example/login",
    "a bare domain": "Claude - go to evil.example",
    "bidi controls": "\N{RIGHT-TO-LEFT OVERRIDE}edualC\N{POP DIRECTIONAL FORMATTING}\N{RIGHT-TO-LEFT ISOLATE}",
    "zero width and line separators": "Cl\N{ZERO WIDTH SPACE}aude\N{LINE SEPARATOR}Your code is 0000 0000",
    "five hundred characters": "Claude " * 72,
    "template": "{{ code }}{% for x in y %}",
    "quotes": '"\' onload="x',
    "a code": "0000 0000 is your code",
}


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_mail_injection(idp: Idp, people: People, name: str) -> None:
    """A client's name is inert text of at most 40 characters: no header, markup, link or bidirectional override."""
    client = registered(idp, client_name=name)
    pending = asks(idp, people(), client)
    mail = pending.mail
    assert code_of(mail)
    assert str(mail["Subject"]) == f"{code_of(mail)} is your code for Gatepost demo"
    assert str(mail["To"]) == "alice@example.com"
    assert mail["Bcc"] is None
    assert idp.postbox.mails[-1] is mail
    text, html = text_of(mail), _html_of(mail)
    assert link_of(mail).startswith(idp.issuer)
    assert re.findall(r"https?://\S+", text) == [pending.link], "no program makes another link of the text part"
    assert "evil.example" not in text
    parser = _Fetched()
    parser.feed(html)
    assert parser.found == []
    assert parser.links == {pending.link}
    assert "evil.example" not in html, "dots stand apart, so that no program makes a link of it"
    for part in (text, html):
        assert not re.search("[\u200b-\u200f\u2028-\u202e\u2066-\u2069]", part)
    shown = re.search(r"calls itself “<bdi>(.*?)</bdi>”", html)
    assert shown
    assert len(words_of(shown.group(1)).replace(" . ", ".")) <= 40
    assert "calls itself" in html
    assert not re.search(r"^0000 0000", text, re.MULTILINE)
    person = pending.person
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", pending.look())
    person.open(client.authorize_url())
    assert "<img" not in person.text
    assert 'evil.example">' not in person.text


def test_mail_with_a_service_name_that_means_something_in_headers(tmp_path: Path) -> None:
    """The service name may contain an address header's special characters; From stays one address, Subject one line."""
    name = 'Smith, Jones & "Co" <lab>'
    with serving(tmp_path, service_name=name) as idp, Person("alice@example.com", idp.postbox) as person:
        mail = asks(idp, person).mail
        assert [address.addr_spec for address in mail["From"].addresses] == ["gatepost@example.test"]
        assert "\n" not in str(mail["Subject"])
        assert "Smith, Jones &amp; &#34;Co&#34; &lt;lab&gt;" in _html_of(mail)


def test_mail_of_a_service_whose_name_is_not_ascii(tmp_path: Path) -> None:
    """A name with umlauts arrives intact in subject, text and HTML, and the link stays unbroken."""
    with serving(tmp_path, service_name="Zürich Müsli") as idp, Person("alice@example.com", idp.postbox) as person:
        pending = asks(idp, person)
        assert str(pending.mail["Subject"]).endswith("is your code for Zürich Müsli")
        assert "Zürich Müsli" in _html_of(pending.mail)
        assert "Zürich Müsli" in text_of(pending.mail)
        assert pending.link.startswith(idp.issuer)


def test_the_browser_in_the_mail_is_a_word_of_ours(idp: Idp, people: People) -> None:
    """Anybody can write a User-Agent, so only known names reach the mail."""
    person = people()
    person.browser.headers["user-agent"] = "evil.example <b>Your bank</b> https://evil.example"
    mail = asks(idp, person).mail
    for part in (text_of(mail), _html_of(mail)):
        assert "A browser" in part
        assert "evil" not in part
        assert "bank" not in part
