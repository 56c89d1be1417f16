"""A real SMTP server on loopback that keeps every mail."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from tests.support.ports import free_port

NOTICE = "A new app is connected"


class Postbox:
    """Every mail that arrived, in order. ``refusal``: what the server says to DATA instead of 250, while set.

    ``notices``: the mails about new connections, kept apart, so that a test can count those that sign people in.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.mails: list[EmailMessage] = []
        self.notices: list[EmailMessage] = []
        self.refusal: str | None = None
        self._arrived = threading.Condition()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        if self.refusal is not None:
            return self.refusal
        message = message_from_bytes(bytes(envelope.original_content or b""), policy=policy.default)
        with self._arrived:
            (self.notices if str(message["Subject"]).startswith(NOTICE) else self.mails).append(message)
            self._arrived.notify_all()
        return "250 kept"

    def to(self, address: str) -> list[EmailMessage]:
        """Mails to ``address``."""
        return [mail for mail in self.mails if str(mail["To"]) == address]

    def wait(self, address: str, count: int = 1, seconds: float = 10) -> EmailMessage:
        """The ``count``-th mail to ``address``; raises AssertionError if it does not arrive."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.to(address)) >= count, seconds)
        assert came, f"no mail number {count} to {address} within {seconds} s"
        return self.to(address)[count - 1]


def notice_to(postbox: Postbox, address: str, seconds: float = 10) -> EmailMessage:
    """The mail about a new connection; raises AssertionError if it does not arrive."""
    deadline = time.monotonic() + seconds
    while not (found := [mail for mail in postbox.notices if str(mail["To"]) == address]):
        assert time.monotonic() < deadline, f"no notice to {address} within {seconds} s"
        time.sleep(0.02)
    return found[-1]


def text_of(mail: EmailMessage) -> str:
    """The plain text part."""
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link_of(mail: EmailMessage) -> str:
    """The sign-in link."""
    found = re.search(r"https?://\S+/sign-in/link\?t=\S+", text_of(mail))
    assert found, text_of(mail)
    return found.group()


def code_of(mail: EmailMessage) -> str:
    """The code as written in the subject: ``1234 5678``."""
    found = re.match(r"(\d{4} \d{4}) ", str(mail["Subject"]))
    assert found, mail["Subject"]
    return found.group(1)


@contextlib.contextmanager
def receiving() -> Iterator[Postbox]:
    """A mail server for one test or session."""
    postbox = Postbox()
    controller = Controller(postbox, hostname="127.0.0.1", port=postbox.port)
    controller.start()
    try:
        yield postbox
    finally:
        controller.stop()
