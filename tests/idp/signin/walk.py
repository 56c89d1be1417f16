"""A sign-in under way: asked for in one browser, mailed, not yet used; and helpers for reading pages."""

import re
import sqlite3
import time
from dataclasses import dataclass
from email.message import EmailMessage
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.serving import Idp
from tests.support.smtp import code_of, link_of


@dataclass
class Pending:
    """A mail that arrived, and the browser that waits for it at ``url``."""

    idp: Idp
    person: Person
    client: TestClient
    url: str
    mail: EmailMessage

    @property
    def link(self) -> str:
        """The mailed link."""
        return link_of(self.mail)

    @property
    def token(self) -> str:
        """The link's token."""
        return parse_qs(urlsplit(self.link).query)["t"][0]

    @property
    def code(self) -> str:
        """The mailed digits, as people read them."""
        return code_of(self.mail)

    @property
    def reference(self) -> str:
        """The two words of the waiting page."""
        found = re.search(r"shows the words <b>([a-z]+ [a-z]+)</b>", self.look())
        assert found, self.person.text
        return found.group(1)

    def look(self) -> str:
        """Opens the waiting page; returns its text."""
        self.person.open(self.url)
        return self.person.text

    def state(self) -> dict[str, Any]:
        """The state that the waiting page's script gets."""
        answer = self.person.browser.get(f"{self.url}/state")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, mail: str, seconds: float = 10) -> None:
        """Returns once the waiting page says that of the mail."""
        deadline = time.monotonic() + seconds
        while self.state()["mail"] != mail:
            assert time.monotonic() < deadline, f"the mail is still {self.state()['mail']}, not {mail}"
            time.sleep(0.02)


def asks(idp: Idp, person: Person, client: TestClient | None = None, mailbox: str = "", **asked: str | None) -> Pending:
    """``person`` comes from a client and asks for a mail, which arrives at ``mailbox``, by default the typed address.

    ``asked``: changes to the parameters of the authorization request.
    """
    client = client or registered(idp)
    before = len(idp.postbox.to(mailbox or person.email))
    person.open(client.authorize_url(**asked))
    types(idp, person)
    assert person.page is not None
    assert "Check your mail" in person.text, person.text
    url = str(person.page.url)
    pending = Pending(idp, person, client, url, idp.postbox.wait(mailbox or person.email, before + 1))
    pending.until("sent")
    return pending


def types(idp: Idp, person: Person) -> None:
    """Types the address and sends it slower than a robot: the server delays forms sent at once."""
    idp.clock.forward(seconds=1.1)
    person.ask_for_mail()


def stand_still(idp: Idp) -> None:
    """Stops the clock at a whole millisecond, as the database stores times, so that a limit can be hit exactly."""
    idp.clock.stop()
    idp.clock.forward(microseconds=-(idp.clock().microsecond % 1000))


def link_page(pending: Pending, person: Person) -> str:
    """``person`` opens the mailed link; returns the page."""
    person.open(pending.link)
    return person.text


def press(person: Person, url: str, form: dict[str, str], **headers: str | None) -> httpx2.Response:
    """A POST as from one of our pages, without following redirects; a header given as None is left out."""
    page = urlsplit(url)
    sent = {"origin": f"{page.scheme}://{page.netloc}", "sec-fetch-site": "same-origin"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    kept = {name: value for name, value in {**sent, **given}.items() if value is not None}
    return person.browser.post(url, data=form, headers=kept)


def field_value(html: str, name: str) -> str:
    """The value of the first field of that name."""
    found = re.search(rf'<input[^>]*name="{name}"[^>]*value="([^"]*)"', html)
    assert found, f"no field {name} in:\n{html}"
    return unescape(found.group(1))


def signed_in(person: Person) -> bool:
    """Whether this browser got a session."""
    return any("gp-session" in name for name in person.browser.cookies)


def sessions_made(answers: list[httpx2.Response]) -> list[str]:
    """The session cookies set by these answers."""
    cookies = [value for answer in answers for value in answer.headers.get_list("set-cookie")]
    return [value for value in cookies if "gp-session" in value and "Max-Age=0" not in value]


_NOTES = tuple(f'INSERT INTO "{table}"' for table in ("trace_step", "audit_event", "audit_batch", "lease"))


def database_dump(idp: Idp) -> str:
    """Every row of the database, as SQL, without what a server writes by itself: refusals, seals, the time seen."""
    connection = sqlite3.connect(f"file:{idp.settings.sqlite_path}?mode=ro", uri=True)
    try:
        return "\n".join(line for line in connection.iterdump() if not line.startswith(_NOTES))
    finally:
        connection.close()


def rows(idp: Idp, query: str) -> list[Any]:
    """First column of a query, for what no page shows."""
    connection = sqlite3.connect(f"file:{idp.settings.sqlite_path}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute(query)]
    finally:
        connection.close()


class _Words(HTMLParser):
    """What a visitor reads, and what a screen reader says about fields."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "script"):
            self._inside.append(tag)
        spoken = ("aria-label", "title", "placeholder", "alt")
        shown = ("data-text", "data-done", "data-queued", "data-sent", "data-delayed", "data-failed", "data-copied")
        self.words += [value or "" for name, value in attrs if name in spoken + shown]

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)


def words_of(html: str) -> str:
    """The visible text of a page, with whitespace collapsed."""
    parser = _Words()
    parser.feed(html)
    return " ".join(" ".join(parser.words).split())
