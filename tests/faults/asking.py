"""People who ask for mail while mail is failing, and the server that they ask, as a thread or a process."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2

from tests.support import serving
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import Server, environment_of, running
from tests.support.serving import Clock, Idp, settings_of
from tests.support.smtp import Postbox, code_of, link_of


def built(folder: Path, postbox: Postbox, **changes: Any) -> Idp:
    """A server with its database, not running yet: ``as_thread`` and ``as_process`` run it, any number of times."""
    port = free_port()
    settings = settings_of(folder, postbox, port, **changes)
    serving.upgrade(settings)
    return Idp(f"http://127.0.0.1:{port}", settings.oauth_issuer, settings, Clock(), postbox)


def changed(idp: Idp, **settings: Any) -> Idp:
    """The same server with other settings, for its next start."""
    return replace(idp, settings=idp.settings.model_copy(update=settings))


def as_thread(idp: Idp) -> contextlib.AbstractContextManager[None]:
    """Runs it on the test's clock until the block ends."""
    return serving.listening(idp.settings, idp.clock, idp.settings.idp_port)


def as_process(idp: Idp, log: Path, **settings: str) -> contextlib.AbstractContextManager[Server]:
    """Runs it as an operator does, on the system clock, until the block ends."""
    return running(idp.base, environment_for(idp, **settings), log, "gatepost_idp", "idp")


def environment_for(idp: Idp, **settings: str) -> dict[str, str]:
    """Its settings as an operator writes them; ``settings`` are further variables."""
    given = idp.settings.model_dump(include=idp.settings.model_fields_set)
    texts = {name.upper(): ",".join(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}
    return environment_of(**{**texts, **settings})


@dataclass
class Waiting:
    """A person on the waiting page."""

    person: Person
    url: str

    def state(self) -> dict[str, Any]:
        """The state that the page's script gets."""
        answer = self.person.browser.get(f"{self.url}/state")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, mail: str, seconds: float = 10) -> dict[str, Any]:
        """The page's state, once it says that of the mail."""
        deadline = time.monotonic() + seconds
        while (state := self.state())["mail"] != mail:
            assert time.monotonic() < deadline, f"{self.person.email}: still {state}, not {mail}"
            time.sleep(0.02)
        return state

    def page(self) -> str:
        """The waiting page as it is now."""
        return self.person.open(self.url).text

    def signs_in(self, mail: EmailMessage) -> bool:
        """Whether the link of ``mail``, pressed in this browser, makes a session."""
        self.person.open(link_of(mail))
        self.person.submit(self.person.form("token"))
        return any("gp-session" in name for name in self.person.browser.cookies)


def waits(person: Person, client: TestClient) -> Waiting:
    """Sends ``person`` from ``client`` to ask for a mail."""
    person.open(client.authorize_url())
    person.ask_for_mail()
    assert person.page is not None
    assert "Check your mail" in person.text, person.text
    return Waiting(person, str(person.page.url))


@contextlib.contextmanager
def crowd(idp: Idp, names: Iterable[str]) -> Iterator[list[Waiting]]:
    """Many people ask, eight at a time; each has a separate browser until the block ends."""
    client = registered(idp)
    with contextlib.ExitStack() as stack:
        people = [stack.enter_context(Person(f"{name}@example.com", idp.postbox)) for name in names]
        with ThreadPoolExecutor(8) as pool:
            yield list(pool.map(lambda person: waits(person, client), people))


def eventually(holds: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Returns once it holds; raises AssertionError with ``what`` if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def identity(mail: EmailMessage) -> tuple[str, str, str]:
    """What every copy of one mail shares: Message-ID, link, code."""
    return str(mail["Message-ID"]), link_of(mail), code_of(mail)


def counted(idp: Idp, condition: str) -> int:
    """How many rows of the outbox have that state."""
    connection = sqlite3.connect(f"file:{idp.settings.sqlite_path}?mode=ro", uri=True)
    try:
        return int(connection.execute(f"SELECT count(*) FROM outbox WHERE {condition}").fetchone()[0])  # noqa: S608 (the tests' own words)
    finally:
        connection.close()


def details(idp: Idp) -> dict[str, Any]:
    """The readiness details on METRICS_ADDRESS."""
    address = f"http://{idp.settings.metrics_address}/readyz"

    def answers() -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return bool(httpx2.get(address, trust_env=False).status_code)
        return False

    eventually(answers, f"{address} does not answer")
    return dict(json.loads(httpx2.get(address, trust_env=False).text))
